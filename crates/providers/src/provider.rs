//! The backend: one target at an endpoint that speaks one of the two protocols.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use http::{Method, Request, StatusCode, response};
use inshore_domain::request::{Chat, Dialect, Original, Task};
use inshore_domain::{
    Backend, BackendError, BackendErrorKind, BoxFuture, Call, Clock, EgressLog, Embedder, Event, EventStream,
    Target, Tier, Usage,
};
use url::Url;

use crate::answer::{self, Answer, Reader, unreadable};
use crate::anthropic::{self, response::AnthropicReader};
use crate::gate::{Account, BadDestination, Destination, Exchange, Gate, Pieces, Timeouts};
use crate::openai::request::Style;
use crate::openai::response::{Explain, OpenAiReader};
use crate::openai::{embeddings, request, responses::ResponsesReader};
use crate::refusal::{MAX_ERROR_BODY, Refuser, refusal, refusal_in_stream};
use crate::secret::Secret;
use crate::splice;

/// Longest answer that is not streamed. 128 k tokens are some 500 kB; 4,096 embeddings of 3,072 dimensions some 150 MB
/// as JSON, of which a caller asks for at most a tenth at a time.
const MAX_ANSWER: usize = 64 << 20;
/// Names us to providers, as RFC 9110 asks for.
const AGENT: &str = concat!("inshore/", env!("CARGO_PKG_VERSION"));

/// The protocol that an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// OpenAI's, or a server that imitates it: llama.cpp, vLLM, Ollama, LM Studio.
    OpenAiCompatible,
    /// Anthropic's Messages API.
    Anthropic,
}

/// A target and how it is reached.
#[derive(Debug, Clone)]
pub struct ProviderTarget {
    /// The target. Its `destination` should be [`Destination::authority`] of the base URL.
    pub target: Arc<Target>,
    /// The protocol.
    pub kind: ProviderKind,
    /// Where the API begins: `https://api.openai.com/v1`, `https://api.anthropic.com`, `http://127.0.0.1:11434/v1`.
    /// `/v1` is added where the path is empty.
    pub base_url: Url,
    /// Plain HTTP to a public address is meant.
    pub plain_http: bool,
    /// Sent to this endpoint only: as a bearer token, or as `x-api-key` to Anthropic.
    pub key: Option<Secret>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The endpoint knows `/responses`. Otherwise requests of that API are converted to chat completions.
    pub responses_api: bool,
    /// The endpoint knows `stream_options.include_usage`. Almost all do; without it streamed answers carry no token
    /// counts.
    pub stream_usage: bool,
}

/// A provider that cannot be made as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProvider {
    /// The base URL cannot be called.
    #[error("the base URL of `{target}`: {error}")]
    BaseUrl {
        /// Whose.
        target: String,
        /// Why.
        error: BadDestination,
    },
    /// The key holds characters that cannot be sent.
    #[error("the key of `{0}` holds a line break or another character that cannot be sent")]
    Key(String),
}

/// A backend for one target. Cheap to share by `Arc`.
pub struct Provider {
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    target: Arc<Target>,
    kind: ProviderKind,
    destination: Destination,
    /// The path that the API begins with, without a slash at its end.
    path: String,
    key: Option<Secret>,
    headers: HeaderMap,
    timeouts: Timeouts,
    responses_api: bool,
    stream_usage: bool,
    style: Style,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("target", &self.target.id)
            .field("kind", &self.kind)
            .field("destination", &self.destination)
            .field("path", &self.path)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Refuses by name a parameter that the target does not know and that would change the answer.
pub(crate) fn refuse(target: &Target, parameter: &str) -> BackendError {
    BackendError::new(BackendErrorKind::Unsupported, format!("`{}` does not know `{parameter}`", target.id))
}

/// A request that is ready to be sent, and how its answer is read.
struct Prepared {
    path: &'static str,
    body: Pieces,
    reader: Box<dyn Reader>,
    /// The answer is in the caller's own dialect.
    wire: bool,
}

impl Provider {
    /// A backend that calls through `gate`. The destination must be declared there by whoever knows that it is
    /// permitted; see [`Self::destination`].
    pub fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>, options: ProviderTarget) -> Result<Self, BadProvider> {
        let of = if options.plain_http { Destination::of_plain } else { Destination::of };
        let destination = of(&options.base_url)
            .map_err(|error| BadProvider::BaseUrl { target: options.target.id.to_string(), error })?;
        let headers = headers(&options, &destination)?;
        let mut path = options.base_url.path().trim_end_matches('/').to_owned();
        if path.is_empty() {
            path.push_str("/v1");
        }
        let style = Style { new_token_limit: options.base_url.host_str() == Some("api.openai.com") };
        let ProviderTarget { target, kind, key, timeouts, responses_api, stream_usage, .. } = options;
        Ok(Self {
            gate,
            clock,
            target,
            kind,
            destination,
            path,
            key,
            headers,
            timeouts,
            responses_api,
            stream_usage,
            style,
        })
    }

