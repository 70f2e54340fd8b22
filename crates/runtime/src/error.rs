//! Why a request got no answer.

use std::time::Duration;

use inshore_domain::{BackendError, BackendErrorKind, Decision, ReceiptId};

/// Why a request got no answer, for the edge to put into its protocol's own words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// What can be done about it.
    pub kind: RunErrorKind,
    /// One sentence for people. Never holds prompt text or keys.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The receipt of the attempt, where the request got far enough to have one.
    pub receipt: Option<ReceiptId>,
    /// Why each target was excluded, where none was left.
    pub decision: Option<Box<Decision>>,
}

/// Errors by what can be done about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunErrorKind {
    /// No target and no alias has the name that was asked for.
    UnknownModel,
    /// Targets there are, but none that is permitted and able.
    NoTarget,
    /// The last target that was tried failed.
    Backend(BackendErrorKind),
    /// A cap has no room for it.
    OverCap,
    /// The answer reached what was set aside for it, and was cut.
    ReservationUsedUp,
    /// The answer is longer than any that is kept while it is made.
    AnswerTooLong,
    /// A better answer was not waited for any longer.
    OutOfPatience,
    /// There is no such answer, or it is not kept any more.
    UnknownAnswer,
    /// Nobody read the answer any more.
    Abandoned,
    /// The receipt could not be written.
    Store,
    /// The daemon is shutting down.
    ShuttingDown,
}

impl RunErrorKind {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel => "model_not_found",
            Self::NoTarget => "no_permitted_target",
            Self::Backend(kind) => kind.code(),
            Self::OverCap => "over_cap",
            Self::ReservationUsedUp => "reservation_used_up",
            Self::AnswerTooLong => "answer_too_long",
            Self::OutOfPatience => "out_of_patience",
            Self::UnknownAnswer => "unknown_answer",
            Self::Abandoned => "abandoned",
            Self::Store => "store_unavailable",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

impl RunError {
    pub(crate) fn new(kind: RunErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, retry_after: None, receipt: None, decision: None }
    }

    pub(crate) fn with_receipt(mut self, receipt: ReceiptId) -> Self {
        self.receipt = Some(receipt);
        self
    }
}

impl From<BackendError> for RunError {
    fn from(error: BackendError) -> Self {
        Self {
            kind: RunErrorKind::Backend(error.kind),
            message: error.message,
            hint: error.hint,
            retry_after: error.retry_after,
            receipt: None,
            decision: None,
        }
    }
}
