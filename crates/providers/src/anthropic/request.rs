//! From the domain to the JSON of `/v1/messages`.

use inshore_domain::request::{Chat, Message, OutputFormat, Part, Role, Sampling, Tool, ToolChoice};
use inshore_domain::{BackendError, BackendErrorKind, Target};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::json::{arguments, encode, raw};
use crate::protocol::{Picture, picture, refuse};

/// Tokens asked for when neither the request nor the target sets a limit: the API demands one.
const DEFAULT_MAX_TOKENS: u32 = 4096;

/// The body of a message request.
pub(super) fn messages(chat: &Chat, target: &Target, stream: bool) -> Result<Vec<u8>, BackendError> {
    check_sampling(&chat.sampling, target)?;
    let sampling = &chat.sampling;
    let body = Body {
        conversation: conversation(chat, target)?,
        max_tokens: sampling.max_tokens.or(target.max_output).unwrap_or(DEFAULT_MAX_TOKENS),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        stop_sequences: &sampling.stop,
        stream: stream.then_some(true),
    };
    encode(&body)
}

/// The body of a token count.
pub(super) fn count(chat: &Chat, target: &Target) -> Result<Vec<u8>, BackendError> {
    encode(&conversation(chat, target)?)
}

/// Refuses by name what the API does not know and what would change the answer.
fn check_sampling(sampling: &Sampling, target: &Target) -> Result<(), BackendError> {
    let set = |penalty: Option<f32>, neutral: f32| penalty.is_some_and(|value| value != neutral);
    let unknown = [
        ("min_p", set(sampling.min_p, 0.0)),
        ("repetition_penalty", set(sampling.repetition_penalty, 1.0)),
        ("presence_penalty", set(sampling.presence_penalty, 0.0)),
        ("frequency_penalty", set(sampling.frequency_penalty, 0.0)),
        ("seed", sampling.seed.is_some()),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("logprobs", sampling.logprobs.is_some()),
        ("n", sampling.n > 1),
        ("ignore_eos", sampling.ignore_eos),
        // OpenAI's scale ends at 2, this one at 1.
        ("temperature", sampling.temperature.is_some_and(|temperature| temperature > 1.0)),
    ];
    match unknown.into_iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(refuse(target, name)),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    conversation: Conversation<'a>,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
struct Conversation<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
struct Block<'a> {
    #[serde(flatten)]
    kind: BlockKind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize, Clone, Copy)]
struct CacheControl {
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockKind<'a> {
    Text { text: &'a str },
    Image { source: Source<'a> },
    ToolUse { id: &'a str, name: &'a str, input: &'a RawValue },
    ToolResult { tool_use_id: &'a str, content: Vec<Block<'a>> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
struct WireTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct WireChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    format: OutputSchema<'a>,
}

#[derive(Serialize)]
struct OutputSchema<'a> {
    r#type: &'static str,
    schema: &'a RawValue,
}

impl<'a> From<BlockKind<'a>> for Block<'a> {
    fn from(kind: BlockKind<'a>) -> Self {
        Self { kind, cache_control: None }
    }
}

fn conversation<'a>(chat: &'a Chat, target: &'a Target) -> Result<Conversation<'a>, BackendError> {
    let output_config = match &chat.output {
        OutputFormat::Text => None,
        OutputFormat::JsonSchema { schema, .. } => {
            let schema = raw(schema, "response_format")?;
            Some(OutputConfig { format: OutputSchema { r#type: "json_schema", schema } })
        }
        OutputFormat::JsonObject => return Err(refuse(target, "response_format")),
        OutputFormat::Grammar(_) => return Err(refuse(target, "grammar")),
        OutputFormat::Regex(_) => return Err(refuse(target, "guided_regex")),
    };
    let mut system = Vec::new();
    let mut messages: Vec<Turn<'_>> = Vec::new();
    for (place, message) in chat.messages.iter().enumerate() {
        let mut blocks = blocks(message, target)?;
        if chat.pin_through == Some(place)
            && let Some(last) = blocks.last_mut()
        {
            last.cache_control = Some(CacheControl { r#type: "ephemeral" });
        }
        let role = match message.role {
            // The API knows system text only in front of the conversation.
            Role::System => {
                system.append(&mut blocks);
                continue;
            }
            Role::Assistant => "assistant",
            // A tool's result is said by the user, and all results of one turn in one message.
            Role::User | Role::Tool => "user",
        };
        match messages.last_mut() {
            Some(turn) if turn.role == role => turn.content.append(&mut blocks),
            // A message without content is refused by the API and says nothing.
            _ if blocks.is_empty() => {}
            _ => messages.push(Turn { role, content: blocks }),
        }
    }
    let tools = chat.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let tool_choice = if tools.is_empty() { None } else { tool_choice(chat) };
    Ok(Conversation { model: &target.model, system, messages, tools, tool_choice, output_config })
}

fn blocks<'a>(message: &'a Message, target: &Target) -> Result<Vec<Block<'a>>, BackendError> {
    let mut content = Vec::with_capacity(message.content.len() + message.tool_calls.len());
    for part in &message.content {
        match part {
            // Empty text blocks are refused by the API.
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => content.push(BlockKind::Text { text }.into()),
            Part::Image { url } => content.push(BlockKind::Image { source: source(url, target)? }.into()),
        }
    }
    if message.role == Role::Tool {
        let tool_use_id = message.tool_call_id.as_deref().ok_or_else(|| {
            let kind = BackendErrorKind::InvalidRequest { field: Some("tool_call_id".into()) };
            BackendError::new(kind, "a tool's result must name the call that it answers")
        })?;
        return Ok(vec![BlockKind::ToolResult { tool_use_id, content }.into()]);
    }
    for call in &message.tool_calls {
        content.push(BlockKind::ToolUse { id: &call.id, name: &call.name, input: arguments(call)? }.into());
    }
    Ok(content)
}

/// A picture in a data URL is sent as base 64, one at an address as its address.
fn source<'a>(url: &'a str, target: &Target) -> Result<Source<'a>, BackendError> {
    Ok(match picture(url).ok_or_else(|| refuse(target, "image_url"))? {
        Picture::Inline { media_type, data } => Source::Base64 { media_type, data },
        Picture::At(url) => Source::Url { url },
    })
}

fn tool(tool: &Tool) -> Result<WireTool<'_>, BackendError> {
    let input_schema = match &tool.parameters {
        Some(schema) => raw(schema, "tools")?,
        None => empty_schema()?,
    };
    let description = tool.description.as_deref();
    Ok(WireTool { name: &tool.name, description, input_schema, strict: tool.strict.then_some(true) })
}

fn empty_schema() -> Result<&'static RawValue, BackendError> {
    serde_json::from_str(r#"{"type":"object","properties":{}}"#)
        .map_err(|_| BackendError::new(BackendErrorKind::Failed, "the empty schema cannot be read"))
}

fn tool_choice(chat: &Chat) -> Option<WireChoice<'_>> {
    let alone = (chat.parallel_tool_calls == Some(false)).then_some(true);
    let choice = |kind, name| Some(WireChoice { r#type: kind, name, disable_parallel_tool_use: alone });
    match &chat.tool_choice {
        ToolChoice::Auto if alone.is_none() => None,
        ToolChoice::Auto => choice("auto", None),
        ToolChoice::None => Some(WireChoice { r#type: "none", name: None, disable_parallel_tool_use: None }),
        ToolChoice::Required => choice("any", None),
        ToolChoice::Function(name) => choice("tool", Some(name)),
    }
}
