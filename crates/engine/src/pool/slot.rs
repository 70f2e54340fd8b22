//! One model of the pool: what it is, and whether it is loaded.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use inshore_domain::{BackendError, Target};

use super::options::DeviceModel;
use super::prefixes::Identity;
use super::writer::Writer;
use crate::gguf::{Estimate, LoadShape, Model};
use crate::host::Host;
use crate::template::ChatTemplate;
use crate::tools::Format;

/// Crashes while loading within [`CRASH_WINDOW`] after which the model is left alone for the rest of the window: a file that kills the engine
/// three times will do so a fourth time.
pub(super) const MAX_LOAD_CRASHES: usize = 3;
/// See [`MAX_LOAD_CRASHES`].
pub(super) const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// The wait before the second start in a window; doubles with each crash. The first restart is at once.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// What is known of a model before it is loaded. Never changes.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) model: DeviceModel,
    pub(super) about: Model,
    pub(super) template: ChatTemplate,
    pub(super) format: Format,
    pub(super) target: Arc<Target>,
    pub(super) shape: LoadShape,
    pub(super) estimate: Estimate,
    pub(super) identity: Identity,
    pub(super) embeddings: bool,
    pub(super) keep_alive: Option<Duration>,
}

pub(super) type LoadOutcome = Result<(), BackendError>;

/// Whether it is loaded.
#[derive(Debug)]
pub(super) enum State {
    Unloaded,
    /// Somebody loads it; everybody else waits for the outcome.
    Loading(watch::Receiver<Option<LoadOutcome>>),
    Loaded(Arc<Host>),
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) known: Arc<Known>,
    pub(super) state: Mutex<State>,
    pub(super) writer: Writer,
    running: AtomicUsize,
    last_used: Mutex<Instant>,
    /// Something about its use has changed.
    pub(super) used: Notify,
    crashes: Mutex<Vec<Instant>>,
    /// Loaded and not used since: whoever had it loaded is just about to.
    pub(super) fresh: AtomicBool,
    /// The pool no longer lists it.
    pub(super) retired: watch::Sender<bool>,
}

impl Slot {
    pub(super) fn new(known: Known) -> Arc<Self> {
        Arc::new(Self {
            known: Arc::new(known),
            state: Mutex::new(State::Unloaded),
            writer: Writer::default(),
            running: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
            used: Notify::new(),
            crashes: Mutex::new(Vec::new()),
            fresh: AtomicBool::new(false),
            retired: watch::Sender::new(false),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.known.model.id
    }

    pub(super) fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn host(&self) -> Option<Arc<Host>> {
        self.with_state(|state| match state {
            State::Loaded(host) => Some(Arc::clone(host)),
            _ => None,
        })
    }

    /// Begins to use it, if it is loaded. Under the same lock as [`Self::take_if_idle`], so that nothing is unloaded under a request.
    pub(super) fn lease(self: &Arc<Self>, host: &Arc<Host>) -> Lease {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.fresh.store(false, Ordering::SeqCst);
        Lease { slot: Arc::clone(self), host: Arc::clone(host) }
    }

    /// Takes the host away when nobody uses it.
    pub(super) fn take_if_idle(&self) -> Option<Arc<Host>> {
        self.with_state(|state| {
            if self.running() > 0 || !matches!(state, State::Loaded(_)) {
                return None;
            }
            match std::mem::replace(state, State::Unloaded) {
                State::Loaded(host) => Some(host),
                _ => None,
            }
        })
    }

    /// Forgets this host, whoever uses it.
    pub(super) fn forget(&self, host: &Arc<Host>) {
        self.with_state(|state| {
            if matches!(state, State::Loaded(current) if Arc::ptr_eq(current, host)) {
                *state = State::Unloaded;
            }
        });
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub(super) fn last_used(&self) -> Instant {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self) {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.used.notify_waiters();
    }

    pub(super) fn note_crash(&self) {
        self.recent_crashes(|crashes| crashes.push(Instant::now()));
    }

    /// Crashes in the window, and how long to wait before the next start.
    pub(super) fn crash_record(&self) -> (usize, Duration) {
        self.recent_crashes(|crashes| {
            let count = crashes.len();
            let wait = match (count, crashes.last()) {
                (0 | 1, _) | (_, None) => Duration::ZERO,
                (_, Some(last)) => {
                    let doubled = FIRST_BACKOFF.saturating_mul(1 << (count - 2).min(5));
                    doubled.saturating_sub(last.elapsed())
                }
            };
            (count, wait)
        })
    }

    fn recent_crashes<T>(&self, act: impl FnOnce(&mut Vec<Instant>) -> T) -> T {
        let mut crashes = self.crashes.lock().unwrap_or_else(PoisonError::into_inner);
        crashes.retain(|at| at.elapsed() < CRASH_WINDOW);
        act(&mut crashes)
    }
}

/// The right to use a loaded model. While it lives the model stays.
#[derive(Debug)]
pub(super) struct Lease {
    slot: Arc<Slot>,
    pub(super) host: Arc<Host>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.slot.touch();
        self.slot.running.fetch_sub(1, Ordering::SeqCst);
        self.slot.used.notify_waiters();
    }
}
