//! What a provider's refusal means.
//!
//! The provider's own words go into the hint, shortened and with the key taken out; the message is ours, because it is
//! kept in receipts and a provider's words may quote the prompt.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};
use inshore_domain::{BackendError, BackendErrorKind, Clock, TargetId};
use serde::Deserialize;

use crate::secret::Secret;

/// Most bytes of an error's body that are read. Real ones are a few hundred bytes.
pub(crate) const MAX_ERROR_BODY: usize = 64 << 10;
/// Most characters of a provider's words that are shown.
const MAX_WORDS: usize = 400;
/// Longest wait that is believed. A quota that opens later than that is not waited for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Whose refusal it is.
#[derive(Clone, Copy)]
pub(crate) struct Refuser<'a> {
    pub(crate) target: &'a TargetId,
    pub(crate) key: Option<&'a Secret>,
    pub(crate) clock: &'a dyn Clock,
}

/// The error inside an error body, as both APIs and their imitators write it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Said {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// A word for OpenAI, a number for llama.cpp and vLLM.
    #[serde(default)]
    code: Option<serde_json::Value>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    param: Option<serde_json::Value>,
    /// llama.cpp: the prompt's length where it does not fit.
    #[serde(default)]
    n_prompt_tokens: Option<u32>,
    /// llama.cpp: the window's length.
    #[serde(default)]
    n_ctx: Option<u32>,
}

impl Said {
    /// Reads `{"error": {..}}`, `{"error": "words"}` (Ollama), `{"message": ..}` (older vLLM) or `{"detail": ..}`
    /// (FastAPI). Anything else says nothing.
    pub(crate) fn in_body(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Inner {
            Words(String),
            Object(Box<Said>),
        }
        #[derive(Deserialize)]
        struct Outer {
            error: Option<Inner>,
            message: Option<String>,
            detail: Option<serde_json::Value>,
        }
        let Ok(outer) = serde_json::from_slice::<Outer>(body) else { return Self::default() };
        match outer.error {
            Some(Inner::Object(said)) => *said,
            Some(Inner::Words(words)) => Self { message: Some(words), ..Self::default() },
            None => {
                let detail = outer.detail.map(|detail| detail.to_string());
                Self { message: outer.message.or(detail), ..Self::default() }
            }
        }
    }

    /// Whether nothing was understood.
    pub(crate) fn says_nothing(&self) -> bool {
        self.kind.is_none() && self.code.is_none() && self.message.is_none()
    }

    fn code(&self) -> &str {
        self.code.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default()
    }

    fn is(&self, word: &str) -> bool {
        self.kind.as_deref() == Some(word) || self.code() == word
    }

    /// The status that goes with an error inside a stream, which has none of its own.
    fn status(&self) -> Option<u16> {
        let number =
            self.code.as_ref().and_then(serde_json::Value::as_u64).and_then(|code| u16::try_from(code).ok());
        number.filter(|code| (400..600).contains(code)).or(Some(match self.kind.as_deref()? {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" | "permission_error" => 403,
            "not_found_error" => 404,
            "request_too_large" => 413,
            "rate_limit_error" | "tokens" | "requests" | "insufficient_quota" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            "api_error" | "server_error" => 500,
            _ => return None,
        }))
    }
}

/// The error that a status, head and body amount to.
pub(crate) fn refusal(by: Refuser<'_>, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> BackendError {
    if status.is_redirection() {
        let message =
            format!("`{}` answered with a redirect ({}), which is not followed", by.target, status.as_u16());
        return BackendError::new(BackendErrorKind::Protocol, message)
            .with_hint("set the base URL to the address that the provider redirects to");
    }
    let said = Said::in_body(body);
    let mut error = explain(by, status.as_u16(), &said);
    error.retry_after = retry_after(headers, by.clock);
    error
}

/// The error that an error event inside a stream amounts to.
pub(crate) fn refusal_in_stream(by: Refuser<'_>, said: &Said) -> BackendError {
    explain(by, said.status().unwrap_or(500), said)
}

fn explain(by: Refuser<'_>, status: u16, said: &Said) -> BackendError {
    let target = by.target;
    if let Some(error) = context_exceeded(target, status, said) {
        return error;
    }
    let kind = kind_of(status, said);
    let message = match &kind {
        BackendErrorKind::Unauthorised => format!("`{target}` refused the key ({status})"),
        BackendErrorKind::ModelNotFound => format!("`{target}` has no such model ({status})"),
        BackendErrorKind::RateLimited if said.is("insufficient_quota") => {
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
    let error = BackendError::new(kind, message);
    match words(by, said) {
        // What a provider says of a key tends to quote part of it.
        _ if error.kind == BackendErrorKind::Unauthorised => {
            error.with_hint("check the key that is configured for this target")
        }
        Some(words) => error.with_hint(format!("it says: {words}")),
        None => error,
    }
}

fn kind_of(status: u16, said: &Said) -> BackendErrorKind {
    let field = said
        .param
        .as_ref()
        .and_then(serde_json::Value::as_str)
        .map(|param| param.chars().take(100).collect());
    match status {
        _ if said.is("model_not_found") => BackendErrorKind::ModelNotFound,
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
/// vLLM, llama.cpp and LM Studio.
fn context_exceeded(target: &TargetId, status: u16, said: &Said) -> Option<BackendError> {
    const WORDS: [&str; 6] = [
        "maximum context length",
        "prompt is too long",
        "exceeds the available context size",
        "context window",
        "context length",
        "exceed context limit",
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
    if let (Some(prompt), Some(window)) = (said.n_prompt_tokens, said.n_ctx) {
        return (prompt, window);
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

fn words(by: Refuser<'_>, said: &Said) -> Option<String> {
    let words = said.message.as_deref()?.trim();
    if words.is_empty() {
        return None;
    }
    // Redact before cutting, so that no part of a key is left at the cut.
    let clean = by.key.map_or_else(|| words.to_owned(), |key| key.redact(words));
    let line: String = clean.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
    Some(line)
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
        let target = TargetId("cloud/big".into());
        let key = Secret::new("sk-secret");
        let clock = At(1_000_000);
        let by = Refuser { target: &target, key: Some(&key), clock: &clock };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        refusal(by, StatusCode::from_u16(status).unwrap(), &map, body.as_bytes())
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
    fn neither_key_nor_endless_words_are_shown() {
        let long = format!(r#"{{"error":{{"message":"sk-secret {}"}}}}"#, "x".repeat(5000));
        for status in [400, 401, 500] {
            let error = check(status, &[], &long);
            assert!(!format!("{error:?}").contains("sk-secret"));
            assert!(error.hint.unwrap_or_default().len() < 500 && error.message.len() < 100);
        }
    }
}
