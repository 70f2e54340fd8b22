//! What needs no policy: what was asked, what the config permits, what a target can, what is up, what the caps leave.

use inshore_domain::{Capability, Exclusion, Facts, Sensitivity, Target, Tier};

use crate::cost;
use crate::rules::is_loopback;

/// Tokens left for the answer when the caller sets no limit: a target whose window the prompt fills completely could
/// only answer with nothing.
const LEAST_ANSWER: u32 = 16;

/// The names by which a target may be asked for: its id, that of the target that it is an endpoint of, its model, and its
/// aliases.
pub fn names(target: &Target) -> impl Iterator<Item = &str> {
    let own = [target.id.0.as_str(), target.configured_as().0.as_str(), target.model.as_str()];
    own.into_iter().chain(target.aliases.iter().map(String::as_str))
}

/// What a model name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whatever is best.
    Any,
    /// Whatever is best of one tier.
    Tier(Tier),
    /// One target (or several that share a name).
    Named,
}

pub(super) fn asked(model: &str) -> Asked {
    match model {
        "auto" | "" => Asked::Any,
        "device" => Asked::Tier(Tier::Device),
        "edge" => Asked::Tier(Tier::Edge),
        "cloud" => Asked::Tier(Tier::Cloud),
        _ => Asked::Named,
    }
}

/// The first reason why a target is out, whatever the policies say.
pub(super) fn exclusion(facts: &Facts, asked: Asked, target: &Target) -> Option<Exclusion> {
    not_asked(facts, asked, target)
        .or_else(|| not_permitted(facts, target))
        .or_else(|| facts_missing(facts, target))
        .or_else(|| too_small(facts, target))
        .or_else(|| offline(facts, target))
        .or_else(|| facts.down.contains(&target.id).then_some(Exclusion::Down))
        .or_else(|| over_cap(facts, target))
}

fn not_asked(facts: &Facts, asked: Asked, target: &Target) -> Option<Exclusion> {
    let wanted = match asked {
        Asked::Any => true,
        Asked::Tier(tier) => target.tier == tier,
        Asked::Named => names(target).any(|name| name == facts.model),
    };
    (!wanted).then_some(Exclusion::NotAsked)
}

fn not_permitted(facts: &Facts, target: &Target) -> Option<Exclusion> {
    if target.tier == Tier::Device {
        return None;
    }
    let Some(up_to) = target.permitted_up_to else { return Some(Exclusion::NotPermitted) };
    // Restricted text stays here even if somebody configures a target for it.
    let permitted = up_to.min(Sensitivity::Confidential);
    if facts.leaving() > permitted {
        return Some(Exclusion::TooSensitive { found: facts.leaving(), permitted });
    }
    target.price.is_none().then_some(Exclusion::NoPrice)
}

fn facts_missing(facts: &Facts, target: &Target) -> Option<Exclusion> {
    // A schema can be asked for in words where it cannot be enforced, but the caller was promised enforcement.
    target.capabilities.missing(facts.needs).next().map(Exclusion::Incapable)
}

fn too_small(facts: &Facts, target: &Target) -> Option<Exclusion> {
    // The device truncates when asked to, and says exactly what does not fit when not.
    if target.tier == Tier::Device || facts.needs.has(Capability::Embeddings) {
        return None;
    }
    let answer = facts.max_output_tokens.unwrap_or(LEAST_ANSWER).min(LEAST_ANSWER);
    let needed = facts.prompt_tokens.saturating_add(answer);
    (needed > target.context_window)
        .then_some(Exclusion::ContextTooSmall { needed, window: target.context_window })
}

fn offline(facts: &Facts, target: &Target) -> Option<Exclusion> {
    let here = target.tier == Tier::Device || target.destination.as_deref().is_some_and(is_loopback);
    (facts.device.offline && !here).then_some(Exclusion::Offline)
}

fn over_cap(facts: &Facts, target: &Target) -> Option<Exclusion> {
    let mut covering = facts.headroom.iter().filter(|headroom| headroom.target == target.id).peekable();
    covering.peek()?;
    let amounts = cost::worst_case(facts, target);
    covering.find_map(|headroom| {
        let wanted = amounts.of(headroom.claim.measure);
        let over = wanted > headroom.left;
        over.then(|| Exclusion::OverCap {
            claim: Box::new(headroom.claim.clone()),
            left: headroom.left,
            wanted,
        })
    })
}
