//! What others reached, and what is to be reached.

use serde::Serialize;

use super::{DrawResult, SetResult};

/// Name, APGR, and the share of calls for 50 and for 80 % of the gap.
pub(super) type Reference = (&'static str, f64, Option<f64>, Option<f64>);

/// RouteLLM's own figures are the best of those published with its code (lm-sys/RouteLLM at 0b64fda); the others were measured on the same
/// tables beforehand, with other code.
pub(super) const MMLU: [Reference; 3] = [
    ("RouteLLM, best published", 0.603, Some(0.354), Some(0.716)),
    ("hashed 1-2-gram logistic regression", 0.667, Some(0.272), Some(0.601)),
    ("MiniLM embedding, hashed words and surface statistics", 0.674, Some(0.265), Some(0.584)),
];
#[expect(clippy::approx_constant, reason = "a share that was measured, and happens to be near 1/π")]
pub(super) const GSM8K: [Reference; 4] = [
    ("RouteLLM, best published", 0.622, Some(0.336), Some(0.633)),
    ("hashed 1-2-gram logistic regression", 0.636, Some(0.318), Some(0.624)),
    ("MiniLM embedding, hashed words and surface statistics", 0.630, Some(0.350), Some(0.628)),
    ("26 cheap statistics of prompt and answer", 0.746, Some(0.186), Some(0.475)),
];
const PHI: [Reference; 4] = [
    ("prompt alone, measured before", 0.600, None, None),
    ("answer statistics, measured before", 0.812, None, None),
    ("agreement with one other, measured before", 0.722, None, None),
    ("agreement with 3 others, measured before", 0.904, None, None),
];
const LLAMA: [Reference; 4] = [
    ("prompt alone, measured before", 0.600, None, None),
    ("answer statistics, measured before", 0.709, None, None),
    ("agreement with one other, measured before", 0.837, None, None),
    ("agreement with 3 others, measured before", 0.900, None, None),
];
const GEMMA: [Reference; 4] = [
    ("prompt alone, measured before", 0.533, None, None),
    ("answer statistics, measured before", 0.621, None, None),
    ("agreement with one other, measured before", 0.737, None, None),
    ("agreement with 3 others, measured before", 0.762, None, None),
];

/// What was measured beforehand of a set of ZeroEval.
pub(super) fn references(set: &str) -> &'static [Reference] {
    match set {
        PHI_SET => &PHI,
        LLAMA_SET => &LLAMA,
        "ZeroEval GSM8K, gemma-2-2b-it" => &GEMMA,
        _ => &[],
    }
}

const PHI_SET: &str = "ZeroEval GSM8K, Phi-3.5-mini-instruct";
const LLAMA_SET: &str = "ZeroEval GSM8K, Meta-Llama-3.1-8B-Instruct";

/// Something that must be reached.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    pub(super) what: String,
    pub(super) wanted: f64,
    /// The wanted is the most, and not the least.
    pub(super) at_most: bool,
    pub(super) reached: Option<f64>,
    pub(super) met: bool,
}

impl Goal {
    fn new(what: impl Into<String>, wanted: f64, at_most: bool, reached: Option<f64>) -> Self {
        let met = reached.is_some_and(|reached| if at_most { reached <= wanted } else { reached >= wanted });
        Self { what: what.into(), wanted, at_most, reached, met }
    }
}

pub(super) fn of(sets: &[SetResult], draws: &[DrawResult]) -> Vec<Goal> {
    let line = |set: &str, name: &str| {
        let set = sets.iter().find(|found| found.name == set)?;
        set.lines.iter().find(|line| !line.reference && line.name.ends_with(name))
    };
    let apgr = |set: &str, name: &str| line(set, name).and_then(|line| line.apgr);
    let mut goals = vec![
        Goal::new(
            "RouteLLM GSM8K, answer statistics: APGR",
            0.75,
            false,
            apgr("RouteLLM GSM8K", "answer statistics"),
        ),
        Goal::new("RouteLLM MMLU, prompt alone: APGR", 0.66, false, apgr("RouteLLM MMLU", "prompt alone")),
    ];
    for set in [PHI_SET, LLAMA_SET] {
        let agreement = "agreement with 3 others";
        goals.push(Goal::new(format!("{set}, agreement of three: APGR"), 0.9, false, apgr(set, agreement)));
        let kept = line(set, agreement).and_then(|line| line.kept_within_a_point);
        goals.push(Goal::new(format!("{set}, share within a point of the cloud"), 0.7, false, kept));
    }
    let worst = draws.iter().map(|draw| draw.broken).max_by(f64::total_cmp);
    goals.push(Goal::new("risk broken, worst of all experiments", 0.05, true, worst));
    goals
}
