//! The frames that daemon and engine child exchange over their socket pair.
//!
//! A frame is a little-endian `u32` length and that many bytes of postcard. The child is not trusted: it parses a file
//! that anybody may have written, so the daemon treats each frame as foreign bytes, and a frame that does not decode
//! ends the child. The first frame to the child says what it is for. [`ToChild::Load`]: it runs a model, and the first frame from
//! it is [`FromChild::Loaded`] or [`FromChild::LoadFailed`]. [`ToChild::Write`]: it writes a model's conversations, see [`conversation`].

pub mod conversation;

use serde::{Deserialize, Serialize};

use conversation::Template;

/// The longest frame either side accepts. A token's frame has about 50 bytes; the longest are prompts (4 bytes a
/// character at most, 1 M characters and more) and pieces of saved state, which are cut at [`STATE_PIECE`].
pub const MAX_FRAME: usize = 64 << 20;
/// Saved state travels in pieces of this size, so that tokens of other requests pass in between.
pub const STATE_PIECE: usize = 1 << 20;

/// Names one piece of work on one child.
pub type WorkId = u64;

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToChild {
    /// Load the model whose descriptor was handed over at the start. Exactly once, first.
    Load(Load),
    /// Continue a prompt.
    Generate(Box<Generate>),
    /// Turn texts into vectors.
    Embed(Embed),
    /// Cut a text into tokens; answered by [`FromChild::Tokens`].
    Tokenize {
        /// Names the work.
        id: WorkId,
        /// What to cut.
        prompt: Prompt,
    },
    /// Stop this work; answered by one `Failed` with [`WorkError::Cancelled`], within one decode step, if it is not complete.
    Cancel {
        /// Names the work.
        id: WorkId,
    },
    /// A piece of a saved prefix, from disk. After the last piece the prefix is retained like any other.
    Restore(StatePiece),
    /// Report what the sandbox denies, by trying; answered by [`FromChild::Probed`].
    Probe {
        /// Names the work.
        id: WorkId,
    },
    /// Report counters; answered by [`FromChild::Stats`].
    Stats {
        /// Names the work.
        id: WorkId,
    },
    /// Finish nothing more and exit.
    Shutdown,
    /// Write conversations, instead of running a model. Exactly once, first.
    Write {
        /// How.
        template: Box<Template>,
        /// Refuse to run it when any part of the sandbox cannot be put in force.
        require_sandbox: bool,
    },
}

/// How to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Tokens the KV cache holds, over all sequences together; one sequence can use all of it.
    pub context: u32,
    /// Sequences that can be live at once.
    pub sequences: u32,
    /// Most tokens in one decode step.
    pub batch: u32,
    /// Threads for generation and for prompts.
    pub threads: u32,
    /// Layers to place on a GPU, where the build has one; `u32::MAX` for all.
    pub gpu_layers: u32,
    /// Memory-map the file.
    pub mmap: bool,
    /// Type of the KV cache: `f16`, `q8_0`.
    pub kv_type: KvType,
    /// Bytes of the KV cache that prefixes of finished work may hold. They leave earlier when live work needs the room.
    pub retained_bytes: u64,
    /// The context serves embeddings, not generation.
    pub embeddings: bool,
    /// Names of LoRA adapters, whose descriptors were handed over in this order.
    pub adapters: Vec<String>,
    /// Refuse to load when any part of the sandbox cannot be put in force.
    pub require_sandbox: bool,
}

/// Type of the KV cache's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvType {
    /// Half floats.
    F16,
    /// 8-bit blocks: half the memory, slightly less exact.
    Q8_0,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// Plain text: special tokens in it are read as text. The model's begin-of-text token is put in front if the model wants one.
    Text(String),
    /// Text from a chat template: special tokens in `Markup` pieces are read as such, `Text` pieces (what people wrote) never are.
    Pieces(Vec<Piece>),
    /// The model's own tokens, taken as they are.
    Tokens(Vec<u32>),
    /// Fill in the middle: the child puts the model's own prefix, suffix and middle tokens around the parts.
    Infill {
        /// Before the gap.
        prefix: String,
        /// After the gap.
        suffix: String,
    },
}

