//! The backend: one target at an endpoint that speaks one of the protocols.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, response};
use inshore_domain::time::micros;
use inshore_domain::{
    Backend, BackendError, BackendErrorKind, Billed, BoxFuture, Call, Clock, EgressLog, Embedder, Embeddings,
    Event, EventStream, Target, Tier,
};
use url::Url;

use crate::answer::{self, Answer};
use crate::anthropic::Anthropic;
use crate::forwarding;
use crate::gate::{
    Account, BadDestination, Destination, Exchange, Gate, Pieces, Scheme, Timeouts, TlsIdentity,
};
use crate::gemini::Gemini;
use crate::inshore::Inshore;
use crate::openai::{Abilities, OpenAi};
use crate::protocol::{Prepared, Protocol, Question};
use crate::received::without_mark;
use crate::refusal::{MAX_ERROR_BODY, Refuser};
use crate::secret::Secret;

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
    /// Google's Gemini API.
    Gemini,
    /// Another Inshore: OpenAI's API, with hints handed on and the other side's receipt named in the egress record.
    Inshore,
}

/// A target and how it is reached.
#[derive(Debug, Clone)]
pub struct ProviderTarget {
    /// The target. Its `destination` should be [`Destination::authority`] of the base URL.
    pub target: Arc<Target>,
    /// The protocol.
    pub kind: ProviderKind,
    /// Where the API begins: `https://api.openai.com/v1`, `https://api.anthropic.com`, `http://127.0.0.1:11434/v1`.
    /// Where the path is empty, `/v1` is added, and `/v1beta` for Gemini (`https://generativelanguage.googleapis.com`).
    pub base_url: Url,
    /// Plain HTTP to a public address is meant.
    pub plain_http: bool,
    /// Sent to this endpoint only: as a bearer token, as `x-api-key` to Anthropic, as `x-goog-api-key` to Gemini.
    pub key: Option<Secret>,
    /// How this side shows itself there, and whom it trusts there; `None`: without a certificate, and whom the system trusts.
    pub identity: Option<TlsIdentity>,
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
    /// Certificates for plain HTTP, which has none.
    #[error("`{0}` has certificates, but its base URL is not https")]
    PlainIdentity(String),
}

