//! The application: the road of a request, `inspect → decide → execute → settle`.
//!
//! Layout: [`Runtime`] the door; `account` what the calls of a request share, `spend` what is set aside for them, `masked` what leaves
//! in place of the request; `execute` runs the steps of a Decision, `hedge`, `draft`, `cascade` and `split` (with `delegate`) in other ways
//! than one after the other; `leg` is one call that answers, `half` one of several; [`Answer`] the answer on its way to the caller,
//! `revise` and `log` one that changes on the way, by what `patch` finds; `lesson` what can be learned of an answer, `learn` what was
//! learned of all, `statistics` how it is stored; `settle` the receipt; `report` what was spent; [`RetryPolicy`] when a call is made again;
//! `health` what was seen of each target, `pace` how fast its answers were; `cache` answers that were given before; [`Sensor`] the state of
//! the machine; [`Registry`] the targets there are.
//!
//! Invariants: the runtime sees only [`inshore_domain::Backend`]s; it knows no wire format, no provider and no engine.
//! Data walks the road once, forward: nothing after `decide` re-decides, a failed step consults the next step of the
//! same Decision, and after the first piece of an answer no other target is tried, except where the caller takes revisions. An answer
//! ends only after its receipt is committed.
#![forbid(unsafe_code)]

mod account;
mod answer;
mod cache;
mod cascade;
mod delegate;
mod draft;
mod error;
mod execute;
mod half;
mod health;
mod hedge;
mod learn;
mod leg;
mod lesson;
mod log;
mod masked;
mod pace;
mod patch;
mod registry;
mod report;
mod retry;
mod revise;
mod sensor;
mod settle;
mod spend;
mod split;
mod statistics;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use inshore_domain::{
    BackendError, Clock, Decision, DeviceState, Exclusion, Facts, Outcome, ReceiptId, Request, Strategy,
    Target, TargetId, Usage,
};
use inshore_policy::{Rules, inspect};
use inshore_store::Store;
use tokio_util::task::TaskTracker;

pub use answer::{Answer, AnswerStream};
pub use cache::{CacheCounts, CacheSettings};
pub use error::{RunError, RunErrorKind};
pub use health::Measured;
pub use learn::{Feedback, Heard, Learned};
pub use log::{Entry, LogReader};
pub use pace::{Pace, Quantiles};
pub use registry::{Registered, Registry};
pub use report::{SpendReport, WhatIf};
pub use retry::{RetryPolicy, RetryRules};
pub use sensor::Sensor;
pub use spend::Spending;

use account::Account;
use cache::Cache;
use draft::Pair;
use execute::Begun;
use log::{Log, Logs};
use masked::Stand;
use revise::Source;
use sensor::Depth;
use settle::Running;

/// Vectors and what they took.
#[derive(Debug)]
pub struct Embedded {
    /// Names the receipt, which is already in the store.
    pub receipt: ReceiptId,
    /// Which target made them.
    pub target: Arc<Target>,
    /// One for each input, in order, normalised to length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens used.
    pub usage: Usage,
}

/// An answer that may be revised while it is made.
#[derive(Debug)]
pub struct Generated {
    /// Names the receipt, which is in the store by the time the log ends.
    pub receipt: ReceiptId,
    /// How it is made.
    pub strategy: Strategy,
    /// What the caller should know before it reads on.
    pub notes: Vec<String>,
    /// The answer.
    pub log: LogReader,
}

/// The runtime of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    store: Store,
    registry: ArcSwap<Registry>,
    spending: ArcSwap<Spending>,
    retry: ArcSwap<RetryRules>,
    health: health::Health,
    cache: Arc<Cache>,
    sensor: ArcSwapOption<Arc<dyn Sensor>>,
    /// Requests that a device model works on or that wait for it.
    on_device: Depth,
    /// Answers that can be read again.
    logs: Logs,
    learning: learn::Learning,
    tasks: TaskTracker,
}

