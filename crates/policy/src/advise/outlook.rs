//! What each placement would be like.

use std::fmt;
use std::sync::Arc;

use inshore_domain::{Capability, Exclusion, Money, Target, TargetId, Tier};

use super::seat::{Seat, facts};
use super::speed::{Basis, Timed};
use super::{Ground, Planned};
use crate::explain::{Entry, Note, explain};

/// Where the work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Here.
    Device,
    /// On a machine of one's own.
    Edge,
    /// On somebody else's machine.
    Cloud,
    /// Here first, and in the cloud (without one, at the edge) for the share that is not done well enough here.
    Hybrid,
}

impl Placement {
    /// All, in the order they are shown.
    pub const ALL: [Placement; 4] = [Self::Device, Self::Edge, Self::Cloud, Self::Hybrid];

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Edge => "edge",
            Self::Cloud => "cloud",
            Self::Hybrid => "hybrid",
        }
    }

    pub(super) fn of(tier: Tier) -> Self {
        match tier {
            Tier::Device => Self::Device,
            Tier::Edge => Self::Edge,
            Tier::Cloud => Self::Cloud,
        }
    }
}

/// Why a placement is impossible, or falls short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A stable word for machines: the code of an exclusion where it is one.
    pub code: &'static str,
    /// The sentence, without its subject's name.
    pub text: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a placement will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It meets every need.
    Meets,
    /// It may and can, and misses some need: best effort.
    Short(Vec<Reason>),
    /// It may not, or cannot.
    Impossible(Reason),
}

impl Fit {
    /// The word used in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Meets => "meets",
            Self::Short(_) => "falls_short",
            Self::Impossible(_) => "impossible",
        }
    }

    /// Why it does not meet every need; empty where it does.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Meets => &[],
            Self::Short(reasons) => reasons,
            Self::Impossible(reason) => std::slice::from_ref(reason),
        }
    }

    pub(super) fn told(&self) -> String {
        self.reasons().iter().map(Reason::to_string).collect::<Vec<_>>().join(", and ")
    }
}

/// A share or a quality in percent, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent {
    /// 0 to 100.
    pub percent: u8,
    /// Where it comes from.
    pub basis: Basis,
}

/// What a placement would be like. Figures are also there where it is impossible, to compare with; `None` where there is no target.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Which.
    pub placement: Placement,
    /// The target that is tried first.
    pub target: Option<TargetId>,
    /// The target that gets the share which is sent on, and how much that is; only of a hybrid.
    pub then: Option<(TargetId, u8)>,
    /// One of the targets is not configured.
    pub reference: bool,
    /// Whether it will do.
    pub fit: Fit,
    /// The expected time to the first token; of a hybrid the mean.
    pub first_token: Option<Timed>,
    /// The expected time to the end of the answer.
    pub answer: Option<Timed>,
    /// How good the answers of the first target are expected to be.
    pub quality: Option<Percent>,
    /// What a month costs.
    pub cost: Option<Money>,
    /// Bytes that leave the device in a month.
    pub bytes_out: Option<u64>,
    /// Paid and answered by the provider's batch API.
    pub batch: bool,
}

pub(super) fn all(plan: &Planned, ground: &Ground<'_>, seats: &[Seat<'_>]) -> Vec<Outlook> {
    let tiers = [Tier::Device, Tier::Edge, Tier::Cloud].map(|tier| at(plan, ground, seats, tier));
    let hybrid = {
        let [device, edge, cloud] = &tiers;
        // The edge counts only where no cloud will do: of two hybrids, the one that is asked for is told.
        let possible = |outlook: &&Found<'_>| !matches!(outlook.outlook.fit, Fit::Impossible(_));
        let then = [cloud, edge].into_iter().find(possible).unwrap_or(cloud);
        hybrid(plan, ground, device, then)
    };
    tiers.into_iter().map(|found| found.outlook).chain([hybrid]).collect()
}

/// A tier's best target, and its outlook.
struct Found<'a> {
    seat: Option<&'a Seat<'a>>,
    outlook: Outlook,
}

