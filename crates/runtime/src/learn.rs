//! What this installation has learned of its own answers: labels become routers, one for each risk that a feature declares.
//!
//! Without labels nothing is accepted, and neither is it while they are being read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use inshore_domain::{ReceiptId, TargetId};
use inshore_policy::router::{
    self, Cell, CellReport, Declared, Family, Judgement, Pair, Reason, Router, Signals, Threshold,
};
use inshore_store::{Label, LabelSource, StoreError, Verdict};

use crate::account::Account;
use crate::registry::Registry;
use crate::{Runtime, Shared, statistics};

/// New labels after which all are looked at again: fewer rarely move a threshold, and learning from thousands takes a second.
const LEARN_EVERY: u32 = 32;

/// What has been learned, and what is new since.
#[derive(Debug, Default)]
pub(crate) struct Learning {
    routers: ArcSwap<BTreeMap<Declared, Router>>,
    fresh: AtomicU32,
    /// Held while labels are read: one at a time.
    one: tokio::sync::Mutex<()>,
}

/// The risk that the feature of this request declares; `None` where it declares none, and nothing need be learned of it.
pub(crate) fn risk(account: &Account, registry: &Registry) -> Option<Declared> {
    let features = &registry.prepared().rules().settings().features;
    features.get(account.request.hints.feature.as_deref()?)?.risk
}

impl Learning {
    /// Whether an answer is within a risk.
    pub(crate) fn judge(&self, risk: Declared, family: Family, pair: &Pair, signals: &Signals) -> Judgement {
        let routers = self.routers.load();
        match routers.get(&risk).and_then(|router| router.cell(family, pair)) {
            Some(cell) => cell.judge(signals),
            None => Cell::learn(&[], risk.risk()).judge(signals),
        }
    }

    /// How many labels there are of answers of this target, where most are, and how many there must be.
    pub(crate) fn labels(&self, risk: Declared, family: Family, device: &TargetId) -> (u32, u32) {
        let routers = self.routers.load();
        let of = routers.get(&risk).into_iter().flat_map(Router::cells);
        let of = of.filter(|(other, pair, _)| *other == family && pair.device == *device);
        let labels = of.map(|(_, _, cell)| cell.labels()).max().unwrap_or(0);
        (labels, router::needed(risk.risk()))
    }
}

/// Why an answer is not kept.
pub(crate) fn told(reason: Reason) -> String {
    match reason {
        Reason::FewLabels { labels, needed } => {
            format!("there are too few labels: {labels} of {}", needed.unwrap_or_default())
        }
        other => other.to_string(),
    }
}

/// One cell of what was learned, as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The risk that it is for.
    pub risk: Declared,
    /// The kind of task.
    pub family: Family,
    /// The targets.
    pub pair: Pair,
    /// What can be told of it.
    pub report: CellReport,
}

impl Learned {
    /// Up to which score answers are kept; `None`: none are.
    pub fn keeps_up_to(&self) -> Option<f64> {
        match self.report.threshold {
            Threshold::Accept(most) => Some(most),
            Threshold::Escalate { .. } => None,
        }
    }

    /// How many labels there must be before any answer can be kept.
    pub fn needed(&self) -> u32 {
        router::needed(self.report.risk)
    }
}

/// What somebody says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// It was good.
    Good,
    /// It was bad.
    Bad,
    /// They asked again.
    Retried,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// This app has no such receipt.
    Unknown,
    /// Nothing can be learned from it: the answer was not one that a router could have kept, or is a week old.
    Noted,
    /// It is a label now, in place of any that this request had.
    Learned,
}

