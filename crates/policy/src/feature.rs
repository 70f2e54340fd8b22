//! What an app's features need: the settings of each, and the presets.

use std::collections::BTreeMap;
use std::time::Duration;

use inshore_domain::{Facts, Plain, Prefer, Profile, Sensitivity, Split, Strategy};

use crate::router::Declared;
use crate::verify::Check;

/// What is asked of the targets when a request names this feature. What is `None` is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Feature {
    /// The time to the first token after which the answer is no use any more.
    pub latency_budget: Option<Duration>,
    /// Text of this feature is at least this sensitive.
    pub sensitivity: Option<Sensitivity>,
    /// The quality that it needs, 0 to 100.
    pub quality_floor: Option<u8>,
    /// How soon it is needed, where the request does not say.
    pub profile: Profile,
    /// How the steps are run; `None`: the best target first, and the others after it.
    pub strategy: Option<Strategy>,
    /// What an answer of a smaller model must stand up to in a cascade; `None`: what is usual ([`crate::verify::usual`]).
    pub checks: Option<Vec<Check>>,
    /// How often a kept answer of a smaller model may be worse than the next target's; `None`: checks alone decide. Where labels of this
    /// installation do not show that it is kept, the next target is asked.
    pub risk: Option<Declared>,
    /// How long a draft waits for the better answer; `None`: as [`inshore_domain::Hybrid`] has it.
    pub patience: Option<Duration>,
    /// What callers get of a draft that cannot take revisions; `None`: likewise.
    pub plain: Option<Plain>,
    /// What leaves of a long document that is split; `None`: as [`inshore_domain::Split`] has it.
    pub split: Option<Split>,
    /// What is preferred; `None`: what the installation prefers.
    pub prefer: Option<Prefer>,
    /// Work of this feature stays on the device.
    pub stays_here: bool,
    /// Values that are found in its text are masked before it leaves, and put back into the answer.
    pub mask: bool,
    /// The regions where its work may be done; `None`: anywhere.
    pub regions: Option<Vec<String>>,
    /// Most tokens one answer may have. Longer answers are cut off: for features whose answers are useless when they are long.
    pub max_output_tokens: Option<u32>,
}

impl Feature {
    /// Adds to the facts what the feature asks. Where the request says something too, the stricter of both counts.
    ///
    /// The limit on the answer becomes part of what is set aside for a call: whoever makes the call must pass it on.
    pub fn apply(&self, facts: &mut Facts) {
        facts.sensitivity = facts.sensitivity.max(self.sensitivity.unwrap_or_default());
        facts.latency_budget = stricter(facts.latency_budget, self.latency_budget, Ord::min);
        facts.quality_floor = stricter(facts.quality_floor, self.quality_floor, Ord::max);
        facts.max_output_tokens = stricter(facts.max_output_tokens, self.max_output_tokens, Ord::min);
        facts.regions = stricter(facts.regions.take(), self.regions.clone(), |mut asked, regions| {
            asked.retain(|region| regions.contains(region));
            asked
        });
        // A request that does not say how soon cannot be told from one that says it is in a hurry: both read as the default.
        if facts.profile == Profile::default() {
            facts.profile = self.profile;
        }
        facts.egress &= !self.stays_here;
        facts.prefer = facts.prefer.or(self.prefer);
        // A feature that has documents split does so to keep the rest here: a request cannot ask for more to leave.
        facts.strategy = match self.strategy {
            Some(Strategy::Split) => self.strategy,
            _ => facts.strategy.or(self.strategy),
        };
        facts.hybrid.patience = self.patience.unwrap_or(facts.hybrid.patience);
        facts.hybrid.plain = self.plain.unwrap_or(facts.hybrid.plain);
    }
}

fn stricter<T>(a: Option<T>, b: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

/// The features of an installation, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features(BTreeMap<String, Feature>);

impl Default for Features {
    /// The presets.
    fn default() -> Self {
        Self(presets().map(|(name, feature)| (name.to_owned(), feature)).collect())
    }
}

impl Features {
    /// None at all, also no presets.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a feature, or replaces the one with this name.
    pub fn set(&mut self, name: impl Into<String>, feature: Feature) {
        self.0.insert(name.into(), feature);
    }

    /// The feature with this name.
    pub fn get(&self, name: &str) -> Option<&Feature> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.0.iter().map(|(name, feature)| (name.as_str(), feature))
    }
}

/// The features that apps of this kind have in common. Quality floors leave nothing out where no quality is known.
pub fn presets() -> impl Iterator<Item = (&'static str, Feature)> {
    waited_for().into_iter().chain(in_the_background())
}

