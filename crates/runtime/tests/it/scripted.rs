//! Backends that do what a test says, and a clock that stands still unless it is moved.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use inshore_domain::receipt::EgressRecord;
use inshore_domain::request::{Chat, Embedding, Message, PromptText, Role};
use inshore_domain::*;
use inshore_runtime::{Registered, Runtime};
use inshore_store::{Key, Store, StoreOptions};

#[derive(Debug)]
pub(crate) struct ManualClock {
    start: Instant,
    millis: AtomicU64,
    drawn: AtomicU64,
}

impl ManualClock {
    pub(crate) fn advance(&self, millis: u64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + self.millis.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Instant {
        self.start + Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }
    fn random(&self) -> u128 {
        u128::from(self.drawn.fetch_add(1, Ordering::SeqCst))
    }
}

/// What a backend does with one call.
#[derive(Clone)]
pub(crate) enum Script {
    /// Refuses before the first event, after sending these many bytes.
    Refuse(BackendErrorKind, u64),
    /// Accepts, gives these items, then ends.
    Play(Vec<Result<Event, BackendError>>),
    /// Accepts, gives one piece, then never anything again.
    Hang,
    /// Accepts, then never gives anything.
    Silent,
    /// Never accepts.
    NeverAccept,
    /// Accepts, and gives what the test sends, until it drops its end.
    Fed(Feed),
}

/// Items that a test sends by hand.
pub(crate) type Feed =
    Arc<tokio::sync::Mutex<tokio::sync::mpsc::UnboundedReceiver<Result<Event, BackendError>>>>;
/// The test's end of a feed.
pub(crate) type Hand = tokio::sync::mpsc::UnboundedSender<Result<Event, BackendError>>;

pub(crate) fn by_hand() -> (Hand, Script) {
    let (hand, items) = tokio::sync::mpsc::unbounded_channel();
    (hand, Script::Fed(Arc::new(tokio::sync::Mutex::new(items))))
}

pub(crate) struct Scripted {
    scripts: Mutex<VecDeque<Script>>,
    pub(crate) calls: AtomicUsize,
    /// The last request that was passed on.
    pub(crate) last: Mutex<Option<Arc<Request>>>,
    /// All that were.
    pub(crate) seen: Mutex<Vec<Arc<Request>>>,
    /// Streams that were made and not yet dropped.
    pub(crate) live: Arc<AtomicUsize>,
    clock: Arc<ManualClock>,
}

struct Live(Arc<AtomicUsize>);
impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn text(text: &str) -> Result<Event, BackendError> {
    Ok(Event::Delta { index: 0, delta: Delta::Text { text: text.into(), logprobs: Vec::new() } })
}

pub(crate) fn answer(words: &[&str]) -> Script {
    let mut items: Vec<_> = words.iter().map(|word| text(word)).collect();
    items.push(Ok(Event::Finished { index: 0, reason: FinishReason::Stop }));
    let output_tokens = u32::try_from(words.len()).unwrap();
    items.push(Ok(Event::Usage(Usage { prompt_tokens: 10, output_tokens, ..Usage::default() })));
    Script::Play(items)
}

impl Backend for Scripted {
    fn generate(&self, call: Call) -> BoxFuture<'_, Result<EventStream, BackendError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = Some(call.request.clone());
        self.seen.lock().unwrap().push(call.request.clone());
        let script = self.scripts.lock().unwrap().pop_front().expect("no script left for this call");
        self.clock.advance(3);
        self.live.fetch_add(1, Ordering::SeqCst);
        let live = Live(self.live.clone());
        Box::pin(async move {
            let started = Ok(Event::Started { model: format!("{}-2026", call.target.model) });
            let items: Vec<_> = match script {
                Script::Refuse(kind, bytes) => {
                    note(&call, bytes);
                    return Err(BackendError::new(kind, "refused as the script says"));
                }
                Script::NeverAccept => {
                    note(&call, 77);
                    std::future::pending::<()>().await;
                    unreachable!("pending never ends")
                }
                Script::Silent => {
                    let head = futures_util::stream::iter([started]);
                    return Ok(Box::pin(head.chain(futures_util::stream::pending())) as EventStream);
                }
                Script::Hang => {
                    let head = futures_util::stream::iter([started, text("one")]);
                    return Ok(Box::pin(head.chain(futures_util::stream::pending()).map(move |item| {
                        let _held = &live;
                        item
                    })) as EventStream);
                }
                Script::Fed(feed) => {
                    note(&call, 500);
                    let items = futures_util::stream::unfold((feed, live), |(feed, live)| async move {
                        let item = feed.lock().await.recv().await?;
                        Some((item, (feed, live)))
                    });
                    return Ok(Box::pin(futures_util::stream::iter([started]).chain(items)) as EventStream);
                }
                Script::Play(items) => items,
            };
            note(&call, 500);
            let all = std::iter::once(started).chain(items).collect::<Vec<_>>();
            Ok(Box::pin(futures_util::stream::iter(all).map(move |item| {
                let _held = &live;
                item
            })) as EventStream)
        })
    }

