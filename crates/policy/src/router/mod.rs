//! The measured router: whether an answer that the device gave may be kept, or the cloud is asked.
//!
//! [`family`] tells kinds of tasks apart; [`signals`] are cheap statistics of request and answer, with [`agreement`] among several
//! answers; [`logistic`] learns from labels how likely an answer is worse than the cloud's; [`risk`] finds up to which score the
//! labels show that it may be kept. A [`Cell`] is that for one family and one pair of targets, a [`Router`] all of them, and a
//! [`CellReport`] what can be told of one.
//!
//! What holds: nothing is kept that labels of this installation do not allow, so a new one escalates everything. An answer that is
//! empty or failed a check is never kept. A judgement follows from signals and labels alone and can be repeated, bit for bit.

pub mod agreement;
mod cell;
mod declared;
mod elementary;
pub mod family;
pub mod logistic;
mod numbers;
mod report;
pub mod risk;
pub mod signals;

use std::collections::BTreeMap;
use std::fmt;

use inshore_domain::TargetId;

pub use agreement::Agreement;
pub use cell::{Basis, Cell, FIT_FROM, FITTING, Label, MOST_LABELS, Outcome, PILOT, needed};
pub use declared::{BadRisk, Declared};
pub use family::{Family, Prompt};
pub use logistic::{Model, ModelId};
pub use report::{Bin, CellReport, Counts, Share};
pub use risk::{Risk, Scored, Threshold};
pub use signals::{Answer, Signals};

/// The target that answers first, and the one that is asked when its answer is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// On the device.
    pub device: TargetId,
    /// Off it.
    pub cloud: TargetId,
}

/// All that was learned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Router {
    cells: BTreeMap<(Family, Pair), Cell>,
}

impl Router {
    /// Puts what was learned of a family and a pair in, in place of what was there.
    pub fn set(&mut self, family: Family, pair: Pair, cell: Cell) {
        self.cells.insert((family, pair), cell);
    }

    /// What was learned of a family and a pair.
    pub fn cell(&self, family: Family, pair: &Pair) -> Option<&Cell> {
        self.cells.get(&(family, pair.clone()))
    }

    /// All cells, by family and then by pair.
    pub fn cells(&self) -> impl Iterator<Item = (Family, &Pair, &Cell)> {
        self.cells.iter().map(|((family, pair), cell)| (*family, pair, cell))
    }

    /// Whether an answer is kept. Signals without an answer are judged as well, by what cells learned of such.
    pub fn judge(&self, family: Family, pair: &Pair, signals: &Signals) -> Judgement {
        match self.cell(family, pair) {
            Some(cell) => cell.judge(signals),
            None if signals.failed() => Judgement { reason: Reason::Failed, model: None },
            None => Judgement { reason: Reason::FewLabels { labels: 0, needed: None }, model: None },
        }
    }

    /// What can be told of each cell, by family and then by pair.
    pub fn report(&self) -> impl Iterator<Item = (Family, &Pair, CellReport)> {
        self.cells().map(|(family, pair, cell)| (family, pair, cell.report()))
    }
}

impl Cell {
    /// Whether an answer is kept.
    pub fn judge(&self, signals: &Signals) -> Judgement {
        let score = self.basis().score(signals);
        let reason = match self.threshold() {
            _ if signals.failed() => Reason::Failed,
            Threshold::Accept(most) if score <= most => Reason::UnderRisk { score, most },
            Threshold::Accept(most) => Reason::OverRisk { score, most },
            Threshold::Escalate { labels, needed } if labels < needed => {
                Reason::FewLabels { labels, needed: Some(needed) }
            }
            Threshold::Escalate { labels, .. } => Reason::NotShown { labels },
        };
        Judgement { reason, model: self.basis().model() }
    }
}

/// Whether an answer is kept, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Why.
    pub reason: Reason,
    /// The model that gave the score; `None` where none was trained.
    pub model: Option<ModelId>,
}

impl Judgement {
    /// Whether the answer of the device is kept. Where it is not, the next step of the decision is tried; where none is
    /// permitted, the answer is given all the same, with the reason.
    pub fn accepts(&self) -> bool {
        matches!(self.reason, Reason::UnderRisk { .. })
    }
}

/// Why an answer is kept or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// Labels show that answers with such scores keep the risk.
    UnderRisk {
        /// The score of this answer.
        score: f64,
        /// Up to which score answers are kept.
        most: f64,
    },
    /// They do not show it for such scores.
    OverRisk {
        /// The score of this answer.
        score: f64,
        /// Up to which score answers are kept.
        most: f64,
    },
    /// The answer is empty, or a check of it failed.
    Failed,
    /// There are too few labels to keep anything.
    FewLabels {
        /// How many there are.
        labels: u32,
        /// How many there must be at least; `None` where no risk was declared.
        needed: Option<u32>,
    },
    /// There are enough labels, and too many of them are errors to keep anything.
    NotShown {
        /// How many there are.
        labels: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderRisk { score, most } => {
                write!(f, "its score {score:.3} is within {most:.3}, which keeps the risk")
            }
            Self::OverRisk { score, most } => {
                write!(f, "its score {score:.3} is above {most:.3}, up to which the risk is kept")
            }
            Self::Failed => f.write_str("it is empty, or a check of it failed"),
            Self::FewLabels { labels, needed: Some(needed) } => {
                write!(f, "there are {labels} labels, and at least {needed} are needed to judge it")
            }
            Self::FewLabels { labels, needed: None } => write!(f, "there are {labels} labels to judge it by"),
            Self::NotShown { labels } => {
                write!(f, "too many of {labels} labels are errors to keep any answer")
            }
        }
    }
}

#[cfg(test)]
mod tests;
