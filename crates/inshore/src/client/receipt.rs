//! A receipt as the daemon tells it. Times are microseconds, amounts millionths.

use std::fmt;
use std::time::Duration;

use inshore_domain::{Currency, Money};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) id: String,
    pub(crate) trace: String,
    pub(crate) at_unix_ms: i64,
    pub(crate) app: String,
    pub(crate) user: Option<String>,
    pub(crate) feature: Option<String>,
    pub(crate) profile: String,
    pub(crate) asked: String,
    pub(crate) target: Option<String>,
    pub(crate) tier: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) strategy: String,
    pub(crate) sensitivity: String,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) failed_steps: Vec<FailedStep>,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
    pub(crate) bytes_out: u64,
    pub(crate) egress: Vec<Egress>,
    pub(crate) cost: Cost,
    pub(crate) in_doubt: Option<Cost>,
    pub(crate) replay: Option<Replay>,
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    pub(crate) outcome: Ending,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Replay {
    pub(crate) of: String,
    pub(crate) saved: Cost,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) target: String,
    pub(crate) step: Option<usize>,
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FailedStep {
    pub(crate) target: String,
    pub(crate) error: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) output_tokens: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Timings {
    pub(crate) queued_us: u64,
    pub(crate) first_token_us: Option<u64>,
    pub(crate) total_us: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Egress {
    pub(crate) destination: String,
    pub(crate) bytes_out: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Cost {
    micros: i64,
    currency: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Ending {
    Answered,
    Cancelled,
    Failed { code: String, message: String },
}

impl Receipt {
    /// Where the answer came from, what it took and what left this machine, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let total = Duration::from_micros(self.timings.total_us);
        [
            self.tier.clone().unwrap_or_else(|| "no target".to_owned()),
            self.model.clone().unwrap_or_else(|| "no model".to_owned()),
            format!("{} tokens", self.usage.output_tokens),
            format!("{:.2} s", total.as_secs_f64()),
            format!("{} bytes left this device", self.bytes_out),
            self.id.clone(),
        ]
        .join(" · ")
    }

    /// When the request was admitted, in this machine's time zone where it is known.
    pub(crate) fn at(&self) -> String {
        jiff::Timestamp::from_millisecond(self.at_unix_ms)
            .map_or_else(|_| self.at_unix_ms.to_string(), |at| at.to_string())
    }

    pub(crate) fn ending(&self) -> String {
        match &self.outcome {
            Ending::Answered => "answered".to_owned(),
            Ending::Cancelled => "cancelled".to_owned(),
            Ending::Failed { code, message } => format!("failed ({code}): {message}"),
        }
    }

    pub(crate) fn cost(&self) -> String {
        match (&self.in_doubt, &self.replay) {
            (Some(doubt), _) => format!("{} (and up to {doubt} that nobody knows of)", self.cost),
            (None, Some(replay)) => {
                format!("{} (replayed from {}, saved {})", self.cost, replay.of, replay.saved)
            }
            (None, None) => self.cost.to_string(),
        }
    }
}

impl Cost {
    /// Its code.
    pub(crate) fn currency(&self) -> &str {
        &self.currency
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let currency = Currency::new(&self.currency).unwrap_or(Currency::USD);
        Money { micros: self.micros, currency }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the daemon writes it.
    const WIRE: &str = r#"{"id":"rcpt_1","request":"req_1","trace":"0","at_unix_ms":1763700000123,"app":"inshore","user":null,
        "organisation":null,"feature":"complete","profile":"realtime","asked":"auto","target":"device/inshore-default",
        "tier":"device","model":"inshore-default","strategy":"direct","sensitivity":"internal",
        "verdicts":[{"target":"device/inshore-default","step":0},{"target":"x","excluded":"not_permitted","reason":"no"}],
        "failed_steps":[],"usage":{"prompt_tokens":5,"cached_tokens":0,"cache_write_tokens":0,"output_tokens":42,"reasoning_tokens":0},
        "timings":{"queued_us":10,"first_token_us":2000,"total_us":310400},"bytes_out":0,"egress":[],
        "cost":{"micros":0,"currency":"USD"},"outcome":{"kind":"answered"}}"#;

    #[test]
    fn the_line_says_where_and_what_left() {
        let receipt: Receipt = serde_json::from_str(WIRE).unwrap();
        let line = "device · inshore-default · 42 tokens · 0.31 s · 0 bytes left this device · rcpt_1";
        assert_eq!(receipt.in_one_line(), line);
        assert_eq!(receipt.cost(), "0.00 USD");
        assert_eq!(receipt.at(), "2025-11-21T04:40:00.123Z");
    }
}
