//! Every error of this crate, and how each API words it.
//!
//! Shapes: OpenAI's error object (API reference, "Error codes"), Anthropic's (API reference, "Errors"), and RFC 9457
//! problem details on native routes. Where a 5xx must not be tried again, `x-should-retry: false` says so to the official
//! clients, which all honour it.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use inshore_domain::{BackendErrorKind, Decision, Exclusion, ReceiptId};
use inshore_runtime::{RunError, RunErrorKind};
use serde::Serialize;

/// The longest message that goes out. A parser's message may quote the whole of a caller's string.
const MESSAGE_CHARS: usize = 2_000;

/// Whose words an error is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    OpenAi,
    Anthropic,
    Native,
}

impl Shape {
    /// By path; `/v1/models` belongs to both APIs and is Anthropic's when its client says so.
    pub(crate) fn of(path: &str, anthropic_client: bool) -> Self {
        if path.starts_with("/v1/messages") || (anthropic_client && path.starts_with("/v1/")) {
            Self::Anthropic
        } else if path.starts_with("/v1/") {
            Self::OpenAi
        } else {
            Self::Native
        }
    }
}

/// Why a request gets no answer. Boxed, so that the results of a request that is fine stay small.
#[derive(Debug, Clone)]
pub(crate) struct Fault(Box<Details>);

impl Deref for Fault {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// What there is to say.
#[derive(Debug, Clone)]
pub(crate) struct Details {
    pub(crate) status: StatusCode,
    /// A stable word for machines.
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    /// The field at fault.
    pub(crate) param: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) receipt: Option<ReceiptId>,
    /// Trying again cannot help, although the status is a 5xx.
    pub(crate) final_: bool,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            status,
            code: Cow::Borrowed(code),
            message: message.into(),
            param: None,
            hint: None,
            retry_after: None,
            receipt: None,
            final_: false,
        }))
    }

    /// A 400 that names the field.
    pub(crate) fn field(param: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        let mut fault = Self::new(StatusCode::BAD_REQUEST, code, message);
        fault.param = Some(param.into());
        fault
    }

    /// A value that is of the right type but not allowed.
    pub(crate) fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::field(param, "invalid_value", message)
    }

    /// A field that would change the answer and cannot be honoured.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::field(param, "unsupported_parameter", message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Message and hint as one text, for APIs that have only a message.
    fn text(&self) -> String {
        let mut text: String = self.message.chars().take(MESSAGE_CHARS).collect();
        if let Some(hint) = &self.hint {
            text.push_str(" (hint: ");
            text.push_str(hint);
            text.push(')');
        }
        text
    }

    /// The body in OpenAI's words.
    pub(crate) fn openai_json(&self) -> Vec<u8> {
        json(&OpenAiBody {
            error: OpenAiError {
                message: self.text(),
                kind: match self.status.as_u16() {
                    403 => "permission_error",
                    429 => "rate_limit_error",
                    500.. => "server_error",
                    _ => "invalid_request_error",
                },
                param: self.param.as_deref(),
                code: &self.code,
            },
        })
    }

    /// The kind of error in Anthropic's words.
    pub(crate) fn anthropic_kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 | 421 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            504 => "timeout_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// The body in Anthropic's words.
    pub(crate) fn anthropic_json(&self, request_id: Option<&str>) -> Vec<u8> {
        json(&AnthropicBody {
            kind: "error",
            error: AnthropicError { kind: self.anthropic_kind(), message: self.text() },
            request_id,
        })
    }

    pub(crate) fn native_json(&self, request_id: &str) -> Vec<u8> {
        json(&Problem {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.message.chars().take(MESSAGE_CHARS).collect(),
            code: &self.code,
            hint: self.hint.as_deref(),
            param: self.param.as_deref(),
            request_id,
        })
    }

    /// The whole response.
    pub(crate) fn respond(&self, shape: Shape, request_id: &str) -> Response {
        let (kind, body) = match shape {
            Shape::OpenAi => ("application/json", self.openai_json()),
            Shape::Anthropic => ("application/json", self.anthropic_json(Some(request_id))),
            Shape::Native => ("application/problem+json", self.native_json(request_id)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(delay) = self.retry_after {
            // Whole seconds, never 0: a delay that rounds to nothing would be a busy loop.
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(delay.as_millis().div_ceil(1000).max(1) as u64),
            );
        }
        if self.final_ {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(Ok(receipt)) = self.receipt.map(|receipt| HeaderValue::try_from(receipt.to_string())) {
            headers.insert("x-inshore-receipt", receipt);
        }
        response
    }
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        let (status, final_) = status_of(&error);
        let code = match (&error.kind, &error.decision) {
            (RunErrorKind::NoTarget, Some(decision)) => no_target_code(decision),
            (kind, _) => kind.code(),
        };
        let param = match &error.kind {
            RunErrorKind::UnknownModel | RunErrorKind::Backend(BackendErrorKind::ModelNotFound) => {
                Some("model".to_owned())
            }
            RunErrorKind::Backend(BackendErrorKind::InvalidRequest { field }) => field.clone(),
            _ => None,
        };
        Self(Box::new(Details {
            status,
            code: Cow::Borrowed(code),
            message: with_reasons(error.message, error.decision.as_deref()),
            param,
            hint: error.hint,
            retry_after: error.retry_after,
            receipt: error.receipt,
            final_,
        }))
    }
}

