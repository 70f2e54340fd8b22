//! What the tests of the daemon's half share: small GGUF files, an engine made of a task, a clock and a memory that tests steer.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::StreamExt;
use inshore_domain::request::{Chat, Completion, Message, PromptText, Role};
use inshore_domain::{
    Backend, BackendError, BoxFuture, Call, Clock, Delta, EgressLog, Embedder, Event, Hints, Principal,
    Request, RequestId, Target, Task, Timestamp, TraceId,
};
use inshore_engine::frames::conversation::Conversation;
use inshore_engine::frames::{Finish, FromChild, Load, Loaded, ToChild};
use inshore_engine::host::{Descriptors, Launched, Launcher, Process};
use inshore_engine::pool::{DeviceModel, DevicePool, Memory, Overrides, PoolOptions};
use inshore_engine::template::Writer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// Writes GGUF, byte by byte, right or wrong.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) tensors: Vec<Tensor>,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    name: String,
    shape: Vec<u64>,
    kind: u32,
    bytes: u64,
    offset: Option<u64>,
}

fn text(text: &str) -> Vec<u8> {
    [(text.len() as u64).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

impl Gguf {
    pub(crate) fn new(architecture: &str) -> Self {
        Self { version: 3, entries: Vec::new(), tensors: Vec::new() }
            .text("general.architecture", architecture)
    }

    /// A chat model of a few kilobytes.
    pub(crate) fn chat() -> Self {
        let tokens = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "a", "b", "<|fim_prefix|>"];
        Self::new("llama")
            .text("general.name", "Tiny")
            .u32("general.file_type", 0)
            .u32("llama.context_length", 4096)
            .u32("llama.embedding_length", 64)
            .u32("llama.block_count", 2)
            .u32("llama.attention.head_count", 4)
            .u32("llama.attention.head_count_kv", 2)
            .text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", &tokens)
            .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 3, 3, 1, 1, 3])
            .u32("tokenizer.ggml.bos_token_id", 1)
            .u32("tokenizer.ggml.eos_token_id", 4)
            .text("tokenizer.chat_template", CHATML)
            .tensor("token_embd.weight", &[64, 8], 0)
            .tensor("output.weight", &[64, 8], 0)
    }

    pub(crate) fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.entries.push([text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat());
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    pub(crate) fn texts(self, key: &str, values: &[&str]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.array(key, 8, values.len() as u64, &items)
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 5, values.len() as u64, &items)
    }

    pub(crate) fn array(self, key: &str, kind: u32, len: u64, items: &[u8]) -> Self {
        self.raw(key, 9, &[kind.to_le_bytes().as_slice(), &len.to_le_bytes(), items].concat())
    }

    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], kind: u32) -> Self {
        let bytes = shape.iter().product::<u64>() * 4;
        self.tensors.push(Tensor { name: name.into(), shape: shape.to_vec(), kind, bytes, offset: None });
        self
    }

    /// A tensor that lies.
    pub(crate) fn bad_tensor(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        self.tensors.push(Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            kind,
            bytes: 0,
            offset: Some(offset),
        });
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        self.entries.iter().for_each(|entry| out.extend(entry));
        let mut offset = 0u64;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend(u32::try_from(tensor.shape.len()).unwrap().to_le_bytes());
            tensor.shape.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset = (offset + tensor.bytes).next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.resize(out.len() + usize::try_from(offset).unwrap(), 7);
        out
    }
}

pub(crate) const CHATML: &str = "{%- if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{{ '<|im_end|>\n' }}{% endif -%}\
{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' + (message.content or '') + '<|im_end|>\n' }}{%- endfor -%}\
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A clock at a fixed time whose random numbers count up.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_750_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
    fn random(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::Relaxed))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}

/// As much memory as the test says.
#[derive(Debug)]
pub(crate) struct TestMemory {
    pub(crate) available: AtomicU64,
    pub(crate) total: u64,
}

impl TestMemory {
    pub(crate) fn plenty() -> Arc<Self> {
        Self::of(1 << 40)
    }
    pub(crate) fn of(bytes: u64) -> Arc<Self> {
        Arc::new(Self { available: AtomicU64::new(bytes), total: bytes })
    }
}

impl Memory for TestMemory {
    fn available(&self) -> Option<u64> {
        Some(self.available.load(Ordering::SeqCst))
    }
    fn total(&self) -> Option<u64> {
        Some(self.total)
    }
}

