//! What can go wrong before a provider has said anything.

use inshore_domain::{BackendError, BackendErrorKind, Billed};

use super::Destination;

/// Why a call did not get an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GateError {
    /// What the caller can do about it.
    pub kind: GateErrorKind,
    /// A sentence for people; holds no key, path or body.
    pub message: String,
    /// A byte of the request may have been written: somebody may have read it.
    pub written: bool,
}

/// Errors by what can be done about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateErrorKind {
    /// Nobody declared the destination; nothing was sent.
    Undeclared,
    /// No connection: the name, the network, the port or the certificate.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The connection broke after the request was sent, wholly or in part.
    Broken,
    /// The peer does not speak HTTP, or says more than is taken.
    Protocol,
}

impl GateError {
    /// An error of a call whose request has been written, unless the kind says otherwise.
    pub(crate) fn new(kind: GateErrorKind, message: impl Into<String>) -> Self {
        let written = !matches!(kind, GateErrorKind::Undeclared | GateErrorKind::Unreachable);
        Self { kind, message: message.into(), written }
    }

    /// The same before or after the first byte of the request.
    #[must_use]
    pub(crate) fn with_written(mut self, written: bool) -> Self {
        self.written = written;
        self
    }

    pub(crate) fn undeclared(destination: &Destination) -> Self {
        Self::new(
            GateErrorKind::Undeclared,
            format!("`{destination}` is not declared, so nothing was sent to it"),
        )
    }

    /// Reads an error of the HTTP layer. Its own words are kept only in part: they may quote what was received.
    pub(crate) fn from_http(error: &hyper::Error) -> Self {
        if error.is_timeout() {
            Self::new(GateErrorKind::Timeout, "the connection timed out")
        } else if error.is_parse() {
            Self::new(GateErrorKind::Protocol, "the answer is not HTTP/1.1")
        } else {
            Self::new(GateErrorKind::Broken, "the connection broke before the answer was complete")
        }
    }

    /// The same with the destination named.
    #[must_use]
    pub(crate) fn at(mut self, destination: &Destination) -> Self {
        self.message = format!("`{destination}`: {}", self.message);
        self
    }
}

impl From<GateError> for BackendError {
    fn from(error: GateError) -> Self {
        let kind = match error.kind {
            GateErrorKind::Undeclared => BackendErrorKind::Unsupported,
            GateErrorKind::Unreachable | GateErrorKind::Broken => BackendErrorKind::Unreachable,
            GateErrorKind::Timeout => BackendErrorKind::Timeout,
            GateErrorKind::Protocol => BackendErrorKind::Protocol,
        };
        let billed = if error.written { Billed::Maybe } else { Billed::No };
        BackendError::new(kind, error.message).with_billed(billed)
    }
}
