//! The OpenAI API (`platform.openai.com/docs/api-reference`) and the servers that imitate it: llama.cpp, vLLM, Ollama,
//! LM Studio and most clouds.
//!
//! Layout: [`request`] from the domain to JSON; [`response`] back, for chat completions and completions; [`logprobs`] the
//! two shapes of log-probabilities; [`responses`] the Responses API, which is only passed through; [`embeddings`].

mod embeddings;
mod logprobs;
mod request;
pub(crate) mod response;
pub(crate) mod responses;

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use inshore_domain::request::{Dialect, Task};
use inshore_domain::{BackendError, BackendErrorKind, Call, Embeddings};

use crate::protocol::{KeyNotSendable, ModelEntry, Prepared, Protocol, Question, is, refuse, refuse_ours};
use crate::refusal::Refuser;
use crate::secret::Secret;
use crate::splice;
use crate::vectors::Asked;
use request::Style;
use response::OpenAiReader;
use responses::ResponsesReader;

/// How the endpoint differs from the others that imitate the API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    /// It knows `/responses`.
    pub(crate) responses_api: bool,
    /// It knows `stream_options.include_usage`.
    pub(crate) stream_usage: bool,
    /// OpenAI itself wants `max_completion_tokens`; its imitators know `max_tokens`.
    pub(crate) new_token_limit: bool,
}

pub(crate) struct OpenAi {
    by: Arc<Refuser>,
    abilities: Abilities,
}

impl OpenAi {
    pub(crate) fn new(by: Arc<Refuser>, abilities: Abilities) -> Self {
        Self { by, abilities }
    }
}

/// How many answers the task asks for.
fn answers(task: &Task) -> usize {
    let prompts = match task {
        Task::Completion(completion) => completion.prompts.len(),
        Task::Chat(_) | Task::Embedding(_) => 1,
    };
    let each = task.sampling().map_or(1, |sampling| sampling.n.max(1));
    prompts.max(1).saturating_mul(each as usize)
}

impl Protocol for OpenAi {
    fn root(&self) -> &'static str {
        "/v1"
    }

    fn authorise(&self, key: Option<&Secret>, headers: &mut HeaderMap) -> Result<(), KeyNotSendable> {
        if let Some(key) = key {
            headers.insert(AUTHORIZATION, key.header("Bearer ").ok_or(KeyNotSendable)?);
        }
        Ok(())
    }

    fn generate(&self, call: &Call) -> Result<Prepared, BackendError> {
        let (request, target, abilities) = (&call.request, self.by.target(), self.abilities);
        let original = request.original.as_ref();
        let (path, dialect) = match &request.task {
            Task::Chat(_) if abilities.responses_api && is(original, Dialect::OpenAiResponses) => {
                let body = splice::original(original, &target.model, false)?.0;
                let reader = Box::new(ResponsesReader::new(self.by.clone()));
                return Ok(Prepared { path: Cow::Borrowed("/responses"), body, reader, wire: true });
            }
            Task::Chat(_) => ("/chat/completions", Dialect::OpenAiChat),
            Task::Completion(_) => ("/completions", Dialect::OpenAiCompletions),
            Task::Embedding(_) => return Err(refuse(target, "input")),
        };
        refuse_ours(&request.task, target)?;
        let wire = is(original, dialect);
        let style = Style { new_token_limit: abilities.new_token_limit };
        let (body, usage_added) = match &request.task {
            _ if wire => splice::original(original, &target.model, request.stream && abilities.stream_usage)?,
            Task::Chat(chat) => (request::chat(chat, target, request.stream, style)?.into(), false),
            Task::Completion(task) => (request::completion(task, target, request.stream)?.into(), false),
            Task::Embedding(_) => return Err(refuse(target, "input")),
        };
        let reader = Box::new(OpenAiReader::new(self.by.clone(), usage_added, answers(&request.task)));
        Ok(Prepared { path: Cow::Borrowed(path), body, reader, wire })
    }

    fn count(&self, _call: &Call) -> Result<Question<u32>, BackendError> {
        let message = format!("`{}` cannot count tokens", self.by.target().id);
        Err(BackendError::new(BackendErrorKind::Unsupported, message))
    }

    fn embed(&self, call: &Call) -> Result<Question<Embeddings>, BackendError> {
        let target = self.by.target();
        let Task::Embedding(task) = &call.request.task else { return Err(refuse(target, "messages")) };
        let (asked, by) = (Asked::of(task), self.by.clone());
        let body = embeddings::body(task, target)?;
        Ok(Question::post("/embeddings", body, move |body| embeddings::read(body, asked, &by)))
    }

    fn models(&self) -> Question<Vec<ModelEntry>> {
        let by = self.by.clone();
        Question::get("/models", move |body| response::models(body, &by))
    }
}
