//! A Decision as JSON, for `POST /inshore/v1/decide`. Amounts and times as in receipts.

use inshore_domain::request::Dialect;
use inshore_domain::{Decision, Facts};
use serde::Serialize;
use serde::de::{Deserialize, IgnoredAny};

use super::receipt::{WireVerdict, verdict};
use crate::fault::Fault;
use crate::json;

#[derive(Serialize)]
pub(super) struct Wire<'a> {
    strategy: &'static str,
    /// In the order they would be tried; empty: the request would be refused.
    steps: Vec<&'a str>,
    facts: WireFacts<'a>,
    targets: Vec<WireVerdict<'a>>,
}

#[derive(Serialize)]
struct WireFacts<'a> {
    feature: Option<&'a str>,
    sensitivity: &'static str,
    prompt_tokens_at_least: u32,
    prompt_tokens_at_most: u32,
    latency_budget_ms: Option<u64>,
    quality_floor: Option<u8>,
    offline: bool,
    /// `null`: not known.
    metered: Option<bool>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(facts: &'a Facts, decision: &'a Decision) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            strategy: decision.strategy.as_str(),
            steps: decision.steps.iter().map(|step| step.target.0.as_str()).collect(),
            facts: WireFacts {
                feature: facts.feature.as_deref(),
                sensitivity: facts.sensitivity.as_str(),
                prompt_tokens_at_least: facts.prompt_tokens,
                prompt_tokens_at_most: facts.prompt_tokens_at_most,
                latency_budget_ms: facts.latency_budget.map(millis),
                quality_floor: facts.quality_floor,
                offline: facts.device.offline,
                metered: facts.device.metered,
            },
            targets: decision.verdicts.iter().map(verdict).collect(),
        }
    }
}

/// The API that a body is written for: as the query says, else as its fields tell.
pub(super) fn dialect(query: &str, body: &[u8]) -> Result<Dialect, Fault> {
    const KNOWN: &str = "known are chat, completions, responses, embeddings and messages";
    match query.strip_prefix("api=") {
        None if query.is_empty() => by_fields(body),
        None => {
            let message = "the only parameter known here is `api`";
            Err(Fault::field("api", "unknown_parameter", message).hint(KNOWN))
        }
        Some("chat") => Ok(Dialect::OpenAiChat),
        Some("completions") => Ok(Dialect::OpenAiCompletions),
        Some("responses") => Ok(Dialect::OpenAiResponses),
        Some("embeddings") => Ok(Dialect::OpenAiEmbeddings),
        Some("messages") => Ok(Dialect::AnthropicMessages),
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            Err(Fault::value("api", format!("`{shown}` is not an API that is known here")).hint(KNOWN))
        }
    }
}

/// `input` is taken as that of the Responses API, which has more to decide about than embeddings have.
fn by_fields(body: &[u8]) -> Result<Dialect, Fault> {
    #[derive(serde::Deserialize)]
    struct Fields {
        #[serde(default, deserialize_with = "is_there")]
        prompt: bool,
        #[serde(default, deserialize_with = "is_there")]
        input: bool,
    }
    let fields: Fields = json::parse(body)?;
    Ok(match (fields.prompt, fields.input) {
        (true, _) => Dialect::OpenAiCompletions,
        (false, true) => Dialect::OpenAiResponses,
        (false, false) => Dialect::OpenAiChat,
    })
}

fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_told_by_name_or_by_fields() {
        let of = |query: &str, body: &str| dialect(query, body.as_bytes()).ok();
        assert_eq!(of("", r#"{"messages":[]}"#), Some(Dialect::OpenAiChat));
        assert_eq!(of("", r#"{"prompt":null}"#), Some(Dialect::OpenAiCompletions));
        assert_eq!(of("", r#"{"input":"x"}"#), Some(Dialect::OpenAiResponses));
        assert_eq!(of("api=embeddings", r#"{"input":"x"}"#), Some(Dialect::OpenAiEmbeddings));
        assert_eq!(of("api=messages", "{}"), Some(Dialect::AnthropicMessages));
        for bad in ["api=", "api=smtp", "x=chat"] {
            assert_eq!(of(bad, "{}"), None, "{bad}");
        }
    }
}
