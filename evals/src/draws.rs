//! Whether the risk is kept: the router learns from labels that are drawn at random, and the rest of the set shows what it does.

use inshore_policy::router::{Basis, Cell, FITTING, Label, Risk};

use crate::replay::Kept;
use crate::set::{Set, View};
use crate::shuffle::Seeded;

/// Draws of each experiment, if nothing else is said.
pub(crate) const DRAWS: u32 = 200;
const SEED: u64 = 7;

/// What became of the draws.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) view: View,
    pub(crate) labels: usize,
    pub(crate) risk: Risk,
    pub(crate) draws: u32,
    /// Draws after which more of the kept answers to unseen requests were errors than was declared.
    pub(crate) broken: u32,
    /// The same for a threshold at which errors among the labels were just under the risk, without a bound: what is usually done.
    pub(crate) naive: u32,
    /// Draws after which nothing was kept.
    pub(crate) nothing: u32,
    /// Kept on average.
    pub(crate) kept: f64,
}

pub(crate) fn run(set: &Set, view: View, labels: usize, risk: Risk, draws: u32) -> Drawn {
    let all = set.labels(view);
    let mut seeded = Seeded::new(SEED);
    let mut drawn = Drawn { view, labels, risk, draws, broken: 0, naive: 0, nothing: 0, kept: 0.0 };
    for _ in 0..draws {
        let order = seeded.order(all.len());
        let (seen, unseen) = order.split_at(labels.min(order.len()));
        let of = |rows: &[usize]| rows.iter().filter_map(|&at| all.get(at).cloned()).collect::<Vec<Label>>();
        let (seen, unseen) = (of(seen), of(unseen));
        let cell = Cell::learn(&seen, risk);
        let kept = |keeps: &dyn Fn(&Label) -> bool| {
            Kept::of(&unseen.iter().map(|label| (keeps(label), label)).collect::<Vec<_>>())
        };
        let found = kept(&|label| cell.judge(&label.signals).accepts());
        drawn.broken += u32::from(found.errors.value() > risk.error());
        drawn.nothing += u32::from(found.share.hits == 0);
        drawn.kept += found.share.value() / f64::from(draws);
        let most = naive(cell.basis(), &seen, risk);
        let found = kept(&|label| cell.basis().score(&label.signals) <= most);
        drawn.naive += u32::from(found.errors.value() > risk.error());
    }
    drawn
}

/// The largest score up to which the labels have no more errors than the risk, without asking how sure that is. On labels that the model was not
/// trained on, which is the kindest form of it.
fn naive(basis: &Basis, labels: &[Label], risk: Risk) -> f64 {
    let unseen = |at: usize| matches!(basis, Basis::Prior) || !at.is_multiple_of(FITTING);
    let mut scored: Vec<(f64, bool)> = labels
        .iter()
        .enumerate()
        .filter(|(at, _)| unseen(*at))
        .map(|(_, label)| (basis.score(&label.signals), label.outcome.error()))
        .collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut errors, mut most) = (0.0, f64::NEG_INFINITY);
    for (count, (score, error)) in scored.into_iter().enumerate() {
        errors += f64::from(u8::from(error));
        if errors <= risk.error() * (count + 1) as f64 {
            most = score;
        }
    }
    most
}