/// The other end of one child: what it was told, and a way to answer.
pub(crate) struct Engine {
    pub(crate) heard: mpsc::UnboundedReceiver<ToChild>,
    say: mpsc::UnboundedSender<Vec<u8>>,
    die: watch::Sender<Option<String>>,
}

pub(crate) fn envelope(frame: &impl serde::Serialize) -> Vec<u8> {
    let body = postcard::to_stdvec(frame).unwrap();
    [u32::try_from(body.len()).unwrap().to_le_bytes().as_slice(), &body].concat()
}

impl Engine {
    pub(crate) fn say(&self, frame: &FromChild) {
        self.say_bytes(envelope(frame));
    }
    pub(crate) fn say_bytes(&self, bytes: Vec<u8>) {
        let _ = self.say.send(bytes);
    }
    pub(crate) fn crash(&self, how: &str) {
        self.die.send_replace(Some(how.to_owned()));
    }
    pub(crate) fn is_killed(&self) -> bool {
        self.die.borrow().is_some()
    }
    /// Waits until the daemon has ended it.
    pub(crate) async fn killed(&self) {
        self.die.subscribe().wait_for(Option::is_some).await.unwrap();
    }
    pub(crate) async fn next(&mut self) -> ToChild {
        self.heard.recv().await.expect("the daemon said nothing more")
    }
    pub(crate) async fn load(&mut self) -> Load {
        match self.next().await {
            ToChild::Load(load) => load,
            other => panic!("{other:?}"),
        }
    }
    pub(crate) async fn loads(&mut self) -> Load {
        let load = self.load().await;
        self.say(&FromChild::Loaded(Loaded {
            context: load.context,
            threads: load.threads,
            ..Loaded::default()
        }));
        load
    }
    pub(crate) async fn generate(&mut self) -> inshore_engine::frames::Generate {
        match self.next().await {
            ToChild::Generate(generate) => *generate,
            other => panic!("{other:?}"),
        }
    }
    pub(crate) fn started(&self, id: u64) {
        self.say(&FromChild::Started { id, prompt_tokens: 10, cached_tokens: 4 });
    }
    pub(crate) fn text(&self, id: u64, text: &str) {
        self.say(&FromChild::Text { id, answer: 0, text: text.into(), tokens: Vec::new() });
    }
    pub(crate) fn finish(&self, id: u64) {
        self.say(&FromChild::Finished { id, answer: 0, reason: Finish::Stop, output_tokens: 3 });
    }
    /// Loads, and answers every request with the same text, until it is ended.
    pub(crate) async fn serve(mut self, answer: &'static str) {
        while let Some(frame) = self.heard.recv().await {
            match frame {
                ToChild::Load(load) => {
                    self.say(&FromChild::Loaded(Loaded { context: load.context, ..Loaded::default() }))
                }
                ToChild::Generate(generate) => {
                    self.started(generate.id);
                    self.text(generate.id, answer);
                    self.finish(generate.id);
                }
                ToChild::Tokenize { id, .. } => self.say(&FromChild::Tokens { id, tokens: vec![1, 2, 3] }),
                ToChild::Embed(embed) => {
                    let vectors = embed.inputs.iter().map(|_| vec![0.6, 0.8, 0.0]).collect();
                    self.say(&FromChild::Embedded { id: embed.id, vectors, tokens: 5 });
                }
                _ => {}
            }
        }
    }
}

/// Starts engines that are tasks; each comes out of the receiver.
#[derive(Debug)]
pub(crate) struct TaskLauncher {
    engines: mpsc::UnboundedSender<Engine>,
    pub(crate) started: AtomicUsize,
    pub(crate) writers: AtomicUsize,
    pub(crate) descriptors: Mutex<VecDeque<(u64, usize)>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl TaskLauncher {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Engine>) {
        let (engines, receiver) = mpsc::unbounded_channel();
        let (started, writers) = (AtomicUsize::new(0), AtomicUsize::new(0));
        (Arc::new(Self { engines, started, writers, descriptors: Mutex::default() }), receiver)
    }
}

struct TaskProcess {
    die: watch::Sender<Option<String>>,
}