fn nowhere(placement: Placement, reason: Reason) -> Outlook {
    Outlook {
        placement,
        target: None,
        then: None,
        reference: false,
        fit: Fit::Impossible(reason),
        first_token: None,
        answer: None,
        quality: None,
        cost: None,
        bytes_out: None,
        batch: false,
    }
}

fn at<'a>(plan: &Planned, ground: &Ground<'_>, seats: &'a [Seat<'a>], tier: Tier) -> Found<'a> {
    let mut seats: Vec<&'a Seat<'a>> = seats.iter().filter(|seat| seat.target.tier == tier).collect();
    let able: Vec<&'a Seat<'a>> = seats.iter().copied().filter(|seat| unfit(plan, seat).is_none()).collect();
    if !able.is_empty() {
        seats = able;
    }
    let targets: Vec<Arc<Target>> = seats.iter().map(|seat| seat.target.clone()).collect();
    let first_tokens = seats.iter().map(|seat| (&seat.target, seat.first_token.time));
    let mut facts = facts(plan, &plan.feature, tier.as_str(), first_tokens);
    facts.prefer.get_or_insert(ground.rules.settings().objective.prefer);
    let account = explain(&facts, &ground.rules.prepare(&targets).decide(&facts));
    // The steps come first, then what was left out: the first is the best, or says why none is.
    let Some(entry) = account.entries.first() else {
        let text = match tier {
            Tier::Device => "there is no model on this device".to_owned(),
            tier => format!("there is no {tier} target"),
        };
        return Found {
            seat: None,
            outlook: nowhere(Placement::of(tier), Reason { code: "no_target", text }),
        };
    };
    let seat = seats.into_iter().find(|seat| seat.target.id == entry.target);
    let mut outlook = nowhere(Placement::of(tier), Reason { code: entry.code, text: String::new() });
    if let Some(seat) = seat {
        outlook = of_seat(plan, ground, seat, fit(plan, entry, seat));
    }
    Found { seat, outlook }
}

fn of_seat(plan: &Planned, ground: &Ground<'_>, seat: &Seat<'_>, fit: Fit) -> Outlook {
    let free = Money { micros: 0, currency: ground.currency };
    Outlook {
        placement: Placement::of(seat.target.tier),
        target: Some(seat.target.id.clone()),
        then: None,
        reference: seat.candidate.reference,
        fit,
        first_token: Some(seat.first_token),
        answer: Some(seat.answer),
        quality: seat.target.quality.map(|percent| Percent { percent, basis: seat.quality }),
        cost: seat.cost(plan, plan.requests, free),
        bytes_out: Some(seat.bytes_out(plan, plan.requests)),
        batch: seat.batch,
    }
}

fn fit(plan: &Planned, entry: &Entry, seat: &Seat<'_>) -> Fit {
    if entry.place.is_none() {
        return Fit::Impossible(Reason { code: entry.code, text: entry.reason.clone().unwrap_or_default() });
    }
    if let Some(reason) = unfit(plan, seat) {
        return Fit::Impossible(reason);
    }
    let reasons: Vec<Reason> = entry.notes.iter().filter_map(shortfall).collect();
    if reasons.is_empty() { Fit::Meets } else { Fit::Short(reasons) }
}

fn shortfall(note: &Note) -> Option<Reason> {
    match note {
        Note::BelowFloor { expected, floor } => Some(Reason {
            code: "below_quality",
            text: format!("its quality is {expected} and this feature needs {floor}"),
        }),
        Note::Late { expected, budget } => Some(Reason {
            code: "too_slow",
            text: format!(
                "first token expected after {} ms, budget {} ms",
                expected.as_millis(),
                budget.as_millis()
            ),
        }),
        // Every quality and every latency is assumed where it is not known.
        Note::QualityUnknown { .. } | Note::LatencyUnknown { .. } => None,
    }
}