impl Runtime {
    /// A runtime without targets; see [`Self::set_targets`].
    pub fn new(clock: Arc<dyn Clock>, store: Store) -> Self {
        let shared = Shared {
            clock,
            store,
            registry: ArcSwap::default(),
            spending: ArcSwap::default(),
            retry: ArcSwap::default(),
            health: health::Health::default(),
            cache: Arc::default(),
            sensor: ArcSwapOption::empty(),
            on_device: Depth::default(),
            logs: Logs::default(),
            learning: learn::Learning::default(),
            tasks: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Replaces the targets. Requests already decided keep theirs.
    pub fn set_targets(&self, entries: Vec<Registered>) {
        self.shared.registry.rcu(|registry| Registry::new(entries.clone(), registry.prepared().rules()));
        self.shared.health.keep_only(self.shared.registry.load().targets());
        self.shared.cache.clear();
    }

    /// Replaces the rules. Requests already decided keep theirs.
    pub fn set_rules(&self, rules: Rules) {
        self.shared.registry.rcu(|registry| registry.with_rules(&rules));
        self.shared.cache.clear();
    }

    /// Replaces what is tried again.
    pub fn set_retry(&self, rules: RetryRules) {
        self.shared.retry.store(Arc::new(rules));
    }

    /// Replaces what may be spent. Calls already reserved go on.
    pub fn set_spending(&self, spending: Spending) {
        self.shared.spending.store(Arc::new(spending));
    }

    /// Replaces what is kept of answers, and forgets those that were kept.
    pub fn set_cache(&self, settings: CacheSettings) {
        self.shared.cache.set(settings);
    }

    /// What the cache has done since the start.
    pub fn cache_counts(&self) -> CacheCounts {
        self.shared.cache.counts()
    }

    /// Asks this one for the state of the machine from now on; until then nothing is known of it.
    pub fn set_sensor(&self, sensor: Arc<dyn Sensor>) {
        self.shared.sensor.store(Some(Arc::new(sensor)));
    }

    /// The targets there are, in the order of the config.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.shared.registry.load().targets().to_vec()
    }

    /// Targets that failed several times in a row and are left alone for a while.
    pub fn down(&self) -> Vec<TargetId> {
        self.shared.health.down(self.shared.clock.monotonic())
    }

    /// What a probe found of a target: it was reached, or why not. Counts towards health as a call does.
    pub fn probed(&self, target: &TargetId, found: Result<(), &BackendError>) {
        match found {
            Ok(()) => self.shared.health.reached(target),
            Err(error) if error.kind.counts_against_health() => {
                self.shared.health.failed(target, self.shared.clock.monotonic(), error.retry_after);
            }
            Err(_) => {}
        }
    }

    /// How fast the targets were that have answered of late, in the order of their names.
    pub fn measured(&self) -> Vec<Measured> {
        self.shared.health.measured(self.shared.clock.monotonic())
    }

    /// Where the request would run now, and why, without running it.
    pub fn decide(&self, request: &Request) -> (Facts, Decision) {
        let id = ReceiptId::new(self.shared.clock.now(), self.shared.clock.random());
        let Decided { facts, decision, .. } = self.decide_with(request, &self.shared.registry.load(), id);
        (facts, decision)
    }

    fn decide_with(&self, request: &Request, registry: &Registry, id: ReceiptId) -> Decided {
        let mut facts = inspect::inspect(request);
        self.shared.health.complete(&mut facts, self.shared.clock.monotonic());
        facts.device = self.device_state();
        let rules = registry.prepared().rules();
        rules.complete(&mut facts);
        let stand = masked::stand(request, rules, &mut facts);
        facts.headroom = self.shared.headroom(&facts, registry.targets(), (id, request.received_at));
        let decision = registry.prepared().decide(&facts);
        Decided { facts, decision, stand }
    }

    fn device_state(&self) -> DeviceState {
        let sensed = self.shared.sensor.load();
        let state = sensed.as_ref().map(|sensor| sensor.state()).unwrap_or_default();
        DeviceState { queue_depth: self.shared.on_device.now(), ..state }
    }

    /// Answers a conversation or continues a text.
    ///
    /// # Errors
    /// When no target may or can take it, or the last one tried failed before its first token. What had to be said has
    /// then been said in a receipt too.
    pub async fn run(&self, request: Request) -> Result<Answer, RunError> {
        let registry = self.shared.registry.load_full();
        if let Some(error) = self.closed() {
            return Err(error);
        }
        let mut running = self.inspect(request, &registry);
        let begun = match running.look_in_cache().await {
            Some(kept) => execute::replay(running, &kept),
            None => begin(refuse_if_nowhere(running).await?, &registry).await?,
        };
        let (receipt, notes) = (begun.running.account.id, begun.running.account.notes());
        let (target, model) = (begun.leg.target.clone(), begun.leg.model.clone());
        let replayed = begun.running.replay.is_some();
        Ok(Answer { receipt, target, model, notes, replayed, events: AnswerStream::new(begun) })
    }

    /// Answers as [`Self::run`] does, for a caller that takes revisions: with [`Strategy::Draft`] the draft is shown first.
    ///
    /// The answer goes on when the reader is dropped, for a short while, so that the caller can come back ([`Self::resume`]).
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn generate(&self, mut request: Request) -> Result<Generated, RunError> {
        // The answer is shown as it is made, and in a form that no target's own bytes have.
        (request.stream, request.original) = (true, None);
        let registry = self.shared.registry.load_full();
        if let Some(error) = self.closed() {
            return Err(error);
        }
        let mut running = self.inspect(request, &registry);
        let (running, source) = match running.look_in_cache().await {
            Some(kept) => Source::one(execute::replay(running, &kept)),
            None => {
                let running = refuse_if_nowhere(running).await?;
                match running.decision.strategy {
                    Strategy::Draft => begin_pair(running, &registry).await?,
                    _ => Source::one(begin(running, &registry).await?),
                }
            }
        };
        let (receipt, strategy) = (running.account.id, running.decision.strategy);
        let notes = running.account.notes();
        let log = Arc::new(Log::new(receipt, running.account.request.principal.app.clone()));
        self.shared.logs.keep(&log, self.shared.clock.monotonic());
        let reader = log.read(0);
        self.shared.tasks.spawn(revise::write(running, source, log));
        Ok(Generated { receipt, strategy, notes, log: reader })
    }

    /// Reads an answer on after so many entries: one that is being made, or that has ended some minutes ago.
    ///
    /// # Errors
    /// When this app has no such answer.
    pub fn resume(&self, app: &str, receipt: ReceiptId, passed: usize) -> Result<LogReader, RunError> {
        let log = self.shared.logs.find(receipt, app);
        log.map(|log| log.read(passed)).ok_or_else(|| {
            let message = format!("there is no answer `{receipt}` that can be read on");
            let hint = "answers can be read for five minutes after they have ended; the receipt stays";
            RunError { hint: Some(hint.into()), ..RunError::new(RunErrorKind::UnknownAnswer, message) }
        })
    }

    /// Turns texts into vectors. The receipt is committed when this returns.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn embed(&self, request: Request) -> Result<Embedded, RunError> {
        let registry = self.shared.registry.load_full();
        let running = self.admit(request, &registry).await?;
        let (running, target, vectors) = execute::embed(running, &registry).await?;
        let (receipt, usage) = (running.account.id, running.usage);
        running.settle(Outcome::Answered).await?;
        Ok(Embedded { receipt, target, vectors, usage })
    }

