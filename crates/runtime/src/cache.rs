//! Answers that were given before, word for word the same request.
//!
//! Only features for which the config asks for it are cached, only up to a sensitivity, and only for the same app and user unless
//! answers are declared shareable. Identical requests that come while the first one is being answered wait for it and share its
//! answer (single flight). A hit is replayed event by event and written in the caller's own dialect.
//!
//! Kept in memory, within a number of bytes: what has not been used for longest leaves first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inshore_domain::{Event, Facts, Money, ReceiptId, Request, Sensitivity, Target};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// How long a request waits for an identical one that is being answered. The first one's own client may read slowly; it is cut
/// off after as long.
const FOLLOW: Duration = Duration::from_secs(30);
/// What an event takes in memory beside its text.
const EVENT_BYTES: usize = 96;
/// The longest answer that is kept: a quarter of a small cache, and longer than any answer that is asked for twice.
const LONGEST: usize = 1 << 20;

/// Which answers are kept, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheSettings {
    /// Most bytes of answers together.
    pub max_bytes: usize,
    /// How old a replayed answer may be.
    pub ttl: Duration,
    /// Answers to more sensitive requests are not kept.
    pub max_sensitivity: Sensitivity,
    /// An answer may be replayed to other apps and users than the one it was made for.
    pub shared: bool,
    /// The features whose answers are kept. Others are always answered anew.
    pub features: BTreeSet<String>,
}

impl Default for CacheSettings {
    /// Nothing is kept until a feature is named.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            ttl: Duration::from_secs(3600),
            max_sensitivity: Sensitivity::Internal,
            shared: false,
            features: BTreeSet::new(),
        }
    }
}

/// What has been replayed since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Requests answered from the cache.
    pub hits: u64,
    /// Requests of cached features that were answered anew.
    pub misses: u64,
    /// Answers kept now.
    pub answers: u64,
    /// Bytes they take.
    pub bytes: u64,
}

/// Names a request by everything that can change its answer.
pub(crate) type Key = [u8; 32];

/// An answer that was given.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) events: Vec<Event>,
    pub(crate) target: Arc<Target>,
    pub(crate) model: String,
    /// Of the request that it was made for.
    pub(crate) receipt: ReceiptId,
    /// What making it cost.
    pub(crate) cost: Money,
    at: Instant,
    bytes: usize,
}

#[derive(Default)]
struct State {
    kept: HashMap<Key, (u64, Arc<Kept>)>,
    /// Keys by when they were last used.
    used: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
    flights: HashMap<Key, watch::Receiver<()>>,
    counts: CacheCounts,
}

/// The cache.
#[derive(Default)]
pub(crate) struct Cache {
    settings: Mutex<CacheSettings>,
    state: Mutex<State>,
}

/// How a request goes on.
pub(crate) enum Entered {
    /// Its answer is there.
    Hit(Arc<Kept>),
    /// It is answered anew, and the answer is kept.
    Lead(Lead),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(crate) fn set(&self, settings: CacheSettings) {
        *locked(&self.settings) = settings;
        self.clear();
    }

    /// Forgets all answers: targets or rules are not what they were.
    pub(crate) fn clear(&self) {
        let mut state = locked(&self.state);
        state.kept.clear();
        state.used.clear();
        state.bytes = 0;
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        let state = locked(&self.state);
        CacheCounts { answers: state.kept.len() as u64, bytes: state.bytes as u64, ..state.counts }
    }

    /// The request's key; `None` when its answer is not to be kept.
    pub(crate) fn key(&self, request: &Request, facts: &Facts) -> Option<Key> {
        let feature = request.hints.feature.as_ref()?;
        let settings = locked(&self.settings);
        let kept = settings.features.contains(feature) && facts.sensitivity <= settings.max_sensitivity;
        kept.then(|| key(request, settings.shared))
    }

    /// Finds the answer, or waits for whoever is making it, or lets the caller make it.
    pub(crate) async fn enter(self: &Arc<Self>, key: Key, now: Instant) -> Option<Entered> {
        let enter = async {
            loop {
                let mut flight = match self.look(key, now) {
                    Ok(entered) => return entered,
                    Err(flight) => flight,
                };
                // An error says that the one who leads has ended, which is what is waited for.
                let _ = flight.changed().await;
            }
        };
        tokio::time::timeout(FOLLOW, enter).await.ok()
    }

