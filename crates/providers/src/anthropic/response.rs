//! Answers of `/v1/messages`, streamed and whole.

use std::collections::VecDeque;
use std::sync::Arc;

use inshore_domain::{BackendError, Delta, Event, FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer::{Reader, Verdict};
use crate::json::{Count, if_right};
use crate::refusal::{Refuser, Said};

/// Reads the answers of one call. Everything is answer 0: the API gives only one.
pub(crate) struct AnthropicReader {
    by: Arc<Refuser>,
    /// The stop texts of the request, to tell which one ended the answer.
    stop: Vec<String>,
    usage: WireUsage,
    calls: u32,
    /// The number of the block that is being written, and, where it is a tool call, its position among the calls.
    open: Option<(u32, Option<u32>)>,
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
    #[serde(default, deserialize_with = "if_right")]
    usage: Option<WireUsage>,
    #[serde(default)]
    index: u32,
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
    #[serde(default, deserialize_with = "if_right")]
    usage: Option<WireUsage>,
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
    input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
}

impl WireUsage {
    /// The counts of the prompt come with the start of an answer, or anew at its end; that of the answer counts only as the
    /// end tells it.
    fn update(&mut self, newer: WireUsage) {
        let newest = |newer: Count, known: Count| Count(newer.0.or(known.0));
        *self = Self {
            input_tokens: newest(newer.input_tokens, self.input_tokens),
            cache_creation_input_tokens: newest(
                newer.cache_creation_input_tokens,
                self.cache_creation_input_tokens,
            ),
            cache_read_input_tokens: newest(newer.cache_read_input_tokens, self.cache_read_input_tokens),
            output_tokens: newer.output_tokens,
        };
    }

    /// `input_tokens` counts only what was neither read from a cache nor written to one; the domain counts all. `None` unless
    /// both prompt and answer are counted.
    fn usage(&self) -> Option<Usage> {
        let cached_tokens = self.cache_read_input_tokens.or_zero();
        let cache_write_tokens = self.cache_creation_input_tokens.or_zero();
        let fresh = self.input_tokens.0?;
        Some(Usage {
            prompt_tokens: fresh.saturating_add(cached_tokens).saturating_add(cache_write_tokens),
            cached_tokens,
            cache_write_tokens,
            output_tokens: self.output_tokens.0?,
            reasoning_tokens: 0,
        })
    }
}

impl AnthropicReader {
    pub(crate) fn new(by: Arc<Refuser>, stop: Vec<String>) -> Self {
        Self { by, stop, usage: WireUsage::default(), calls: 0, open: None, started: false, complete: false }
    }

    fn start(&mut self, model: String, usage: Option<WireUsage>, out: &mut VecDeque<Event>) {
        self.started = true;
        let model = if model.is_empty() { self.by.target().model.clone() } else { model };
        out.push_back(Event::Started { model });
        self.usage.update(usage.unwrap_or_default());
    }

    /// The beginning of a block while streaming, all of it otherwise.
    fn block(&mut self, index: u32, block: Block<'_>, out: &mut VecDeque<Event>) {
        self.open = Some((index, None));
        match block.kind.as_str() {
            "text" if !block.text.is_empty() => {
                push(out, Delta::Text { text: block.text, logprobs: Vec::new() })
            }
            "thinking" if !block.thinking.is_empty() => push(out, Delta::Reasoning(block.thinking)),
            "tool_use" => {
                let call = self.calls;
                self.calls += 1;
                self.open = Some((index, Some(call)));
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

    fn delta(&self, call: Option<u32>, delta: WireDelta, out: &mut VecDeque<Event>) {
        match delta.kind.as_str() {
            "text_delta" => push(out, Delta::Text { text: delta.text, logprobs: Vec::new() }),
            "thinking_delta" => push(out, Delta::Reasoning(delta.thinking)),
            "input_json_delta" if !delta.partial_json.is_empty() => {
                if let Some(call) = call {
                    push(out, Delta::ToolArguments { call, fragment: delta.partial_json });
                }
            }
            _ => {}
        }
    }

    fn message_delta(
        &mut self,
        usage: Option<WireUsage>,
        delta: Option<WireDelta>,
        out: &mut VecDeque<Event>,
    ) {
        if let Some((reason, sequence)) =
            delta.and_then(|delta| Some((delta.stop_reason?, delta.stop_sequence)))
            && !self.complete
        {
            self.complete = true;
            self.finish(&reason, sequence.as_deref(), out);
        }
        if let Some(usage) = usage {
            self.usage.update(usage);
            out.extend(self.usage.usage().filter(|_| self.complete).map(Event::Usage));
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
        let event: StreamEvent<'_> = serde_json::from_slice(data).map_err(|_| self.by.unreadable(data))?;
        match event.kind.as_str() {
            "content_block_start" | "content_block_delta" | "content_block_stop" | "message_delta"
                if !self.started =>
            {
                return Err(self.by.broken("a part of an answer before its start"));
            }
            "content_block_start" | "content_block_delta" if self.complete => {
                return Err(self.by.broken("more of an answer after its end"));
            }
            "message_start" if self.started => return Err(self.by.broken("a second start of an answer")),
            "message_start" => {
                let message = event.message.ok_or_else(|| self.by.broken("the start of no answer"))?;
                self.start(message.model, message.usage, out);
            }
            "content_block_start" => {
                if let Some(block) = event.content_block {
                    self.block(event.index, block, out);
                }
            }
            "content_block_delta" => match (self.open, event.delta) {
                (Some((index, call)), Some(delta)) if index == event.index => self.delta(call, delta, out),
                _ => return Err(self.by.broken("a piece of a block that is not open")),
            },
            "content_block_stop" => self.open = None,
            "message_delta" => self.message_delta(event.usage, event.delta, out),
            "message_stop" if self.complete => return Ok(Verdict::Last),
            "message_stop" => {
                return Err(self.by.broken("the end of the stream before the end of an answer"));
            }
            "error" => return Err(self.by.in_stream(&Said::in_body(data))),
            // `ping`, and event types that are yet to come, which the API's versioning rules say to ignore.
            _ => {}
        }
        Ok(Verdict::Forward)
    }

    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        let message: Message<'_> = serde_json::from_slice(body).map_err(|_| self.by.unreadable(body))?;
        let reason = message.stop_reason.ok_or_else(|| self.by.broken("an answer without an end"))?;
        self.start(message.model, message.usage, out);
        for (index, block) in (0..).zip(message.content) {
            self.block(index, block, out);
        }
        self.finish(&reason, message.stop_sequence.as_deref(), out);
        self.complete = true;
        out.extend(self.usage.usage().map(Event::Usage));
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn has_all(&self) -> bool {
        self.complete
    }
}

/// The answer of `/v1/messages/count_tokens`.
pub(super) fn count(body: &[u8], by: &Refuser) -> Result<u32, BackendError> {
    #[derive(Deserialize)]
    struct Counted {
        #[serde(default)]
        input_tokens: Count,
    }
    let counted: Counted = serde_json::from_slice(body).map_err(|_| by.unreadable(body))?;
    counted.input_tokens.0.ok_or_else(|| by.broken("no count of tokens"))
}
