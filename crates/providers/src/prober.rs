//! Looks after targets that nobody calls: whether one that failed is back, and whether one that lies idle is still there.
//!
//! A probe asks for the list of models: it needs the endpoint and the key, costs nothing and sends no prompt. Only targets that
//! the config permits are probed, and only while they are down or idle: a call tells as much. The prober keeps time and no
//! task; whoever owns it calls [`Prober::round`] and waits for [`Prober::pause`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use inshore_domain::{BackendError, BackendErrorKind, Clock, EgressLog, EgressRecord, TargetId};

use crate::provider::Provider;

/// A list of models comes within this time, or the target is of no use either.
const PATIENCE: Duration = Duration::from_secs(10);
/// A target that is down is probed this many times as often: somebody waits for it.
const SOONER: u32 = 4;
/// Shortest pause between two rounds, whatever intervals are asked for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: a target that goes down meanwhile, or is new, is noticed so soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A target to look after.
#[derive(Debug, Clone)]
pub struct Subject {
    /// How it is reached.
    pub provider: Arc<Provider>,
    /// How often, half and half again as often by chance; and how long it must have lain idle.
    pub interval: Duration,
}

/// What a probe found.
#[derive(Debug)]
pub struct Probed {
    /// Of which target.
    pub target: TargetId,
    /// The models that it has, or why it could not be asked.
    pub outcome: Result<Vec<String>, BackendError>,
    /// How long that took.
    pub took: Duration,
    /// What was sent for it; no receipt names it.
    pub egress: Vec<EgressRecord>,
}

/// Knows which targets are to be probed when.
pub struct Prober {
    clock: Arc<dyn Clock>,
    due: Mutex<HashMap<TargetId, Instant>>,
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

impl Prober {
    /// A prober that has seen no target yet. The first probe of each comes after its interval.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, due: Mutex::default() }
    }

    /// Probes the targets whose time has come, all at once; `down` are those that failed. Targets that are not among the
    /// subjects any more are forgotten.
    pub async fn round(&self, subjects: &[Subject], down: &[TargetId]) -> Vec<Probed> {
        let due = self.take_due(subjects, down);
        join_all(due.into_iter().map(|provider| self.probe(provider))).await
    }

    /// How long until the next round may have something to do.
    pub fn pause(&self) -> Duration {
        let now = self.clock.monotonic();
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.values().min().map_or(LONGEST_PAUSE, |next| next.saturating_duration_since(now));
        next.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    fn take_due(&self, subjects: &[Subject], down: &[TargetId]) -> Vec<Arc<Provider>> {
        let now = self.clock.monotonic();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.retain(|id, _| subjects.iter().any(|subject| subject.provider.target().id == *id));
        let mut taken = Vec::new();
        for Subject { provider, interval } in subjects {
            let target = provider.target();
            if target.permitted_up_to.is_none() {
                continue;
            }
            let is_down = down.contains(&target.id);
            let interval = if is_down { *interval / SOONER } else { *interval };
            let next = || now + self.jittered(interval);
            let at = due.entry(target.id.clone()).or_insert_with(next);
            // One that has gone down since need not wait for the time it was given when it was well.
            *at = (*at).min(now + interval.saturating_mul(2));
            if *at > now {
                continue;
            }
            *at = next();
            if is_down || provider.idle_for() >= interval {
                taken.push(provider.clone());
            }
        }
        taken
    }

    /// Between half of the interval and half again, so that machines that start together do not probe together.
    fn jittered(&self, interval: Duration) -> Duration {
        let random = u128::from(self.clock.random() as u32);
        let nanos = u64::try_from((interval.as_nanos() * random) >> 32).unwrap_or(u64::MAX);
        (interval / 2).saturating_add(Duration::from_nanos(nanos))
    }

    async fn probe(&self, provider: Arc<Provider>) -> Probed {
        let (begun, egress) = (self.clock.monotonic(), EgressLog::default());
        let outcome = match tokio::time::timeout(PATIENCE, provider.probe(&egress)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let id = &provider.target().id;
                let message = format!("`{id}` did not list its models within {} s", PATIENCE.as_secs());
                Err(BackendError::new(BackendErrorKind::Timeout, message))
            }
        };
        Probed {
            target: provider.target().id.clone(),
            outcome,
            took: self.clock.monotonic().saturating_duration_since(begun),
            egress: egress.snapshot(),
        }
    }
}