    /// Counts the tokens of a conversation's prompt at the target that would answer it. Leaves a receipt only when
    /// something left the device for it.
    ///
    /// # Errors
    /// When no target may or can take it.
    pub async fn count_tokens(&self, request: Request) -> Result<u32, RunError> {
        let registry = self.shared.registry.load_full();
        let running = self.admit(request, &registry).await?;
        let (running, result) = execute::count_tokens(running, &registry).await;
        if running.account.egress.snapshot().is_empty() && !running.account.holds_something() {
            running.forget();
            return result;
        }
        match result {
            Ok(tokens) => running.settle(Outcome::Answered).await.map(|()| tokens),
            Err(error) => Err(execute::fail(running, error).await),
        }
    }

    /// Refuses new work, and waits until all answers under way are settled. Whoever holds [`AnswerStream`]s must finish
    /// or drop them.
    pub async fn shutdown(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Inspects and decides; refuses what no target may or can take.
    async fn admit(&self, request: Request, registry: &Registry) -> Result<Running, RunError> {
        match self.closed() {
            Some(error) => Err(error),
            None => refuse_if_nowhere(self.inspect(request, registry)).await,
        }
    }

    /// Why nothing new is taken on, where that is so.
    fn closed(&self) -> Option<RunError> {
        let closed = self.shared.tasks.is_closed();
        closed.then(|| RunError::new(RunErrorKind::ShuttingDown, "the daemon is shutting down"))
    }

    /// Inspects and decides.
    fn inspect(&self, request: Request, registry: &Registry) -> Running {
        let id = ReceiptId::new(self.shared.clock.now(), self.shared.clock.random());
        let Decided { facts, decision, stand } = self.decide_with(&request, registry, id);
        let request = within_limits(request, &facts);
        Running::new(Account::new(self.shared.clone(), id, request, facts, stand), decision)
    }
}

/// What is known and decided of a request.
struct Decided {
    facts: Facts,
    decision: Decision,
    /// What leaves in its place, where values are masked.
    stand: Option<Stand>,
}

/// Begins the answer for a caller that takes one text.
async fn begin(running: Running, registry: &Arc<Registry>) -> Result<Begun, RunError> {
    match running.decision.strategy {
        Strategy::Draft => draft::begin_plain(running, registry).await,
        Strategy::Cascade => cascade::begin(running, registry).await,
        Strategy::Split => match running.account.reading() {
            Some(reading) => delegate::begin(running, registry, &reading).await,
            // What leaves has been chosen by then.
            None => execute::begin(running, registry).await,
        },
        Strategy::Direct | Strategy::Fallback => {
            cascade::note_unjudged(&running, registry);
            execute::begin(running, registry).await
        }
    }
}

/// Begins a draft and its better answer, for a caller that takes both.
async fn begin_pair(running: Running, registry: &Arc<Registry>) -> Result<(Running, Source), RunError> {
    let mut pair = Pair::begin(&running, registry);
    match pair.accepted().await {
        Ok(()) => Ok((running, Source::Pair(pair))),
        Err(error) => {
            drop(pair);
            Err(execute::fail(running, error).await)
        }
    }
}

/// A feature may allow fewer tokens than the request asks for. What is set aside counts on it, so the target is told; the caller's own
/// bytes then no longer say what is asked.
fn within_limits(mut request: Request, facts: &Facts) -> Request {
    let Some(sampling) = request.task.sampling_mut() else { return request };
    if sampling.max_tokens != facts.max_output_tokens {
        sampling.max_tokens = facts.max_output_tokens;
        request.original = None;
    }
    request
}

/// Refuses a request for which no target is left.
async fn refuse_if_nowhere(running: Running) -> Result<Running, RunError> {
    if running.decision.steps.is_empty() {
        let error = refusal(&running);
        return Err(execute::fail(running, error).await);
    }
    Ok(running)
}

/// When the first of the caps renews that have no room.
fn renewal(running: &Running) -> Option<Duration> {
    let now = running.account.shared.clock.now().unix_millis();
    let renewals = running.decision.verdicts.iter().filter_map(|verdict| match &verdict.outcome {
        Err(Exclusion::OverCap { claim, .. }) => claim.renews,
        _ => None,
    });
    renewals.min().map(|renews| Duration::from_millis(renews.unix_millis().saturating_sub(now)))
}

/// Says why no target is left.
fn refusal(running: &Running) -> RunError {
    let model = &running.account.request.model;
    let excluded = || {
        running
            .decision
            .verdicts
            .iter()
            .filter_map(|verdict| Some((verdict, verdict.outcome.as_ref().err()?)))
    };
    if excluded().all(|(_, exclusion)| *exclusion == Exclusion::NotAsked) {
        let mut error = RunError::new(RunErrorKind::UnknownModel, format!("there is no model `{model}`"));
        error.hint = Some(
            "`inshore model list` shows the models there are; `auto` takes the best that is permitted".into(),
        );
        return error;
    }
    let reasons: Vec<String> = excluded()
        .filter(|(_, exclusion)| **exclusion != Exclusion::NotAsked)
        .map(|(verdict, exclusion)| format!("`{}`: {exclusion}", verdict.target))
        .collect();
    let message = format!("no target may or can take this request ({})", reasons.join("; "));
    let mut error = RunError::new(RunErrorKind::NoTarget, message);
    error.retry_after = renewal(running);
    error.decision = Some(Box::new(running.decision.clone()));
    error
}