impl Process for TaskProcess {
    fn pid(&self) -> Option<u32> {
        Some(42)
    }
    fn kill(&mut self) {
        self.die.send_if_modified(|how| how.is_none() && how.replace("killed".into()).is_none());
    }
    fn has_ended(&mut self) -> bool {
        self.die.borrow().is_some()
    }
    fn wait(&mut self) -> BoxFuture<'_, String> {
        let mut dead = self.die.subscribe();
        Box::pin(async move { dead.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
    }
    fn last_words(&self) -> Option<String> {
        Some("last words".into())
    }
}

impl Drop for TaskProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Launcher for TaskLauncher {
    fn launch(&self, descriptors: Descriptors) -> io::Result<Launched> {
        self.started.fetch_add(1, Ordering::SeqCst);
        self.descriptors
            .lock()
            .unwrap()
            .push_back((descriptors.model.metadata()?.len(), descriptors.adapters.len()));
        let (ours, theirs) = UnixStream::pair()?;
        let (die, _) = watch::channel(None::<String>);
        let (heard_sender, heard) = mpsc::unbounded_channel();
        let (say, mut said) = mpsc::unbounded_channel::<Vec<u8>>();
        let (mut read, mut write) = theirs.into_split();
        let mut dead = die.subscribe();
        let mut gone = die.subscribe();
        // The tasks of the fake end with its socket.
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(async move {
            let reading = async {
                while let Ok(len) = read.read_u32_le().await {
                    let mut body = vec![0; len as usize];
                    let whole = read.read_exact(&mut body).await.is_ok();
                    if !whole || heard_sender.send(postcard::from_bytes(&body).unwrap()).is_err() {
                        return;
                    }
                }
            };
            tokio::select! { () = reading => {}, _ = dead.wait_for(Option::is_some) => {} }
        });
        tasks.spawn(async move {
            let writing = async {
                while let Some(bytes) = said.recv().await {
                    if write.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            };
            tokio::select! { biased; () = writing => {}, _ = gone.wait_for(Option::is_some) => {} }
        });
        let engine = Engine { heard, say, die: die.clone() };
        self.engines.send(engine).map_err(io::Error::other)?;
        Ok(Launched { stream: ours, process: Box::new(TaskProcess { die }) })
    }

    fn launch_writer(&self) -> io::Result<Launched> {
        self.writers.fetch_add(1, Ordering::SeqCst);
        let (ours, theirs) = UnixStream::pair()?;
        let (die, _) = watch::channel(None::<String>);
        let mut dead = die.subscribe();
        tokio_util::task::TaskTracker::new().spawn(async move {
            tokio::select! { _ = write_conversations(theirs) => {}, _ = dead.wait_for(Option::is_some) => {} }
        });
        Ok(Launched { stream: ours, process: Box::new(TaskProcess { die }) })
    }
}

/// What a child does that writes conversations, without its process.
async fn write_conversations(mut socket: UnixStream) -> io::Result<()> {
    let ToChild::Write { template, .. } = read(&mut socket).await? else { panic!("not the first frame") };
    let writer = Writer::of(*template);
    loop {
        let conversation: Conversation = read(&mut socket).await?;
        socket.write_all(&envelope(&writer.write(conversation))).await?;
    }
}

async fn read<T: serde::de::DeserializeOwned>(socket: &mut UnixStream) -> io::Result<T> {
    let mut body = vec![0; socket.read_u32_le().await? as usize];
    socket.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}

/// A pool over engines that are tasks, with models in a directory of its own.
pub(crate) struct Bench {
    pub(crate) pool: DevicePool,
    pub(crate) launcher: Arc<TaskLauncher>,
    pub(crate) engines: mpsc::UnboundedReceiver<Engine>,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(change: impl FnOnce(&mut PoolOptions)) -> Self {
        Self::with_memory(TestMemory::plenty(), change)
    }

