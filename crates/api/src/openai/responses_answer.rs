//! `POST /v1/responses`: the response object.
//!
//! Source: OpenAI API reference, "The response object".

use inshore_domain::{FinishReason, Usage};
use serde::Serialize;
use serde_json::value::RawValue;

use super::responses::{Echo, EchoFormat};
use super::shapes::{Stamp, WireLogprob, logprobs};
use crate::answer::{Collected, One};
use crate::fault::json;
use crate::json::WordOr;

/// What every state of the response object repeats.
pub(super) struct Head {
    pub(super) stamp: Stamp,
    echo: Echo,
}

impl Head {
    pub(super) fn new(stamp: Stamp, echo: Echo) -> Self {
        Self { stamp, echo }
    }

    /// An id for an item of the output: `msg_…`, `fc_…`, `rs_…`, with the item's place so that each is its own.
    pub(super) fn item_id(&self, prefix: &str, place: usize) -> String {
        let tail = self.stamp.id.strip_prefix("resp_").unwrap_or(&self.stamp.id);
        format!("{prefix}{tail}{place:02}")
    }

    /// The response object in one of its states.
    pub(super) fn response<'a>(&'a self, state: State<'a>) -> Response<'a> {
        let echo = &self.echo;
        Response {
            id: &self.stamp.id,
            object: "response",
            created_at: self.stamp.created,
            status: state.status,
            background: false,
            error: state.error,
            incomplete_details: state.incomplete.map(|reason| Incomplete { reason }),
            instructions: echo.instructions.as_deref(),
            max_output_tokens: echo.max_output_tokens,
            max_tool_calls: None,
            model: &self.stamp.model,
            output: state.output,
            parallel_tool_calls: echo.parallel_tool_calls,
            previous_response_id: None,
            prompt_cache_key: None,
            reasoning: Reasoning { effort: echo.effort.as_deref(), summary: echo.summary.as_deref() },
            safety_identifier: echo.safety_identifier.as_deref(),
            service_tier: "default",
            store: false,
            temperature: echo.temperature.unwrap_or(1.0),
            text: Text { format: text_format(&echo.text_format), verbosity: "medium" },
            tool_choice: match &echo.tool_choice {
                WordOr::Word(word) => ToolChoice::Word(word),
                WordOr::Object(name) => ToolChoice::Named { kind: "function", name },
            },
            tools: echo.tools.iter().map(tool).collect(),
            top_logprobs: echo.top_logprobs,
            top_p: echo.top_p.unwrap_or(1.0),
            truncation: if echo.truncate { "auto" } else { "disabled" },
            usage: state.usage.map(WireUsage::from),
            user: echo.user.as_deref(),
            metadata: echo.metadata.as_deref(),
        }
    }
}

/// What changes while an answer is made.
pub(super) struct State<'a> {
    pub(super) status: &'static str,
    pub(super) output: &'a [Item],
    pub(super) usage: Option<Usage>,
    pub(super) incomplete: Option<&'static str>,
    pub(super) error: Option<ErrorObject<'a>>,
}

impl State<'_> {
    pub(super) fn in_progress() -> Self {
        Self { status: "in_progress", output: &[], usage: None, incomplete: None, error: None }
    }
}

impl<'a> State<'a> {
    /// The last state of an answer that ended for this reason.
    pub(super) fn ended(reason: FinishReason, output: &'a [Item], usage: Usage) -> Self {
        let incomplete = match reason {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Stop | FinishReason::StopText(_) | FinishReason::ToolCalls => None,
        };
        let status = if incomplete.is_some() { "incomplete" } else { "completed" };
        Self { status, output, usage: Some(usage), incomplete, error: None }
    }
}

#[derive(Serialize)]
pub(super) struct Response<'a> {
    id: &'a str,
    object: &'static str,
    created_at: u64,
    status: &'static str,
    background: bool,
    error: Option<ErrorObject<'a>>,
    incomplete_details: Option<Incomplete>,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u32>,
    max_tool_calls: Option<u32>,
    model: &'a str,
    output: &'a [Item],
    parallel_tool_calls: bool,
    previous_response_id: Option<&'a str>,
    prompt_cache_key: Option<&'a str>,
    reasoning: Reasoning<'a>,
    safety_identifier: Option<&'a str>,
    service_tier: &'static str,
    store: bool,
    temperature: f32,
    text: Text<'a>,
    tool_choice: ToolChoice<'a>,
    tools: Vec<Tool<'a>>,
    top_logprobs: u8,
    top_p: f32,
    truncation: &'static str,
    usage: Option<WireUsage>,
    user: Option<&'a str>,
    #[serde(serialize_with = "object_or_empty")]
    metadata: Option<&'a RawValue>,
}

