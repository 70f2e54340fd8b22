//! What can go wrong before a provider has said anything.

use std::error::Error;
use std::io;

use inshore_domain::{BackendError, BackendErrorKind, Billed};
use tokio_rustls::rustls::{self, AlertDescription};

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
        if let Some(refused) = Self::of_tls(error) {
            refused
        } else if error.is_timeout() {
            Self::new(GateErrorKind::Timeout, "the connection timed out")
        } else if error.is_parse() {
            Self::new(GateErrorKind::Protocol, "the answer is not HTTP/1.1")
        } else {
            Self::new(GateErrorKind::Broken, "the connection broke before the answer was complete")
        }
    }

    /// The error that a TLS alert amounts to, if there is one below. A server may look at the client's certificate only after
    /// the client has begun to send (RFC 8446, section 4.4.2.4); it has then read nothing of it.
    pub(crate) fn of_tls(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut below = Some(error);
        let alert = loop {
            let this = below?;
            let io = this.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let tls = io.and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls.or_else(|| this.downcast_ref::<rustls::Error>()) {
                Some(rustls::Error::AlertReceived(alert)) => break *alert,
                _ => below = this.source(),
            }
        };
        Some(match alert {
            AlertDescription::CertificateRequired => Self::new(
                GateErrorKind::Unreachable,
                "the server asks for a client certificate, and none is configured",
            ),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => {
                let message = format!("the server refuses the client certificate ({alert:?})");
                Self::new(GateErrorKind::Unreachable, message)
            }
            other => Self::new(GateErrorKind::Broken, format!("the server ended TLS ({other:?})")),
        })
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