    fn look(self: &Arc<Self>, key: Key, now: Instant) -> Result<Entered, watch::Receiver<()>> {
        let ttl = locked(&self.settings).ttl;
        let mut state = locked(&self.state);
        match state.take_fresh(&key, now, ttl) {
            Some(kept) => {
                state.counts.hits += 1;
                Ok(Entered::Hit(kept))
            }
            None => match state.flights.get(&key) {
                Some(flight) => Err(flight.clone()),
                None => {
                    state.counts.misses += 1;
                    let (ends, flight) = watch::channel(());
                    state.flights.insert(key, flight);
                    let lead = Lead { cache: self.clone(), key, events: Vec::new(), bytes: 0, _ends: ends };
                    Ok(Entered::Lead(lead))
                }
            },
        }
    }

    fn keep(&self, key: Key, kept: Kept) {
        let most = locked(&self.settings).max_bytes;
        let mut state = locked(&self.state);
        state.remove(&key);
        state.uses += 1;
        let use_ = state.uses;
        state.bytes += kept.bytes;
        state.used.insert(use_, key);
        state.kept.insert(key, (use_, Arc::new(kept)));
        while state.bytes > most
            && let Some((_, oldest)) = state.used.first_key_value()
        {
            let oldest = *oldest;
            state.remove(&oldest);
        }
    }
}

impl State {
    fn remove(&mut self, key: &Key) {
        if let Some((use_, kept)) = self.kept.remove(key) {
            self.used.remove(&use_);
            self.bytes = self.bytes.saturating_sub(kept.bytes);
        }
    }

    fn take_fresh(&mut self, key: &Key, now: Instant, ttl: Duration) -> Option<Arc<Kept>> {
        let (_, kept) = self.kept.get(key)?;
        if now.saturating_duration_since(kept.at) > ttl {
            self.remove(key);
            return None;
        }
        self.uses += 1;
        let uses = self.uses;
        let (last, kept) = self.kept.get_mut(key)?;
        let last = std::mem::replace(last, uses);
        let kept = kept.clone();
        self.used.remove(&last);
        self.used.insert(uses, *key);
        Some(kept)
    }
}

/// The right to make an answer that others wait for. Dropping it lets the next one make it.
pub(crate) struct Lead {
    cache: Arc<Cache>,
    key: Key,
    events: Vec<Event>,
    bytes: usize,
    /// Those who wait hold the other end.
    _ends: watch::Sender<()>,
}

impl fmt::Debug for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lead").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Lead {
    /// Notes a piece of the answer. The target's own bytes are left out: they are in the first caller's dialect, and as that
    /// one wished to have them.
    pub(crate) fn record(&mut self, event: &Event) {
        if matches!(event, Event::Wire(_)) {
            return;
        }
        self.bytes = self.bytes.saturating_add(size(event));
        if self.bytes > LONGEST {
            // Too long to be kept; what is there is of no use any more.
            self.events = Vec::new();
            return;
        }
        self.events.push(event.clone());
    }

    /// The answer is complete: others get it from now on.
    pub(crate) fn keep(
        mut self,
        target: Arc<Target>,
        model: String,
        receipt: ReceiptId,
        cost: Money,
        now: Instant,
    ) {
        if self.bytes > LONGEST {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let kept = Kept { events, target, model, receipt, cost, at: now, bytes: self.bytes };
        self.cache.keep(self.key, kept);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        locked(&self.cache.state).flights.remove(&self.key);
    }
}

fn size(event: &Event) -> usize {
    let text = match event {
        Event::Wire(bytes) => bytes.len(),
        Event::Started { model } => model.len(),
        Event::Delta { delta, .. } => match delta {
            inshore_domain::Delta::Text { text, logprobs } => text.len() + logprobs.len() * EVENT_BYTES,
            inshore_domain::Delta::Reasoning(text) => text.len(),
            inshore_domain::Delta::ToolCall { id, name, .. } => id.len() + name.len(),
            inshore_domain::Delta::ToolArguments { fragment, .. } => fragment.len(),
        },
        Event::Finished { .. } | Event::Usage(_) => 0,
    };
    text + EVENT_BYTES
}

/// Everything that can change an answer. The task is written as its `Debug` form, which is derived all the way
/// down: fields by name, texts quoted and escaped, so that two tasks that differ never read the same. The caller's own bytes
/// are not part of it: white space and the order of keys change no answer.
fn key(request: &Request, shared: bool) -> Key {
    let mut hash = Hashed(Sha256::new());
    let principal = (!shared).then_some(&request.principal);
    // Writing into a hash cannot fail.
    let _ = write!(hash, "{:?}", (principal, &request.hints.feature, &request.model, &request.task));
    hash.0.finalize().into()
}

struct Hashed(Sha256);

impl Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}
