//! A daemon whose only target answers by script.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use inshore_api::{Control, ControlError, Parts, Refreshed, Status, TargetStatus};
use inshore_domain::event::Delta;
use inshore_domain::{
    Backend, BackendError, BoxFuture, Call, Capabilities, Capability, Clock, Embedder, Event, EventStream,
    FinishReason, Health, Request, Sensitivity, Target, TargetId, Tier, Timestamp, Usage,
};
use inshore_runtime::{Registered, Runtime};
use inshore_store::{Key, Store, StoreOptions};

/// What a script gives for a call.
pub(crate) type Scripted = Result<Vec<Result<Event, BackendError>>, BackendError>;
/// A script: from the call to the events.
pub(crate) type Script = Box<dyn Fn(&Call) -> Scripted + Send + Sync>;

/// Time that stands still, and randomness that counts.
#[derive(Debug)]
pub(crate) struct StillClock {
    base: Instant,
    drawn: AtomicU64,
}

impl Default for StillClock {
    fn default() -> Self {
        Self { base: Instant::now(), drawn: AtomicU64::new(1) }
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000)
    }
    fn monotonic(&self) -> Instant {
        self.base
    }
    fn random(&self) -> u128 {
        u128::from(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// The target's other side.
pub(crate) struct ScriptedBackend {
    script: Mutex<Script>,
    /// Requests that came, oldest first.
    pub(crate) seen: Mutex<Vec<Arc<Request>>>,
    /// Where there is one, answers come from here instead: each up to an error with the message `END`.
    pub(crate) feed: Mutex<Option<Feed>>,
    /// Where there is one, answers come from here instead, and never end.
    pub(crate) endless: Mutex<Option<Endless>>,
}

/// Events by hand.
pub(crate) type Feed =
    Arc<tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Result<Event, BackendError>>>>;
/// Makes a stream of its own for each answer.
pub(crate) type Endless = Box<dyn Fn() -> EventStream + Send + Sync>;

impl ScriptedBackend {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script),
            seen: Mutex::default(),
            feed: Mutex::default(),
            endless: Mutex::default(),
        })
    }

    #[allow(dead_code, reason = "the example sets its script once")]
    pub(crate) fn set(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// Waits until this many requests have come.
    #[allow(dead_code, reason = "the example does not wait")]
    pub(crate) async fn wait_for_calls(&self, calls: usize) {
        while self.seen.lock().unwrap().len() < calls {
            tokio::task::yield_now().await;
        }
    }

    /// The events of the next answer.
    fn answer(&self, call: &Call) -> Result<EventStream, BackendError> {
        if let Some(endless) = &*self.endless.lock().unwrap() {
            return Ok(endless());
        }
        if let Some(feed) = self.feed.lock().unwrap().clone() {
            return Ok(Box::pin(stream::unfold(feed, |feed| async move {
                let next = feed.lock().await.recv().await?;
                match next {
                    Err(error) if error.message == "END" => None,
                    next => Some((next, feed)),
                }
            })));
        }
        let events = (self.script.lock().unwrap())(call)?;
        Ok(Box::pin(stream::iter(events)))
    }

    #[allow(dead_code, reason = "the example does not look")]
    pub(crate) fn last(&self) -> Arc<Request> {
        self.seen.lock().unwrap().last().cloned().expect("a request came")
    }
}

impl Backend for ScriptedBackend {
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>> {
        self.seen.lock().unwrap().push(call.request.clone());
        let outcome = self.answer(&call);
        Box::pin(async move {
            let started = Ok(Event::Started { model: call.target.model.clone() });
            Ok(Box::pin(stream::iter([started]).chain(outcome?)) as EventStream)
        })
    }

    fn count_tokens(&self, call: Call) -> BoxFuture<'_, Result<u32, BackendError>> {
        self.seen.lock().unwrap().push(call.request.clone());
        Box::pin(async { Ok(17) })
    }
}