/// A backend for one target. Cheap to share by `Arc`.
pub struct Provider {
    gate: Arc<Gate>,
    by: Arc<Refuser>,
    kind: ProviderKind,
    protocol: Box<dyn Protocol>,
    destination: Destination,
    /// The path that the API begins with, without a slash at its end.
    path: String,
    headers: HeaderMap,
    timeouts: Timeouts,
    /// When this was made, by the monotonic clock, and microseconds from then to the last call, 0 before the first.
    made: Instant,
    used: AtomicU64,
    /// What gave the server away as one that sends its work on.
    forwards: OnceLock<String>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("target", &self.target().id)
            .field("kind", &self.kind)
            .field("destination", &self.destination)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// A backend that calls through `gate`. The destination must be declared there by whoever knows that it is
    /// permitted; see [`Self::destination`].
    pub fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>, options: ProviderTarget) -> Result<Self, BadProvider> {
        let of = if options.plain_http { Destination::of_plain } else { Destination::of };
        let bad_base_url = |error| BadProvider::BaseUrl { target: options.target.id.to_string(), error };
        let mut destination = of(&options.base_url).map_err(bad_base_url)?;
        if let Some(identity) = options.identity.clone() {
            if destination.scheme() != Scheme::Https {
                return Err(BadProvider::PlainIdentity(options.target.id.to_string()));
            }
            destination = destination.with_identity(identity);
        }
        let host = HeaderValue::try_from(destination.host_header())
            .map_err(|_| bad_base_url(BadDestination::Host))?;
        let by = Refuser::new(options.target.clone(), options.key.clone(), clock);
        let protocol = protocol(&options, &by);
        let mut headers = headers(host);
        protocol
            .authorise(options.key.as_ref(), &mut headers)
            .map_err(|_| BadProvider::Key(options.target.id.to_string()))?;
        let mut path = options.base_url.path().trim_end_matches('/').to_owned();
        if path.is_empty() {
            path.push_str(protocol.root());
        }
        let ProviderTarget { kind, timeouts, .. } = options;
        let (made, used, forwards) = (by.clock().monotonic(), AtomicU64::new(0), OnceLock::new());
        let provider =
            Self { gate, by, kind, protocol, destination, path, headers, timeouts, made, used, forwards };
        provider.note_forwarding(|| forwarding::of_name(&provider.target().model));
        Ok(provider)
    }

    /// Where this backend calls; to be declared at the gate.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The target as it was handed in.
    pub fn target(&self) -> &Arc<Target> {
        self.by.target()
    }

    /// How long ago the last call began; since this was made, if there was none. Probes are no calls.
    pub fn idle_for(&self) -> Duration {
        let used = Duration::from_micros(self.used.load(Ordering::Relaxed));
        self.by.clock().monotonic().saturating_duration_since(self.made).saturating_sub(used)
    }

    /// How long ago the last call began, if there was one.
    pub fn last_call(&self) -> Option<Duration> {
        (self.used.load(Ordering::Relaxed) > 0).then(|| self.idle_for())
    }

    /// Why a target that is called near seems to send its work on to somebody else's machine; `None` while nothing gave it
    /// away, and for clouds, of which everybody knows.
    pub fn forwards(&self) -> Option<&str> {
        self.forwards.get().map(String::as_str)
    }

    fn note_forwarding(&self, look: impl FnOnce() -> Option<String>) {
        if self.target().tier != Tier::Cloud
            && self.forwards.get().is_none()
            && let Some(reason) = look()
        {
            // Of two at once the first is told.
            let _ = self.forwards.set(reason);
        }
    }

    /// Sees to it that a connection lies ready for the next call, and says whether one had to be made. Sends no request.
    pub async fn warm(&self) -> Result<bool, BackendError> {
        Ok(self.gate.warm(&self.destination, &self.timeouts).await?)
    }

    /// Asks for the list of models, the cheapest question that needs both the endpoint and the key. Gives back the
    /// names, at most those of the first page. Sends no prompt.
    pub async fn probe(&self, egress: &EgressLog) -> Result<Vec<String>, BackendError> {
        let models = self.ask(self.protocol.models(), None, egress).await?;
        self.note_forwarding(|| forwarding::of_models(&models, &self.target().model));
        Ok(models.into_iter().map(|model| model.name).collect())
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Pieces,
        call: Option<&Call>,
    ) -> Result<Request<Pieces>, BackendError> {
        let broken = || {
            BackendError::new(BackendErrorKind::Failed, "the request cannot be written as HTTP")
                .with_billed(Billed::No)
        };
        let mut uri = String::with_capacity(self.path.len() + path.len());
        uri.push_str(&self.path);
        uri.push_str(path);
        let mut request = Request::builder().method(method).uri(uri).body(body).map_err(|_| broken())?;
        *request.headers_mut() = self.headers.clone();
        if let Some(call) = call {
            let since = micros(self.by.clock().monotonic().saturating_duration_since(self.made));
            // 0 means never.
            self.used.store(since.max(1), Ordering::Relaxed);
            self.protocol.tell(call, request.headers_mut());
        }
        // The trace joins our receipt to that of an edge node of the same organisation; it is nobody else's business.
        if let Some(call) = call.filter(|_| self.target().tier == Tier::Edge) {
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
        let account = Account { egress, target: &self.target().id };
        let (head, exchange) = self.gate.send(&self.destination, request, &self.timeouts, account).await?;
        let remote = self.protocol.remote(&head.headers);
        self.note_forwarding(|| {
            forwarding::of_remote(&remote).or_else(|| forwarding::of_headers(&head.headers))
        });
        if let Some(receipt) = remote.receipt {
            exchange.name_remote_receipt(receipt);
        }
        if head.status != StatusCode::OK {
            let body = exchange.collect_some(MAX_ERROR_BODY, self.timeouts.connect).await;
            return Err(self.by.refusal(head.status, &head.headers, &body));
        }
        if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(self.by.broken("a compressed body, which was not asked for"));
        }
        Ok((head, exchange))
    }

    /// Reads a whole body. An error in place of what was asked for is that error, whatever the status says.
    async fn collect<T>(
        &self,
        head: &response::Parts,
        exchange: Exchange,
        read: impl FnOnce(&Bytes) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let patience = self.timeouts.first_byte;
        let body = tokio::time::timeout(patience, exchange.collect(MAX_ANSWER)).await.map_err(|_| {
            let message =
                format!("`{}` did not end its answer within {} s", self.target().id, patience.as_secs_f32());
            BackendError::new(BackendErrorKind::Timeout, message)
        })?;
        let body = without_mark(body?);
        read(&body).map_err(|error| self.by.refusal_in_success(&head.headers, &body).unwrap_or(error))
    }

    async fn generate_now(&self, call: Call) -> Result<EventStream, BackendError> {
        let Prepared { path, body, mut reader, wire } = self.protocol.generate(&call)?;
        let request = self.request(Method::POST, &path, body, Some(&call))?;
        let (head, exchange) = self.send(request, &call.egress).await?;
        let stream = call.request.stream;
        if stream && is_event_stream(&head.headers) {
            let answer = Answer::new(exchange, reader, self.by.clone(), wire, self.timeouts.first_byte);
            return Ok(Box::pin(answer.begun().await?));
        }
        // Some servers do not know how to stream and answer at once. The bytes are then not what the caller expects, but
        // the answer is.
        let events = self.collect(&head, exchange, |body| {
            let mut events = VecDeque::new();
            reader.whole(body, &mut events)?;
            if wire && !stream {
                events.push_back(Event::Wire(body.clone()));
            }
            Ok(events)
        });
        Ok(answer::whole(events.await?))
    }

    async fn ask<T>(
        &self,
        question: Question<T>,
        call: Option<&Call>,
        egress: &EgressLog,
    ) -> Result<T, BackendError> {
        let Question { method, path, body, read } = question;
        let request = self.request(method, &path, body, call)?;
        let (head, exchange) = self.send(request, egress).await?;
        self.collect(&head, exchange, |body| read(body)).await
    }
}

impl Backend for Provider {
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>> {
        self.generate_now(call).boxed()
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<u32, BackendError>> {
        async move { self.ask(self.protocol.count(&call)?, Some(&call), &call.egress).await }.boxed()
    }
}

impl Embedder for Provider {
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<Embeddings, BackendError>> {
        async move { self.ask(self.protocol.embed(&call)?, Some(&call), &call.egress).await }.boxed()
    }
}

fn protocol(options: &ProviderTarget, by: &Arc<Refuser>) -> Box<dyn Protocol> {
    let by = Arc::clone(by);
    match options.kind {
        ProviderKind::OpenAiCompatible => {
            let abilities = Abilities {
                responses_api: options.responses_api,
                stream_usage: options.stream_usage,
                new_token_limit: options.base_url.host_str() == Some("api.openai.com"),
            };
            Box::new(OpenAi::new(by, abilities))
        }
        ProviderKind::Anthropic => Box::new(Anthropic::new(by)),
        ProviderKind::Gemini => Box::new(Gemini::new(by)),
        ProviderKind::Inshore => Box::new(Inshore::new(by)),
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

/// The headers that every call has in every protocol.
fn headers(host: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
