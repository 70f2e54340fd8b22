//! A receipt as JSON. Amounts are integers in millionths of the currency, times in microseconds.

use inshore_domain::{Exclusion, Money, Outcome, Receipt, Verdict, time::micros};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Wire<'a> {
    id: String,
    request: String,
    trace: String,
    at_unix_ms: u64,
    app: &'a str,
    user: Option<&'a str>,
    organisation: Option<&'a str>,
    feature: Option<&'a str>,
    profile: &'static str,
    asked: &'a str,
    target: Option<&'a str>,
    tier: Option<&'static str>,
    model: Option<&'a str>,
    strategy: &'static str,
    sensitivity: &'static str,
    verdicts: Vec<WireVerdict<'a>>,
    failed_steps: Vec<FailedStep<'a>>,
    usage: WireUsage,
    timings: WireTimings,
    bytes_out: u64,
    egress: Vec<WireEgress<'a>>,
    cost: Cost,
    /// What calls may have cost besides, where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_doubt: Option<Cost>,
    /// The answer was given before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<WireReplay>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
    outcome: WireOutcome<'a>,
}

#[derive(Serialize)]
struct WireReplay {
    of: String,
    saved: Cost,
}

#[derive(Serialize)]
pub(super) struct WireVerdict<'a> {
    target: &'a str,
    /// Its place among the steps; absent when excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excluded: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The policies that permitted or forbade it.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    policies: &'a [String],
    /// What it is expected to take; only where nothing has run yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<WireEstimate>,
}

#[derive(Serialize)]
struct WireEstimate {
    cost: Cost,
    cost_at_most: Cost,
    first_token_us: Option<u64>,
    quality: Option<u8>,
}

#[derive(Serialize)]
struct FailedStep<'a> {
    target: &'a str,
    error: &'a str,
}

#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u32,
    cached_tokens: u32,
    cache_write_tokens: u32,
    output_tokens: u32,
    reasoning_tokens: u32,
}

#[derive(Serialize)]
struct WireTimings {
    queued_us: u64,
    first_token_us: Option<u64>,
    total_us: u64,
}

#[derive(Serialize)]
struct WireEgress<'a> {
    target: &'a str,
    destination: &'a str,
    bytes_out: u64,
    bytes_in: u64,
    /// The other side's receipt for the call, where the other side is another Inshore.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_receipt: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Cost {
    micros: i64,
    currency: String,
}

impl From<Money> for Cost {
    fn from(money: Money) -> Self {
        Self { micros: money.micros, currency: money.currency.code().to_owned() }
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WireOutcome<'a> {
    Answered,
    Cancelled,
    Failed { code: &'a str, message: &'a str },
}

impl<'a> From<&'a Receipt> for Wire<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        let by = receipt.answered_by.as_ref();
        Self {
            id: receipt.id.to_string(),
            request: receipt.request.to_string(),
            trace: receipt.trace.to_string(),
            at_unix_ms: receipt.at.unix_millis(),
            app: &receipt.principal.app,
            user: receipt.principal.user.as_deref(),
            organisation: receipt.principal.organisation.as_deref(),
            feature: receipt.feature.as_deref(),
            profile: profile(receipt.profile),
            asked: &receipt.asked,
            target: by.map(|by| by.target.0.as_str()),
            tier: by.map(|by| by.tier.as_str()),
            model: by.map(|by| by.model.as_str()),
            strategy: receipt.strategy.as_str(),
            sensitivity: receipt.sensitivity.as_str(),
            verdicts: receipt.verdicts.iter().map(verdict).collect(),
            failed_steps: receipt
                .failed_steps
                .iter()
                .map(|(target, error)| FailedStep { target: &target.0, error })
                .collect(),
            usage: usage(receipt),
            timings: WireTimings {
                queued_us: micros(receipt.timings.queued),
                first_token_us: receipt.timings.first_token.map(micros),
                total_us: micros(receipt.timings.total),
            },
            bytes_out: receipt.bytes_out(),
            egress: receipt.egress.iter().map(egress).collect(),
            cost: receipt.cost.into(),
            in_doubt: (receipt.in_doubt.micros != 0).then(|| receipt.in_doubt.into()),
            replay: receipt
                .replay
                .map(|replay| WireReplay { of: replay.of.to_string(), saved: replay.saved.into() }),
            notes: &receipt.notes,
            outcome: match &receipt.outcome {
                Outcome::Answered => WireOutcome::Answered,
                Outcome::Cancelled => WireOutcome::Cancelled,
                Outcome::Failed { code, message } => WireOutcome::Failed { code, message },
            },
        }
    }
}

fn profile(profile: inshore_domain::Profile) -> &'static str {
    match profile {
        inshore_domain::Profile::Realtime => "realtime",
        inshore_domain::Profile::Async => "async",
        inshore_domain::Profile::Batch => "batch",
    }
}

fn usage(receipt: &Receipt) -> WireUsage {
    let usage = receipt.usage;
    WireUsage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        output_tokens: usage.output_tokens,
        reasoning_tokens: usage.reasoning_tokens,
    }
}

pub(super) fn verdict(verdict: &Verdict) -> WireVerdict<'_> {
    let exclusion = verdict.outcome.as_ref().err();
    WireVerdict {
        target: &verdict.target.0,
        step: verdict.outcome.as_ref().ok().copied(),
        excluded: exclusion.map(Exclusion::code),
        reason: exclusion.map(ToString::to_string),
        policies: &verdict.policies,
        estimate: verdict.estimate.map(|estimate| WireEstimate {
            cost: estimate.cost.into(),
            cost_at_most: estimate.cost_at_most.into(),
            first_token_us: estimate.first_token.map(micros),
            quality: estimate.quality,
        }),
    }
}

fn egress(record: &inshore_domain::EgressRecord) -> WireEgress<'_> {
    WireEgress {
        target: &record.target.0,
        destination: &record.destination,
        bytes_out: record.bytes_out,
        bytes_in: record.bytes_in,
        remote_receipt: record.remote_receipt.as_deref(),
    }
}