impl Runtime {
    /// Takes what an app says of an answer that it got. The label is committed when this returns.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn feedback(&self, app: &str, receipt: ReceiptId, said: Feedback) -> Result<Heard, StoreError> {
        let store = &self.shared.store;
        if store.receipt(receipt).await?.is_none_or(|found| found.principal.app != app) {
            return Ok(Heard::Unknown);
        }
        let at = self.shared.clock.now();
        let Some(statistics) = store.remembered(receipt, at).await? else { return Ok(Heard::Noted) };
        let verdict = match said {
            Feedback::Good => Verdict::Good,
            Feedback::Bad => Verdict::Bad,
            Feedback::Retried => Verdict::Retried,
        };
        let label = Label { receipt, at, statistics, verdict, source: LabelSource::Feedback };
        if store.add_label(label).await? {
            self.shared.one_label_more().await;
            return Ok(Heard::Learned);
        }
        Ok(Heard::Noted)
    }

    /// Learns from the labels in the store; at start, and when features have changed. Takes milliseconds for hundreds of labels and
    /// seconds for tens of thousands, on a thread of its own; until it is done, what was learned before holds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn learn(&self) -> Result<(), StoreError> {
        self.shared.learn().await
    }

    /// What has been learned, by risk, family and pair.
    pub fn learned(&self) -> Vec<Learned> {
        let routers = self.shared.learning.routers.load();
        let of = |(risk, router): (&Declared, &Router)| {
            let risk = *risk;
            let cells = router.report().map(move |(family, pair, report)| Learned {
                risk,
                family,
                pair: pair.clone(),
                report,
            });
            cells.collect::<Vec<_>>()
        };
        routers.iter().flat_map(of).collect()
    }
}

impl Shared {
    pub(crate) async fn learn(&self) -> Result<(), StoreError> {
        let _one = self.learning.one.lock().await;
        self.learning.fresh.store(0, Ordering::Relaxed);
        let labels = self.store.labels().await?;
        let registry = self.registry.load();
        let features = registry.prepared().rules().settings().features.iter();
        let mut risks: BTreeSet<Declared> = features.filter_map(|(_, feature)| feature.risk).collect();
        if risks.is_empty() {
            // Nobody has declared one yet; whoever thinks about it wants to see what the usual one would do.
            risks.insert(Declared::USUAL);
        }
        let learning = self.tasks.spawn_blocking(move || learned(&labels, &risks));
        match learning.await {
            Ok(routers) => self.learning.routers.store(routers.into()),
            Err(error) => tracing::error!(%error, "nothing could be learned from the labels"),
        }
        Ok(())
    }

    /// Notes that there is one label more.
    pub(crate) async fn one_label_more(&self) {
        if self.learning.fresh.fetch_add(1, Ordering::Relaxed) + 1 == LEARN_EVERY
            && let Err(error) = self.learn().await
        {
            tracing::error!(%error, "the labels could not be read");
        }
    }
}

fn learned(labels: &[Label], risks: &BTreeSet<Declared>) -> BTreeMap<Declared, Router> {
    let mut cells: BTreeMap<(Family, Pair), Vec<router::Label>> = BTreeMap::new();
    for label in labels {
        let statistics = &label.statistics;
        // What another version wrote cannot be compared with what this one sees.
        let (Ok(family), Some(signals)) = (statistics.family.parse(), statistics::read(&statistics.signals))
        else {
            continue;
        };
        let pair = Pair { device: statistics.device.clone(), cloud: statistics.cloud.clone() };
        let label = router::Label { signals, outcome: outcome(label.verdict), spared: statistics.spared };
        cells.entry((family, pair)).or_default().push(label);
    }
    let router = |risk: &Declared| {
        let mut router = Router::default();
        for ((family, pair), labels) in &cells {
            router.set(*family, pair.clone(), Cell::learn(labels, risk.risk()));
        }
        (*risk, router)
    };
    risks.iter().map(router).collect()
}

/// Where the other target's answer was there it counts as right: nobody else said what is.
fn outcome(verdict: Verdict) -> router::Outcome {
    match verdict {
        Verdict::Same => router::Outcome::Compared { device: true, cloud: true },
        Verdict::Different => router::Outcome::Compared { device: false, cloud: true },
        Verdict::Good => router::Outcome::Rated(true),
        Verdict::Bad => router::Outcome::Rated(false),
        Verdict::Retried => router::Outcome::Retried,
    }
}
