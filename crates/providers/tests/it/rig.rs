//! What every test needs: a backend wired to a scripted provider.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use inshore_domain::request::{
    Chat, Completion, Dialect, Hints, Message, Original, Principal, PromptText, Role, Task,
};
use inshore_domain::{
    Backend, BackendError, Call, Capabilities, Capability, Clock, Delta, EgressLog, Event, FinishReason,
    Request, RequestId, Target, TargetId, Tier, Timestamp, TraceId, Usage,
};
use inshore_providers::{Gate, GateOptions, Provider, ProviderKind, ProviderTarget, Secret, Timeouts};
use inshore_sim::script::Script;
use inshore_sim::{Turn, anthropic, gemini, openai};

pub(crate) const OPENAI_KEY: &str = "sk-sim";
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-sim";
pub(crate) const GEMINI_KEY: &str = "AIza-sim";

#[derive(Debug)]
pub(crate) struct TestClock;

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_000)
    }
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
    fn random(&self) -> u128 {
        4
    }
}

pub(crate) fn target(model: &str, capabilities: &[Capability]) -> Target {
    let mut all: Capabilities = capabilities.iter().copied().collect();
    for usual in [Capability::Chat, Capability::Completion, Capability::Tools, Capability::JsonSchema] {
        all = all.with(usual);
    }
    Target {
        id: TargetId(format!("cloud/{model}")),
        endpoint_of: None,
        tier: Tier::Cloud,
        model: model.into(),
        aliases: Vec::new(),
        destination: None,
        context_window: 4096,
        max_output: None,
        capabilities: all,
        price: None,
        permitted_up_to: None,
        region: None,
        quality: None,
    }
}

/// Time that the test moves, and chance that it decides.
#[derive(Debug)]
pub(crate) struct Steered {
    begun: Instant,
    passed: Mutex<Duration>,
    pub(crate) random: Mutex<u32>,
}

impl Steered {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), passed: Mutex::default(), random: Mutex::new(1 << 31) })
    }

    pub(crate) fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }
}

impl Clock for Steered {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
    fn monotonic(&self) -> Instant {
        self.begun + *self.passed.lock().unwrap()
    }
    fn random(&self) -> u128 {
        u128::from(*self.random.lock().unwrap())
    }
}

pub(crate) fn options(kind: ProviderKind, base_url: &str, target: Target) -> ProviderTarget {
    let key = match kind {
        ProviderKind::OpenAiCompatible | ProviderKind::Inshore => OPENAI_KEY,
        ProviderKind::Anthropic => ANTHROPIC_KEY,
        ProviderKind::Gemini => GEMINI_KEY,
    };
    ProviderTarget {
        target: Arc::new(target),
        kind,
        base_url: base_url.parse().unwrap(),
        plain_http: false,
        key: Some(Secret::new(key)),
        identity: None,
        timeouts: Timeouts::default(),
        responses_api: false,
        stream_usage: true,
    }
}

pub(crate) fn provider(options: ProviderTarget) -> Provider {
    let gate = Arc::new(Gate::new(GateOptions::default()));
    let provider = Provider::new(gate.clone(), Arc::new(TestClock), options).unwrap();
    gate.declare(provider.destination().clone());
    provider
}

/// A provider that speaks OpenAI's API, and a backend for it.
pub(crate) async fn openai(turn: Turn) -> (openai::Server, Provider) {
    openai_with(openai::Options::default(), turn, |_| {}).await
}

pub(crate) async fn openai_with(
    sim: openai::Options,
    turn: Turn,
    change: impl FnOnce(&mut ProviderTarget),
) -> (openai::Server, Provider) {
    let server = openai::Server::start(sim, turn).await.unwrap();
    let mut options = options(ProviderKind::OpenAiCompatible, &server.base_url(), target("sim-large", &[]));
    change(&mut options);
    (server, provider(options))
}

/// A provider that speaks Anthropic's API, and a backend for it.
pub(crate) async fn anthropic(turn: Turn) -> (anthropic::Server, Provider) {
    anthropic_with(turn, |_| {}).await
}

pub(crate) async fn anthropic_with(
    turn: Turn,
    change: impl FnOnce(&mut ProviderTarget),
) -> (anthropic::Server, Provider) {
    let server = anthropic::Server::start(anthropic::Options::default(), turn).await.unwrap();
    let mut options = options(ProviderKind::Anthropic, &server.base_url(), target("sim-claude", &[]));
    change(&mut options);
    (server, provider(options))
}

/// A provider that speaks the Gemini API, and a backend for its older model.
pub(crate) async fn gemini(turn: Turn) -> (gemini::Server, Provider) {
    gemini_with("gemini-2.5-sim", turn).await
}

pub(crate) async fn gemini_with(model: &str, turn: Turn) -> (gemini::Server, Provider) {
    let server = gemini::Server::start(gemini::Options::default(), turn).await.unwrap();
    let options = options(ProviderKind::Gemini, &server.base_url(), target(model, &[]));
    (server, provider(options))
}

/// Everything that is spoken: a provider, a backend for it, and a small request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Chat,
    Completions,
    Responses,
    Messages,
    Gemini,
}

impl Spoken {
    pub(crate) const ALL: [Spoken; 5] =
        [Self::Chat, Self::Completions, Self::Responses, Self::Messages, Self::Gemini];

