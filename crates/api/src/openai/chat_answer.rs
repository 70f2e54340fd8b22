//! `POST /v1/chat/completions`: the answer.
//!
//! Source: OpenAI API reference, "The chat completion object" and "The chat completion chunk object".

use inshore_domain::{Delta, Event, TokenLogprob, Usage};
use serde::Serialize;

use super::shapes::{Stamp, WireLogprob, WireUsage, finish_word, logprobs};
use crate::answer::{Collected, Encode, One, data};
use crate::fault::{Fault, json};

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice>,
    usage: WireUsage,
    system_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<Logprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    annotations: [(); 0],
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

#[derive(Serialize)]
struct Call {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Serialize)]
struct Function {
    name: String,
    arguments: String,
}

#[derive(Serialize)]
struct Logprobs {
    content: Vec<WireLogprob>,
    refusal: Option<()>,
}

impl Logprobs {
    fn wanted(wanted: bool, tokens: Vec<TokenLogprob>) -> Option<Self> {
        wanted.then(|| Self { content: logprobs(tokens), refusal: None })
    }
}

/// The whole answer. `with_logprobs`: they were asked for.
pub(super) fn whole(stamp: &Stamp, collected: Collected, with_logprobs: bool) -> Vec<u8> {
    let choices = collected.answers.into_iter().enumerate();
    json(&Completion {
        id: &stamp.id,
        object: "chat.completion",
        created: stamp.created,
        model: &stamp.model,
        choices: choices.map(|(index, one)| choice(index, one, with_logprobs)).collect(),
        usage: collected.usage.into(),
        system_fingerprint: &stamp.fingerprint,
    })
}

fn choice(index: usize, one: One, with_logprobs: bool) -> Choice {
    let call = |call: inshore_domain::request::ToolCall| Call {
        id: call.id,
        kind: "function",
        function: Function { name: call.name, arguments: call.arguments },
    };
    let only_calls = one.text.is_empty() && !one.calls.is_empty();
    Choice {
        index,
        message: Message {
            role: "assistant",
            content: (!only_calls).then_some(one.text),
            refusal: None,
            annotations: [],
            reasoning_content: one.reasoning,
            tool_calls: one.calls.into_iter().map(call).collect(),
        },
        logprobs: Logprobs::wanted(with_logprobs, one.logprobs),
        finish_reason: one.reason.map_or("stop", finish_word),
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [ChunkChoice<'a>],
    /// Absent where usage was not asked for, `null` on all chunks but the last where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<WireUsage>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: ChunkDelta<'a>,
    logprobs: Option<Logprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct ChunkDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ChunkCall<'a>; 1]>,
}

#[derive(Serialize)]
struct ChunkCall<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: ChunkFunction<'a>,
}

#[derive(Serialize)]
struct ChunkFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// Writes chunks.
pub(super) struct Chunks {
    stamp: Stamp,
    include_usage: bool,
    with_logprobs: bool,
    usage: Usage,
    /// Answers whose role chunk has gone out, a bit each; there are 16 at most.
    begun: u128,
}

impl Chunks {
    pub(super) fn new(stamp: Stamp, include_usage: bool, with_logprobs: bool) -> Self {
        Self { stamp, include_usage, with_logprobs, usage: Usage::default(), begun: 0 }
    }

    fn chunk(&self, choices: &[ChunkChoice<'_>], usage: Option<WireUsage>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.stamp.id,
            object: "chat.completion.chunk",
            created: self.stamp.created,
            model: &self.stamp.model,
            system_fingerprint: &self.stamp.fingerprint,
            choices,
            usage: self.include_usage.then_some(usage),
        };
        data(out, &chunk);
    }

    fn delta(&self, index: u32, delta: ChunkDelta<'_>, logprobs: Option<Logprobs>, out: &mut Vec<u8>) {
        self.chunk(&[ChunkChoice { index, delta, logprobs, finish_reason: None }], None, out);
    }

    /// The role chunk, once for each answer. `content` is what OpenAI puts there: empty in front of text, `null` in
    /// front of a tool call.
    fn begin(&mut self, index: u32, content: Option<&'static str>, out: &mut Vec<u8>) {
        let bit = 1_u128 << index.min(127);
        if self.begun & bit == 0 {
            self.begun |= bit;
            let delta = ChunkDelta {
                role: Some("assistant"),
                content: Some(content),
                refusal: Some(None),
                ..ChunkDelta::default()
            };
            self.delta(index, delta, None, out);
        }
    }

    fn piece(&mut self, index: u32, delta: Delta, out: &mut Vec<u8>) {
        let call = |index, id, kind, name, arguments| ChunkDelta {
            tool_calls: Some([ChunkCall { index, id, kind, function: ChunkFunction { name, arguments } }]),
            ..ChunkDelta::default()
        };
        match &delta {
            Delta::Text { text, logprobs } => {
                self.begin(index, Some(""), out);
                if text.is_empty() && logprobs.is_empty() {
                    return;
                }
                let logprobs = Logprobs::wanted(self.with_logprobs, logprobs.clone());
                let delta = ChunkDelta { content: Some(Some(text)), ..ChunkDelta::default() };
                self.delta(index, delta, logprobs, out);
            }
            Delta::Reasoning(text) => {
                self.begin(index, Some(""), out);
                let delta = ChunkDelta { reasoning_content: Some(text), ..ChunkDelta::default() };
                self.delta(index, delta, None, out);
            }
            Delta::ToolCall { call: place, id, name } => {
                self.begin(index, None, out);
                self.delta(index, call(*place, Some(id), Some("function"), Some(name), ""), None, out);
            }
            Delta::ToolArguments { call: place, fragment } => {
                self.begin(index, None, out);
                self.delta(index, call(*place, None, None, None, fragment), None, out);
            }
        }
    }
}

impl Encode for Chunks {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started { .. } | Event::Wire(_) => {}
            Event::Delta { index, delta } => self.piece(index, delta, out),
            Event::Finished { index, reason } => {
                self.begin(index, Some(""), out);
                let choice = ChunkChoice {
                    index,
                    delta: ChunkDelta::default(),
                    logprobs: None,
                    finish_reason: Some(finish_word(reason)),
                };
                self.chunk(&[choice], None, out);
            }
            Event::Usage(usage) => self.usage = usage,
        }
    }

    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&fault.openai_json());
        out.extend_from_slice(b"\n\n");
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            self.chunk(&[], Some(self.usage.into()), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