/// A stretch of a rendered chat template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// Written by the template: special tokens are special.
    Markup(String),
    /// Written by people: everything is text.
    Text(String),
}

/// A prompt to continue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generate {
    /// Names the work.
    pub id: WorkId,
    /// What to continue.
    pub prompt: Prompt,
    /// Prefixes are shared only among work with the same scope, so that no app can learn another's prompts by timing.
    pub scope: u64,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The form the answer must have.
    pub constraint: Option<Constraint>,
    /// Most tokens to make for each answer; `None`: up to the end of the context.
    pub max_tokens: Option<u32>,
    /// Texts before which the answer ends.
    pub stop: Vec<String>,
    /// Report log-probabilities, with this many alternatives.
    pub logprobs: Option<u8>,
    /// How many answers; they share the prompt's computation.
    pub answers: u32,
    /// Adapter (position in [`Load::adapters`]) and strength.
    pub adapters: Vec<(u32, f32)>,
    /// Drop the oldest tokens of a prompt that does not fit.
    pub truncate_prompt: bool,
    /// Do not end at the end-of-text token.
    pub ignore_eos: bool,
    /// Send special tokens as text too (needed where a tool-call format is marked by special tokens).
    pub show_special: bool,
    /// After the prompt is read, send its state in [`FromChild::Saved`] pieces: the first this many bytes of the rendered
    /// prompt, or all of it. The daemon keeps it on disk under `key`.
    pub save: Option<SavePrefix>,
}

/// Which prefix to save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavePrefix {
    /// What the daemon calls it.
    pub key: String,
    /// How many leading [`Piece`]s make the prefix; `None` for the whole prompt.
    pub pieces: Option<u32>,
}

/// How tokens are drawn; every field decided by the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0: always the likeliest.
    pub temperature: f32,
    /// 0: off.
    pub top_k: u32,
    /// 1: off.
    pub top_p: f32,
    /// 0: off.
    pub min_p: f32,
    /// 1: off.
    pub repetition_penalty: f32,
    /// 0: off.
    pub presence_penalty: f32,
    /// 0: off.
    pub frequency_penalty: f32,
    /// How many of the last tokens the repetition penalty looks at.
    pub repetition_window: u32,
    /// Seed of the draw; answer `i` of several uses `seed + i`.
    pub seed: u64,
    /// Token and what is added to its logit; -100 and below forbids it, as in OpenAI's API.
    pub logit_bias: Vec<(u32, f32)>,
}

/// The form an answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Constraint {
    /// JSON that follows this schema (JSON text).
    JsonSchema(String),
    /// A GBNF grammar, root rule `root`.
    Gbnf(String),
    /// A Lark grammar as llguidance reads it. Used for tool calls.
    Lark(String),
    /// A regular expression.
    Regex(String),
}

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Embed {
    /// Names the work.
    pub id: WorkId,
    /// One vector for each.
    pub inputs: Vec<Prompt>,
}

/// A piece of saved state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatePiece {
    /// What the daemon calls the prefix.
    pub key: String,
    /// The scope it belongs to.
    pub scope: u64,
    /// The tokens of the prefix; only in the first piece.
    pub tokens: Vec<u32>,
    /// llama.cpp's state of the sequence.
    pub bytes: Vec<u8>,
    /// Nothing follows.
    pub last: bool,
}