    pub(crate) async fn start(
        self,
        turn: Turn,
        change: impl FnOnce(&mut ProviderTarget),
    ) -> (AnySim, Provider) {
        match self {
            Self::Messages => {
                let (server, provider) = anthropic_with(turn, change).await;
                (AnySim::Anthropic(server), provider)
            }
            Self::Gemini => {
                let server = gemini::Server::start(gemini::Options::default(), turn).await.unwrap();
                let target = target("gemini-2.5-sim", &[]);
                let mut options = options(ProviderKind::Gemini, &server.base_url(), target);
                change(&mut options);
                (AnySim::Gemini(server), provider(options))
            }
            Self::Chat | Self::Completions | Self::Responses => {
                let (server, provider) = openai_with(openai::Options::default(), turn, |options| {
                    options.responses_api = true;
                    change(options);
                })
                .await;
                (AnySim::OpenAi(server), provider)
            }
        }
    }

    pub(crate) fn ask(self, stream: bool) -> Request {
        let chat = Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
        let prompts = vec![PromptText::Text("hi".into())];
        let body = |rest: &str| format!(r#"{{"model":"auto","stream":{stream},{rest}}}"#);
        let said = r#""messages":[{"role":"user","content":"hi"}]"#;
        match self {
            Self::Chat => request(chat, stream, Some((Dialect::OpenAiChat, &body(said)))),
            Self::Completions => {
                let task = Task::Completion(Completion { prompts, ..Completion::default() });
                request(task, stream, Some((Dialect::OpenAiCompletions, &body(r#""prompt":"hi""#))))
            }
            Self::Responses => {
                request(chat, stream, Some((Dialect::OpenAiResponses, &body(r#""input":"hi""#))))
            }
            Self::Messages => {
                let body = body(&format!(r#"{said},"max_tokens":99"#));
                request(chat, stream, Some((Dialect::AnthropicMessages, &body)))
            }
            Self::Gemini => request(chat, stream, None),
        }
    }
}

/// One of the scripted providers.
pub(crate) enum AnySim {
    OpenAi(openai::Server),
    Anthropic(anthropic::Server),
    Gemini(gemini::Server),
}

impl AnySim {
    pub(crate) fn script(&self) -> &Script {
        match self {
            Self::OpenAi(server) => server.script(),
            Self::Anthropic(server) => server.script(),
            Self::Gemini(server) => server.script(),
        }
    }
}

pub(crate) fn request(task: Task, stream: bool, original: Option<(Dialect, &str)>) -> Request {
    Request {
        id: RequestId::from_bits(7),
        trace: TraceId::new(9),
        received_at: Timestamp::from_unix_millis(1),
        admitted: Instant::now(),
        principal: Principal::default(),
        hints: Hints::default(),
        model: "auto".into(),
        task,
        stream,
        original: original
            .map(|(dialect, body)| Original { dialect, body: Bytes::copy_from_slice(body.as_bytes()) }),
    }
}

pub(crate) fn call(provider: &Provider, request: Request) -> Call {
    Call { request: Arc::new(request), target: provider.target().clone(), egress: EgressLog::default() }
}

/// Everything that an answer amounts to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) model: String,
    pub(crate) texts: Vec<String>,
    pub(crate) thinking: String,
    /// Id, name and arguments.
    pub(crate) calls: Vec<(String, String, String)>,
    pub(crate) finished: Vec<(u32, FinishReason)>,
    pub(crate) usage: Option<Usage>,
    pub(crate) wire: Vec<u8>,
    pub(crate) logprobs: usize,
    pub(crate) error: Option<BackendError>,
}

impl Heard {
    pub(crate) fn text(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }

    pub(crate) fn wire_text(&self) -> &str {
        std::str::from_utf8(&self.wire).unwrap()
    }

    fn take(&mut self, place: usize, event: Event) {
        match event {
            Event::Started { model } => {
                assert_eq!(place, 0, "an answer starts once, and first");
                self.model = model;
            }
            Event::Delta { index, delta } => self.delta(index as usize, delta),
            Event::Finished { index, reason } => self.finished.push((index, reason)),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Wire(bytes) => self.wire.extend_from_slice(&bytes),
        }
    }

    fn delta(&mut self, index: usize, delta: Delta) {
        match delta {
            Delta::Text { text, logprobs } => {
                self.texts.resize(self.texts.len().max(index + 1), String::new());
                self.texts[index].push_str(&text);
                self.logprobs += logprobs.len();
            }
            Delta::Reasoning(text) => self.thinking.push_str(&text),
            Delta::ToolCall { call, id, name } => {
                assert_eq!(call as usize, self.calls.len());
                self.calls.push((id, name, String::new()));
            }
            Delta::ToolArguments { call, fragment } => self.calls[call as usize].2.push_str(&fragment),
        }
    }
}

/// Runs a call to its end.
pub(crate) async fn hear(provider: &Provider, call: Call) -> Result<Heard, BackendError> {
    let mut events = provider.generate(call).await?;
    let mut heard = Heard::default();
    let mut place = 0;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => heard.take(place, event),
            Err(error) => heard.error = Some(error),
        }
        place += 1;
    }
    Ok(heard)
}

/// Time-outs short enough for tests of faults that never end by themselves.
pub(crate) fn hasty() -> Timeouts {
    let short = Duration::from_millis(600);
    Timeouts { connect: Duration::from_secs(5), first_byte: short, idle: short }
}