    /// Where this backend calls; to be declared at the gate.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The target as it was handed in.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Opens a connection ahead of the first call.
    pub async fn warm(&self) -> Result<(), BackendError> {
        Ok(self.gate.warm(&self.destination, &self.timeouts).await?)
    }

    /// Asks for the list of models, the cheapest question that needs both the endpoint and the key. Gives back the
    /// names, at most those of the first page. Sends no prompt.
    pub async fn probe(&self, egress: &EgressLog) -> Result<Vec<String>, BackendError> {
        #[derive(serde::Deserialize)]
        struct Models {
            #[serde(default)]
            data: Vec<Model>,
        }
        #[derive(serde::Deserialize)]
        struct Model {
            id: String,
        }
        let request = self.request(Method::GET, "/models", Pieces::default(), None)?;
        let (_, exchange) = self.send(request, egress).await?;
        let body = exchange.collect(MAX_ANSWER).await?;
        let models: Models = serde_json::from_slice(&body).map_err(|_| unreadable(&self.target.id))?;
        Ok(models.data.into_iter().map(|model| model.id).collect())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Pieces,
        call: Option<&Call>,
    ) -> Result<Request<Pieces>, BackendError> {
        let broken = || BackendError::new(BackendErrorKind::Failed, "the request cannot be written as HTTP");
        let mut uri = String::with_capacity(self.path.len() + path.len());
        uri.push_str(&self.path);
        uri.push_str(path);
        let mut request = Request::builder().method(method).uri(uri).body(body).map_err(|_| broken())?;
        *request.headers_mut() = self.headers.clone();
        // The trace joins our receipt to that of an edge node of the same organisation; it is nobody else's business.
        if let Some(call) = call.filter(|_| self.target.tier == Tier::Edge) {
            let parent = (call.request.id.to_bits() as u64).max(1);
            let trace = format!("00-{}-{parent:016x}-01", call.request.trace);
            let value = HeaderValue::try_from(trace).map_err(|_| broken())?;
            request.headers_mut().insert("traceparent", value);
        }
        Ok(request)
    }

