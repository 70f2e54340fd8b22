//! A Decision, told in order.

use std::time::Duration;

use inshore_domain::{Decision, Estimate, Exclusion, Facts, Prefer, Strategy, TargetId, Verdict};

/// A Decision as others render it: the steps first, then what was left out and might be missed, then what was not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The target that is tried first; `None`: the request is refused.
    pub chosen: Option<TargetId>,
    /// How the steps are run.
    pub strategy: Strategy,
    /// What the order of the steps prefers; `None`: the facts were not completed by rules.
    pub prefer: Option<Prefer>,
    /// One for each target.
    pub entries: Vec<Entry>,
}

/// What was decided about one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub target: TargetId,
    /// Its place in the order of preference, 0 first; `None`: excluded.
    pub place: Option<usize>,
    /// It is one of the steps: with [`Strategy::Direct`] only the first place is.
    pub tried: bool,
    /// `permitted`, or the code of the exclusion.
    pub code: &'static str,
    /// Why it is excluded, in a sentence.
    pub reason: Option<String>,
    /// Ids of the policies that permitted or forbade it.
    pub policies: Vec<String>,
    /// What the request is expected to take there.
    pub estimate: Option<Estimate>,
    /// What the choice does not know or could not have.
    pub notes: Vec<Note>,
}

/// Something that a permitted target leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Nobody knows how good its answers are, and a quality is needed.
    QualityUnknown {
        /// What is needed.
        floor: u8,
    },
    /// Its answers are not good enough, and no better target may or can: best effort.
    BelowFloor {
        /// What is expected of it.
        expected: u8,
        /// What is needed.
        floor: u8,
    },
    /// It was never measured, and there is a deadline.
    LatencyUnknown {
        /// The time that there is.
        budget: Duration,
    },
    /// It will be late, and no faster target may or can: best effort.
    Late {
        /// When it is expected to begin.
        expected: Duration,
        /// The time that there is.
        budget: Duration,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::QualityUnknown { floor } => write!(f, "its quality is not known, and {floor} is needed"),
            Self::BelowFloor { expected, floor } => {
                write!(f, "best effort: its quality is {expected}, and {floor} is needed")
            }
            Self::LatencyUnknown { budget } => {
                write!(f, "it was never measured, and the budget is {} ms", budget.as_millis())
            }
            Self::Late { expected, budget } => {
                let (expected, budget) = (expected.as_millis(), budget.as_millis());
                write!(f, "best effort: first token expected after {expected} ms, budget {budget} ms")
            }
        }
    }
}

/// Tells a Decision. `facts` are those that it was made from.
pub fn explain(facts: &Facts, decision: &Decision) -> Account {
    let mut entries: Vec<Entry> =
        decision.verdicts.iter().map(|verdict| entry(facts, decision, verdict)).collect();
    let rank = |entry: &Entry| match (entry.place, entry.code) {
        (Some(place), _) => (0, place),
        (None, code) if code == Exclusion::NotAsked.code() => (2, 0),
        (None, _) => (1, 0),
    };
    // A stable sort keeps the given order among equals.
    entries.sort_by_key(rank);
    Account {
        chosen: decision.steps.first().map(|step| step.target.clone()),
        strategy: decision.strategy,
        prefer: facts.prefer,
        entries,
    }
}

fn entry(facts: &Facts, decision: &Decision, verdict: &Verdict) -> Entry {
    let excluded = verdict.outcome.as_ref().err();
    let notes = match (excluded, verdict.estimate) {
        (None, Some(estimate)) => notes(facts, &estimate),
        _ => Vec::new(),
    };
    Entry {
        target: verdict.target.clone(),
        place: verdict.outcome.as_ref().ok().copied(),
        tried: decision.steps.iter().any(|step| step.target == verdict.target),
        code: excluded.map_or("permitted", Exclusion::code),
        reason: excluded.map(Exclusion::to_string),
        policies: verdict.policies.clone(),
        estimate: verdict.estimate,
        notes,
    }
}

fn notes(facts: &Facts, estimate: &Estimate) -> Vec<Note> {
    let quality = facts.quality_floor.and_then(|floor| match estimate.quality {
        None => Some(Note::QualityUnknown { floor }),
        Some(expected) => (expected < floor).then_some(Note::BelowFloor { expected, floor }),
    });
    let latency = facts.latency_budget.and_then(|budget| match estimate.first_token {
        None => Some(Note::LatencyUnknown { budget }),
        Some(expected) => (expected > budget).then_some(Note::Late { expected, budget }),
    });
    quality.into_iter().chain(latency).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{facts, shared, target};
    use crate::{Rules, decide};
    use inshore_domain::Tier;

    #[test]
    fn the_steps_come_first_and_what_is_open_is_said() {
        let mut weak = target("device/small", Tier::Device);
        weak.quality = Some(10);
        let mut foreign = target("openai/big", Tier::Cloud);
        foreign.permitted_up_to = None;
        let other = target("device/other", Tier::Device);
        let targets = shared([foreign, other, weak]);
        let mut asked = facts("auto");
        asked.quality_floor = Some(50);
        asked.latency_budget = Some(Duration::from_millis(100));
        asked.first_token = vec![(TargetId("device/small".into()), Duration::from_millis(300))];
        let rules = Rules::default();
        rules.complete(&mut asked);
        let account = explain(&asked, &decide(&asked, &rules, &targets));

        let told: Vec<_> = account
            .entries
            .iter()
            .map(|entry| {
                let notes: Vec<_> = entry.notes.iter().map(Note::to_string).collect();
                format!("{} {} {:?} {}", entry.target, entry.code, entry.policies, notes.join("; "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "device/other permitted [\"device\"] its quality is not known, and 50 is needed; it was never measured, and the budget is 100 ms",
                "device/small permitted [\"device\"] best effort: its quality is 10, and 50 is needed; best effort: first token expected after 300 ms, budget 100 ms",
                "openai/big not_permitted [] ",
            ]
        );
        assert_eq!(account.chosen, Some(TargetId("device/other".into())));
        assert_eq!(account.prefer, Some(Prefer::Local));
        assert_eq!(account.entries[2].reason.as_deref(), Some("the config does not permit this target"));
    }

    #[test]
    fn what_was_not_asked_for_comes_last() {
        let targets =
            shared([target("a/x", Tier::Cloud), target("b/y", Tier::Cloud), target("c/z", Tier::Edge)]);
        let mut asked = facts("cloud");
        asked.down = vec![TargetId("a/x".into()), TargetId("b/y".into())];
        let account = explain(&asked, &decide(&asked, &Rules::default(), &targets));
        let order: Vec<_> =
            account.entries.iter().map(|entry| (entry.target.0.as_str(), entry.code)).collect();
        assert_eq!(order, [("a/x", "down"), ("b/y", "down"), ("c/z", "not_asked")]);
        assert_eq!(account.chosen, None);
    }
}
