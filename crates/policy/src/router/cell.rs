//! What is learned of one task family and one pair of targets.

use inshore_domain::Money;

use super::elementary::logistic;
use super::logistic::{Example, Model, ModelId};
use super::risk::{Risk, Scored, Threshold, choose};
use super::signals::{Signals, place};

/// How an answer of the device turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Both answers were produced and held against what is right.
    Compared {
        /// Whether the answer of the device was right.
        device: bool,
        /// Whether that of the cloud was.
        cloud: bool,
    },
    /// A check that nobody saw beforehand (a test, a schema, a build) passed or did not.
    Verified(bool),
    /// A person said whether it was good.
    Rated(bool),
    /// A person asked again.
    Retried,
}

impl Outcome {
    /// Whether the answer of the device was worse than the cloud's: it was wrong, and the cloud's was right. Where the cloud was not asked its
    /// answer counts as right, which errs to the safe side.
    pub fn error(self) -> bool {
        match self {
            Self::Compared { device, cloud } => !device && cloud,
            Self::Verified(good) | Self::Rated(good) => !good,
            Self::Retried => true,
        }
    }

    /// Whether the answer of the device was better than the cloud's.
    pub fn win(self) -> bool {
        matches!(self, Self::Compared { device: true, cloud: false })
    }

    /// 1 for an error, -1 for a win, 0 where it made no difference who answered.
    pub fn loss(self) -> f64 {
        f64::from(u8::from(self.error())) - f64::from(u8::from(self.win()))
    }
}

/// A request of this installation whose outcome is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// What was known when it was to be judged.
    pub signals: Signals,
    /// How it turned out.
    pub outcome: Outcome,
    /// What the cloud's answer costs more than the device's, if that is known.
    pub spared: Option<Money>,
}

/// From what the scores come.
#[derive(Debug, Clone, PartialEq)]
pub enum Basis {
    /// Fixed: agreement, and how likely the tokens were. Nothing is learned from so few labels but the threshold.
    Prior,
    /// A model trained on the first part of the labels.
    Fitted(Box<Model>),
}

impl Basis {
    /// What keeping the answer is expected to lose, from -1 to 1: how much more often such answers are worse than the cloud's than better. That
    /// orders requests better than how often they are worse. A prior's score orders and is no expectation. 1 for an answer that is empty or
    /// failed a check.
    pub fn score(&self, signals: &Signals) -> f64 {
        match self {
            _ if signals.failed() => 1.0,
            Self::Prior => prior(signals),
            Self::Fitted(model) => 2.0 * model.score(signals) - 1.0,
        }
    }

    /// Trains on all of these labels, in their order.
    pub fn fitted(labels: &[&Label]) -> Self {
        Self::Fitted(Box::new(train(labels)))
    }

    /// The name of the model; `None` for the prior, which is always the same.
    pub fn model(&self) -> Option<ModelId> {
        match self {
            Self::Prior => None,
            Self::Fitted(model) => Some(model.id()),
        }
    }
}

/// Agreement first, then whether the answer says that it is final, breaks off, repeats itself, or does its sums wrong, then the likelihood
/// of its tokens. Weights are guesses of what a careful reader would mind; only their order matters, the threshold is measured.
fn prior(signals: &Signals) -> f64 {
    let (same, asked) = signals.agreement();
    let agreement = if asked { 4.0 - 8.0 * f64::from(same) } else { 0.0 };
    let weights = [
        (place::REPEATED, 3.0),
        (place::CUT, 3.0),
        (place::NO_FINAL, 1.0),
        (place::MARKED, -1.0),
        (place::WRONG_SUMS, 3.0),
        (place::MEAN_LOGPROB, -4.0),
    ];
    let of =
        |&(at, weight): &(usize, f64)| signals.of_answer().get(at).map(|&number| weight * f64::from(number));
    logistic(agreement + weights.iter().filter_map(of).sum::<f64>())
}

/// Every so many labels one makes scores where a model is trained. More would make better scores and leave fewer labels to show it.
pub const FITTING: usize = 3;
/// Every so many labels one orders the thresholds where no model is trained.
pub const PILOT: usize = 5;
/// Labels from which a model is trained. With fewer, a third of them would teach it next to nothing.
pub const FIT_FROM: u32 = 400;
/// Labels that are used, the newest: training on more takes seconds, and what was true that long ago need not be so today.
pub const MOST_LABELS: usize = 20_000;

