//! What a provider is told to answer.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// The answer to one request.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What is said.
    pub reply: Reply,
    /// Time before the head of the response.
    pub head_delay: Duration,
    /// Time before each token of a streamed answer.
    pub token_delay: Duration,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// Token counts; `None` counts words.
    pub tokens: Option<Tokens>,
}

/// Token counts that a provider reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Prompt tokens, cached ones included.
    pub prompt: u32,
    /// Of these, read from a cache.
    pub cached: u32,
    /// Of these, written to a cache (Anthropic only).
    pub written: u32,
    /// Tokens of the answer.
    pub output: u32,
}

/// What is said.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A text; a token is a word with the space before it.
    Text(String),
    /// Thinking, then a text.
    Thought {
        /// The thinking.
        thinking: String,
        /// The text.
        text: String,
    },
    /// Tool calls: name and arguments (JSON).
    Calls(Vec<(String, String)>),
    /// An error in the provider's own shape.
    Refusal {
        /// HTTP status.
        status: u16,
        /// `error.type`.
        kind: String,
        /// `error.code`, where the protocol has one.
        code: Option<String>,
        /// `error.message`.
        message: String,
        /// Headers such as `retry-after`.
        headers: Vec<(String, String)>,
    },
    /// Exactly this, whatever was asked.
    Exact {
        /// HTTP status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: Bytes,
    },
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before the request is carried out.
    RequestLost,
    /// The request is carried out, and the connection breaks before the response.
    ResponseLost,
    /// The request is carried out, and nothing ever comes.
    NeverAnswer,
    /// The head and this many bytes of the body come, then the connection breaks.
    CutAfter(usize),
    /// The head and this many bytes of the body come, then nothing more.
    StallAfter(usize),
    /// These bytes come in front of the streamed event with this number.
    Garbage {
        /// 0 is in front of the first event.
        before_event: usize,
        /// What comes.
        bytes: Bytes,
    },
    /// The streamed events come in this order. A number may stand there twice or not at all.
    Reordered(Vec<usize>),
    /// The streamed events come with other line ends, and in pieces of this many bytes.
    Recut {
        /// `\n`, `\r\n` or `\r`.
        line_end: &'static str,
        /// At least 1.
        size: usize,
    },
    /// An error in the provider's own shape comes in place of the streamed event with this number, and ends the stream.
    ErrorEvent {
        /// 0 is in place of the first event.
        at_event: usize,
        /// `error.type`.
        kind: String,
    },
}

impl Turn {
    /// This text, at once and without faults.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Reply::Text(text.into()))
    }

    /// One tool call.
    pub fn call(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::of(Reply::Calls(vec![(name.into(), arguments.into())]))
    }

    /// An error in the provider's own shape.
    pub fn refusal(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        let (kind, message) = (kind.into(), message.into());
        Self::of(Reply::Refusal { status, kind, code: None, message, headers: Vec::new() })
    }

    /// This reply, at once and without faults.
    pub fn of(reply: Reply) -> Self {
        Self { reply, head_delay: Duration::ZERO, token_delay: Duration::ZERO, fault: None, tokens: None }
    }

    /// The same with a fault.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The same with token counts.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// The same, slower: before the head, and before each token.
    #[must_use]
    pub fn paced(mut self, head_delay: Duration, token_delay: Duration) -> Self {
        (self.head_delay, self.token_delay) = (head_delay, token_delay);
        self
    }

    /// The same with a header on an error.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Reply::Refusal { headers, .. } | Reply::Exact { headers, .. } = &mut self.reply {
            headers.push((name.into(), value.into()));
        }
        self
    }
}

/// Turns in the order they are given, and one for whatever comes after.
#[derive(Debug)]
pub struct Script {
    queued: Mutex<VecDeque<Turn>>,
    otherwise: Mutex<Turn>,
}

impl Script {
    /// Always the same turn, until told otherwise.
    pub fn always(turn: Turn) -> Self {
        Self { queued: Mutex::default(), otherwise: Mutex::new(turn) }
    }

    /// Adds a turn that is given once.
    pub fn then(&self, turn: Turn) {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).push_back(turn);
    }

    /// Replaces the turn that is given when no other is left.
    pub fn otherwise(&self, turn: Turn) {
        *self.otherwise.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    pub(crate) fn next(&self) -> Turn {
        let queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        queued.unwrap_or_else(|| self.otherwise.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The tokens of a text: words with the white space in front of them.
pub fn tokens_of(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && in_word {
            tokens.extend(text.get(start..at));
            start = at;
        }
        in_word = !c.is_whitespace();
    }
    tokens.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    tokens
}

/// How a text ends under the limits of a request: what is said of it, and why it stops there.
pub(crate) fn limited(text: &str, max_tokens: Option<u64>, stops: &[String]) -> (String, Ending) {
    let cut =
        stops.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min_by_key(|(at, _)| *at);
    let (text, ending) = match cut {
        Some((at, stop)) => (text.get(..at).unwrap_or_default(), Ending::Stop(stop.clone())),
        None => (text, Ending::End),
    };
    let tokens = tokens_of(text);
    let limit = max_tokens.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    if tokens.len() > limit {
        (tokens.iter().take(limit).copied().collect(), Ending::Length)
    } else {
        (text.to_owned(), ending)
    }
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    End,
    Stop(String),
    Length,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_join_to_the_text() {
        for text in ["", "one", " one two  three\n", "a\tb"] {
            assert_eq!(tokens_of(text).concat(), text);
        }
        assert_eq!(tokens_of("Hello big world"), ["Hello", " big", " world"]);
    }

    #[test]
    fn limits_cut_a_text() {
        let stops = [" three".to_owned()];
        assert_eq!(limited("one two three", None, &stops), ("one two".into(), Ending::Stop(" three".into())));
        assert_eq!(limited("one two three", Some(1), &stops), ("one".into(), Ending::Length));
        assert_eq!(limited("one two", Some(9), &[]), ("one two".into(), Ending::End));
    }
}
