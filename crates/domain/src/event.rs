//! What an answer is made of, as it is made.

use bytes::Bytes;

/// One thing that happened in an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The target accepted the work; always the first event. Nothing may be retried elsewhere after a later event.
    Started {
        /// The model that answers, as the target names it.
        model: String,
    },
    /// A piece of answer `index` (0 unless several were asked for).
    Delta {
        /// Which answer.
        index: u32,
        /// The piece.
        delta: Delta,
    },
    /// Answer `index` is complete.
    Finished {
        /// Which answer.
        index: u32,
        /// Why it ended.
        reason: FinishReason,
    },
    /// Token counts so far; the last one counts. Comes only where the target really reported counts: an answer without one
    /// took nobody knows how many.
    Usage(Usage),
    /// The exact bytes the target sent for the events that follow up to the next `Wire`, in the dialect of the request's
    /// [`crate::request::Original`]. Streaming: one or more whole SSE events. Otherwise: the whole body. Only sent when the
    /// dialects match, and then the first event after `Started` is one (it may be empty): an edge that forwards these bytes
    /// does not encode the other events, and decides which it does by the first event it sees.
    Wire(Bytes),
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text, cut at character boundaries.
    Text {
        /// The text; may be empty when only log-probabilities are carried.
        text: String,
        /// One for each token in the text, when asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// Thinking that is not part of the answer.
    Reasoning(String),
    /// A tool call begins; its arguments follow.
    ToolCall {
        /// Position among the calls of this answer.
        call: u32,
        /// Joins the call to its result.
        id: String,
        /// The function called.
        name: String,
    },
    /// More of the arguments of a tool call.
    ToolArguments {
        /// Position among the calls of this answer.
        call: u32,
        /// JSON text, cut anywhere.
        fragment: String,
    },
}

/// A token that was drawn, with its log-probability and the likeliest alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// The token's bytes; not always valid UTF-8 on their own.
    pub bytes: Vec<u8>,
    /// The token's id, where the target tells it.
    pub id: Option<u32>,
    /// Natural logarithm of its probability before any sampling filter.
    pub logprob: f32,
    /// The likeliest tokens at this place: bytes and log-probability, likeliest first.
    pub top: Vec<(Vec<u8>, f32)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it.
    Stop,
    /// A stop text appeared; which one, by its position in the request's list.
    StopText(u32),
    /// The token limit or the end of the context window was reached.
    Length,
    /// It ended in tool calls.
    ToolCalls,
    /// The provider withheld the rest.
    ContentFilter,
}

/// Tokens used. Each target counts its own tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Prompt tokens, those from a cache included.
    pub prompt_tokens: u32,
    /// Prompt tokens whose computation was re-used.
    pub cached_tokens: u32,
    /// Prompt tokens that were written to a provider's cache at an extra price.
    pub cache_write_tokens: u32,
    /// Tokens of all answers, thinking included.
    pub output_tokens: u32,
    /// Of these, tokens of thinking.
    pub reasoning_tokens: u32,
}
