//! Folds a set, and asks the router about requests that it has not seen.

use inshore_policy::router::{Basis, Cell, Family, Label, Risk, Router, Share};

use crate::metrics::{Curve, Point};
use crate::set::{Set, View};
use crate::shuffle::Seeded;

/// Parts of a set: each is judged by what was learned of the others.
const FOLDS: usize = 5;
/// Decides the folds. One seed for all, so that lines can be compared.
const SEED: u64 = 20_240_618;

/// How good one view of a set is.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) view: View,
    /// Ordered by a model that was trained on the other four folds.
    pub(crate) curve: Curve,
    /// Ordered by the scores of the router, which trains on half of them and tests its threshold on the other half.
    pub(crate) routed: Curve,
    /// What the router keeps.
    pub(crate) kept: Kept,
}

/// What was kept, over all folds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) share: Share,
    /// Of those that were kept.
    pub(crate) errors: Share,
    /// Right answers in all, with the cloud for what was not kept.
    pub(crate) right: Share,
}

pub(crate) fn line(set: &Set, view: View, risk: Risk) -> Line {
    let labels = set.labels(view);
    let families: Vec<Family> = set.rows.iter().map(|row| row.family).collect();
    let (mut ranked, mut routed) = (Vec::new(), Vec::new());
    let mut kept = Vec::new();
    for fold in folds(labels.len()) {
        let seen: Vec<usize> = fold.seen;
        let of_seen: Vec<&Label> = seen.iter().filter_map(|&at| labels.get(at)).collect();
        let basis = Basis::fitted(&of_seen);
        let router = router(set, &families, &labels, &seen, risk);
        for label in fold.unseen.iter().map(|&at| (labels.get(at), families.get(at))) {
            let (Some(label), Some(&family)) = label else { continue };
            let judgement = router.judge(family, &set.pair(), &label.signals);
            let cell = router.cell(family, &set.pair());
            ranked.push(point(basis.score(&label.signals), label));
            // What no cell was learned of goes to the cloud first.
            routed.push(point(cell.map_or(1.0, |cell| cell.basis().score(&label.signals)), label));
            kept.push((judgement.accepts(), label));
        }
    }
    Line { view, curve: Curve::of(&ranked), routed: Curve::of(&routed), kept: Kept::of(&kept) }
}

impl Kept {
    /// Of judged labels: whether each was kept.
    pub(crate) fn of(judged: &[(bool, &Label)]) -> Self {
        let count = |fits: &dyn Fn(bool, bool, bool, bool) -> bool| {
            let of = judged.iter().filter(|(kept, label)| {
                let (device, cloud) = rights(label);
                fits(*kept, device, cloud, label.outcome.error())
            });
            u32::try_from(of.count()).unwrap_or(u32::MAX)
        };
        let all = count(&|_, _, _, _| true);
        let kept = count(&|kept, _, _, _| kept);
        Self {
            share: Share::of(kept, all),
            errors: Share::of(count(&|kept, _, _, error| kept && error), kept),
            right: Share::of(count(&|kept, device, cloud, _| if kept { device } else { cloud }), all),
        }
    }
}

fn rights(label: &Label) -> (bool, bool) {
    match label.outcome {
        inshore_policy::router::Outcome::Compared { device, cloud } => (device, cloud),
        // Sets have both outcomes of every row.
        _ => (false, true),
    }
}

fn point(score: f64, label: &Label) -> Point {
    let (device_right, cloud_right) = rights(label);
    Point { score, device_right, cloud_right }
}

/// A router that learned from some labels, each family for itself.
fn router(set: &Set, families: &[Family], labels: &[Label], seen: &[usize], risk: Risk) -> Router {
    let mut router = Router::default();
    for family in Family::ALL {
        let own: Vec<Label> = seen
            .iter()
            .filter(|&&at| families.get(at) == Some(&family))
            .filter_map(|&at| labels.get(at).cloned())
            .collect();
        if !own.is_empty() {
            router.set(family, set.pair(), Cell::learn(&own, risk));
        }
    }
    router
}

struct Fold {
    seen: Vec<usize>,
    unseen: Vec<usize>,
}

fn folds(count: usize) -> impl Iterator<Item = Fold> {
    let order = Seeded::new(SEED).order(count);
    (0..FOLDS).map(move |fold| {
        let part = |unseen: bool| {
            let of = order.iter().enumerate().filter(move |(at, _)| (at % FOLDS == fold) == unseen);
            of.map(|(_, &row)| row).collect()
        };
        Fold { seen: part(false), unseen: part(true) }
    })
}

/// The curve of orders that mean nothing, and that of the best order there is: they show that the metrics are right.
pub(crate) fn chance_and_oracle(set: &Set) -> (Curve, Curve) {
    let mut seeded = Seeded::new(SEED);
    let labels = set.labels(View::Prompt);
    let gain = |label: &Label| {
        let (device, cloud) = rights(label);
        f64::from(u8::from(cloud)) - f64::from(u8::from(device))
    };
    // A thousand copies in one random order are as good as the mean of a thousand orders.
    let chance: Vec<Point> =
        (0..COPIES).flat_map(|_| &labels).map(|label| point(seeded.share(), label)).collect();
    let oracle: Vec<Point> = labels.iter().map(|label| point(gain(label), label)).collect();
    (Curve::of(&chance), Curve::of(&oracle))
}

/// Copies of a set that are put in a random order.
const COPIES: usize = 50;

/// What stays here when an answer is kept that at least so many of the others confirm.
pub(crate) fn confirmed(set: &Set, at_least: u32) -> Option<Kept> {
    let labels = set.labels(View::Prompt);
    let mut judged = Vec::new();
    for (row, label) in set.rows.iter().zip(&labels) {
        let others: Vec<&str> = row.others.iter().map(String::as_str).collect();
        let agreement = inshore_policy::router::Agreement::of(row.answer.as_deref()?, &others);
        judged.push((agreement.confirmed_by(at_least), label));
    }
    Some(Kept::of(&judged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_unseen_once_and_never_in_its_own_fold() {
        let mut all: Vec<usize> = Vec::new();
        for fold in folds(103) {
            assert_eq!(fold.seen.len() + fold.unseen.len(), 103);
            assert!(fold.unseen.iter().all(|row| !fold.seen.contains(row)));
            all.extend(fold.unseen);
        }
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
    }
}