impl Embedder for ScriptedBackend {
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<(Vec<Vec<f32>>, Usage), BackendError>> {
        let inshore_domain::Task::Embedding(embedding) = &call.request.task else {
            panic!("not an embedding")
        };
        let vectors = embedding.inputs.iter().map(|_| vec![0.6, 0.8]).collect();
        self.seen.lock().unwrap().push(call.request.clone());
        Box::pin(async move { Ok((vectors, Usage { prompt_tokens: 5, ..Usage::default() })) })
    }
}

pub(crate) fn target(id: &str, tier: Tier, capabilities: Capabilities) -> Target {
    Target {
        id: TargetId(id.to_owned()),
        endpoint_of: None,
        tier,
        model: id.rsplit('/').next().unwrap_or(id).to_owned(),
        aliases: vec!["small".to_owned()],
        destination: None,
        context_window: 4096,
        max_output: None,
        capabilities,
        price: None,
        permitted_up_to: (tier != Tier::Device).then_some(Sensitivity::Internal),
        region: None,
        quality: None,
    }
}

/// A piece of text.
#[allow(dead_code, reason = "not every user needs it")]
pub(crate) fn text(index: u32, text: &str) -> Result<Event, BackendError> {
    Ok(Event::Delta { index, delta: Delta::Text { text: text.to_owned(), logprobs: Vec::new() } })
}

pub(crate) fn delta(delta: Delta) -> Result<Event, BackendError> {
    Ok(Event::Delta { index: 0, delta })
}

pub(crate) fn finished(reason: FinishReason) -> Result<Event, BackendError> {
    Ok(Event::Finished { index: 0, reason })
}

pub(crate) fn usage() -> Result<Event, BackendError> {
    Ok(Event::Usage(Usage { prompt_tokens: 12, cached_tokens: 8, output_tokens: 3, ..Usage::default() }))
}

/// Everything a server needs, over a store in a folder of its own.
#[allow(dead_code, reason = "the example needs only the parts")]
pub(crate) struct Daemon {
    pub(crate) parts: Parts,
    pub(crate) backend: Arc<ScriptedBackend>,
    pub(crate) control: Arc<TestControl>,
    _folder: tempfile::TempDir,
}

pub(crate) fn daemon(script: Script) -> Daemon {
    let folder = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(StillClock::default());
    let options = StoreOptions::new(folder.path().join("store.db"), Key::from_bytes([7; 32]));
    let store = Store::open(options).expect("a store");
    let runtime = Runtime::new(clock.clone(), store.clone());
    let backend = ScriptedBackend::new(script);
    let everything: Capabilities = Capability::ALL.into_iter().collect();
    let device = Arc::new(target("device/tiny", Tier::Device, everything));
    runtime.set_targets(vec![Registered {
        target: device.clone(),
        backend: backend.clone(),
        embedder: Some(backend.clone()),
    }]);
    let control =
        Arc::new(TestControl { target: device, ready: Mutex::new(Ok(())), shutdowns: AtomicU64::new(0) });
    let parts = Parts { runtime, store, clock, control: control.clone() };
    Daemon { parts, backend, control, _folder: folder }
}

pub(crate) struct TestControl {
    target: Arc<Target>,
    pub(crate) ready: Mutex<Result<(), String>>,
    pub(crate) shutdowns: AtomicU64,
}

impl Control for TestControl {
    fn status(&self) -> BoxFuture<'_, Status> {
        let target = TargetStatus {
            target: self.target.clone(),
            health: Health::Up,
            state: "loaded".to_owned(),
            detail: vec![("threads".to_owned(), "2".to_owned())],
        };
        Box::pin(async move {
            Status {
                version: "0.1.0".to_owned(),
                pid: 4711,
                uptime: Duration::from_millis(1500),
                resident_bytes: Some(12_000_000),
                targets: vec![target],
            }
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.lock().unwrap().clone()
    }

    fn refresh_models(&self) -> BoxFuture<'_, Result<Refreshed, ControlError>> {
        Box::pin(async { Ok(Refreshed { added: vec!["device/new".to_owned()], removed: Vec::new() }) })
    }

    fn request_shutdown(&self) {
        self.shutdowns.fetch_add(1, Ordering::Relaxed);
    }
}
