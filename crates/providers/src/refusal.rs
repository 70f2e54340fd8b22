//! What a provider's refusal means.
//!
//! The provider's own words go into the hint, shortened and with the key taken out; the message is ours, because it is
//! kept in receipts and a provider's words may quote the prompt.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};
use inshore_domain::{BackendError, BackendErrorKind, Billed, Clock, Target, TargetId};
use serde_json::Value;

use crate::received::description;
use crate::secret::Secret;

/// Most bytes of an error's body that are read. Real ones are a few hundred bytes.
pub(crate) const MAX_ERROR_BODY: usize = 64 << 10;
/// Most characters of a provider's words that are shown.
const MAX_WORDS: usize = 400;
/// Longest wait that is believed. A quota that opens later than that is not waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Whose answers are read: what every error of a target needs. Shared with the readers, which may outlive the backend.
pub(crate) struct Refuser {
    target: Arc<Target>,
    key: Option<Secret>,
    clock: Arc<dyn Clock>,
}

impl Refuser {
    pub(crate) fn new(target: Arc<Target>, key: Option<Secret>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { target, key, clock })
    }

    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The error of an answer, or a part of one, that cannot be read.
    pub(crate) fn unreadable(&self, received: &[u8]) -> BackendError {
        self.broken(description(received))
    }

    /// The error of an answer that its protocol does not allow: what it is, in words that quote nothing of it.
    pub(crate) fn broken(&self, what: impl fmt::Display) -> BackendError {
        let message = format!("`{}` sent an answer that its protocol does not allow: {what}", self.target.id);
        BackendError::new(BackendErrorKind::Protocol, message)
    }

    /// The error of an answer that stops before its end.
    pub(crate) fn cut_short(&self) -> BackendError {
        BackendError::new(
            BackendErrorKind::Unreachable,
            format!("`{}` ended the answer before it was complete", self.target.id),
        )
    }

    /// The error that a status, head and body amount to.
    pub(crate) fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> BackendError {
        if status.is_redirection() {
            let message = format!(
                "`{}` answered with a redirect ({}), which is not followed",
                self.target.id,
                status.as_u16()
            );
            return BackendError::new(BackendErrorKind::Protocol, message)
                .with_billed(Billed::No)
                .with_hint("set the base URL to the address that the provider redirects to");
        }
        let said = Said::in_body(body);
        let mut error = self.explain(status.as_u16(), &said);
        error.retry_after = retry_after(headers, &*self.clock).or(error.retry_after);
        error
    }

    /// The error that comes with the head of a success, if it is one: `None` when the body holds no error.
    pub(crate) fn refusal_in_success(&self, headers: &HeaderMap, body: &[u8]) -> Option<BackendError> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let outer = value.as_array().and_then(|list| list.first()).unwrap_or(&value);
        outer.get("error").filter(|error| error.is_object() || error.is_string())?;
        let mut error = self.in_stream(&Said::in_value(outer));
        error.retry_after = retry_after(headers, &*self.clock).or(error.retry_after);
        Some(error)
    }

    /// The error that an error event inside a stream amounts to.
    pub(crate) fn in_stream(&self, said: &Said) -> BackendError {
        self.explain(said.status().unwrap_or(500), said)
    }

    fn explain(&self, status: u16, said: &Said) -> BackendError {
        let target = &self.target.id;
        if let Some(error) = context_exceeded(target, status, said) {
            return error;
        }
        let kind = kind_of(status, said);
        let message = match &kind {
            BackendErrorKind::Unauthorised => format!("`{target}` refused the key ({status})"),
            BackendErrorKind::ModelNotFound => format!("`{target}` has no such model ({status})"),
            BackendErrorKind::RateLimited if said.quota_used_up => {
                format!("the quota at `{target}` is used up ({status})")
            }
            BackendErrorKind::RateLimited => format!("`{target}` has reached its rate limit ({status})"),
            BackendErrorKind::Overloaded => format!("`{target}` is overloaded ({status})"),
            BackendErrorKind::Timeout => format!("`{target}` gave up waiting ({status})"),
            BackendErrorKind::InvalidRequest { field: Some(field) } => {
                format!("`{target}` refused `{field}` ({status})")
            }
            BackendErrorKind::InvalidRequest { field: None } => {
                format!("`{target}` refused the request ({status})")
            }
            _ => format!("`{target}` failed ({status})"),
        };
        let mut error = BackendError::new(kind, message);
        error.retry_after = said.retry_after;
        // A status below 500 refuses before any work, also where it says that time ran out.
        if (400..500).contains(&status) {
            error.billed = Billed::No;
        }
        match self.words(said) {
            // What a provider says of a key tends to quote part of it.
            _ if error.kind == BackendErrorKind::Unauthorised => {
                error.with_hint("check the key that is configured for this target")
            }
            Some(words) => error.with_hint(format!("it says: {words}")),
            None => error,
        }
    }

    fn words(&self, said: &Said) -> Option<String> {
        let words = said.message.as_deref()?.trim();
        if words.is_empty() {
            return None;
        }
        // Redact before cutting, so that no part of a key is left at the cut.
        let clean = self.key.as_ref().map_or_else(|| words.to_owned(), |key| key.redact(words));
        Some(clean.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect())
    }
}

