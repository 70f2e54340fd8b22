//! The traits that run work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;

use crate::event::{Event, Usage};
use crate::receipt::EgressLog;
use crate::request::Request;
use crate::target::Target;

/// A future that can be moved between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The events of one answer. Dropping it cancels the work: on the device within one decode step, elsewhere by closing
/// the connection.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, BackendError>> + Send>>;

/// One piece of work for a backend.
#[derive(Debug, Clone)]
pub struct Call {
    /// What was asked.
    pub request: Arc<Request>,
    /// The target that was chosen; the backend must not use another.
    pub target: Arc<Target>,
    /// Where outbound bytes are noted.
    pub egress: EgressLog,
}

/// Runs conversations and completions.
pub trait Backend: Send + Sync {
    /// Starts the work. Returns once the target has accepted it and the first event is there to be read, so that a
    /// failure before the first token is an `Err` here and another target can be tried.
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>>;

    /// Counts the prompt's tokens without running it. The default says that the backend cannot.
    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<u32, BackendError>> {
        Box::pin(async move {
            Err(BackendError::new(
                BackendErrorKind::Unsupported,
                format!("`{}` cannot count tokens", call.target.id),
            ))
        })
    }
}

/// One vector for each input, in order, and the tokens used. No text has 0 tokens: that many mean that the target did not
/// report them.
pub type Embeddings = (Vec<Vec<f32>>, Usage);

/// Turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// One vector for each input, in order, each normalised to length 1.
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<Embeddings, BackendError>>;
}

/// What went wrong at a target.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    /// What the caller can do about it.
    pub kind: BackendErrorKind,
    /// A sentence for people. Never holds prompt text or keys.
    pub message: String,
    /// When the target asked to be left alone for a while.
    pub retry_after: Option<Duration>,
    /// What to do next, where there is something to do.
    pub hint: Option<String>,
    /// Whether the call can have cost something.
    pub billed: Billed,
}

/// Whether a call that failed can have cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Billed {
    /// It cannot: it was refused before any work, or never reached the target.
    No,
    /// Nobody knows: the target may have worked on it.
    Maybe,
}

impl BackendError {
    /// An error without hint or delay. Whether it can have cost something follows from its kind
    /// ([`BackendErrorKind::billed`]); who knows better says so with [`Self::with_billed`].
    pub fn new(kind: BackendErrorKind, message: impl Into<String>) -> Self {
        let billed = kind.billed();
        Self { kind, message: message.into(), retry_after: None, hint: None, billed }
    }

    /// The same, knowing whether it can have cost something.
    #[must_use]
    pub fn with_billed(mut self, billed: Billed) -> Self {
        self.billed = billed;
        self
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Errors by what can be done about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendErrorKind {
    /// The request itself is wrong; no target will take it. Names the field where one is at fault.
    InvalidRequest {
        /// The field of the request, in the request's own words.
        field: Option<String>,
    },
    /// The prompt, with the answer asked for, is longer than the context window.
    ContextExceeded {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens the window holds.
        window: u32,
    },
    /// The target cannot do this at all.
    Unsupported,
    /// There is no such model at the target.
    ModelNotFound,
    /// The model does not fit in memory, or its file is broken.
    ModelUnusable,
    /// Key missing or refused.
    Unauthorised,
    /// The target is busy; later may do.
    Overloaded,
    /// Refused by a rate limit or quota.
    RateLimited,
    /// No connection, or it broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The target failed inside: a crash of the engine, a 5xx of a provider.
    Failed,
    /// The target answered what its protocol does not allow.
    Protocol,
    /// The daemon is shutting down.
    ShuttingDown,
}

impl BackendErrorKind {
    /// Whether another target might succeed where this one failed.
    pub fn another_target_may_do(&self) -> bool {
        !matches!(self, Self::InvalidRequest { .. } | Self::ShuttingDown)
    }

    /// Whether the failure counts against the health of the target.
    pub fn counts_against_health(&self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Timeout
                | Self::Failed
                | Self::Protocol
                | Self::Overloaded
                | Self::Unauthorised
        )
    }

    /// Whether a call that failed so can have cost something, when nothing more is known of it: refusals cost nothing, and
    /// whatever breaks in between may have.
    pub fn billed(&self) -> Billed {
        match self {
            Self::InvalidRequest { .. }
            | Self::ContextExceeded { .. }
            | Self::Unsupported
            | Self::ModelNotFound
            | Self::ModelUnusable
            | Self::Unauthorised
            | Self::Overloaded
            | Self::RateLimited
            | Self::ShuttingDown => Billed::No,
            Self::Unreachable | Self::Timeout | Self::Failed | Self::Protocol => Billed::Maybe,
        }
    }

    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } => "invalid_request",
            Self::ContextExceeded { .. } => "context_length_exceeded",
            Self::Unsupported => "unsupported",
            Self::ModelNotFound => "model_not_found",
            Self::ModelUnusable => "model_unusable",
            Self::Unauthorised => "unauthorised",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Protocol => "protocol",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
