//! What is preferred among the targets that may and can.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use inshore_domain::{Estimate, Exclusion, Facts, Prefer, Target, TargetId, Tier};

use crate::rules::Settings;

/// What is preferred where a feature says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Objective {
    /// Which order of criteria.
    pub prefer: Prefer,
    /// What becomes of a target that misses the floor or the deadline.
    pub misses: Misses,
}

/// What becomes of a target that is expected to miss the quality floor or the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Misses {
    /// It is excluded when another target is known to meet it, and comes last otherwise.
    #[default]
    Out,
    /// It comes last, also then: a bad or late answer rather than none when the better targets fail.
    Last,
}

/// One thing to compare targets by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// Not known to be below the quality floor.
    Floor,
    /// Not known to miss the deadline.
    Deadline,
    /// Nearer.
    Tier,
    /// The default model of the device.
    DefaultDevice,
    /// Cheaper, for a usual answer.
    Cost,
    /// Sooner to begin; a target that was never measured comes after those that were. Of the endpoints of one target, one that was not
    /// measured comes before the others, unless it failed: without a try nobody would know that it is nearer.
    FirstToken,
    /// Better answers; a target of unknown quality comes after those of known.
    Quality,
}

impl Criterion {
    /// The criteria of a preference, the weightiest first. The first one in which two targets differ decides; among equals the
    /// order in which the targets were given stays.
    ///
    /// An order, and no sum of weights: a sum can be tuned until it says anything, and an order can be told to a person.
    pub fn of(prefer: Prefer) -> &'static [Criterion] {
        use Criterion::{Cost, Deadline, DefaultDevice, FirstToken, Floor, Quality, Tier};
        match prefer {
            Prefer::Local => &[Floor, Deadline, Tier, DefaultDevice, Cost, FirstToken],
            Prefer::Cost => &[Floor, Deadline, Cost, FirstToken, Tier, DefaultDevice],
            Prefer::Speed => &[Floor, Deadline, FirstToken, Cost, Tier, DefaultDevice],
            Prefer::Quality => &[Floor, Deadline, Quality, Cost, FirstToken, Tier, DefaultDevice],
        }
    }
}

/// A target that may and can.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// The place of its verdict.
    pub(super) verdict: usize,
    pub(super) target: &'a Target,
    pub(super) estimate: Estimate,
    /// The soonest that an endpoint of the same target is known to begin, for one that was not measured itself.
    pub(super) beside: Option<Duration>,
}

impl Candidate<'_> {
    /// Whether it meets the quality floor; `None`: not known.
    fn floor(&self, facts: &Facts) -> Option<Result<(), Exclusion>> {
        let (expected, floor) = (self.estimate.quality?, facts.quality_floor?);
        Some(if expected >= floor { Ok(()) } else { Err(Exclusion::BelowQuality { expected, floor }) })
    }

    /// Whether it meets the deadline; `None`: not known. A target that was never tried is given the chance.
    fn deadline(&self, facts: &Facts) -> Option<Result<(), Exclusion>> {
        let (expected, budget) = (self.estimate.first_token?, facts.latency_budget?);
        Some(if expected <= budget { Ok(()) } else { Err(Exclusion::TooSlow { expected, budget }) })
    }
}

impl Candidate<'_> {
    /// Whether its answer is expected to be better than the other's: by what is known of their quality, or else because it is
    /// farther away, where the models are larger.
    fn betters(&self, other: &Self) -> bool {
        match (self.estimate.quality, other.estimate.quality) {
            (Some(this), Some(other)) => this > other,
            _ => self.target.tier > other.target.tier,
        }
    }
}

/// What came of it.
pub(super) struct Ranking<'a> {
    /// The best first.
    pub(super) ordered: Vec<Candidate<'a>>,
    /// Excluded, because another one is known to do better.
    pub(super) missing: Vec<(Candidate<'a>, Exclusion)>,
}

pub(super) fn rank<'a>(facts: &Facts, settings: &Settings, candidates: Vec<Candidate<'a>>) -> Ranking<'a> {
    let mut ranking = Ranking { ordered: candidates, missing: Vec::new() };
    if settings.objective.misses == Misses::Out {
        ranking.leave_out(|_| false, |candidate| candidate.floor(facts));
        // Being in time is no reason to be chosen over a target whose answers are not known to be too bad.
        let poor = |candidate: &Candidate<'_>| missed(candidate.floor(facts));
        ranking.leave_out(poor, |candidate| candidate.deadline(facts));
    }
    let criteria = Criterion::of(facts.prefer.unwrap_or(settings.objective.prefer));
    ranking.look_beside(facts);
    sort(&mut ranking.ordered, criteria, facts, settings);
    ranking
}