fn object_or_empty<S: serde::Serializer>(
    metadata: &Option<&RawValue>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match metadata {
        Some(metadata) => metadata.serialize(serializer),
        None => serializer.collect_map(std::iter::empty::<((), ())>()),
    }
}

#[derive(Serialize, Clone)]
pub(super) struct ErrorObject<'a> {
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

#[derive(Serialize)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    effort: Option<&'a str>,
    summary: Option<&'a str>,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
    verbosity: &'static str,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn text_format(format: &EchoFormat) -> Format<'_> {
    let plain = |kind| Format { kind, name: None, schema: None, strict: None };
    match format {
        EchoFormat::Text => plain("text"),
        EchoFormat::JsonObject => plain("json_object"),
        EchoFormat::JsonSchema { name, schema } => {
            Format { kind: "json_schema", name: Some(name), schema: Some(schema), strict: Some(true) }
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolChoice<'a> {
    Word(&'a str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        name: &'a str,
    },
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: Option<&'a str>,
    parameters: Option<&'a RawValue>,
    strict: bool,
}

fn tool(tool: &super::responses::EchoTool) -> Tool<'_> {
    Tool {
        kind: "function",
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters.as_deref(),
        strict: tool.strict,
    }
}

#[derive(Serialize)]
pub(super) struct WireUsage {
    input_tokens: u32,
    input_tokens_details: InputDetails,
    output_tokens: u32,
    output_tokens_details: OutputDetails,
    total_tokens: u32,
}

#[derive(Serialize)]
struct InputDetails {
    cached_tokens: u32,
}

#[derive(Serialize)]
struct OutputDetails {
    reasoning_tokens: u32,
}

impl From<Usage> for WireUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails { cached_tokens: usage.cached_tokens },
            output_tokens: usage.output_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning_tokens },
            total_tokens: usage.prompt_tokens.saturating_add(usage.output_tokens),
        }
    }
}

/// An item of the output.
#[derive(Serialize, Clone, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning { id: String, summary: [(); 0], content: Vec<Part>, status: &'static str },
    Message { id: String, status: &'static str, role: &'static str, content: Vec<Part> },
    FunctionCall { id: String, status: &'static str, arguments: String, call_id: String, name: String },
}

/// A part of an item's content.
#[derive(Serialize, Clone, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: [(); 0], logprobs: Vec<WireLogprob> },
    ReasoningText { text: String },
}

impl Part {
    pub(super) fn text(text: String, logprobs: Vec<WireLogprob>) -> Self {
        Self::OutputText { text, annotations: [], logprobs }
    }
}

/// The whole answer.
pub(super) fn whole(head: &Head, collected: Collected) -> Vec<u8> {
    let one = collected.answers.into_iter().next().unwrap_or_default();
    let reason = one.reason.unwrap_or(FinishReason::Stop);
    let output = items(head, one, reason);
    json(&head.response(State::ended(reason, &output, collected.usage)))
}

fn items(head: &Head, one: One, reason: FinishReason) -> Vec<Item> {
    let cut = matches!(reason, FinishReason::Length | FinishReason::ContentFilter);
    let status = if cut { "incomplete" } else { "completed" };
    let mut items = Vec::new();
    if !one.reasoning.is_empty() {
        let id = head.item_id("rs_", items.len());
        let content = vec![Part::ReasoningText { text: one.reasoning }];
        items.push(Item::Reasoning { id, summary: [], content, status });
    }
    if !one.text.is_empty() || one.calls.is_empty() {
        let id = head.item_id("msg_", items.len());
        let content = vec![Part::text(one.text, logprobs(one.logprobs))];
        items.push(Item::Message { id, status, role: "assistant", content });
    }
    for call in one.calls {
        let id = head.item_id("fc_", items.len());
        items.push(Item::FunctionCall {
            id,
            status,
            arguments: call.arguments,
            call_id: call.id,
            name: call.name,
        });
    }
    items
}