    /// Sends a request; an answer that is not a success is an error.
    async fn send(
        &self,
        request: Request<Pieces>,
        egress: &EgressLog,
    ) -> Result<(response::Parts, Exchange), BackendError> {
        let account = Account { egress, target: &self.target.id };
        let (head, mut exchange) =
            self.gate.send(&self.destination, request, &self.timeouts, account).await?;
        if head.status != StatusCode::OK {
            exchange.set_idle(self.timeouts.connect);
            let body = exchange.collect_some(MAX_ERROR_BODY).await;
            return Err(refusal(self.refuser(), head.status, &head.headers, &body));
        }
        if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(unreadable(&self.target.id));
        }
        Ok((head, exchange))
    }

    fn refuser(&self) -> Refuser<'_> {
        Refuser { target: &self.target.id, key: self.key.as_ref(), clock: &*self.clock }
    }

    /// Makes errors of error events, which come when the provider itself may be gone.
    fn explain(&self) -> Explain {
        let (target, key, clock) = (self.target.clone(), self.key.clone(), self.clock.clone());
        Box::new(move |said| {
            refusal_in_stream(Refuser { target: &target.id, key: key.as_ref(), clock: &*clock }, said)
        })
    }

    async fn generate_now(&self, call: Call) -> Result<EventStream, BackendError> {
        let Prepared { path, body, mut reader, wire } = match self.kind {
            ProviderKind::OpenAiCompatible => self.prepare_openai(&call)?,
            ProviderKind::Anthropic => self.prepare_anthropic(&call)?,
        };
        let request = self.request(Method::POST, path, body, Some(&call))?;
        let (head, exchange) = self.send(request, &call.egress).await?;
        if call.request.stream {
            if !is_event_stream(&head.headers) {
                let body = exchange.collect_some(MAX_ERROR_BODY).await;
                let said = crate::refusal::Said::in_body(&body);
                let nothing = said.says_nothing();
                return Err(if nothing {
                    unreadable(&self.target.id)
                } else {
                    refusal_in_stream(self.refuser(), &said)
                });
            }
            let answer = Answer::new(exchange, reader, self.target.clone(), wire);
            return Ok(Box::pin(answer.begun(self.timeouts.first_byte).await?));
        }
        let body = exchange.collect(MAX_ANSWER).await?;
        let mut events = VecDeque::new();
        reader.whole(&body, &mut events)?;
        if wire {
            events.push_back(Event::Wire(body));
        }
        Ok(answer::whole(events))
    }

    fn prepare_openai(&self, call: &Call) -> Result<Prepared, BackendError> {
        let (request, target) = (&call.request, &self.target);
        let original = request.original.as_ref();
        let explain = self.explain();
        let (path, dialect) = match &request.task {
            Task::Chat(_) if self.responses_api && is(original, Dialect::OpenAiResponses) => {
                let body = self.splice(original, false)?.0;
                let reader = Box::new(ResponsesReader::new(target.clone(), explain));
                return Ok(Prepared { path: "/responses", body, reader, wire: true });
            }
            Task::Chat(_) => ("/chat/completions", Dialect::OpenAiChat),
            Task::Completion(_) => ("/completions", Dialect::OpenAiCompletions),
            Task::Embedding(_) => return Err(refuse(target, "input")),
        };
        refuse_ours(&request.task, target)?;
        let wire = is(original, dialect);
        let (body, usage_added) = match &request.task {
            _ if wire => self.splice(original, request.stream && self.stream_usage)?,
            Task::Chat(chat) => (request::chat(chat, target, request.stream, self.style)?.into(), false),
            Task::Completion(task) => (request::completion(task, target, request.stream)?.into(), false),
            Task::Embedding(_) => return Err(refuse(target, "input")),
        };
        let reader = Box::new(OpenAiReader::new(target.clone(), explain, usage_added));
        Ok(Prepared { path, body, reader, wire })
    }

    fn prepare_anthropic(&self, call: &Call) -> Result<Prepared, BackendError> {
        let (request, target) = (&call.request, &self.target);
        let chat = self.chat(&request.task)?;
        refuse_ours(&request.task, target)?;
        let original = request.original.as_ref();
        let wire = is(original, Dialect::AnthropicMessages);
        let body = if wire {
            self.splice(original, false)?.0
        } else {
            anthropic::request::messages(chat, target, request.stream)?.into()
        };
        let reader =
            Box::new(AnthropicReader::new(target.clone(), self.explain(), chat.sampling.stop.clone()));
        Ok(Prepared { path: "/messages", body, reader, wire })
    }

    fn chat<'a>(&self, task: &'a Task) -> Result<&'a Chat, BackendError> {
        match task {
            Task::Chat(chat) => Ok(chat),
            Task::Completion(_) => Err(refuse(&self.target, "prompt")),
            Task::Embedding(_) => Err(refuse(&self.target, "input")),
        }
    }

    /// The caller's own body with the model replaced, and whether the wish for token counts was added.
    fn splice(&self, original: Option<&Original>, want_usage: bool) -> Result<(Pieces, bool), BackendError> {
        let edit = splice::Edit { model: &self.target.model, want_usage };
        let edited = original.and_then(|original| splice::edit(&original.body, edit).ok());
        let edited = edited.ok_or_else(not_an_object)?;
        Ok((Pieces::new(edited.pieces), edited.usage_added))
    }

    async fn count_now(&self, call: Call) -> Result<u32, BackendError> {
        #[derive(serde::Deserialize)]
        struct Count {
            input_tokens: u32,
        }
        if self.kind != ProviderKind::Anthropic {
            let message = format!("`{}` cannot count tokens", self.target.id);
            return Err(BackendError::new(BackendErrorKind::Unsupported, message));
        }
        let chat = self.chat(&call.request.task)?;
        let body = match &call.request.original {
            Some(original) if original.dialect == Dialect::AnthropicMessages => {
                splice::keep_only(&original.body, &anthropic::COUNTED_MEMBERS, &self.target.model)
                    .map_err(|_| not_an_object())?
            }
            _ => anthropic::request::count(chat, &self.target)?,
        };
        let request = self.request(Method::POST, "/messages/count_tokens", body.into(), Some(&call))?;
        let body = self.ask(request, &call).await?;
        let count: Count = serde_json::from_slice(&body).map_err(|_| unreadable(&self.target.id))?;
        Ok(count.input_tokens)
    }

    async fn embed_now(&self, call: Call) -> Result<(Vec<Vec<f32>>, Usage), BackendError> {
        let Task::Embedding(task) = &call.request.task else { return Err(refuse(&self.target, "messages")) };
        if self.kind != ProviderKind::OpenAiCompatible {
            return Err(refuse(&self.target, "input"));
        }
        let body = embeddings::body(task, &self.target)?;
        let request = self.request(Method::POST, "/embeddings", body.into(), Some(&call))?;
        let body = self.ask(request, &call).await?;
        embeddings::read(&body, task.inputs.len(), &self.target)
    }

    async fn ask(&self, request: Request<Pieces>, call: &Call) -> Result<Bytes, BackendError> {
        let (_, exchange) = self.send(request, &call.egress).await?;
        Ok(exchange.collect(MAX_ANSWER).await?)
    }
}

