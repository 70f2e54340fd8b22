//! What can be told of a cell.

use inshore_domain::Money;

use super::cell::{Basis, Cell, Outcome, Tested};
use super::logistic::ModelId;
use super::risk::{Risk, Threshold, interval};

/// A share with its Clopper-Pearson interval at 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many.
    pub hits: u32,
    /// Of how many.
    pub of: u32,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Share {
    /// That many of that many.
    pub fn of(hits: u32, of: u32) -> Self {
        let (low, high) = interval(hits, of, 0.95);
        Self { hits, of, low, high }
    }

    /// The share itself; 0 of nothing.
    pub fn value(&self) -> f64 {
        f64::from(self.hits) / f64::from(self.of.max(1))
    }
}

/// Labels by where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Both answers were there.
    pub compared: u32,
    /// A check said so.
    pub verified: u32,
    /// A person said so.
    pub rated: u32,
    /// A person asked again.
    pub retried: u32,
}

/// One step of the calibration curve: labels with about the same score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Their mean score: what keeping them was expected to lose.
    pub expected: f64,
    /// What keeping them lost: errors less wins, by their number.
    pub observed: f64,
    /// How many of them were errors.
    pub errors: Share,
}

/// What can be told of a cell. All figures are of the labels that tested the threshold; no model was trained on them. They were used to choose
/// it, so that `errors` is a little too good; the threshold's guarantee is not touched by that.
#[derive(Debug, Clone, PartialEq)]
pub struct CellReport {
    /// All labels, those that a model was trained on included.
    pub labels: u32,
    /// The labels that tested the threshold.
    pub tested: Counts,
    /// The model; `None` while there are too few labels for one.
    pub model: Option<ModelId>,
    /// What was declared.
    pub risk: Risk,
    /// Up to which score answers are kept.
    pub threshold: Threshold,
    /// Ten steps at most, from low scores to high; none without a model, whose scores alone are expectations.
    pub curve: Vec<Bin>,
    /// How many answers stay on the device.
    pub kept: Share,
    /// How many of these are worse than the cloud's.
    pub errors: Share,
    /// How many requests, kept or not, get an answer at least as good as the cloud's.
    pub as_good: Share,
    /// What keeping them spares, over those labels whose costs are known; `None` where none is, or currencies differ.
    pub spared: Option<Money>,
}

/// Steps of the calibration curve: with fewer labels in each, intervals tell nothing.
const BINS: usize = 10;

impl Cell {
    /// What can be told of it.
    pub fn report(&self) -> CellReport {
        let tested = self.tested();
        let kept: Vec<&Tested> = tested.iter().filter(|label| self.threshold().keeps(label.score)).collect();
        let errors = count(kept.iter().filter(|label| label.outcome.error()).count());
        let all = count(tested.len());
        CellReport {
            labels: self.labels(),
            tested: counts(tested),
            model: self.basis().model(),
            risk: self.risk(),
            threshold: self.threshold(),
            curve: if matches!(self.basis(), Basis::Fitted(_)) { curve(tested) } else { Vec::new() },
            kept: Share::of(count(kept.len()), all),
            errors: Share::of(errors, count(kept.len())),
            as_good: Share::of(all - errors, all),
            spared: spared(&kept),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn counts(tested: &[Tested]) -> Counts {
    let mut counts = Counts::default();
    for label in tested {
        match label.outcome {
            Outcome::Compared { .. } => counts.compared += 1,
            Outcome::Verified(_) => counts.verified += 1,
            Outcome::Rated(_) => counts.rated += 1,
            Outcome::Retried => counts.retried += 1,
        }
    }
    counts
}

fn curve(tested: &[Tested]) -> Vec<Bin> {
    let mut sorted: Vec<&Tested> = tested.iter().collect();
    sorted.sort_by(|a, b| a.score.total_cmp(&b.score));
    let size = sorted.len().div_ceil(BINS).max(1);
    let bin = |labels: &[&Tested]| Bin {
        expected: labels.iter().map(|label| label.score).sum::<f64>() / labels.len() as f64,
        observed: labels.iter().map(|label| label.outcome.loss()).sum::<f64>() / labels.len() as f64,
        errors: Share::of(
            count(labels.iter().filter(|label| label.outcome.error()).count()),
            count(labels.len()),
        ),
    };
    sorted.chunks(size).map(bin).collect()
}

fn spared(kept: &[&Tested]) -> Option<Money> {
    let mut known = kept.iter().filter_map(|label| label.spared);
    let first = known.next()?;
    known.try_fold(first, Money::checked_add)
}
