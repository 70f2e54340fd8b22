//! Which placement, why, and the settings that make it so.

use std::sync::Arc;

use inshore_domain::{Prefer, Strategy, Target, TargetId, Tier};

use super::outlook::{Fit, Outlook, Placement, unfit};
use super::seat::{Seat, facts};
use super::speed::Basis;
use super::{Advice, Ground, Planned};
use crate::feature::Feature;

pub(super) fn recommend(
    plan: &Planned,
    ground: &Ground<'_>,
    seats: &[Seat<'_>],
    outlooks: Vec<Outlook>,
) -> Advice {
    let recommended = choose(plan, ground, seats, &outlooks);
    let because = because(plan, ground, &outlooks, recommended);
    let best = recommended.and_then(|placement| outlook(&outlooks, placement));
    let settings = best.map(|best| settings(plan, ground, seats, best));
    let today = |settings: &Feature| steps(plan, ground, seats, settings, None);
    let runs_on = settings.as_ref().map(today).unwrap_or_default();
    let mut advice = Advice { outlooks, recommended, because, settings, runs_on, notes: Vec::new() };
    advice.notes = notes(&advice, ground);
    advice
}

fn outlook(outlooks: &[Outlook], placement: Placement) -> Option<&Outlook> {
    outlooks.iter().find(|outlook| outlook.placement == placement)
}

fn prefer(plan: &Planned, ground: &Ground<'_>) -> Prefer {
    plan.feature.prefer.unwrap_or(ground.rules.settings().objective.prefer)
}

/// What `decide` would try first. A hybrid takes its place where the device alone would not do, the hybrid does, and it costs less:
/// unless the best answers or the soonest are what is preferred, which are not those that come second.
fn choose(
    plan: &Planned,
    ground: &Ground<'_>,
    seats: &[Seat<'_>],
    outlooks: &[Outlook],
) -> Option<Placement> {
    let able: Vec<&Seat<'_>> = seats.iter().filter(|seat| unfit(plan, seat).is_none()).collect();
    let targets: Vec<Arc<Target>> = able.iter().map(|seat| seat.target.clone()).collect();
    let first_tokens = able.iter().map(|seat| (&seat.target, seat.first_token.time));
    let mut facts = facts(plan, &plan.feature, "auto", first_tokens);
    facts.prefer = Some(prefer(plan, ground));
    let decision = ground.rules.prepare(&targets).decide(&facts);
    let first = &decision.steps.first()?.target;
    let placement = Placement::of(able.iter().find(|seat| seat.target.id == *first)?.target.tier);
    let hybrid = outlook(outlooks, Placement::Hybrid)?;
    let cost = |outlook: &Outlook| outlook.cost.map(|cost| cost.micros);
    let cheaper = outlook(outlooks, placement).is_some_and(|other| cost(hybrid) < cost(other));
    let second_best = matches!(facts.prefer, Some(Prefer::Quality | Prefer::Speed));
    let mixes = placement != Placement::Device && hybrid.fit == Fit::Meets && cheaper && !second_best;
    Some(if mixes { Placement::Hybrid } else { placement })
}

fn because(
    plan: &Planned,
    ground: &Ground<'_>,
    outlooks: &[Outlook],
    recommended: Option<Placement>,
) -> String {
    let device = outlook(outlooks, Placement::Device);
    let Some(chosen) = recommended.and_then(|placement| outlook(outlooks, placement)) else {
        let whys = outlooks.iter().filter(|outlook| outlook.placement != Placement::Hybrid);
        let whys: Vec<String> =
            whys.map(|outlook| format!("{}: {}", outlook.placement.as_str(), outlook.fit.told())).collect();
        return format!("no target may or can take this work ({})", whys.join("; "));
    };
    if let Fit::Short(_) = chosen.fit {
        return format!("nothing that may take this work does better, although {}", chosen.fit.told());
    }
    let target = chosen.target.as_ref().map(|target| target.0.as_str()).unwrap_or_default();
    match (chosen.placement, device.map(|device| &device.fit)) {
        (Placement::Device, _) => {
            "the device meets every need, nothing leaves it, and nothing is paid".to_owned()
        }
        (Placement::Hybrid, _) => hybrid_because(plan, chosen),
        (_, Some(fit)) if *fit != Fit::Meets => {
            let best = best(prefer(plan, ground));
            format!("the device will not do ({}), and of what will, `{target}` is {best}", fit.told())
        }
        _ => format!("of all that will do, `{target}` is {}", best(prefer(plan, ground))),
    }
}

fn best(prefer: Prefer) -> &'static str {
    match prefer {
        Prefer::Local => "the nearest",
        Prefer::Cost => "the cheapest",
        Prefer::Speed => "the first to begin",
        Prefer::Quality => "the one with the best answers",
    }
}

fn hybrid_because(plan: &Planned, chosen: &Outlook) -> String {
    let kept = 100 - plan.escalated.min(100);
    let then = chosen.then.as_ref().map(|(target, _)| target.0.as_str()).unwrap_or_default();
    format!("{kept} % stay on the device for nothing, and only the rest is paid, at `{then}`")
}

/// The settings that bring the work there.
fn settings(plan: &Planned, ground: &Ground<'_>, seats: &[Seat<'_>], best: &Outlook) -> Feature {
    let asked = plan.feature.clone();
    match best.placement {
        // Then that nothing leaves and nothing is paid is not only expected.
        Placement::Device => Feature { stays_here: true, prefer: Some(Prefer::Local), ..asked },
        Placement::Hybrid => {
            Feature { strategy: Some(Strategy::Cascade), prefer: Some(Prefer::Local), ..asked }
        }
        Placement::Edge | Placement::Cloud => {
            let with = |prefer| Feature { prefer: Some(prefer), ..asked.clone() };
            let preferred = with(prefer(plan, ground));
            // A device whose answers are only assumed to be too bad is not left out of a decision: the cheapest and the nearest it is
            // still, the best it is not.
            let mut all = [preferred.clone(), with(Prefer::Quality)].into_iter();
            let reached = |settings: &Feature| {
                let chosen = best.target.as_ref();
                steps(plan, ground, seats, settings, chosen).first() == chosen
            };
            all.find(reached).unwrap_or(preferred)
        }
    }
}

