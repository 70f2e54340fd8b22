//! `(Facts, Rules, Targets) → Decision`.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{
    Capability, Decision, Exclusion, Facts, Sensitivity, Step, Strategy, Target, TargetId, Tier, Verdict,
};

/// What holds for the whole installation, beside what each target's own entry in the config says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// The target that `auto` and `device` prefer on the device, where several can do the work: the default model.
    pub default_device: Option<TargetId>,
}

/// Tokens left for the answer when the caller sets no limit: a target whose window the prompt fills completely could
/// only answer with nothing.
const LEAST_ANSWER: u32 = 16;

/// The names by which a target may be asked for: its id, its model, and its aliases.
pub fn names(target: &Target) -> impl Iterator<Item = &str> {
    [target.id.0.as_str(), target.model.as_str()].into_iter().chain(target.aliases.iter().map(String::as_str))
}

/// What a model name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whatever is best.
    Any,
    /// Whatever is best of one tier.
    Tier(Tier),
    /// One target (or several that share a name).
    Named,
}

fn asked(model: &str) -> Asked {
    match model {
        "auto" | "" => Asked::Any,
        "device" => Asked::Tier(Tier::Device),
        "edge" => Asked::Tier(Tier::Edge),
        "cloud" => Asked::Tier(Tier::Cloud),
        _ => Asked::Named,
    }
}

/// Decides where a request runs.
///
/// First the constraints: each target is permitted or excluded, with one reason. Then the objective: among the permitted,
/// those expected to meet the latency budget before those that are not; then the nearer tier; then the default
/// device model; then the cheaper; then the faster; then the order in which the targets were given.
///
/// The order never depends on how many targets were excluded, and excluding one more never lets another one in.
pub fn decide(facts: &Facts, rules: &Rules, targets: &[Arc<Target>]) -> Decision {
    let asked = asked(&facts.model);
    let mut permitted: Vec<&Arc<Target>> = Vec::with_capacity(targets.len());
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(targets.len());
    for target in targets {
        let outcome = match exclusion(facts, asked, target) {
            Some(exclusion) => Err(exclusion),
            None => {
                permitted.push(target);
                Ok(0)
            }
        };
        verdicts.push(Verdict::new(target.id.clone(), outcome));
    }
    // A stable sort keeps the given order among equals.
    permitted.sort_by(|a, b| prefer(facts, rules, a, b));
    for (place, target) in permitted.iter().enumerate() {
        if let Some(verdict) = verdicts.iter_mut().find(|verdict| verdict.target == target.id) {
            verdict.outcome = Ok(place);
        }
    }
    let steps: Vec<Step> = permitted.into_iter().map(|target| Step { target: target.id.clone() }).collect();
    let strategy = if steps.len() > 1 { Strategy::Fallback } else { Strategy::Direct };
    Decision { strategy, steps, verdicts }
}

fn exclusion(facts: &Facts, asked: Asked, target: &Target) -> Option<Exclusion> {
    not_asked(facts, asked, target)
        .or_else(|| not_permitted(facts, target))
        .or_else(|| facts_missing(facts, target))
        .or_else(|| too_small(facts, target))
        .or_else(|| facts.down.contains(&target.id).then_some(Exclusion::Down))
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
    if facts.sensitivity > permitted {
        return Some(Exclusion::TooSensitive { found: facts.sensitivity, permitted });
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

fn prefer(facts: &Facts, rules: &Rules, a: &Target, b: &Target) -> Ordering {
    let key = |target: &Target| {
        (
            misses_deadline(facts, target),
            target.tier,
            rules.default_device.as_ref() != Some(&target.id),
            price(facts, target),
            expected(facts, target).unwrap_or(Duration::MAX),
        )
    };
    key(a).cmp(&key(b))
}

fn expected(facts: &Facts, target: &Target) -> Option<Duration> {
    facts.first_token.iter().find(|(id, _)| *id == target.id).map(|(_, latency)| *latency)
}

/// Only a measured latency counts against a target: one that was never tried is given the chance.
fn misses_deadline(facts: &Facts, target: &Target) -> bool {
    match (facts.latency_budget, expected(facts, target)) {
        (Some(budget), Some(expected)) => expected > budget,
        _ => false,
    }
}

/// Worst-case price of the request in micro-units: the prompt's estimate and the answer's limit.
fn price(facts: &Facts, target: &Target) -> u128 {
    /// What an answer without a limit is taken to have: only the order of targets depends on it.
    const USUAL_ANSWER: u32 = 512;
    let Some(price) = &target.price else { return 0 };
    let output = facts.max_output_tokens.unwrap_or(USUAL_ANSWER);
    u128::from(price.input) * u128::from(facts.prompt_tokens) + u128::from(price.output) * u128::from(output)
}

#[cfg(test)]
mod tests;