/// What one request does not show, or only when it fails: the prompt and the answer must fit together, and the device cannot do more
/// than a day's work in a day.
pub(super) fn unfit(plan: &Planned, seat: &Seat<'_>) -> Option<Reason> {
    let needed = plan.prompt_tokens.saturating_add(plan.answer());
    let window = seat.target.context_window;
    if needed > window && !plan.needs.has(Capability::Embeddings) {
        let small = Exclusion::ContextTooSmall { needed, window };
        return Some(Reason { code: small.code(), text: small.to_string() });
    }
    let hours = seat.hours_a_day(plan.requests);
    (seat.target.tier == Tier::Device && hours >= 24).then(|| Reason {
        code: "too_much",
        text: format!("so many requests would take it {hours} hours a day"),
    })
}

fn hybrid(plan: &Planned, ground: &Ground<'_>, device: &Found<'_>, then: &Found<'_>) -> Outlook {
    let (Some(here), Some(there)) = (device.seat, then.seat) else {
        let missing = if device.seat.is_none() { device } else { then };
        let reason = match missing.outlook.fit.reasons() {
            [reason, ..] => reason.clone(),
            [] => Reason { code: "no_target", text: "there is no second target".to_owned() },
        };
        return nowhere(Placement::Hybrid, reason);
    };
    let free = Money { micros: 0, currency: ground.currency };
    let sent_on = share(plan.requests, plan.escalated);
    // What is sent on has waited for the whole answer of the device, which is judged then.
    let late = here.answer.then(there.first_token);
    Outlook {
        placement: Placement::Hybrid,
        target: Some(here.target.id.clone()),
        then: Some((there.target.id.clone(), plan.escalated)),
        reference: there.candidate.reference || here.candidate.reference,
        fit: hybrid_fit(plan, device, then, late),
        first_token: Some(here.first_token.mixed(late, plan.escalated)),
        answer: Some(here.answer.mixed(here.answer.then(there.answer), plan.escalated)),
        quality: device.outlook.quality,
        cost: there.cost(plan, sent_on, free),
        bytes_out: Some(there.bytes_out(plan, sent_on)),
        batch: there.batch,
    }
}

/// That share of the requests, rounded up.
fn share(requests: u64, percent: u8) -> u64 {
    let share = (u128::from(requests) * u128::from(percent)).div_ceil(100);
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn hybrid_fit(plan: &Planned, device: &Found<'_>, then: &Found<'_>, late: Timed) -> Fit {
    let about = |what: &str, reason: &Reason| Reason { code: reason.code, text: format!("{what}: {reason}") };
    let (here, there) = (&device.outlook, &then.outlook);
    match (&here.fit, &there.fit) {
        (Fit::Impossible(reason), _) => return Fit::Impossible(about("on the device", reason)),
        (_, Fit::Impossible(reason)) => return Fit::Impossible(about("for the share sent on", reason)),
        _ => {}
    }
    let floor = plan.feature.quality_floor.unwrap_or(0);
    let expected = here.quality.map_or(0, |quality| quality.percent);
    if expected < floor.div_ceil(2) {
        let text = format!(
            "on the device: its quality is {expected}, less than half of the {floor} needed, so nearly everything would be sent on"
        );
        return Fit::Impossible(Reason { code: "below_quality", text });
    }
    let mut reasons: Vec<Reason> = Vec::new();
    // That the device's answers are not all good enough is what the second target is for.
    let of_device = here.fit.reasons().iter().filter(|reason| reason.code != "below_quality");
    reasons.extend(of_device.map(|reason| about("on the device", reason)));
    reasons.extend(there.fit.reasons().iter().map(|reason| about("for the share sent on", reason)));
    if let Some(budget) = plan.feature.latency_budget
        && late.time > budget
        && plan.escalated > 0
        && !reasons.iter().any(|reason| reason.code == "too_slow")
    {
        let (late, budget) = (late.time.as_millis(), budget.as_millis());
        let text = format!("what is sent on begins after {late} ms, budget {budget} ms");
        reasons.push(Reason { code: "too_slow", text });
    }
    if reasons.is_empty() { Fit::Meets } else { Fit::Short(reasons) }
}