/// Somebody waits for these.
fn waited_for() -> [(&'static str, Feature); 6] {
    let usual = Feature::default;
    let millis = |millis| Some(Duration::from_millis(millis));
    [
        // Whoever types sees a pause of more than a fifth of a second, and the next key makes the suggestion worthless: so
        // no second attempt, no more than can be read at a glance, and nothing of what is being typed leaves the machine.
        (
            "inline-completion",
            Feature {
                latency_budget: millis(200),
                strategy: Some(Strategy::Direct),
                prefer: Some(Prefer::Local),
                stays_here: true,
                max_output_tokens: Some(128),
                ..usual()
            },
        ),
        // A line that people look over before they send it: a small model writes it, within the second they look elsewhere, and
        // what is longer than a line is a mistake.
        (
            "subject-line",
            Feature {
                latency_budget: millis(1_000),
                quality_floor: Some(20),
                prefer: Some(Prefer::Local),
                max_output_tokens: Some(64),
                ..usual()
            },
        ),
        // Two seconds of silence read as broken; within them people want the best answer, of any length.
        (
            "chat",
            Feature {
                latency_budget: millis(2_000),
                quality_floor: Some(50),
                prefer: Some(Prefer::Quality),
                ..usual()
            },
        ),
        // The text is marked and the person waits for its replacement; whatever writes decent sentences will do, the nearest first.
        (
            "rewrite",
            Feature {
                latency_budget: millis(1_500),
                quality_floor: Some(40),
                prefer: Some(Prefer::Local),
                ..usual()
            },
        ),
        // A wrong change costs more than a slow one: ten seconds are fine, a weak model is not.
        (
            "code-refactor",
            Feature {
                latency_budget: millis(10_000),
                quality_floor: Some(70),
                prefer: Some(Prefer::Quality),
                ..usual()
            },
        ),
        // Several confidential texts become one: only a target declared for such text may see them, and among these the best one
        // is worth half a minute.
        (
            "confidential-synthesis",
            Feature {
                latency_budget: millis(30_000),
                sensitivity: Some(Sensitivity::Confidential),
                quality_floor: Some(60),
                prefer: Some(Prefer::Quality),
                ..usual()
            },
        ),
    ]
}

/// Nobody waits for these.
fn in_the_background() -> [(&'static str, Feature); 3] {
    let usual = Feature::default;
    [
        // Whole files that nobody has looked through, in numbers: they count as confidential, stay here, and nobody waits.
        (
            "file-scan",
            Feature {
                sensitivity: Some(Sensitivity::Confidential),
                profile: Profile::Async,
                prefer: Some(Prefer::Local),
                stays_here: true,
                ..usual()
            },
        ),
        // Read in the morning: hours are fine and so is the cheapest target that writes a report one can read.
        (
            "nightly-report",
            Feature {
                quality_floor: Some(50),
                profile: Profile::Batch,
                prefer: Some(Prefer::Cost),
                ..usual()
            },
        ),
        // A word for each of thousands of texts: price times thousands is all that matters, and an essay is paid for nothing.
        (
            "bulk-classify",
            Feature {
                quality_floor: Some(30),
                profile: Profile::Batch,
                prefer: Some(Prefer::Cost),
                max_output_tokens: Some(64),
                ..usual()
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::facts;
    use proptest::prelude::*;

    #[test]
    fn a_request_cannot_undo_that_a_feature_splits() {
        use inshore_domain::Strategy as Steps;
        let feature = |strategy| Feature { strategy: Some(strategy), ..Feature::default() };
        for (own, expected) in [(Steps::Split, Steps::Split), (Steps::Cascade, Steps::Direct)] {
            let mut facts = Facts { strategy: Some(Steps::Direct), ..crate::samples::facts("auto") };
            feature(own).apply(&mut facts);
            assert_eq!(facts.strategy, Some(expected));
        }
    }

    #[test]
    fn the_stricter_of_request_and_feature_counts() {
        let feature = Feature {
            latency_budget: Some(Duration::from_millis(500)),
            sensitivity: Some(Sensitivity::Public),
            quality_floor: Some(50),
            profile: Profile::Batch,
            regions: Some(vec!["eu".into(), "us".into()]),
            max_output_tokens: Some(100),
            ..Feature::default()
        };
        let mut asked = Facts {
            latency_budget: Some(Duration::from_millis(200)),
            quality_floor: Some(30),
            regions: Some(vec!["ch".into(), "eu".into()]),
            max_output_tokens: Some(400),
            profile: Profile::Async,
            ..facts("auto")
        };
        feature.apply(&mut asked);
        assert_eq!(asked.sensitivity, Sensitivity::Internal, "never lowered");
        assert_eq!(asked.latency_budget, Some(Duration::from_millis(200)));
        assert_eq!((asked.quality_floor, asked.max_output_tokens), (Some(50), Some(100)));
        assert_eq!(asked.regions, Some(vec!["eu".to_owned()]));
        assert_eq!(asked.profile, Profile::Async);

        let mut silent = facts("auto");
        feature.apply(&mut silent);
        assert_eq!(silent.regions, feature.regions);
        assert_eq!((silent.profile, silent.latency_budget), (Profile::Batch, feature.latency_budget));
    }

    #[test]
    fn a_feature_of_ones_own_replaces_the_preset() {
        let mut features = Features::default();
        assert_eq!(features.iter().count(), presets().count());
        features.set("chat", Feature::default());
        assert_eq!(features.get("chat"), Some(&Feature::default()));
        assert_eq!(features.get("none"), None);
        assert_eq!(Features::none().iter().count(), 0);
    }

    proptest! {
        #[test]
        fn no_feature_lowers_a_guard(which in 0..9_usize, level in 0..4_usize, egress: bool, budget in proptest::option::of(1..60_000_u64)) {
            let level = Sensitivity::ALL[level];
            let budget = budget.map(Duration::from_millis);
            let before = Facts { sensitivity: level, egress, latency_budget: budget, ..facts("auto") };
            let mut after = before.clone();
            let (_, feature) = presets().nth(which).unwrap();
            feature.apply(&mut after);
            prop_assert!(after.sensitivity >= before.sensitivity);
            prop_assert!(before.egress || !after.egress);
            prop_assert!(budget.is_none_or(|budget| after.latency_budget.is_some_and(|after| after <= budget)));
            let mut twice = after.clone();
            feature.apply(&mut twice);
            prop_assert_eq!(after, twice);
        }
    }
}
