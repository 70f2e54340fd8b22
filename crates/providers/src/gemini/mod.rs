//! Google's Gemini API (`ai.google.dev/api`), version `v1beta`. Nobody speaks it to this daemon, so that every request is
//! written from the domain.
//!
//! Layout: [`request`] from the domain to JSON; [`response`] back, streamed and whole; [`embeddings`]; [`signatures`] what the
//! model wants back with a tool's result.

mod embeddings;
mod request;
pub(crate) mod response;
mod signatures;

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;
use inshore_domain::request::Task;
use inshore_domain::{BackendError, Call, Embeddings};

use crate::protocol::{KeyNotSendable, ModelEntry, Prepared, Protocol, Question, chat, refuse, refuse_ours};
use crate::refusal::Refuser;
use crate::secret::Secret;
use crate::vectors::Asked;
use response::GeminiReader;
use signatures::Signatures;

pub(crate) struct Gemini {
    by: Arc<Refuser>,
    /// The model's resource name: `models/gemini-2.5-flash`, `tunedModels/mine`.
    model: String,
    signatures: Arc<Signatures>,
}

impl Gemini {
    pub(crate) fn new(by: Arc<Refuser>) -> Self {
        let model = resource(&by.target().model);
        Self { by, model, signatures: Arc::default() }
    }

    fn path(&self, method: &str) -> Cow<'static, str> {
        Cow::Owned(format!("/{}:{method}", escaped(&self.model)))
    }
}

/// A name without its collection is a model of Google's own.
fn resource(model: &str) -> String {
    if model.contains('/') { model.to_owned() } else { format!("models/{model}") }
}

/// The name as part of a path (RFC 3986, section 3.3): what is not unreserved is percent-encoded.
fn escaped(resource: &str) -> String {
    let mut path = String::with_capacity(resource.len());
    for byte in resource.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

impl Protocol for Gemini {
    fn root(&self) -> &'static str {
        "/v1beta"
    }

    fn authorise(&self, key: Option<&Secret>, headers: &mut HeaderMap) -> Result<(), KeyNotSendable> {
        if let Some(key) = key {
            headers.insert(HeaderName::from_static("x-goog-api-key"), key.header("").ok_or(KeyNotSendable)?);
        }
        Ok(())
    }

    fn generate(&self, call: &Call) -> Result<Prepared, BackendError> {
        let (request, target) = (&call.request, self.by.target());
        let chat = chat(&request.task, target)?;
        refuse_ours(&request.task, target)?;
        let body = request::generate(chat, target, &self.signatures)?.into();
        let asked = chat.sampling.n.max(1) as usize;
        let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let reader = Box::new(GeminiReader::new(self.by.clone(), self.signatures.clone(), asked));
        Ok(Prepared { path: self.path(method), body, reader, wire: false })
    }

    fn count(&self, call: &Call) -> Result<Question<u32>, BackendError> {
        let target = self.by.target();
        let chat = chat(&call.request.task, target)?;
        let body = request::count(chat, target, &self.model, &self.signatures)?;
        let by = self.by.clone();
        Ok(Question::post(self.path("countTokens"), body, move |body| response::count(body, &by)))
    }

    fn embed(&self, call: &Call) -> Result<Question<Embeddings>, BackendError> {
        let target = self.by.target();
        let Task::Embedding(task) = &call.request.task else { return Err(refuse(target, "messages")) };
        let (asked, by) = (Asked::of(task), self.by.clone());
        let body = embeddings::body(task, target, &self.model)?;
        let path = self.path("batchEmbedContents");
        Ok(Question::post(path, body, move |body| embeddings::read(body, asked, &by)))
    }

    fn models(&self) -> Question<Vec<ModelEntry>> {
        let by = self.by.clone();
        Question::get("/models", move |body| response::models(body, &by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_is_escaped() {
        for (name, path) in [
            ("gemini-2.5-flash", "models/gemini-2.5-flash"),
            ("tunedModels/my-model", "tunedModels/my-model"),
            ("a?key=b#c", "models/a%3Fkey%3Db%23c"),
            ("ä b", "models/%C3%A4%20b"),
        ] {
            assert_eq!(escaped(&resource(name)), path, "{name}");
        }
    }
}