/// What an error says, in the shapes of all protocols and their imitators.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// The words that name the error: `type` and `code` of OpenAI and Anthropic, `status` and `reason` of Google.
    names: Vec<String>,
    /// The status in `code`: Google, llama.cpp, vLLM.
    number: Option<u16>,
    message: Option<String>,
    /// The field at fault, in the provider's words.
    field: Option<String>,
    /// llama.cpp: the lengths of prompt and window where the prompt does not fit.
    lengths: Option<(u32, u32)>,
    /// Google's `RetryInfo`.
    retry_after: Option<Duration>,
    /// What is used up does not come back within minutes.
    quota_used_up: bool,
}

impl Said {
    /// Reads `{"error": {..}}`, `{"error": "words"}` (Ollama), `{"message": ..}` (older vLLM), `{"detail": ..}` (FastAPI) and
    /// a list with one of these (Google). Anything else says nothing.
    pub(crate) fn in_body(body: &[u8]) -> Self {
        serde_json::from_slice::<Value>(body).map_or_else(|_| Self::default(), |value| Self::in_value(&value))
    }

    fn in_value(value: &Value) -> Self {
        let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        match value.get("error") {
            Some(Value::String(words)) => Self { message: Some(words.clone()), ..Self::default() },
            Some(error) if !error.is_null() => Self::of(error),
            _ => {
                let detail = value.get("detail").filter(|detail| !detail.is_null()).map(Value::to_string);
                Self { message: text(value, "message").or(detail), ..Self::default() }
            }
        }
    }