/// A draft from the device first, then the targets that are expected to answer better, the best first; and how many of these are
/// steps. `None`: there is no device to make a draft, or nothing better.
///
/// Neither the floor nor the deadline leaves one of them out: the draft is there in time, and what comes in its place is good enough.
pub(super) fn draft_first<'a>(
    facts: &Facts,
    settings: &Settings,
    candidates: &[Candidate<'a>],
) -> Option<(Ranking<'a>, usize)> {
    let order = |prefer| {
        let mut ordered = candidates.to_vec();
        sort(&mut ordered, Criterion::of(prefer), facts, settings);
        ordered
    };
    let near = order(Prefer::Local);
    let draft = near.into_iter().find(|candidate| candidate.target.tier == Tier::Device)?;
    let rest = order(facts.prefer.unwrap_or(settings.objective.prefer)).into_iter();
    let rest = rest.filter(|candidate| candidate.verdict != draft.verdict);
    let (better, other): (Vec<_>, Vec<_>) = rest.partition(|candidate| candidate.betters(&draft));
    let steps = 1 + better.len();
    let ordered = std::iter::once(draft).chain(better).chain(other).collect();
    (steps > 1).then_some((Ranking { ordered, missing: Vec::new() }, steps))
}

/// From the smallest: nearer, then cheaper, then the one that is known to answer worse. Each answer is checked, so no prediction
/// leaves one of them out.
pub(super) fn smallest_first<'a>(candidates: &[Candidate<'a>]) -> Ranking<'a> {
    let mut ordered = candidates.to_vec();
    ordered.sort_by_key(|candidate| {
        (candidate.target.tier, candidate.estimate.cost.micros, candidate.estimate.quality)
    });
    Ranking { ordered, missing: Vec::new() }
}

/// Those away from the device first, in their order, then those on it. `None`: there is nothing away from the device.
pub(super) fn away_first<'a>(
    facts: &Facts,
    settings: &Settings,
    candidates: &[Candidate<'a>],
) -> Option<Ranking<'a>> {
    let mut ranking = rank(facts, settings, candidates.to_vec());
    // A stable sort keeps the order among those of one side.
    ranking.ordered.sort_by_key(|candidate| candidate.target.tier == Tier::Device);
    let away = ranking.ordered.first().is_some_and(|candidate| candidate.target.tier != Tier::Device);
    away.then_some(ranking)
}

fn sort(candidates: &mut [Candidate<'_>], criteria: &[Criterion], facts: &Facts, settings: &Settings) {
    // A stable sort keeps the given order among equals.
    candidates.sort_by(|a, b| {
        let mut orders = criteria.iter().map(|criterion| compare(*criterion, facts, settings, a, b));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

impl Ranking<'_> {
    /// Gives endpoints that were not measured what is known of the others of their target.
    fn look_beside(&mut self, facts: &Facts) {
        let measured = |candidate: &Candidate<'_>| {
            Some((candidate.target.endpoint_of.clone()?, candidate.estimate.first_token?))
        };
        let measured: Vec<_> = self.ordered.iter().filter_map(measured).collect();
        for candidate in &mut self.ordered {
            let untried = candidate.estimate.first_token.is_none();
            if untried && !facts.failing.contains(&candidate.target.id) {
                let of = |(of, _): &&(TargetId, Duration)| candidate.target.endpoint_of.as_ref() == Some(of);
                candidate.beside = measured.iter().filter(of).map(|(_, latency)| *latency).min();
            }
        }
    }

    /// Excludes what is known to miss a standard, when something is known to meet it that misses nothing weightier
    /// than the excluded does.
    fn leave_out(
        &mut self,
        weightier: impl Fn(&Candidate<'_>) -> bool,
        standard: impl Fn(&Candidate<'_>) -> Option<Result<(), Exclusion>>,
    ) {
        let meeting = self.ordered.iter().filter(|candidate| matches!(standard(candidate), Some(Ok(()))));
        let Some(best) = meeting.map(&weightier).min() else { return };
        let missing = &mut self.missing;
        self.ordered.retain(|candidate| match standard(candidate) {
            Some(Err(exclusion)) if best <= weightier(candidate) => {
                missing.push((*candidate, exclusion));
                false
            }
            _ => true,
        });
    }
}

fn missed(standard: Option<Result<(), Exclusion>>) -> bool {
    matches!(standard, Some(Err(_)))
}

fn compare(
    criterion: Criterion,
    facts: &Facts,
    settings: &Settings,
    a: &Candidate<'_>,
    b: &Candidate<'_>,
) -> Ordering {
    let other_model = |target: &Target| settings.default_device.as_ref() != Some(&target.id);
    // Among equals, what was not measured comes first: it is an endpoint like the other.
    let first_token = |candidate: &Candidate<'_>| match (candidate.estimate.first_token, candidate.beside) {
        (None, Some(beside)) => (beside, false),
        (measured, _) => (measured.unwrap_or(Duration::MAX), true),
    };
    match criterion {
        Criterion::Floor => missed(a.floor(facts)).cmp(&missed(b.floor(facts))),
        Criterion::Deadline => missed(a.deadline(facts)).cmp(&missed(b.deadline(facts))),
        Criterion::Tier => a.target.tier.cmp(&b.target.tier),
        Criterion::DefaultDevice => other_model(a.target).cmp(&other_model(b.target)),
        Criterion::Cost => a.estimate.cost.micros.cmp(&b.estimate.cost.micros),
        Criterion::FirstToken => first_token(a).cmp(&first_token(b)),
        Criterion::Quality => Reverse(a.estimate.quality).cmp(&Reverse(b.estimate.quality)),
    }
}