impl Backend for Provider {
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>> {
        self.generate_now(call).boxed()
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<u32, BackendError>> {
        self.count_now(call).boxed()
    }
}

impl Embedder for Provider {
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<(Vec<Vec<f32>>, Usage), BackendError>> {
        self.embed_now(call).boxed()
    }
}

/// Refuses what only the device can do, whichever way the body is made.
fn refuse_ours(task: &Task, target: &Target) -> Result<(), BackendError> {
    let Some(sampling) = task.sampling() else { return Ok(()) };
    if !sampling.adapters.is_empty() {
        return Err(refuse(target, "adapters"));
    }
    if sampling.truncate_prompt {
        return Err(refuse(target, "truncate_prompt"));
    }
    Ok(())
}

fn is(original: Option<&Original>, dialect: Dialect) -> bool {
    original.is_some_and(|original| original.dialect == dialect)
}

fn not_an_object() -> BackendError {
    BackendError::new(
        BackendErrorKind::InvalidRequest { field: None },
        "the request's body is not a JSON object",
    )
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

/// The headers that every call of this provider has, made once.
fn headers(options: &ProviderTarget, destination: &Destination) -> Result<HeaderMap, BadProvider> {
    let bad_key = || BadProvider::Key(options.target.id.to_string());
    let mut headers = HeaderMap::with_capacity(8);
    let host = HeaderValue::try_from(destination.host_header()).map_err(|_| BadProvider::BaseUrl {
        target: options.target.id.to_string(),
        error: BadDestination::Host,
    })?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match options.kind {
        ProviderKind::OpenAiCompatible => {
            if let Some(key) = &options.key {
                headers.insert(AUTHORIZATION, key.header("Bearer ").ok_or_else(bad_key)?);
            }
        }
        ProviderKind::Anthropic => {
            let version = HeaderValue::from_static(anthropic::VERSION);
            headers.insert(HeaderName::from_static("anthropic-version"), version);
            if let Some(key) = &options.key {
                headers.insert(HeaderName::from_static("x-api-key"), key.header("").ok_or_else(bad_key)?);
            }
        }
    }
    Ok(headers)
}