/// What the child says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromChild {
    /// The model is ready.
    Loaded(Loaded),
    /// It cannot be loaded; the child exits after this.
    LoadFailed {
        /// Why, for people.
        message: String,
    },
    /// The prompt has been read.
    Started {
        /// Names the work.
        id: WorkId,
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, tokens whose state was re-used.
        cached_tokens: u32,
    },
    /// Text of an answer, cut at character boundaries.
    Text {
        /// Names the work.
        id: WorkId,
        /// Which answer.
        answer: u32,
        /// The text; may be empty when only tokens are carried.
        text: String,
        /// The tokens in it, when log-probabilities were asked for.
        tokens: Vec<Token>,
    },
    /// An answer is complete. The work is complete when all its answers are.
    Finished {
        /// Names the work.
        id: WorkId,
        /// Which answer.
        answer: u32,
        /// Why it ended.
        reason: Finish,
        /// Tokens made for this answer.
        output_tokens: u32,
    },
    /// The work failed; nothing more follows for it.
    Failed {
        /// Names the work.
        id: WorkId,
        /// What can be done.
        error: WorkError,
    },
    /// Vectors, normalised to length 1.
    Embedded {
        /// Names the work.
        id: WorkId,
        /// In the order of the inputs.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs.
        tokens: u32,
    },
    /// Tokens of a text.
    Tokens {
        /// Names the work.
        id: WorkId,
        /// The tokens.
        tokens: Vec<u32>,
    },
    /// A piece of a prefix that was asked to be saved.
    Saved(StatePiece),
    /// Whether a restored prefix was taken.
    Restored {
        /// What the daemon calls it.
        key: String,
        /// `None`: retained. Otherwise why not.
        error: Option<String>,
    },
    /// What the sandbox denies, by trying.
    Probed {
        /// Names the work.
        id: WorkId,
        /// One for each attempt.
        attempts: Vec<Attempt>,
    },
    /// Counters since the start.
    Stats {
        /// Names the work.
        id: WorkId,
        /// The counters.
        stats: Stats,
    },
}

/// What the child tells of the loaded model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Loaded {
    /// llama.cpp's description: architecture, size, quantization.
    pub description: String,
    /// Tokens the KV cache really holds.
    pub context: u32,
    /// Tokens the model was trained for.
    pub trained_context: u32,
    /// Length of an embedding vector.
    pub embedding_width: u32,
    /// Bytes of KV cache for one token.
    pub kv_bytes_per_token: u64,
    /// Whether the model has tokens for filling in the middle.
    pub infill: bool,
    /// The CPU variant in use: `haswell`, `zen4`; and GPU devices.
    pub devices: Vec<String>,
    /// Threads in use.
    pub threads: u32,
    /// What is in force: `seccomp`, `landlock v5`; empty: nothing.
    pub sandbox: Vec<String>,
    /// Milliseconds from the load frame to here.
    pub load_millis: u64,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability, from the raw logits.
    pub logprob: f32,
    /// The likeliest at this place: id, bytes and log-probability, likeliest first.
    pub top: Vec<(u32, Vec<u8>, f32)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// The model ended it, or its grammar was complete.
    Stop,
    /// A stop text appeared: its position in the list.
    StopText(u32),
    /// The token limit.
    MaxTokens,
    /// The end of the context.
    ContextFull,
    /// Asked to stop.
    Cancelled,
}

/// Errors of work, by what can be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WorkError {
    /// The prompt is longer than the context.
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens there is room for.
        context: u32,
    },
    /// A parameter is wrong: which, and why.
    BadParameter {
        /// The name of the field.
        field: String,
        /// Why.
        message: String,
    },
    /// The constraint cannot be read, or no token can continue the answer.
    BadConstraint {
        /// Why.
        message: String,
    },
    /// The model cannot do this.
    Unsupported {
        /// Why.
        message: String,
    },
    /// Asked to stop.
    Cancelled,
    /// llama.cpp failed.
    Internal {
        /// Why.
        message: String,
    },
}

/// One thing that the sandbox should deny.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried: `udp socket`, `open /etc/passwd`.
    pub what: String,
    /// Whether it was denied.
    pub denied: bool,
    /// What the system said.
    pub detail: String,
}

/// Counters of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Stats {
    /// Decode steps made.
    pub steps: u64,
    /// Prompt tokens computed.
    pub prompt_computed: u64,
    /// Prompt tokens re-used.
    pub prompt_cached: u64,
    /// Tokens made.
    pub generated: u64,
    /// Sequences live now.
    pub live: u32,
    /// Bytes of retained prefixes now.
    pub retained_bytes: u64,
}