/// Where requests go with these settings, by what is configured and known today: nothing is assumed, except that one more target
/// were configured, with its quality.
fn steps(
    plan: &Planned,
    ground: &Ground<'_>,
    seats: &[Seat<'_>],
    settings: &Feature,
    one_more: Option<&TargetId>,
) -> Vec<TargetId> {
    let mut targets: Vec<Arc<Target>> = Vec::new();
    let mut measured = Vec::new();
    for seat in seats {
        let target = match seat.candidate.reference {
            false => &seat.candidate.target,
            true if one_more == Some(&seat.target.id) => &seat.target,
            true => continue,
        };
        targets.push(target.clone());
        if seat.first_token.basis == Basis::Measured {
            measured.push((target, seat.first_token.time));
        }
    }
    let facts = facts(plan, settings, "auto", measured.into_iter());
    let decision = ground.rules.prepare(&targets).decide(&facts);
    decision.steps.into_iter().map(|step| step.target).collect()
}

fn notes(advice: &Advice, ground: &Ground<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(best) = advice.best() else { return notes };
    let named = |id: &TargetId| ground.candidates.iter().find(|candidate| candidate.target.id == *id);
    let all = best.target.iter().chain(best.then.as_ref().map(|(target, _)| target));
    for candidate in all.filter_map(named).filter(|candidate| candidate.reference) {
        notes.push(format!(
            "`{}` is not configured: it needs an entry in [[targets]] with `permit = true` and its `quality`",
            candidate.target.id
        ));
    }
    if best.batch {
        notes.push(
            "the price is that of the provider's batch API: requests that are sent one by one cost more"
                .to_owned(),
        );
    }
    if best.placement == Placement::Hybrid {
        notes.push(
            "with these settings the next target takes over where the device fails; that so many requests are sent on is \
             an assumption, not a limit"
                .to_owned(),
        );
    }
    let wanted = match best.placement {
        Placement::Device | Placement::Hybrid => Tier::Device,
        Placement::Edge => Tier::Edge,
        Placement::Cloud => Tier::Cloud,
    };
    let first = advice.runs_on.first().and_then(named);
    match first {
        Some(first) if first.target.tier != wanted && !best.reference => notes.push(format!(
            "as things are, requests would still go to `{}` first: what is assumed here is not known there, so say the \
             target's `quality` in [[targets]]",
            first.target.id
        )),
        _ => {}
    }
    notes
}