    fn count_tokens(&self, _call: Call) -> BoxFuture<'_, Result<u32, BackendError>> {
        Box::pin(async { Ok(42) })
    }
}

fn note(call: &Call, bytes_out: u64) {
    if let Some(destination) = call.target.destination.clone() {
        let target = call.target.id.clone();
        let bytes_in = 1;
        call.egress.open(EgressRecord { target, destination, bytes_out, bytes_in, remote_receipt: None });
    }
}

impl Embedder for Scripted {
    fn embed(&self, _call: Call) -> BoxFuture<'_, Result<(Vec<Vec<f32>>, Usage), BackendError>> {
        Box::pin(async { Ok((vec![vec![0.6, 0.8]], Usage { prompt_tokens: 3, ..Usage::default() })) })
    }
}

pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) backends: Vec<Arc<Scripted>>,
    _dir: tempfile::TempDir,
}

/// A device target and, behind it, a permitted cloud target, with one list of scripts each.
pub(crate) fn world(device: &[Script], cloud: &[Script]) -> World {
    world_of([(target("device/small", Tier::Device), device), (target("cloud/big", Tier::Cloud), cloud)])
}

/// Targets, with one list of scripts each.
pub(crate) fn world_of<const N: usize>(targets: [(Target, &[Script]); N]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(dir.path().join("store.db"), Key::from_bytes([7; 32]));
    let store = Store::open(options).unwrap();
    let clock =
        Arc::new(ManualClock { start: Instant::now(), millis: AtomicU64::new(0), drawn: AtomicU64::new(1) });
    let runtime = Runtime::new(clock.clone(), store.clone());
    let mut backends = Vec::new();
    let mut entries = Vec::new();
    for (target, scripts) in targets {
        let backend = Arc::new(Scripted {
            scripts: Mutex::new(scripts.iter().cloned().collect()),
            calls: AtomicUsize::new(0),
            last: Mutex::default(),
            seen: Mutex::default(),
            live: Arc::default(),
            clock: clock.clone(),
        });
        backends.push(backend.clone());
        entries.push(Registered {
            target: Arc::new(target),
            backend: backend.clone(),
            embedder: Some(backend),
        });
    }
    runtime.set_targets(entries);
    World { runtime, store, clock, backends, _dir: dir }
}

pub(crate) fn target(id: &str, tier: Tier) -> Target {
    let remote = tier != Tier::Device;
    Target {
        id: TargetId(id.into()),
        endpoint_of: None,
        tier,
        model: id.rsplit('/').next().unwrap().into(),
        aliases: Vec::new(),
        destination: remote.then(|| "api.example.test:443".into()),
        context_window: 8192,
        max_output: None,
        capabilities: Capability::ALL.into_iter().collect(),
        price: remote
            .then_some(Price { cached_input: 100_000, ..Price::flat(Currency::USD, 1_000_000, 4_000_000) }),
        permitted_up_to: remote.then_some(Sensitivity::Internal),
        region: None,
        quality: None,
    }
}

pub(crate) fn request(world: &World, model: &str) -> Request {
    let messages = vec![Message::text(Role::User, "hello")];
    task(world, model, Task::Chat(Chat { messages, ..Chat::default() }))
}

pub(crate) fn embedding(world: &World, model: &str) -> Request {
    task(
        world,
        model,
        Task::Embedding(Embedding { inputs: vec![PromptText::Text("x".into())], dimensions: None }),
    )
}

fn task(world: &World, model: &str, task: Task) -> Request {
    Request {
        id: RequestId::new(world.clock.now(), world.clock.random()),
        trace: TraceId::new(9),
        received_at: world.clock.now(),
        admitted: world.clock.monotonic(),
        principal: Principal { app: "test".into(), ..Principal::default() },
        hints: Hints::default(),
        model: model.into(),
        task,
        stream: true,
        original: None,
    }
}
