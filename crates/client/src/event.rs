//! The events of an answer, as they are on the wire.

use std::fmt;

use serde::Deserialize;

/// The request has been taken; always the first event of a request, and without an id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Accepted {
    /// The id of the receipt that the answer will have.
    pub receipt: String,
    /// How the answer is made: `direct`, `fallback`, `draft`, `cascade`.
    pub strategy: String,
    /// The path at which the answer can be read on.
    pub resume: String,
}

/// A target answers from here on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Begun {
    /// Its name in the config.
    pub target: String,
    /// `device`, `edge` or `cloud`.
    pub tier: String,
    /// The model, as the target names it.
    pub model: String,
    /// What its answer is.
    pub part: Part,
}

/// What a target's answer is to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// It is shown until a better one is there.
    Draft,
    /// It is what the answer will be, unless it fails.
    Final,
}

/// A block is there, and empty.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Opened {
    /// Which: 0 first, then counted up.
    pub block: u32,
    /// What it holds.
    #[serde(flatten)]
    pub kind: BlockKind,
}

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BlockKind {
    /// Text of the answer.
    Text,
    /// Thinking that is not part of the answer.
    Reasoning,
    /// A tool call; the block's text is its arguments.
    ToolCall {
        /// Joins the call to its result.
        id: String,
        /// The function called.
        name: String,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// Text is added at the end of a block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Appended {
    /// Which block.
    pub block: u32,
    /// The text.
    pub text: String,
}

/// A part of a block is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Replaced {
    /// Which block.
    pub block: u32,
    /// The first character (Unicode scalar value) that goes, of the block as it is at this point.
    pub start: usize,
    /// The first one behind it that stays.
    pub end: usize,
    /// What takes their place; may be empty.
    pub text: String,
}

/// The answer is complete, and nothing of it changes any more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Finalised {
    /// Why it ended: `stop`, `length`, `tool_calls`, `content_filter`.
    pub reason: String,
    /// Why the draft is the answer, where it is.
    #[serde(default)]
    pub kept_draft: Option<String>,
    /// Tokens of the answer, where its target has told them.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// Tokens of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: u32,
    /// Of these, those that were known already.
    pub cached_tokens: u32,
    /// Tokens of the answer, thinking included.
    pub output_tokens: u32,
    /// Of these, those of thinking.
    pub reasoning_tokens: u32,
}

/// The receipt is written; always the last event of a good answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ended {
    /// Its id.
    pub receipt: String,
}

/// What went wrong, as problem details of RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// As an HTTP status.
    pub status: u16,
    /// A stable word for machines.
    #[serde(default)]
    pub code: String,
    /// One sentence.
    #[serde(default)]
    pub detail: String,
    /// What to do about it.
    #[serde(default)]
    pub hint: Option<String>,
    /// The field at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// The request, as the daemon's log names it.
    #[serde(default)]
    pub request_id: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => write!(f, "the daemon answered {}", self.status),
            detail => f.write_str(detail),
        }
    }
}

/// One event of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The request has been taken.
    Accepted(Accepted),
    /// A target answers from here on.
    Begun(Begun),
    /// A block is there.
    Opened(Opened),
    /// A block grows.
    Appended(Appended),
    /// A part of a block is replaced.
    Replaced(Replaced),
    /// Nothing changes any more.
    Finalised(Finalised),
    /// The receipt is written; nothing follows.
    Ended(Ended),
    /// The answer is not complete; nothing follows.
    Error(Problem),
    /// Something that this version does not know, and that changes nothing of what it knows.
    Other(String),
}

impl Event {
    /// Reads an event by its name.
    ///
    /// # Errors
    /// When its data is not what an event of this name has.
    pub fn read(name: &str, data: &str) -> Result<Self, serde_json::Error> {
        Ok(match name {
            "accepted" => Self::Accepted(serde_json::from_str(data)?),
            "begun" => Self::Begun(serde_json::from_str(data)?),
            "opened" => Self::Opened(serde_json::from_str(data)?),
            "appended" => Self::Appended(serde_json::from_str(data)?),
            "replaced" => Self::Replaced(serde_json::from_str(data)?),
            "finalised" => Self::Finalised(serde_json::from_str(data)?),
            "ended" => Self::Ended(serde_json::from_str(data)?),
            "error" => Self::Error(serde_json::from_str(data)?),
            other => Self::Other(other.to_owned()),
        })
    }
}