/// What is learned of one task family and one pair of targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    basis: Basis,
    risk: Risk,
    threshold: Threshold,
    tested: Vec<Tested>,
    labels: u32,
}

/// A label on which the threshold was tested, with its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tested {
    pub(super) score: f64,
    pub(super) outcome: Outcome,
    pub(super) spared: Option<Money>,
}

impl Cell {
    /// Learns from labels in the order in which they came. One part of them (every third; every fifth where no model is trained) makes scores
    /// and the order in which thresholds are tested, the others test them.
    pub fn learn(labels: &[Label], risk: Risk) -> Self {
        let labels = labels.get(labels.len().saturating_sub(MOST_LABELS)..).unwrap_or(labels);
        let count = u32::try_from(labels.len()).unwrap_or(u32::MAX);
        let every = if count >= FIT_FROM { FITTING } else { PILOT };
        let part = |first: bool| {
            let of = labels.iter().enumerate().filter(move |(at, _)| (at % every == 0) == first);
            of.map(|(_, label)| label).collect::<Vec<_>>()
        };
        let (first, rest) = (part(true), part(false));
        let (basis, pilot) = if count >= FIT_FROM {
            (Basis::fitted(&first), unseen(&first))
        } else {
            (Basis::Prior, first.iter().map(|label| scored(&Basis::Prior, label)).collect())
        };
        let tested: Vec<Tested> = rest
            .iter()
            .map(|label| Tested {
                score: basis.score(&label.signals),
                outcome: label.outcome,
                spared: label.spared,
            })
            .collect();
        let calibration: Vec<Scored> =
            tested.iter().map(|label| Scored { score: label.score, error: label.outcome.error() }).collect();
        let threshold = match choose(&pilot, &calibration, risk).filter(|&most| most < 1.0) {
            Some(most) => Threshold::Accept(most),
            None => Threshold::Escalate { labels: count, needed: needed(risk) },
        };
        Self { basis, risk, threshold, tested, labels: count }
    }

    /// Where scores come from.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The risk that was declared.
    pub fn risk(&self) -> Risk {
        self.risk
    }

    /// Up to which score an answer is kept.
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// How many labels it was learned from.
    pub fn labels(&self) -> u32 {
        self.labels
    }

    /// The labels that tested the threshold.
    pub(super) fn tested(&self) -> &[Tested] {
        &self.tested
    }
}

/// How many labels there must be until the tested part of them can show the risk, if all are kept and none is an error.
pub fn needed(risk: Risk) -> u32 {
    let fewest = u64::from(risk.fewest_labels());
    let of = |every: usize| {
        let every = every as u64;
        (fewest * every).div_ceil(every - 1)
    };
    let needed =
        if of(PILOT) < u64::from(FIT_FROM) { of(PILOT) } else { of(FITTING).max(u64::from(FIT_FROM)) };
    u32::try_from(needed).unwrap_or(u32::MAX)
}

fn train(labels: &[&Label]) -> Model {
    let target = |outcome: Outcome| f64::midpoint(outcome.loss(), 1.0);
    let examples =
        labels.iter().map(|label| Example { signals: &label.signals, target: target(label.outcome) });
    Model::train(&examples.collect::<Vec<_>>())
}

/// Parts that are scored by a model of the other parts.
const PARTS: usize = 4;

/// Scores of labels by models that were not trained on them: what a model says of its own labels is too good.
fn unseen(labels: &[&Label]) -> Vec<Scored> {
    let of_part = |part: usize| {
        let split = |own: bool| {
            let of = labels.iter().enumerate().filter(move |(at, _)| (at % PARTS == part) == own);
            of.map(|(_, &label)| label).collect::<Vec<_>>()
        };
        let basis = Basis::fitted(&split(false));
        split(true).into_iter().map(move |label| scored(&basis, label)).collect::<Vec<_>>()
    };
    (0..PARTS).flat_map(of_part).collect()
}

fn scored(basis: &Basis, label: &Label) -> Scored {
    Scored { score: basis.score(&label.signals), error: label.outcome.error() }
}