    pub(crate) fn with_memory(memory: Arc<TestMemory>, change: impl FnOnce(&mut PoolOptions)) -> Self {
        let (launcher, engines) = TaskLauncher::new();
        let mut options = PoolOptions::new(launcher.clone(), Arc::new(TestClock::default()), memory);
        options.memory_reserve = 0;
        options.retained_bytes = 0;
        change(&mut options);
        Self { pool: DevicePool::new(options), launcher, engines, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self, id: &str, gguf: &Gguf) -> PathBuf {
        let path = self.dir.path().join(format!("{id}.gguf"));
        std::fs::write(&path, gguf.bytes()).unwrap();
        path
    }

    pub(crate) fn model(&self, id: &str) -> DeviceModel {
        self.model_of(id, &Gguf::chat())
    }

    pub(crate) fn model_of(&self, id: &str, gguf: &Gguf) -> DeviceModel {
        device_model(id, self.file(id, gguf))
    }

    pub(crate) fn backend(&self, id: &str) -> (Arc<Target>, Arc<dyn Backend>) {
        let registered = self.pool.registered();
        let found = registered
            .into_iter()
            .find(|(target, ..)| target.model == id)
            .unwrap_or_else(|| panic!("no {id}: {:?}", self.pool.status()));
        (found.0, found.1)
    }

    pub(crate) fn embedder(&self, id: &str) -> (Arc<Target>, Arc<dyn Embedder>) {
        let registered = self.pool.registered();
        let found = registered.into_iter().find(|(target, ..)| target.model == id).unwrap();
        (found.0, found.2.unwrap())
    }

    pub(crate) async fn engine(&mut self) -> Engine {
        self.engines.recv().await.unwrap()
    }

    /// Starts a request without waiting for it.
    pub(crate) fn ask(&self, id: &str, task: Task) -> tokio::task::JoinHandle<Result<Said, BackendError>> {
        let (target, backend) = self.backend(id);
        tokio_util::task::TaskTracker::new().spawn(async move { run(backend.as_ref(), target, task).await })
    }
}

pub(crate) fn device_model(id: &str, path: PathBuf) -> DeviceModel {
    DeviceModel {
        id: id.into(),
        path,
        aliases: Vec::new(),
        adapters: Vec::new(),
        template: None,
        overrides: Overrides::default(),
    }
}

/// All that an answer said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) finished: Vec<inshore_domain::FinishReason>,
    pub(crate) usage: Option<inshore_domain::Usage>,
    pub(crate) error: Option<BackendError>,
    pub(crate) events: Vec<Event>,
}

pub(crate) fn call(target: Arc<Target>, task: Task) -> Call {
    let request = Request {
        id: RequestId::from_bits(1),
        trace: TraceId::new(1),
        received_at: Timestamp::default(),
        admitted: Instant::now(),
        principal: Principal { app: "test".into(), user: None, organisation: None },
        hints: Hints::default(),
        model: target.model.clone(),
        task,
        stream: true,
        original: None,
    };
    Call { request: Arc::new(request), target, egress: EgressLog::default() }
}

pub(crate) async fn run(
    backend: &dyn Backend,
    target: Arc<Target>,
    task: Task,
) -> Result<Said, BackendError> {
    let events = backend.generate(call(target, task)).await?;
    Ok(collect(events).await)
}

pub(crate) async fn collect(mut events: inshore_domain::EventStream) -> Said {
    let mut said = Said::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                match &event {
                    Event::Delta { delta: Delta::Text { text, .. }, .. } => said.text.push_str(text),
                    Event::Delta { delta: Delta::Reasoning(text), .. } => said.reasoning.push_str(text),
                    Event::Delta { delta: Delta::ToolCall { name, .. }, .. } => {
                        said.calls.push((name.clone(), String::new()))
                    }
                    Event::Delta { delta: Delta::ToolArguments { fragment, .. }, .. } => {
                        said.calls.last_mut().unwrap().1.push_str(fragment)
                    }
                    Event::Finished { reason, .. } => said.finished.push(*reason),
                    Event::Usage(usage) => said.usage = Some(*usage),
                    _ => {}
                }
                said.events.push(event);
            }
            Err(error) => said.error = Some(error),
        }
    }
    said
}

pub(crate) fn chat(text: &str) -> Task {
    Task::Chat(Chat { messages: vec![Message::text(Role::User, text)], ..Chat::default() })
}

pub(crate) fn complete(text: &str) -> Task {
    Task::Completion(Completion { prompts: vec![PromptText::Text(text.into())], ..Completion::default() })
}

pub(crate) async fn bench(ids: &[&str]) -> Bench {
    bench_with(ids, |_| {}).await
}

pub(crate) async fn bench_with(ids: &[&str], change: impl FnOnce(&mut PoolOptions)) -> Bench {
    let bench = Bench::new(change);
    bench.pool.set_models(ids.iter().map(|id| bench.model(id)).collect()).await;
    bench
}
