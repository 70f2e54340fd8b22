//! `POST /v1/messages`: the answer.
//!
//! Source: Anthropic API reference, "Create a Message" and "Streaming messages".

use inshore_domain::{Delta, Event, FinishReason, Usage};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::{Collected, Encode, named, protocol};
use crate::fault::{Fault, json};
use crate::gate::Caller;
use crate::openai::shapes::tail;

/// What the answer needs of its request.
pub(super) struct Stamp {
    id: String,
    model: String,
    /// To say which stop text ended the answer.
    stops: Vec<String>,
}

impl Stamp {
    pub(super) fn new(caller: &Caller, model: String, stops: Vec<String>) -> Self {
        Self { id: format!("msg_{}", tail(caller.id)), model, stops }
    }

    fn stop(&self, reason: FinishReason) -> Stop<'_> {
        let (stop_reason, stop_sequence) = match reason {
            FinishReason::Stop => ("end_turn", None),
            FinishReason::StopText(place) => {
                ("stop_sequence", self.stops.get(place as usize).map(String::as_str))
            }
            FinishReason::Length => ("max_tokens", None),
            FinishReason::ToolCalls => ("tool_use", None),
            FinishReason::ContentFilter => ("refusal", None),
        };
        Stop { stop_reason: Some(stop_reason), stop_sequence }
    }
}

#[derive(Serialize, Clone, Copy)]
struct Stop<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
}

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    #[serde(flatten)]
    stop: Stop<'a>,
    usage: WireUsage,
}

fn message<'a>(stamp: &'a Stamp, content: Vec<Block<'a>>, stop: Stop<'a>, usage: Usage) -> Message<'a> {
    Message {
        id: &stamp.id,
        kind: "message",
        role: "assistant",
        model: &stamp.model,
        content,
        stop,
        usage: usage.into(),
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Thinking { thinking: &'a str, signature: &'static str },
    Text { text: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: Input<'a> },
}

/// Arguments as JSON where they are an object.
#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Object(&'a RawValue),
    /// A model that is not held to a schema may write anything; the caller gets it as it is, under a name that says so.
    Malformed {
        malformed_arguments: &'a str,
    },
    Empty {},
}

impl<'a> Input<'a> {
    fn new(arguments: &'a str) -> Self {
        let trimmed = arguments.trim();
        if trimmed.is_empty() {
            return Self::Empty {};
        }
        match serde_json::from_str::<&RawValue>(trimmed) {
            Ok(raw) if raw.get().starts_with('{') => Self::Object(raw),
            _ => Self::Malformed { malformed_arguments: arguments },
        }
    }
}

/// Anthropic counts tokens read from a cache and written to one beside `input_tokens`, not in it.
#[derive(Serialize)]
struct WireUsage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Serialize)]
struct OutputDetails {
    thinking_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        let beside = usage.cached_tokens.saturating_add(usage.cache_write_tokens);
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(beside),
            cache_creation_input_tokens: usage.cache_write_tokens,
            cache_read_input_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            output_tokens_details: (usage.reasoning_tokens > 0)
                .then_some(OutputDetails { thinking_tokens: usage.reasoning_tokens }),
        }
    }
}

/// The whole answer.
pub(super) fn whole(stamp: &Stamp, collected: Collected) -> Vec<u8> {
    let one = collected.answers.into_iter().next().unwrap_or_default();
    let mut content = Vec::new();
    if !one.reasoning.is_empty() {
        content.push(Block::Thinking { thinking: &one.reasoning, signature: "" });
    }
    if !one.text.is_empty() {
        content.push(Block::Text { text: &one.text });
    }
    for call in &one.calls {
        content.push(Block::ToolUse { id: &call.id, name: &call.name, input: Input::new(&call.arguments) });
    }
    let stop = stamp.stop(one.reason.unwrap_or(FinishReason::Stop));
    json(&message(stamp, content, stop, collected.usage))
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireEvent<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: u32, content_block: Block<'a> },
    Ping,
    ContentBlockDelta { index: u32, delta: BlockDelta<'a> },
    ContentBlockStop { index: u32 },
    MessageDelta { delta: Stop<'a>, usage: WireUsage },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum BlockDelta<'a> {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

/// Which block is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    Call(u32),
}

/// Writes the events of one message.
pub(super) struct Events {
    stamp: Stamp,
    begun: bool,
    open: Option<Open>,
    /// The index of the open block, or of the next.
    index: u32,
    usage: Usage,
    reason: Option<FinishReason>,
    broken: Option<&'static str>,
}

impl Events {
    pub(super) fn new(stamp: Stamp) -> Self {
        Self {
            stamp,
            begun: false,
            open: None,
            index: 0,
            usage: Usage::default(),
            reason: None,
            broken: None,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let open_end = Stop { stop_reason: None, stop_sequence: None };
            let message = message(&self.stamp, Vec::new(), open_end, self.usage);
            named(out, "message_start", &WireEvent::MessageStart { message });
        }
    }

    /// Opens a block unless it is the open one.
    fn open(&mut self, open: Open, content_block: Block<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        if self.open == Some(open) {
            return;
        }
        self.close(out);
        self.open = Some(open);
        let index = self.index;
        named(out, "content_block_start", &WireEvent::ContentBlockStart { index, content_block });
        if index == 0 {
            named(out, "ping", &WireEvent::Ping);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            named(out, "content_block_stop", &WireEvent::ContentBlockStop { index: self.index });
            self.index += 1;
        }
    }

    fn grow(&self, delta: BlockDelta<'_>, out: &mut Vec<u8>) {
        named(out, "content_block_delta", &WireEvent::ContentBlockDelta { index: self.index, delta });
    }

    fn piece(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text { text, .. } if text.is_empty() => self.begin(out),
            Delta::Text { text, .. } => {
                self.open(Open::Text, Block::Text { text: "" }, out);
                self.grow(BlockDelta::Text { text }, out);
            }
            Delta::Reasoning(thinking) => {
                self.open(Open::Thinking, Block::Thinking { thinking: "", signature: "" }, out);
                self.grow(BlockDelta::Thinking { thinking }, out);
            }
            Delta::ToolCall { call, id, name } => {
                self.open(Open::Call(*call), Block::ToolUse { id, name, input: Input::Empty {} }, out);
            }
            Delta::ToolArguments { call, fragment } if self.open == Some(Open::Call(*call)) => {
                self.grow(BlockDelta::InputJson { partial_json: fragment }, out);
            }
            // A block that has ended cannot grow again.
            Delta::ToolArguments { .. } => self.broken = Some("parts of several tool calls in turn"),
        }
    }
}

impl Encode for Events {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Delta { index: 0, delta } => self.piece(&delta, out),
            Event::Finished { index: 0, reason } => self.reason = Some(reason),
            Event::Usage(usage) => self.usage = usage,
            // This route gives one answer.
            Event::Started { .. } | Event::Wire(_) | Event::Delta { .. } | Event::Finished { .. } => {}
        }
    }

    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&fault.anthropic_json(None));
        out.extend_from_slice(b"\n\n");
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(what) = self.broken {
            return self.fail(&protocol(what), out);
        }
        self.begin(out);
        self.close(out);
        let delta = self.stamp.stop(self.reason.unwrap_or(FinishReason::Stop));
        named(out, "message_delta", &WireEvent::MessageDelta { delta, usage: self.usage.into() });
        named(out, "message_stop", &WireEvent::MessageStop);
    }
}
