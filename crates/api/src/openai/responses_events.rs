//! `POST /v1/responses`: the events of a stream.
//!
//! Source: OpenAI API reference, "Streaming events" of the Responses API.

use std::ops::Range;

use inshore_domain::{Delta, Event, FinishReason, Usage};
use serde::Serialize;

use super::responses_answer::{ErrorObject, Head, Item, Part, Response, State};
use super::shapes::{WireLogprob, logprobs};
use crate::answer::{Encode, named};
use crate::fault::Fault;
use crate::revisions::replace;

/// Writes the events of one response.
pub(super) struct Events {
    head: Head,
    sequence: u64,
    begun: bool,
    /// Items that are complete.
    output: Vec<Item>,
    open: Option<Open>,
    usage: Usage,
    reason: Option<FinishReason>,
    broken: Option<&'static str>,
}

/// The item being made.
struct Open {
    id: String,
    text: String,
    logprobs: Vec<WireLogprob>,
    kind: Kind,
}

enum Kind {
    Reasoning,
    Message,
    Call { place: u32, call_id: String, name: String },
}

#[derive(Serialize)]
struct Envelope<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct OfResponse<'a> {
    response: Response<'a>,
}

#[derive(Serialize)]
struct OfItem<'a> {
    output_index: usize,
    item: &'a Item,
}

#[derive(Serialize)]
struct OfPart<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    part: &'a Part,
}

/// A delta or the whole of a text or of arguments.
#[derive(Serialize, Default)]
struct OfText<'a> {
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [WireLogprob]>,
}

/// A span of a text that is replaced.
#[derive(Serialize)]
struct OfSpan<'a> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    start: usize,
    end: usize,
    text: &'a str,
}

/// Writes one event and counts it.
fn emit<T: Serialize>(sequence: &mut u64, kind: &'static str, rest: T, out: &mut Vec<u8>) {
    let envelope = Envelope { kind, sequence_number: *sequence, rest };
    *sequence += 1;
    named(out, kind, &envelope);
}

impl Events {
    pub(super) fn new(head: Head) -> Self {
        Self {
            head,
            sequence: 0,
            begun: false,
            output: Vec::new(),
            open: None,
            usage: Usage::default(),
            reason: None,
            broken: None,
        }
    }

    /// The model that speaks from here on.
    pub(super) fn speaks(&mut self, model: &str) {
        model.clone_into(&mut self.head.stamp.model);
    }

    /// Writes an event that is not of the Responses API.
    pub(super) fn extension<T: Serialize>(&mut self, kind: &'static str, rest: T, out: &mut Vec<u8>) {
        self.begin(out);
        emit(&mut self.sequence, kind, rest, out);
    }

    /// Replaces a span of the open item's text, in characters.
    pub(super) fn replace(&mut self, span: &Range<usize>, text: &str, out: &mut Vec<u8>) {
        let output_index = self.output.len();
        let Some(open) = &mut self.open else { return };
        replace(&mut open.text, span, text);
        let (item_id, start, end) = (open.id.as_str(), span.start, span.end);
        let of = OfSpan { item_id, output_index, content_index: 0, start, end, text };
        emit(&mut self.sequence, "response.inshore.text.replaced", of, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            for kind in ["response.created", "response.in_progress"] {
                let response = self.head.response(State::in_progress());
                emit(&mut self.sequence, kind, OfResponse { response }, out);
            }
        }
    }

    /// Makes sure that an item of this kind is open.
    fn open(&mut self, kind: Kind, out: &mut Vec<u8>) {
        self.begin(out);
        let same = match (&self.open, &kind) {
            (Some(Open { kind: Kind::Reasoning, .. }), Kind::Reasoning)
            | (Some(Open { kind: Kind::Message, .. }), Kind::Message) => true,
            (Some(Open { kind: Kind::Call { place, .. }, .. }), Kind::Call { place: other, .. }) => {
                place == other
            }
            _ => false,
        };
        if same {
            return;
        }
        self.close("completed", out);
        let prefix = match kind {
            Kind::Reasoning => "rs_",
            Kind::Message => "msg_",
            Kind::Call { .. } => "fc_",
        };
        let id = self.head.item_id(prefix, self.output.len());
        let open = Open { id, text: String::new(), logprobs: Vec::new(), kind };
        let output_index = self.output.len();
        let mut item = open.item("in_progress");
        if let Item::Message { content, .. } | Item::Reasoning { content, .. } = &mut item {
            content.clear();
        }
        emit(&mut self.sequence, "response.output_item.added", OfItem { output_index, item: &item }, out);
        if let Some(part) = open.part() {
            let part = OfPart { item_id: &open.id, output_index, content_index: 0, part: &part };
            emit(&mut self.sequence, "response.content_part.added", part, out);
        }
        self.open = Some(open);
    }

