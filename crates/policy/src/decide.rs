//! `(Facts, Rules, Targets) → Decision`.
//!
//! Two steps, never mixed: the constraints say for each target whether it may and can ([`constraints`]); the objective says
//! in which order those that may and can are tried ([`objective`]).

mod constraints;
mod objective;

use std::sync::Arc;

use inshore_domain::{
    Capability, Decision, Estimate, Exclusion, Facts, Money, Step, Strategy, Target, Verdict,
};

use crate::cost;
use crate::rules::{Resource, Rules, Settings};

pub use constraints::names;
pub use objective::{Criterion, Misses, Objective};

use objective::{Candidate, Ranking};

/// Decides where a request runs. For many requests, [`Rules::prepare`] once and [`Prepared::decide`] each.
pub fn decide(facts: &Facts, rules: &Rules, targets: &[Arc<Target>]) -> Decision {
    rules.prepare(targets).decide(facts)
}

/// Rules and targets, joined.
#[derive(Debug, Clone)]
pub struct Prepared {
    rules: Rules,
    seats: Vec<Seat>,
}

/// A target as the constraints need it.
#[derive(Debug, Clone)]
struct Seat {
    target: Arc<Target>,
    resource: Resource,
}

impl Default for Prepared {
    /// The shipped policies and no target.
    fn default() -> Self {
        Rules::default().prepare(&[])
    }
}

impl Prepared {
    pub(crate) fn new(rules: Rules, targets: &[Arc<Target>]) -> Self {
        let seat = |target: &Arc<Target>| Seat { target: target.clone(), resource: rules.resource(target) };
        let seats = targets.iter().map(seat).collect();
        Self { rules, seats }
    }

    /// The rules that were joined.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Decides where a request runs.
    ///
    /// First the constraints: each target is permitted or excluded, with one reason. What needs no policy is looked at first,
    /// and a policy cannot undo it: above all, restricted text never leaves the device.
    ///
    /// Then the objective. A target that is expected to miss the quality floor or the deadline comes last, or is excluded when
    /// another one is known to meet it ([`Misses`]); where none is, the best that there is is tried all the same. The rest is a
    /// fixed order of criteria for each [`inshore_domain::Prefer`]. So the ladder from cloud to edge to a smaller model to the device is
    /// nothing of its own: as targets go down, offline or over their caps, the next step of the same order is what is left.
    ///
    /// One constraint more never lets another target in, except one that only a prediction had excluded.
    pub fn decide(&self, facts: &Facts) -> Decision {
        let asked = constraints::asked(&facts.model);
        let mut asking = None;
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(self.seats.len());
        let mut candidates: Vec<Candidate<'_>> = Vec::with_capacity(self.seats.len());
        for seat in &self.seats {
            let target = &*seat.target;
            if let Some(exclusion) = constraints::exclusion(facts, asked, target) {
                verdicts.push(Verdict::new(target.id.clone(), Err(exclusion)));
                continue;
            }
            let judgement = seat.resource.judge(asking.get_or_insert_with(|| self.rules.asking(facts)));
            let mut verdict =
                Verdict { policies: judgement.policies, ..Verdict::new(target.id.clone(), Ok(0)) };
            match judgement.outcome {
                Err(reasons) => verdict.outcome = Err(Exclusion::Forbidden { reasons }),
                Ok(()) => {
                    let estimate = estimate(facts, target);
                    verdict.estimate = Some(estimate);
                    candidates.push(Candidate { verdict: verdicts.len(), target, estimate, beside: None });
                }
            }
            verdicts.push(verdict);
        }
        self.order(facts, verdicts, candidates)
    }

    fn order(&self, facts: &Facts, mut verdicts: Vec<Verdict>, candidates: Vec<Candidate<'_>>) -> Decision {
        let Plan { strategy, ranking, steps } = plan(facts, self.rules.settings(), candidates);
        for (candidate, exclusion) in ranking.missing {
            if let Some(verdict) = verdicts.get_mut(candidate.verdict) {
                verdict.outcome = Err(exclusion);
            }
        }
        for (place, candidate) in ranking.ordered.iter().enumerate() {
            if let Some(verdict) = verdicts.get_mut(candidate.verdict) {
                verdict.outcome = Ok(place);
            }
        }
        let step = |candidate: &Candidate<'_>| Step { target: candidate.target.id.clone() };
        Decision { strategy, steps: ranking.ordered.iter().take(steps).map(step).collect(), verdicts }
    }
}

/// How those that may and can are used.
struct Plan<'a> {
    strategy: Strategy,
    ranking: Ranking<'a>,
    /// How many of those in order are steps.
    steps: usize,
}

/// What the feature asks for where that is possible, and else the best first and the others after it.
fn plan<'a>(facts: &Facts, settings: &Settings, candidates: Vec<Candidate<'a>>) -> Plan<'a> {
    let vectors = facts.needs.has(Capability::Embeddings);
    let several = facts.answers > 1 || vectors;
    let plan = match facts.strategy {
        // Several answers are no obstacle: they are of one call, whose prompt is shorter.
        Some(Strategy::Split) if !vectors => objective::away_first(facts, settings, &candidates)
            .map(|ranking| Plan { strategy: Strategy::Split, steps: ranking.ordered.len(), ranking }),
        Some(Strategy::Draft) if !several => objective::draft_first(facts, settings, &candidates)
            .map(|(ranking, steps)| Plan { strategy: Strategy::Draft, ranking, steps }),
        Some(Strategy::Cascade) if !several && candidates.len() > 1 => {
            let ranking = objective::smallest_first(&candidates);
            Some(Plan { strategy: Strategy::Cascade, steps: ranking.ordered.len(), ranking })
        }
        _ => None,
    };
    plan.unwrap_or_else(|| {
        let ranking = objective::rank(facts, settings, candidates);
        let most = if facts.strategy == Some(Strategy::Direct) { 1 } else { usize::MAX };
        let steps = ranking.ordered.len().min(most);
        Plan { strategy: if steps > 1 { Strategy::Fallback } else { Strategy::Direct }, ranking, steps }
    })
}

/// What the request is expected to take at a target.
fn estimate(facts: &Facts, target: &Target) -> Estimate {
    let currency = target.price.map_or(Money::ZERO.currency, |price| price.currency);
    let money = |micros: u64| Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency };
    Estimate {
        cost: money(cost::usual(facts, target).money),
        cost_at_most: money(cost::worst_case(facts, target).money),
        first_token: facts.first_token.iter().find(|(id, _)| *id == target.id).map(|(_, latency)| *latency),
        quality: target.quality,
    }
}

#[cfg(test)]
mod tests;