    /// Reads the error object itself.
    pub(crate) fn of(error: &Value) -> Self {
        let details = error.get("details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut said = Self {
            names: ["type", "code", "status"].iter().filter_map(|name| text(error, name)).collect(),
            number: error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok()),
            message: text(error, "message"),
            field: text(error, "param"),
            ..Self::default()
        };
        let length = |name| error.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        said.lengths = length("n_prompt_tokens").zip(length("n_ctx"));
        details.iter().for_each(|detail| said.detail(detail));
        said.quota_used_up |= said.is("insufficient_quota");
        said
    }

    /// One of the details that Google adds (`google.rpc.BadRequest`, `ErrorInfo`, `RetryInfo`, `QuotaFailure`).
    fn detail(&mut self, detail: &Value) {
        self.names.extend(text(detail, "reason"));
        let first = |list| detail.get(list).and_then(Value::as_array).and_then(|list| list.first());
        if let Some(violation) = first("fieldViolations") {
            self.field = self.field.take().or_else(|| text(violation, "field"));
        }
        if let Some(violation) = first("violations") {
            // As `GenerateRequestsPerDayPerProjectPerModel-FreeTier`.
            self.quota_used_up |= text(violation, "quotaId").is_some_and(|id| id.contains("PerDay"));
        }
        let seconds = text(detail, "retryDelay").and_then(|delay| delay.strip_suffix('s')?.parse().ok());
        if let Some(delay) = seconds.and_then(|secs| Duration::try_from_secs_f64(secs).ok()) {
            self.retry_after = Some(delay.min(MAX_RETRY_AFTER));
        }
    }

    /// Whether nothing was understood.
    pub(crate) fn says_nothing(&self) -> bool {
        self.names.is_empty() && self.number.is_none() && self.message.is_none()
    }

    fn is(&self, word: &str) -> bool {
        self.names.iter().any(|name| name == word)
    }

    /// The status that goes with an error inside a stream, which has none of its own.
    fn status(&self) -> Option<u16> {
        self.number
            .filter(|code| (400..600).contains(code))
            .or_else(|| self.names.iter().find_map(|name| status_of(name)))
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn status_of(name: &str) -> Option<u16> {
    Some(match name {
        "invalid_request_error" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" => 400,
        "authentication_error" | "UNAUTHENTICATED" => 401,
        "billing_error" | "permission_error" | "PERMISSION_DENIED" => 403,
        "not_found_error" | "NOT_FOUND" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "tokens" | "requests" | "insufficient_quota" | "RESOURCE_EXHAUSTED" => 429,
        "api_error" | "server_error" | "INTERNAL" => 500,
        "UNAVAILABLE" => 503,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

fn kind_of(status: u16, said: &Said) -> BackendErrorKind {
    let field = said.field.as_ref().map(|field| field.chars().take(100).collect());
    match status {
        _ if said.is("model_not_found") => BackendErrorKind::ModelNotFound,
        // Google's word for a wrong key, with status 400.
        _ if said.is("API_KEY_INVALID") => BackendErrorKind::Unauthorised,
        // Google: this project or place may not use the API. The request is not at fault.
        400 if said.is("FAILED_PRECONDITION") => BackendErrorKind::Unsupported,
        400 | 422 => BackendErrorKind::InvalidRequest { field },
        401..=403 => BackendErrorKind::Unauthorised,
        404 if said.message.as_deref().is_some_and(|words| words.to_ascii_lowercase().contains("model")) => {
            BackendErrorKind::ModelNotFound
        }
        404 | 405 | 410 | 413 | 501 => BackendErrorKind::Unsupported,
        408 | 504 => BackendErrorKind::Timeout,
        429 => BackendErrorKind::RateLimited,
        409 | 425 | 503 | 529 => BackendErrorKind::Overloaded,
        400..=499 => BackendErrorKind::InvalidRequest { field },
        _ => BackendErrorKind::Failed,
    }
}

/// Recognises that the prompt is too long, from the code or, where there is none, from the words of OpenAI, Anthropic,
/// Google, vLLM, llama.cpp and LM Studio.
fn context_exceeded(target: &TargetId, status: u16, said: &Said) -> Option<BackendError> {
    const WORDS: [&str; 7] = [
        "maximum context length",
        "prompt is too long",
        "exceeds the available context size",
        "context window",
        "context length",
        "exceed context limit",
        "exceeds the maximum number of tokens allowed",
    ];
    if !matches!(status, 400 | 413 | 422 | 500) {
        return None;
    }
    let words = said.message.as_deref().unwrap_or_default();
    let lower = words.to_ascii_lowercase();
    let meant = said.is("context_length_exceeded")
        || said.is("exceed_context_size_error")
        || (WORDS.iter().any(|known| lower.contains(known)) && numbers(words).len() >= 2);
    if !meant {
        return None;
    }
    let (prompt, window) = lengths(said, words);
    let message = match (prompt, window) {
        (0, 0) => format!("the prompt is longer than the context window of `{target}`"),
        _ => {
            format!("the prompt is {prompt} tokens long and the context window of `{target}` holds {window}")
        }
    };
    Some(BackendError::new(BackendErrorKind::ContextExceeded { prompt, window }, message))
}

/// Length of the prompt and of the window, 0 where they are not said. The prompt is the larger of the two.
fn lengths(said: &Said, words: &str) -> (u32, u32) {
    if let Some(lengths) = said.lengths {
        return lengths;
    }
    let mut found: Vec<u32> = numbers(words).into_iter().take(2).collect();
    found.sort_unstable();
    match found.as_slice() {
        [window, prompt] => (*prompt, *window),
        _ => (0, 0),
    }
}

/// Numbers of at least two digits, thousands separators allowed.
fn numbers(words: &str) -> Vec<u32> {
    words
        .split(|c: char| !c.is_ascii_digit() && c != ',')
        .map(|piece| piece.replace(',', ""))
        .filter(|digits| digits.len() >= 2)
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// `retry-after-ms` (OpenAI), or `retry-after` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, clock: &dyn Clock) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let wait = number("retry-after-ms")
        .and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
        .or_else(|| number("retry-after").and_then(|secs| Duration::try_from_secs_f64(secs).ok()))
        .or_else(|| {
            let date = httpdate::parse_http_date(text("retry-after")?).ok()?;
            let until = date.duration_since(UNIX_EPOCH).ok()?;
            Some(until.saturating_sub(Duration::from_millis(clock.now().unix_millis())))
        })?;
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::Timestamp;
    use std::time::Instant;

    #[derive(Debug)]
    struct At(u64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_millis(self.0)
        }
        fn monotonic(&self) -> Instant {
            Instant::now()
        }
        fn random(&self) -> u128 {
            0
        }
    }

    fn check(status: u16, headers: &[(&'static str, &str)], body: &str) -> BackendError {
        let target = crate::answer::tests::target("cloud/big").into();
        let by = Refuser::new(target, Some(Secret::new("sk-secret")), Arc::new(At(1_000_000)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        by.refusal(StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
    }

    #[test]
    fn refusals_are_sorted_by_what_can_be_done() {
        let kind = |status, body: &str| check(status, &[], body).kind;
        assert_eq!(kind(401, ""), BackendErrorKind::Unauthorised);
        assert_eq!(
            kind(404, r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#),
            BackendErrorKind::ModelNotFound
        );
        assert_eq!(
            kind(404, r#"{"error":"model \"x\" not found, try pulling it first"}"#),
            BackendErrorKind::ModelNotFound
        );
        assert_eq!(kind(404, "<html>"), BackendErrorKind::Unsupported);
        assert_eq!(kind(429, ""), BackendErrorKind::RateLimited);
        assert_eq!(
            kind(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
            BackendErrorKind::Overloaded
        );
        assert_eq!(kind(500, "oops"), BackendErrorKind::Failed);
        assert_eq!(kind(504, ""), BackendErrorKind::Timeout);
        assert_eq!(kind(302, ""), BackendErrorKind::Protocol);
        assert_eq!(
            kind(
                400,
                r#"{"error":{"message":"bad","type":"invalid_request_error","param":"messages[0].role"}}"#
            ),
            BackendErrorKind::InvalidRequest { field: Some("messages[0].role".into()) }
        );
    }

    #[test]
    fn refusals_before_work_cost_nothing() {
        for status in [302, 400, 401, 403, 404, 408, 413, 422, 429, 501, 503, 529] {
            assert_eq!(check(status, &[], "").billed, Billed::No, "{status}");
        }
        for status in [204, 500, 502, 504, 520] {
            assert_eq!(check(status, &[], "").billed, Billed::Maybe, "{status}");
        }
    }

    #[test]
    fn a_prompt_that_is_too_long_is_recognised_in_every_dialect() {
        for (body, prompt, window) in [
            (
                r#"{"error":{"code":"context_length_exceeded","message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 10,001 tokens."}}"#,
                10_001,
                8192,
            ),
            (
                r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 213462 tokens > 200000 maximum"}}"#,
                213_462,
                200_000,
            ),
            (
                r#"{"error":{"code":400,"type":"exceed_context_size_error","message":"too long","n_prompt_tokens":900,"n_ctx":512}}"#,
                900,
                512,
            ),
            (
                r#"[{"error":{"code":400,"message":"The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
                1_200_293,
                1_048_576,
            ),
            (
                r#"{"object":"error","message":"This model's maximum context length is 100 tokens. However, you requested 250 tokens","code":400}"#,
                250,
                100,
            ),
        ] {
            assert_eq!(
                check(400, &[], body).kind,
                BackendErrorKind::ContextExceeded { prompt, window },
                "{body}"
            );
        }
    }

    #[test]
    fn a_wait_is_read_in_each_of_its_forms() {
        let wait = |name, value: &str| check(429, &[(name, value)], "").retry_after;
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(wait("retry-after", "Thu, 01 Jan 1970 00:17:00 GMT"), Some(Duration::from_secs(20)));
        assert_eq!(wait("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("retry-after", "1e30"), None);
        assert_eq!(wait("retry-after", "-3"), None);
        assert_eq!(wait("retry-after", "soon"), None);
        assert_eq!(wait("retry-after", "99999999"), Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn googles_details_are_understood() {
        let wrong_key = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
        assert_eq!(check(400, &[], wrong_key).kind, BackendErrorKind::Unauthorised);
        let elsewhere = r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#;
        assert_eq!(check(400, &[], elsewhere).kind, BackendErrorKind::Unsupported);
        let unknown = r#"{"error":{"code":400,"message":"Invalid JSON payload received.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"tools[0]","description":"x"}]}]}}"#;
        let field = Some("tools[0]".into());
        assert_eq!(check(400, &[], unknown).kind, BackendErrorKind::InvalidRequest { field });
        let quota = |id: &str| {
            let body = format!(
                r#"{{"error":{{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{{"violations":[{{"quotaId":"{id}"}}]}},{{"retryDelay":"22.5s"}}]}}}}"#
            );
            check(429, &[], &body)
        };
        assert_eq!(quota("PerMinute").retry_after, Some(Duration::from_millis(22_500)));
        assert!(quota("PerMinute").message.contains("rate limit"));
        assert!(quota("RequestsPerDayPerProject").message.contains("used up"));
        let nonsense = r#"{"error":{"code":"x","type":7,"message":["m"],"details":"d","retryDelay":-1}}"#;
        assert_eq!(check(500, &[], nonsense).kind, BackendErrorKind::Failed);
    }

    #[test]
    fn neither_key_nor_endless_words_are_shown() {
        let long = format!(r#"{{"error":{{"message":"sk-secret {}"}}}}"#, "x".repeat(5000));
        for status in [400, 401, 500] {
            let error = check(status, &[], &long);
            assert!(!format!("{error:?}").contains("sk-secret"));
            assert!(error.hint.unwrap_or_default().len() < 500 && error.message.len() < 100);
        }
    }
}