/// Status, and whether trying again is pointless although it is a 5xx.
fn status_of(error: &RunError) -> (StatusCode, bool) {
    match &error.kind {
        RunErrorKind::UnknownModel | RunErrorKind::UnknownAnswer => (StatusCode::NOT_FOUND, false),
        RunErrorKind::AnswerTooLong => (StatusCode::BAD_GATEWAY, true),
        RunErrorKind::OutOfPatience => (StatusCode::GATEWAY_TIMEOUT, false),
        RunErrorKind::Abandoned => (StatusCode::GONE, false),
        RunErrorKind::NoTarget => {
            (error.decision.as_deref().map_or(StatusCode::FORBIDDEN, no_target_status), false)
        }
        RunErrorKind::OverCap | RunErrorKind::ReservationUsedUp => (StatusCode::TOO_MANY_REQUESTS, false),
        RunErrorKind::Store => (StatusCode::INTERNAL_SERVER_ERROR, false),
        RunErrorKind::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, false),
        RunErrorKind::Backend(kind) => backend_status(kind),
    }
}

fn backend_status(kind: &BackendErrorKind) -> (StatusCode, bool) {
    use BackendErrorKind as Kind;
    match kind {
        Kind::InvalidRequest { .. } | Kind::ContextExceeded { .. } | Kind::Unsupported => {
            (StatusCode::BAD_REQUEST, false)
        }
        Kind::ModelNotFound => (StatusCode::NOT_FOUND, false),
        Kind::ModelUnusable => (StatusCode::INTERNAL_SERVER_ERROR, true),
        // The caller's own token was fine; it is the daemon's key that the provider refused.
        Kind::Unauthorised => (StatusCode::BAD_GATEWAY, true),
        Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, false),
        Kind::Overloaded | Kind::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, false),
        Kind::Timeout => (StatusCode::GATEWAY_TIMEOUT, false),
        Kind::Unreachable | Kind::Failed | Kind::Protocol => (StatusCode::BAD_GATEWAY, false),
    }
}

/// The exclusions that say something: a target that was not asked for does not explain a refusal.
fn exclusions(decision: &Decision) -> impl Iterator<Item = (&str, &Exclusion)> {
    decision.verdicts.iter().filter_map(|verdict| match &verdict.outcome {
        Err(Exclusion::NotAsked) | Ok(_) => None,
        Err(exclusion) => Some((verdict.target.0.as_str(), exclusion)),
    })
}

/// 429 when a cap is used up, 503 when waiting may help, 403 when the config stands in the way, 400 when no target that was asked for can do it.
fn no_target_status(decision: &Decision) -> StatusCode {
    let any = |wanted: fn(&Exclusion) -> bool| exclusions(decision).any(|(_, exclusion)| wanted(exclusion));
    if any(|exclusion| matches!(exclusion, Exclusion::OverCap { .. })) {
        StatusCode::TOO_MANY_REQUESTS
    } else if any(|exclusion| {
        matches!(exclusion, Exclusion::Down | Exclusion::Offline | Exclusion::TooSlow { .. })
    }) {
        StatusCode::SERVICE_UNAVAILABLE
    } else if any(|exclusion| {
        use Exclusion::{Forbidden, NoPrice, NotPermitted, TooSensitive};
        matches!(exclusion, NotPermitted | TooSensitive { .. } | NoPrice | Forbidden { .. })
    }) {
        StatusCode::FORBIDDEN
    } else if any(|_| true) {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::NOT_FOUND
    }
}

/// One exclusion explains itself by its own code; several are `no_permitted_target`.
fn no_target_code(decision: &Decision) -> &'static str {
    let mut codes = exclusions(decision).map(|(_, exclusion)| match exclusion {
        Exclusion::ContextTooSmall { .. } => "context_length_exceeded",
        other => other.code(),
    });
    match (codes.next(), codes.next()) {
        (Some(code), None) => code,
        _ => RunErrorKind::NoTarget.code(),
    }
}

/// The message, and one sentence for each target that was asked for and is out.
fn with_reasons(mut message: String, decision: Option<&Decision>) -> String {
    let Some(decision) = decision else { return message };
    for (target, exclusion) in exclusions(decision) {
        if !message.contains(target) {
            message.push_str(&format!("; `{target}`: {exclusion}"));
        }
    }
    message
}

/// Wire structs here hold nothing that serde_json could refuse.
pub(crate) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    error: OpenAiError<'a>,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: AnthropicError,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicError {
    #[serde(rename = "type")]
    kind: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
    request_id: &'a str,
}
