//! Answers of `/responses`. Requests of this API are only passed through, to endpoints that are declared to know it;
//! elsewhere they are converted to chat completions.

use std::collections::VecDeque;
use std::sync::Arc;

use inshore_domain::{BackendError, Delta, Event, FinishReason};
use serde::Deserialize;

use super::response::{WireUsage, finish_reason};
use crate::answer::{MAX_BEGUN, Reader, Verdict};
use crate::json::if_right;
use crate::refusal::{Refuser, Said};

/// Reads the answers of one call. Everything is answer 0: the API gives only one.
pub(crate) struct ResponsesReader {
    by: Arc<Refuser>,
    started: bool,
    complete: bool,
    /// The number of the event read last, where the endpoint numbers them.
    number: Option<u64>,
    /// Output index of each tool call that has begun.
    calls: Vec<u32>,
}

#[derive(Deserialize)]
struct StreamEvent {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    response: Option<Response>,
    #[serde(default)]
    delta: Option<serde_json::Value>,
    #[serde(default)]
    output_index: u32,
    #[serde(default)]
    item: Option<Item>,
    #[serde(default)]
    sequence_number: Option<u64>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    output: Vec<Item>,
    #[serde(default, deserialize_with = "if_right")]
    usage: Option<WireUsage>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    call_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
    #[serde(default)]
    content: Option<Vec<Content>>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

impl ResponsesReader {
    pub(crate) fn new(by: Arc<Refuser>) -> Self {
        Self { by, started: false, complete: false, number: None, calls: Vec::new() }
    }

    fn start(&mut self, model: Option<String>, out: &mut VecDeque<Event>) {
        if !self.started {
            self.started = true;
            out.push_back(Event::Started { model: model.unwrap_or_else(|| self.by.target().model.clone()) });
        }
    }

    fn begin_call(
        &mut self,
        output_index: u32,
        item: Item,
        out: &mut VecDeque<Event>,
    ) -> Result<(), BackendError> {
        if self.calls.len() == MAX_BEGUN {
            return Err(self.by.broken(format_args!("more than {MAX_BEGUN} calls of tools")));
        }
        let call = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        self.calls.push(output_index);
        push(out, Delta::ToolCall { call, id: item.call_id, name: item.name });
        if !item.arguments.is_empty() {
            push(out, Delta::ToolArguments { call, fragment: item.arguments });
        }
        Ok(())
    }

    fn finish(&mut self, response: Response, out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        if let Some(error) = response.error {
            return Err(self.by.in_stream(&Said::of(&error)));
        }
        let reason = match (response.status.as_deref(), response.incomplete_details) {
            (Some("failed" | "cancelled"), _) => return Err(self.by.in_stream(&Said::default())),
            (_, Some(details)) => finish_reason(&details.reason),
            _ if self.calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        };
        self.complete = true;
        out.push_back(Event::Finished { index: 0, reason });
        out.extend(response.usage.and_then(WireUsage::usage).map(Event::Usage));
        Ok(())
    }
}

fn push(out: &mut VecDeque<Event>, delta: Delta) {
    out.push_back(Event::Delta { index: 0, delta });
}

impl Reader for ResponsesReader {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError> {
        let event: StreamEvent = serde_json::from_slice(data).map_err(|_| self.by.unreadable(data))?;
        if event.sequence_number.is_some_and(|number| self.number.is_some_and(|last| number <= last)) {
            return Err(self.by.broken("an event twice, or out of turn"));
        }
        self.number = event.sequence_number.or(self.number);
        let text = |delta: Option<serde_json::Value>| match delta {
            Some(serde_json::Value::String(text)) => text,
            _ => String::new(),
        };
        match event.kind.as_str() {
            "error" => {
                let inner = Said::in_body(data);
                // This API writes the error's members beside its type.
                let flat = || serde_json::from_slice(data).map(|event| Said::of(&event)).unwrap_or_default();
                let said = if inner.says_nothing() { flat() } else { inner };
                return Err(self.by.in_stream(&said));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let response = event.response.ok_or_else(|| self.by.broken("the end of no answer"))?;
                self.start(response.model.clone(), out);
                self.finish(response, out)?;
                return Ok(Verdict::Last);
            }
            _ => {}
        }
        self.start(event.response.and_then(|response| response.model), out);
        match event.kind.as_str() {
            "response.output_text.delta" | "response.refusal.delta" => {
                push(out, Delta::Text { text: text(event.delta), logprobs: Vec::new() });
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                push(out, Delta::Reasoning(text(event.delta)));
            }
            "response.output_item.added" => {
                if let Some(item) = event.item.filter(|item| item.kind == "function_call") {
                    self.begin_call(event.output_index, item, out)?;
                }
            }
            "response.function_call_arguments.delta" => {
                if let Some(call) = self.calls.iter().position(|index| *index == event.output_index) {
                    let call = u32::try_from(call).unwrap_or(u32::MAX);
                    push(out, Delta::ToolArguments { call, fragment: text(event.delta) });
                }
            }
            _ => {}
        }
        Ok(Verdict::Forward)
    }

    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError> {
        let mut response: Response = serde_json::from_slice(body).map_err(|_| self.by.unreadable(body))?;
        if !matches!(response.status.as_deref(), Some("completed" | "incomplete" | "failed" | "cancelled")) {
            return Err(self.by.broken("an answer without an end"));
        }
        self.start(response.model.take(), out);
        for (index, item) in (0u32..).zip(std::mem::take(&mut response.output)) {
            if item.kind == "function_call" {
                self.begin_call(index, item, out)?;
                continue;
            }
            for content in item.content.into_iter().flatten() {
                let Some(text) = content.text.or(content.refusal) else { continue };
                let thinking = item.kind == "reasoning";
                push(
                    out,
                    if thinking {
                        Delta::Reasoning(text)
                    } else {
                        Delta::Text { text, logprobs: Vec::new() }
                    },
                );
            }
        }
        self.finish(response, out)
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn has_all(&self) -> bool {
        self.complete
    }
}
