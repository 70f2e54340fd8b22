//! Answers of `/v1/messages`, streamed and whole.

use std::collections::VecDeque;
use std::sync::Arc;

use inshore_domain::{BackendError, Delta, Event, FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{Reader, Verdict};
use crate::refusal::{Refuser, Said};

/// Reads the answers of one call. Everything is answer 0: the API gives only one.
pub(crate) struct AnthropicReader {
    by: Arc<Refuser>,
    /// The stop texts of the request, to tell which one ended the answer.
    stop: Vec<String>,
    usage: WireUsage,
    calls: u32,
    /// The block that is being written is a tool call: its position among the calls.
    open_call: Option<u32>,
    started: bool,
    complete: bool,
}

#[derive(Deserialize)]
struct StreamEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, borrow)]
    message: Option<Message<'a>>,
    #[serde(default, borrow)]
    content_block: Option<Block<'a>>,
    #[serde(default)]
    delta: Option<WireDelta>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    model: String,
    #[serde(default, borrow)]
    content: Vec<Block<'a>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireDelta {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    partial_json: String,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
}

/// Counts are cumulative; one that is missing stays as it was.
#[derive(Deserialize, Default, Clone, Copy)]
struct WireUsage {
    #[serde(default)]
    input_tokens: Option<u32>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u32>,
    #[serde(default)]
    cache_read_input_tokens: Option<u32>,
    #[serde(default)]
    output_tokens: Option<u32>,
}

impl WireUsage {
    fn update(&mut self, newer: WireUsage) {
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens =
            newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
    }

    /// `input_tokens` counts only what was neither read from a cache nor written to one; the domain counts all.
    fn usage(&self) -> Usage {
        let cached_tokens = self.cache_read_input_tokens.unwrap_or(0);
        let cache_write_tokens = self.cache_creation_input_tokens.unwrap_or(0);
        let fresh = self.input_tokens.unwrap_or(0);
        Usage {
            prompt_tokens: fresh.saturating_add(cached_tokens).saturating_add(cache_write_tokens),
            cached_tokens,
            cache_write_tokens,
            output_tokens: self.output_tokens.unwrap_or(0),
            reasoning_tokens: 0,
        }
    }
}

impl AnthropicReader {
    pub(crate) fn new(by: Arc<Refuser>, stop: Vec<String>) -> Self {
        Self {
            by,
            stop,
            usage: WireUsage::default(),
            calls: 0,
            open_call: None,
            started: false,
            complete: false,
        }
    }

    fn start(&mut self, model: String, usage: WireUsage, out: &mut VecDeque<Event>) {
        self.started = true;
        let model = if model.is_empty() { self.by.target().model.clone() } else { model };
        out.push_back(Event::Started { model });
        self.usage.update(usage);
        out.push_back(Event::Usage(self.usage.usage()));
    }

    /// The beginning of a block while streaming, all of it otherwise.
    fn block(&mut self, block: Block<'_>, out: &mut VecDeque<Event>) {
        self.open_call = None;
        match block.kind.as_str() {
            "text" if !block.text.is_empty() => {
                push(out, Delta::Text { text: block.text, logprobs: Vec::new() })
            }
            "thinking" if !block.thinking.is_empty() => push(out, Delta::Reasoning(block.thinking)),
            "tool_use" => {
                let call = self.calls;
                self.calls += 1;
                self.open_call = Some(call);
                push(out, Delta::ToolCall { call, id: block.id, name: block.name });
                let input = block.input.map(RawValue::get).filter(|input| !matches!(*input, "{}" | "null"));
                if let Some(input) = input {
                    push(out, Delta::ToolArguments { call, fragment: input.to_owned() });
                }
            }
            // Tools that the provider runs itself, and whatever comes later: only in the bytes handed on.
            _ => {}
        }
    }

    fn delta(&mut self, delta: WireDelta, out: &mut VecDeque<Event>) {
        match delta.kind.as_str() {
            "text_delta" => push(out, Delta::Text { text: delta.text, logprobs: Vec::new() }),
            "thinking_delta" => push(out, Delta::Reasoning(delta.thinking)),
            "input_json_delta" if !delta.partial_json.is_empty() => {
                if let Some(call) = self.open_call {
                    push(out, Delta::ToolArguments { call, fragment: delta.partial_json });
                }
            }
            _ => {}
        }
    }

    fn finish(&self, reason: &str, sequence: Option<&str>, out: &mut VecDeque<Event>) {
        let place = || u32::try_from(self.stop.iter().position(|stop| Some(stop.as_str()) == sequence)?).ok();
        let reason = match reason {
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "refusal" => FinishReason::ContentFilter,
            "stop_sequence" => place().map_or(FinishReason::Stop, FinishReason::StopText),
            _ => FinishReason::Stop,
        };
        out.push_back(Event::Finished { index: 0, reason });
    }
}

fn push(out: &mut VecDeque<Event>, delta: Delta) {
    out.push_back(Event::Delta { index: 0, delta });
}

impl Reader for AnthropicReader {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError> {
        let event: StreamEvent<'_> = serde_json::from_slice(data).map_err(|_| self.by.unreadable())?;
        match event.kind.as_str() {
            // Nothing of an answer comes before its start.
            "content_block_start" | "content_block_delta" | "content_block_stop" | "message_delta"
                if !self.started =>
            {
                return Err(self.by.unreadable());
            }
            "message_start" if self.started => return Err(self.by.unreadable()),
            "message_start" => {
                let message = event.message.ok_or_else(|| self.by.unreadable())?;
                self.start(message.model, message.usage, out);
            }
            "content_block_start" => {
                if let Some(block) = event.content_block {
                    self.block(block, out);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = event.delta {
                    self.delta(delta, out);
                }
            }
            "content_block_stop" => {
                // A call without arguments is written as an object all the same.
                self.open_call = None;
            }
            "message_delta" => {
                if let Some(usage) = event.usage {
                    self.usage.update(usage);
                    out.push_back(Event::Usage(self.usage.usage()));
                }
                if let Some((reason, sequence)) =
                    event.delta.and_then(|d| Some((d.stop_reason?, d.stop_sequence)))
                {
                    self.complete = true;
                    self.finish(&reason, sequence.as_deref(), out);
                }
            }
            "message_stop" if self.complete => return Ok(Verdict::Last),
            "message_stop" => return Err(self.by.unreadable()),
            "error" => return Err(self.by.in_stream(&Said::in_body(data))),
            // `ping`, and event types that are yet to come, which the API's versioning rules say to ignore.
            _ => {}
        }
        Ok(Verdict::Forward)
    }

    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        let message: Message<'_> = serde_json::from_slice(body).map_err(|_| self.by.unreadable())?;
        let reason = message.stop_reason.ok_or_else(|| self.by.unreadable())?;
        self.start(message.model, message.usage, out);
        for block in message.content {
            self.block(block, out);
        }
        self.finish(&reason, message.stop_sequence.as_deref(), out);
        self.complete = true;
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

/// The answer of `/v1/messages/count_tokens`.
pub(super) fn count(body: &[u8], by: &Refuser) -> Result<u32, BackendError> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u32,
    }
    let count: Count = serde_json::from_slice(body).map_err(|_| by.unreadable())?;
    Ok(count.input_tokens)
}
