//! One target as it would serve one feature: with the price that holds, and with what is assumed where nothing is known.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{
    DeviceState, Facts, Hybrid, Money, Price, Principal, Profile, Sensitivity, Target, Tier, Usage,
};

use super::speed::{self, Basis, Timed};
use super::{Candidate, Planned};
use crate::cost;
use crate::feature::Feature;
use crate::inspect::{ADDED, BYTES_PER_TOKEN};

/// Providers promise the answers of a batch within a day (OpenAI, Anthropic and Google alike).
const BATCH_WAIT: Duration = Duration::from_secs(86_400);
/// Bytes of a call beside its prompt: request line, headers, and the fields of the body.
const BESIDE_PROMPT: u64 = 1_000;

/// See above.
#[derive(Debug, Clone)]
pub(super) struct Seat<'a> {
    pub(super) candidate: &'a Candidate,
    /// The target with an assumed quality where none is known, and with its batch price where that one holds.
    pub(super) target: Arc<Target>,
    /// Where the quality comes from.
    pub(super) quality: Basis,
    /// Its answers come by the provider's batch API.
    pub(super) batch: bool,
    pub(super) first_token: Timed,
    pub(super) answer: Timed,
}

pub(super) fn seats<'a>(plan: &Planned, candidates: &'a [Candidate]) -> Vec<Seat<'a>> {
    candidates.iter().map(|candidate| seat(plan, candidate)).collect()
}

fn seat<'a>(plan: &Planned, candidate: &'a Candidate) -> Seat<'a> {
    let mut target = (*candidate.target).clone();
    let quality = if target.quality.is_some() { Basis::Stated } else { Basis::Assumed };
    target.quality.get_or_insert(assumed_quality(candidate));
    let may_wait = plan.feature.profile == Profile::Batch
        && plan.feature.latency_budget.is_none_or(|budget| budget >= BATCH_WAIT);
    let batch = target.price.and_then(|price| Some((price, price.batch?))).filter(|_| may_wait);
    if let Some((price, (input, output))) = batch {
        target.price = Some(Price { as_of: price.as_of, ..Price::flat(price.currency, input, output) });
    }
    let waited = Timed { time: BATCH_WAIT, basis: Basis::Assumed };
    let (first_token, answer) =
        if batch.is_some() { (waited, waited) } else { speed::expected(plan, candidate) };
    Seat { candidate, target: Arc::new(target), quality, batch: batch.is_some(), first_token, answer }
}

/// A guess, on the scale of the presets' floors: what models of a size can be trusted with. A clear statement in the config
/// replaces it.
fn assumed_quality(candidate: &Candidate) -> u8 {
    match (candidate.target.tier, candidate.here) {
        (Tier::Cloud, _) => 75,
        (Tier::Edge, _) => 60,
        (Tier::Device, None) => 50,
        (Tier::Device, Some(here)) => match here.parameters {
            // Finishes sentences.
            0..100_000_000 => 5,
            // Classifies and names things.
            100_000_000..1_000_000_000 => 20,
            // Rewrites short texts.
            1_000_000_000..3_000_000_000 => 40,
            // Converses.
            3_000_000_000..7_000_000_000 => 50,
            7_000_000_000..15_000_000_000 => 58,
            15_000_000_000..50_000_000_000 => 66,
            _ => 72,
        },
    }
}

impl Seat<'_> {
    /// What so many requests of the plan cost here, each rounded up as the ledger does.
    pub(super) fn cost(&self, plan: &Planned, requests: u64, free: Money) -> Option<Money> {
        if self.target.tier == Tier::Device {
            return Some(free);
        }
        let usage =
            Usage { prompt_tokens: plan.prompt_tokens, output_tokens: plan.answer(), ..Usage::default() };
        let one = cost::cost(&self.target.price?, &usage);
        // What is free is so in any currency.
        if one.micros == 0 {
            return Some(free);
        }
        let micros = i128::from(one.micros).saturating_mul(i128::from(requests));
        Some(Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency: one.currency })
    }

    /// Bytes that so many requests send from the device.
    pub(super) fn bytes_out(&self, plan: &Planned, requests: u64) -> u64 {
        if self.target.tier == Tier::Device {
            return 0;
        }
        requests.saturating_mul(bytes_of(plan))
    }

    /// Hours of a day that the device would work, one request after the other. Some at once take hardly less: the processor
    /// is busy with one already.
    pub(super) fn hours_a_day(&self, requests: u64) -> u64 {
        let seconds = self.answer.time.as_millis().saturating_mul(u128::from(requests)) / 1_000;
        u64::try_from(seconds / 3_600 / u128::from(super::DAYS)).unwrap_or(u64::MAX)
    }
}

fn bytes_of(plan: &Planned) -> u64 {
    u64::from(plan.prompt_tokens).saturating_mul(BYTES_PER_TOKEN as u64).saturating_add(BESIDE_PROMPT)
}

/// The facts of one request of the plan for this model, with these settings and these times to a first token.
pub(super) fn facts<'a>(
    plan: &Planned,
    settings: &Feature,
    model: &str,
    first_tokens: impl Iterator<Item = (&'a Arc<Target>, Duration)>,
) -> Facts {
    let in_bytes = plan.prompt_tokens.saturating_mul(BYTES_PER_TOKEN as u32);
    let mut facts = Facts {
        model: model.to_owned(),
        feature: Some(plan.name.clone()),
        principal: Principal::default(),
        groups: Vec::new(),
        profile: Profile::default(),
        // As inspection has it: no text counts as less, whatever the feature says.
        sensitivity: Sensitivity::default(),
        leaving: None,
        findings: Vec::new(),
        prompt_tokens: plan.prompt_tokens,
        prompt_tokens_at_most: in_bytes.saturating_add(ADDED as u32),
        // The answer that is planned is also the longest: then the usual cost is the cost of the plan.
        max_output_tokens: Some(plan.answer()),
        answers: 1,
        bytes_at_most: bytes_of(plan),
        needs: plan.needs,
        latency_budget: None,
        quality_floor: None,
        regions: None,
        egress: true,
        prefer: None,
        strategy: None,
        hybrid: Hybrid::default(),
        down: Vec::new(),
        failing: Vec::new(),
        first_token: first_tokens.map(|(target, time)| (target.id.clone(), time)).collect(),
        headroom: Vec::new(),
        device: DeviceState::default(),
    };
    settings.apply(&mut facts);
    facts
}
