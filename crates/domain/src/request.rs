//! What an app asked, free of wire format.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::decision::Strategy;
use crate::facts::Sensitivity;
use crate::id::{RequestId, TraceId};
use crate::time::Timestamp;

/// JSON as text. The domain does not look inside; each edge parses and checks it where it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub String);

/// One request on its way down the road.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names this request.
    pub id: RequestId,
    /// Joins this request to the caller's trace, and to the receipt of an edge node.
    pub trace: TraceId,
    /// Wall-clock time of admission.
    pub received_at: Timestamp,
    /// Monotonic time of admission: queue and total times count from here.
    pub admitted: Instant,
    /// On whose account it runs.
    pub principal: Principal,
    /// What the caller said beside the request itself.
    pub hints: Hints,
    /// The model as asked: an exact id, or an alias such as `auto` or `device`.
    pub model: String,
    /// What is to be done.
    pub task: Task,
    /// Whether the caller wants the answer as it is made.
    pub stream: bool,
    /// The exact bytes the caller sent, so that a target that speaks the same protocol gets them unchanged
    /// (re-encoding defeats providers' prompt caches).
    pub original: Option<Original>,
}

/// The body as it came in.
#[derive(Debug, Clone)]
pub struct Original {
    /// The protocol it is written in.
    pub dialect: Dialect,
    /// The whole body, valid JSON.
    pub body: Bytes,
}

/// A wire protocol, as exact as byte-for-byte passthrough needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI `POST /v1/chat/completions`.
    OpenAiChat,
    /// OpenAI `POST /v1/completions`.
    OpenAiCompletions,
    /// OpenAI `POST /v1/responses`.
    OpenAiResponses,
    /// OpenAI `POST /v1/embeddings`.
    OpenAiEmbeddings,
    /// Anthropic `POST /v1/messages`.
    AnthropicMessages,
}

/// App, user and organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal {
    /// The app, by the token it presented; prompt caches are kept apart per app.
    pub app: String,
    /// The end user, as the app names them.
    pub user: Option<String>,
    /// The organisation.
    pub organisation: Option<String>,
}

/// How soon the answer is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Profile {
    /// Somebody waits.
    #[default]
    Realtime,
    /// Nobody waits; minutes are fine.
    Async,
    /// Nobody waits; hours are fine.
    Batch,
}

impl Profile {
    /// All, from hurried to patient.
    pub const ALL: [Profile; 3] = [Self::Realtime, Self::Async, Self::Batch];

    /// The word used on the wire, in config and in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Async => "async",
            Self::Batch => "batch",
        }
    }
}

/// What a caller may say in headers or metadata beside the request itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hints {
    /// The app's name for what the request is for; the key of cost and latency reports.
    pub feature: Option<String>,
    /// How soon it is needed.
    pub profile: Profile,
    /// Can raise the sensitivity that inspection finds, never lower it.
    pub sensitivity: Option<Sensitivity>,
    /// The time to first token the caller can live with.
    pub latency_budget: Option<Duration>,
    /// The regions where the work may be done; `None`: anywhere.
    pub regions: Option<Vec<String>>,
    /// How the steps are to be run; `None`: as the feature has it. Can change the order of what is permitted, and never permits anything.
    pub strategy: Option<Strategy>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Answer a conversation.
    Chat(Chat),
    /// Continue a text.
    Completion(Completion),
    /// Turn texts into vectors.
    Embedding(Embedding),
}

impl Task {
    /// The sampling parameters; `None` for embeddings.
    pub fn sampling(&self) -> Option<&Sampling> {
        match self {
            Task::Chat(chat) => Some(&chat.sampling),
            Task::Completion(completion) => Some(&completion.sampling),
            Task::Embedding(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn sampling_mut(&mut self) -> Option<&mut Sampling> {
        match self {
            Task::Chat(chat) => Some(&mut chat.sampling),
            Task::Completion(completion) => Some(&mut completion.sampling),
            Task::Embedding(_) => None,
        }
    }
}

/// A conversation to answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// Oldest first. System prompts are messages with [`Role::System`].
    pub messages: Vec<Message>,
    /// Functions the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: ToolChoice,
    /// Whether several calls in one answer are fine. `None`: the model's own way.
    pub parallel_tool_calls: Option<bool>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The form the answer must have.
    pub output: OutputFormat,
    /// The caller marked the leading part of the prompt to be kept (Anthropic `cache_control`, our `pin` hint): the
    /// engine saves the state of the messages up to and including this index.
    pub pin_through: Option<usize>,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Part>,
    /// Calls that the assistant made in this message.
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]: the call this message answers.
    pub tool_call_id: Option<String>,
    /// An optional name of the speaker or tool.
    pub name: Option<String>,
}

impl Message {
    /// A message of text only.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: vec![Part::Text(text.into())],
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }

    /// All text parts joined; images contribute nothing.
    pub fn joined_text(&self) -> String {
        self.content
            .iter()
            .filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Image { .. } => None,
            })
            .collect()
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions (OpenAI `system` and `developer`, Anthropic's `system` field).
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A picture, by `data:` or `https:` URL. Only targets with [`crate::Capability::Vision`] take it.
    Image {
        /// Where it is, or the image itself as a data URL.
        url: String,
    },
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model to read.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub parameters: Option<Json>,
    /// The arguments must follow the schema exactly.
    pub strict: bool,
}

/// Whether a tool must be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None may be called.
    None,
    /// At least one must be called.
    Required,
    /// This one must be called.
    Function(String),
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Joins the call to its result.
    pub id: String,
    /// The function called.
    pub name: String,
    /// Arguments as the model wrote them: meant to be a JSON object, not guaranteed to be one.
    pub arguments: String,
}

/// The form an answer must have.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum OutputFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that follows the schema.
    JsonSchema {
        /// The schema's name, for the model to read.
        name: String,
        /// The schema.
        schema: Json,
    },
    /// A context-free grammar in GBNF, llama.cpp's notation. Only the device honours it.
    Grammar(String),
    /// A regular expression that the whole answer must match. Only the device honours it.
    Regex(String),
}

/// A text to continue.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// One or more prompts, each answered on its own.
    pub prompts: Vec<PromptText>,
    /// What comes after the gap (fill in the middle).
    pub suffix: Option<String>,
    /// Give the prompt back in front of the answer.
    pub echo: bool,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The form the answer must have.
    pub output: OutputFormat,
    /// Save the state of the whole prompt, to be restored after a restart.
    pub pin: bool,
}

/// A prompt as text or as the model's own tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptText {
    /// Text, to be tokenised by the model that answers.
    Text(String),
    /// Token ids of the model that is asked for. Only the device takes them.
    Tokens(Vec<u32>),
}

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedding {
    /// One vector comes back for each.
    pub inputs: Vec<PromptText>,
    /// Shorten the vectors to this many dimensions, normalised again.
    pub dimensions: Option<u32>,
}

/// How tokens are drawn. `None` means the model's or engine's own default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// Most tokens to make, prompt not counted.
    pub max_tokens: Option<u32>,
    /// 0 always takes the likeliest token.
    pub temperature: Option<f32>,
    /// Draw only among the k likeliest.
    pub top_k: Option<u32>,
    /// Draw only among the likeliest that together have this probability.
    pub top_p: Option<f32>,
    /// Draw only among tokens at least this fraction as likely as the likeliest.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens already seen (1 = off), as in CTRL (arXiv:1909.05858).
    pub repetition_penalty: Option<f32>,
    /// Subtracted once from logits of tokens already made.
    pub presence_penalty: Option<f32>,
    /// Subtracted from logits of tokens already made, for each time.
    pub frequency_penalty: Option<f32>,
    /// The same seed and parameters on the same build, model and batch give the same answer.
    pub seed: Option<u64>,
    /// The answer ends before any of these texts appears.
    pub stop: Vec<String>,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Report log-probabilities, with this many alternatives for each token.
    pub logprobs: Option<u8>,
    /// How many answers to give; 0 is read as 1.
    pub n: u32,
    /// Do not end at the end-of-text token.
    pub ignore_eos: bool,
    /// Drop the oldest part of a prompt that does not fit, instead of refusing it.
    pub truncate_prompt: bool,
    /// LoRA adapters by name, with the strength of each.
    pub adapters: Vec<(String, f32)>,
}
