//! The Anthropic Messages API (`docs.anthropic.com/en/api/messages`).
//!
//! Layout: [`request`] from the domain to JSON; [`response`] back, streamed and whole.

mod request;
pub(crate) mod response;

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use inshore_domain::request::Dialect;
use inshore_domain::{BackendError, Call, Embeddings};

use crate::openai;
use crate::protocol::{
    KeyNotSendable, ModelEntry, Prepared, Protocol, Question, chat, is, refuse, refuse_ours,
};
use crate::refusal::Refuser;
use crate::secret::Secret;
use crate::splice;
use response::AnthropicReader;

/// The version of the API spoken here; the only one there has been since 2023.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Members of a message request that `/v1/messages/count_tokens` takes; it refuses all others.
const COUNTED_MEMBERS: [&str; 9] = [
    "messages",
    "model",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "context_management",
    "mcp_servers",
];

pub(crate) struct Anthropic {
    by: Arc<Refuser>,
}

impl Anthropic {
    pub(crate) fn new(by: Arc<Refuser>) -> Self {
        Self { by }
    }
}

impl Protocol for Anthropic {
    fn root(&self) -> &'static str {
        "/v1"
    }

    fn authorise(&self, key: Option<&Secret>, headers: &mut HeaderMap) -> Result<(), KeyNotSendable> {
        headers.insert(HeaderName::from_static("anthropic-version"), VERSION);
        if let Some(key) = key {
            headers.insert(HeaderName::from_static("x-api-key"), key.header("").ok_or(KeyNotSendable)?);
        }
        Ok(())
    }

    fn generate(&self, call: &Call) -> Result<Prepared, BackendError> {
        let (request, target) = (&call.request, self.by.target());
        let chat = chat(&request.task, target)?;
        refuse_ours(&request.task, target)?;
        let original = request.original.as_ref();
        let wire = is(original, Dialect::AnthropicMessages);
        let body = if wire {
            splice::original(original, &target.model, false)?.0
        } else {
            request::messages(chat, target, request.stream)?.into()
        };
        let reader = Box::new(AnthropicReader::new(self.by.clone(), chat.sampling.stop.clone()));
        Ok(Prepared { path: Cow::Borrowed("/messages"), body, reader, wire })
    }

    fn count(&self, call: &Call) -> Result<Question<u32>, BackendError> {
        let (request, target) = (&call.request, self.by.target());
        let chat = chat(&request.task, target)?;
        let body = match &request.original {
            Some(original) if original.dialect == Dialect::AnthropicMessages => {
                splice::keep_only(&original.body, &COUNTED_MEMBERS, &target.model)
                    .map_err(|_| splice::not_an_object())?
            }
            _ => request::count(chat, target)?,
        };
        let by = self.by.clone();
        Ok(Question::post("/messages/count_tokens", body, move |body| response::count(body, &by)))
    }

    fn embed(&self, _call: &Call) -> Result<Question<Embeddings>, BackendError> {
        Err(refuse(self.by.target(), "input"))
    }

    fn models(&self) -> Question<Vec<ModelEntry>> {
        let by = self.by.clone();
        Question::get("/models", move |body| openai::response::models(body, &by))
    }
}
