//! An answer that may be revised while it is made.
//!
//! It is made of blocks (text, thinking, tool calls), and what happens to them is a log: each entry changes what the ones before it
//! have made. Whoever applies all of them in order has the answer.

use std::ops::Range;

use crate::event::{FinishReason, Usage};
use crate::target::{TargetId, Tier};

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockKind {
    /// Text of the answer.
    Text,
    /// Thinking that is not part of the answer.
    Reasoning,
    /// A tool call; the block's text is its arguments. Only ever of a final answer.
    ToolCall {
        /// Joins the call to its result.
        id: String,
        /// The function called.
        name: String,
    },
}

/// What a target's answer is to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// It is shown until a better one is there.
    Draft,
    /// It is what the answer will be, unless it fails.
    Final,
}

impl Part {
    /// The word used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Final => "final",
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Revision {
    /// A target answers from here on: what it says is appended, or replaces what is there.
    Begun {
        /// Which target.
        target: TargetId,
        /// How far away it is.
        tier: Tier,
        /// The model, as the target names it.
        model: String,
        /// What its answer is.
        part: Part,
    },
    /// A block is there, and empty.
    Opened {
        /// Which block: 0 first, then counted up.
        block: u32,
        /// What it holds.
        kind: BlockKind,
    },
    /// Text is added at the end of a block.
    Appended {
        /// Which block.
        block: u32,
        /// The text.
        text: String,
    },
    /// A part of a block is replaced.
    Replaced {
        /// Which block.
        block: u32,
        /// Where: characters (Unicode scalar values) of the block as it is at this point of the log.
        span: Range<usize>,
        /// The text that takes its place; may be empty.
        text: String,
    },
    /// The answer is complete, and nothing of it changes any more.
    Finalised {
        /// Why it ended.
        reason: FinishReason,
        /// Why the draft is the answer, where it is.
        kept_draft: Option<String>,
        /// Tokens of the answer that was given, where its target has told them.
        usage: Option<Usage>,
    },
}

impl Revision {
    /// Text that it carries, in bytes: what a log of them takes in memory beside the entries themselves.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Appended { text, .. } | Self::Replaced { text, .. } => text.len(),
            Self::Opened { kind: BlockKind::ToolCall { id, name }, .. } => id.len() + name.len(),
            Self::Begun { .. } | Self::Opened { .. } | Self::Finalised { .. } => 0,
        }
    }
}
