//! Keeps a connection ready to targets that are likely to be called, so that the call need not wait for the handshakes.
//!
//! Nothing is asked there, and nothing is connected to that the config does not permit. A connection costs a few kilobytes and tells
//! the other side that this machine is awake, so one is kept only to targets that were called lately, unless the config says
//! otherwise, and none while the network is paid by the byte. The warmer keeps no task; whoever owns it calls
//! [`Warmer::round`] and waits for [`PAUSE`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use inshore_domain::{BackendError, Clock, DeviceState, TargetId};

use crate::provider::Provider;

/// How long to wait between two rounds: a connection that was closed by the other side is missing for no longer.
pub const PAUSE: Duration = Duration::from_secs(15);
/// A target that was called within this time is likely to be called again: people pause for minutes, not for hours.
const LATELY: Duration = Duration::from_secs(600);
/// Connections kept ready. Nobody works with more places than this at the same time.
const MOST: usize = 8;
/// A place that cannot be reached is tried again after this time, and after twice as long each time that it fails again.
const FIRST_REST: Duration = Duration::from_secs(30);
/// The longest of these times.
const LONGEST_REST: Duration = Duration::from_secs(600);

/// To which targets connections are kept ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeepWarm {
    /// To those that were called in the last ten minutes.
    #[default]
    Used,
    /// To all that the config permits.
    All,
    /// To none.
    Off,
}

/// What came of a target in a round.
#[derive(Debug)]
pub struct Warmed {
    /// Which.
    pub target: TargetId,
    /// Whether a connection was made, or why none could be; `Ok(false)`: one lay ready.
    pub outcome: Result<bool, BackendError>,
}

/// Knows which targets are likely to be called.
pub struct Warmer {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Targets that were called before this process began, and until when that counts.
    before: HashMap<TargetId, Instant>,
    /// Targets that could not be reached: how often in a row, and until when they are left alone.
    resting: HashMap<TargetId, (u32, Instant)>,
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warmer").finish_non_exhaustive()
    }
}

impl Warmer {
    /// A warmer that knows of no call yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Notes that a target was called so long ago, before this process began.
    pub fn called_before(&self, target: TargetId, ago: Duration) {
        if let Some(left) = LATELY.checked_sub(ago) {
            let until = self.clock.monotonic() + left;
            let before = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).before;
            let known = before.entry(target).or_insert(until);
            *known = (*known).max(until);
        }
    }

    /// Sees to it that a connection lies ready at each target that is likely to be called, one for targets at the same place; but
    /// for none while this machine has no network or one that is paid by the byte, nor for those that are `down`.
    pub async fn round(
        &self,
        targets: &[Arc<Provider>],
        keep: KeepWarm,
        machine: DeviceState,
        down: &[TargetId],
    ) -> Vec<Warmed> {
        if machine.offline || machine.metered == Some(true) {
            return Vec::new();
        }
        let warm = |provider: Arc<Provider>| async move {
            Warmed { target: provider.target().id.clone(), outcome: provider.warm().await }
        };
        let warmed = join_all(self.likely(targets, keep, down).into_iter().map(warm)).await;
        self.note(&warmed);
        warmed
    }

    /// The targets to keep a connection to, those called last first.
    fn likely(&self, targets: &[Arc<Provider>], keep: KeepWarm, down: &[TargetId]) -> Vec<Arc<Provider>> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.before.retain(|_, until| *until > now);
        state.resting.retain(|id, _| targets.iter().any(|provider| provider.target().id == *id));
        let quiet = |provider: &Provider| {
            let before =
                state.before.get(&provider.target().id).map(|until| LATELY.saturating_sub(*until - now));
            [provider.last_call(), before].into_iter().flatten().min()
        };
        let wanted = |provider: &&Arc<Provider>| {
            let target = provider.target();
            let rests = state.resting.get(&target.id).is_some_and(|(_, until)| *until > now);
            target.permitted_up_to.is_some() && !rests && !down.contains(&target.id)
        };
        let mut likely: Vec<(Duration, &Arc<Provider>)> = Vec::new();
        for provider in targets.iter().filter(wanted) {
            match (keep, quiet(provider)) {
                (KeepWarm::Used | KeepWarm::All, Some(quiet)) if quiet <= LATELY => {
                    likely.push((quiet, provider))
                }
                (KeepWarm::All, _) => likely.push((Duration::MAX, provider)),
                _ => {}
            }
        }
        likely.sort_by_key(|(quiet, _)| *quiet);
        let mut places = BTreeSet::new();
        let first_there = |provider: &&Arc<Provider>| places.insert(provider.destination().to_string());
        let likely = likely.into_iter().map(|(_, provider)| provider).filter(first_there);
        likely.take(MOST).cloned().collect()
    }

    fn note(&self, warmed: &[Warmed]) {
        let now = self.clock.monotonic();
        let resting = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).resting;
        for Warmed { target, outcome } in warmed {
            if outcome.is_ok() {
                resting.remove(target);
                continue;
            }
            let failed = resting.get(target).map_or(0, |(failed, _)| *failed);
            let rest = FIRST_REST.saturating_mul(1 << failed.min(10)).min(LONGEST_REST);
            resting.insert(target.clone(), (failed + 1, now + rest));
        }
    }
}