    /// Adds to the open item.
    fn grow(&mut self, piece: &str, tokens: Vec<WireLogprob>, out: &mut Vec<u8>) {
        let output_index = self.output.len();
        let Some(open) = &mut self.open else { return };
        open.text.push_str(piece);
        let of = OfText { item_id: &open.id, output_index, delta: Some(piece), ..OfText::default() };
        let (kind, of) = match open.kind {
            Kind::Reasoning => ("response.reasoning_text.delta", OfText { content_index: Some(0), ..of }),
            Kind::Message => (
                "response.output_text.delta",
                OfText { content_index: Some(0), logprobs: Some(&tokens), ..of },
            ),
            Kind::Call { .. } => ("response.function_call_arguments.delta", of),
        };
        emit(&mut self.sequence, kind, of, out);
        open.logprobs.extend(tokens);
    }

    /// Completes the open item, if any.
    fn close(&mut self, status: &'static str, out: &mut Vec<u8>) {
        let Some(open) = self.open.take() else { return };
        let output_index = self.output.len();
        let of = OfText { item_id: &open.id, output_index, ..OfText::default() };
        let text = OfText { content_index: Some(0), text: Some(&open.text), ..of };
        match &open.kind {
            Kind::Reasoning => emit(&mut self.sequence, "response.reasoning_text.done", text, out),
            Kind::Message => {
                let text = OfText { logprobs: Some(&open.logprobs), ..text };
                emit(&mut self.sequence, "response.output_text.done", text, out);
            }
            Kind::Call { name, .. } => {
                let call = OfText {
                    content_index: None,
                    text: None,
                    name: Some(name),
                    arguments: Some(&open.text),
                    ..text
                };
                emit(&mut self.sequence, "response.function_call_arguments.done", call, out);
            }
        }
        if let Some(part) = open.part() {
            let part = OfPart { item_id: &open.id, output_index, content_index: 0, part: &part };
            emit(&mut self.sequence, "response.content_part.done", part, out);
        }
        let item = open.item(status);
        emit(&mut self.sequence, "response.output_item.done", OfItem { output_index, item: &item }, out);
        self.output.push(item);
    }

    fn piece(&mut self, delta: Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Text { text, logprobs: tokens } => {
                self.open(Kind::Message, out);
                if !text.is_empty() || !tokens.is_empty() {
                    self.grow(&text, logprobs(tokens), out);
                }
            }
            Delta::Reasoning(text) => {
                self.open(Kind::Reasoning, out);
                self.grow(&text, Vec::new(), out);
            }
            Delta::ToolCall { call, id, name } => {
                self.open(Kind::Call { place: call, call_id: id, name }, out);
            }
            Delta::ToolArguments { call, fragment } => match &self.open {
                Some(Open { kind: Kind::Call { place, .. }, .. }) if *place == call => {
                    self.grow(&fragment, Vec::new(), out);
                }
                // An item that is done cannot grow again.
                _ => self.broken = Some("the target sent parts of several tool calls in turn"),
            },
        }
    }

    fn last(&mut self, kind: &'static str, state: State<'_>, out: &mut Vec<u8>) {
        let response = self.head.response(state);
        emit(&mut self.sequence, kind, OfResponse { response }, out);
    }
}

impl Open {
    fn item(&self, status: &'static str) -> Item {
        let id = self.id.clone();
        match &self.kind {
            Kind::Reasoning => {
                Item::Reasoning { id, summary: [], content: self.part().into_iter().collect(), status }
            }
            Kind::Message => {
                Item::Message { id, status, role: "assistant", content: self.part().into_iter().collect() }
            }
            Kind::Call { call_id, name, .. } => Item::FunctionCall {
                id,
                status,
                arguments: self.text.clone(),
                call_id: call_id.clone(),
                name: name.clone(),
            },
        }
    }

    fn part(&self) -> Option<Part> {
        match self.kind {
            Kind::Reasoning => Some(Part::ReasoningText { text: self.text.clone() }),
            Kind::Message => Some(Part::text(self.text.clone(), self.logprobs.clone())),
            Kind::Call { .. } => None,
        }
    }
}

impl Encode for Events {
    fn event(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started { .. } | Event::Wire(_) => {}
            Event::Delta { index: 0, delta } => self.piece(delta, out),
            Event::Finished { index: 0, reason } => {
                // An answer without a word still has its message.
                if self.output.is_empty() && self.open.is_none() {
                    self.open(Kind::Message, out);
                }
                let cut = matches!(reason, FinishReason::Length | FinishReason::ContentFilter);
                self.close(if cut { "incomplete" } else { "completed" }, out);
                self.reason = Some(reason);
            }
            // This route gives one answer.
            Event::Delta { .. } | Event::Finished { .. } => {}
            Event::Usage(usage) => self.usage = usage,
        }
    }

    fn fail(&mut self, fault: &Fault, out: &mut Vec<u8>) {
        self.begin(out);
        let output = std::mem::take(&mut self.output);
        let error = ErrorObject { code: &fault.code, message: &fault.message };
        let state =
            State { status: "failed", output: &output, usage: None, incomplete: None, error: Some(error) };
        self.last("response.failed", state, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(what) = self.broken {
            return self.fail(&crate::answer::protocol(what), out);
        }
        self.begin(out);
        self.close("completed", out);
        let reason = self.reason.unwrap_or(FinishReason::Stop);
        let output = std::mem::take(&mut self.output);
        let state = State::ended(reason, &output, self.usage);
        let kind = if state.incomplete.is_some() { "response.incomplete" } else { "response.completed" };
        self.last(kind, state, out);
    }
}
