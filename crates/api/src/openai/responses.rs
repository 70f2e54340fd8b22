//! `POST /v1/responses`: the request.
//!
//! Source: OpenAI API reference, "Create a model response". There is no stored state: each request carries its whole
//! conversation, and the fields that refer to stored ones are refused.

use inshore_domain::request::{Chat, Message, OutputFormat, Part, Role, Tool, ToolCall, ToolChoice};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat::{FormatKind, MESSAGES, checked_choice, choice_word, format, image, pinned};
use super::fields::{self, Callers, StreamOptions, distinct_tools, sampled_request, tool_name};
use crate::fault::Fault;
use crate::json::{Few, Ignored, OnlyFalse, Refused, TextOr, WordOr, schema, within};

/// Alternatives for each token, as in OpenAI's API.
const TOP_LOGPROBS: u8 = 20;

sampled_request! {
    /// The body.
    struct ResponseRequest<'a> {
        // Honoured.
        input: Option<TextOr<Item>>,
        instructions: Option<String>,
        max_output_tokens: Option<u32>,
        #[serde(borrow)]
        tools: Option<Vec<WireTool<'a>>>,
        tool_choice: Option<WordOr<NamedTool>>,
        parallel_tool_calls: Option<bool>,
        #[serde(borrow)]
        text: Option<TextOptions<'a>>,
        top_logprobs: Option<u8>,
        include: Option<Few<String>>,
        truncation: Option<Truncation>,
        #[expect(dead_code, reason = "only checked")]
        stream_options: Option<StreamOptions>,
        // Honoured by models that think, wherever they run.
        reasoning: Option<Reasoning>,
        // Ignored: how pictures are packed, which targets decide for themselves.
        #[expect(dead_code, reason = "ignored")]
        image: Ignored,
        // Ignored: it limits only calls of tools that the server itself runs, of which there are none.
        #[expect(dead_code, reason = "ignored")]
        max_tool_calls: Ignored,
        // Refused.
        #[expect(dead_code, reason = "only checked: nothing is stored to ask for later")]
        background: OnlyFalse,
        #[expect(dead_code, reason = "refused while parsing")]
        previous_response_id: Refused,
        #[expect(dead_code, reason = "refused while parsing")]
        conversation: Refused,
        #[expect(dead_code, reason = "refused while parsing")]
        prompt: Refused,
        #[expect(dead_code, reason = "refused while parsing")]
        context_management: Refused,
    }
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Truncation {
    Auto,
    Disabled,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reasoning {
    pub(super) effort: Option<String>,
    pub(super) summary: Option<String>,
    #[expect(dead_code, reason = "the older name of `summary`")]
    generate_summary: Ignored,
    #[expect(dead_code, reason = "reaches the target in the body as it came")]
    context: Ignored,
    #[expect(dead_code, reason = "reaches the target in the body as it came")]
    mode: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextOptions<'a> {
    #[serde(borrow)]
    format: Option<TextFormat<'a>>,
    #[expect(dead_code, reason = "refused while parsing")]
    verbosity: Option<Verbosity>,
}

/// The one verbosity that is no wish.
#[derive(Deserialize)]
enum Verbosity {
    #[serde(rename = "medium")]
    Medium,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextFormat<'a> {
    #[serde(rename = "type")]
    kind: FormatKind,
    name: Option<String>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[expect(dead_code, reason = "for people")]
    description: Ignored,
    #[expect(dead_code, reason = "the schema is always kept to")]
    strict: Ignored,
}

/// A tool; unlike in chat completions, its function is not wrapped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only functions are taken")]
    kind: FunctionWord,
    name: String,
    description: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
    #[expect(dead_code, reason = "only checked")]
    allowed_callers: Option<Vec<Callers>>,
    #[expect(dead_code, reason = "only checked: there is no search for tools")]
    defer_loading: OnlyFalse,
    #[expect(dead_code, reason = "describes what the app gives back, not what the model writes")]
    output_schema: Ignored,
}

#[derive(Deserialize)]
enum FunctionWord {
    #[serde(rename = "function")]
    Function,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedTool {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only functions are taken")]
    kind: FunctionWord,
    name: String,
}

/// An item of the input. One struct for all kinds: which fields a kind needs is checked when it is converted.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Item {
    #[serde(rename = "type", default)]
    kind: ItemKind,
    role: Option<ItemRole>,
    content: Option<TextOr<ItemPart>>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<TextOr<ItemPart>>,
    #[expect(dead_code, reason = "names what is not stored here")]
    id: Ignored,
    #[expect(dead_code, reason = "an earlier answer is complete when it is sent back")]
    status: Ignored,
    #[expect(dead_code, reason = "thinking of an earlier answer, which chat templates leave out")]
    summary: Ignored,
    #[expect(dead_code, reason = "thinking of an earlier answer, which chat templates leave out")]
    encrypted_content: Ignored,
    #[expect(dead_code, reason = "says which part of an earlier answer was its last")]
    phase: Ignored,
    #[expect(dead_code, reason = "who made an earlier call")]
    caller: Ignored,
    #[expect(dead_code, reason = "where an earlier call's tool came from")]
    namespace: Ignored,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "snake_case")]
enum ItemKind {
    #[default]
    Message,
    FunctionCall,
    FunctionCallOutput,
    Reasoning,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum ItemRole {
    System,
    Developer,
    User,
    Assistant,
}

impl ItemRole {
    fn domain(self) -> Role {
        match self {
            Self::System | Self::Developer => Role::System,
            Self::User => Role::User,
            Self::Assistant => Role::Assistant,
        }
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ItemPart {
    #[serde(rename = "type")]
    kind: PartKind,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
    #[expect(dead_code, reason = "a hint that targets may take")]
    detail: Ignored,
    #[expect(dead_code, reason = "of an earlier answer")]
    annotations: Ignored,
    #[expect(dead_code, reason = "of an earlier answer")]
    logprobs: Ignored,
    #[expect(dead_code, reason = "refused while parsing")]
    file_id: Refused,
    /// The prompt up to here is worth keeping.
    prompt_cache_breakpoint: Ignored,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum PartKind {
    InputText,
    OutputText,
    SummaryText,
    ReasoningText,
    Refusal,
    InputImage,
}

impl ItemPart {
    fn domain(self, field: &str) -> Result<Part, Fault> {
        let (name, text) = match self.kind {
            PartKind::InputImage => {
                let field = format!("{field}.image_url");
                return image(&field, self.image_url.ok_or_else(|| missing(&field))?);
            }
            PartKind::Refusal => ("refusal", self.refusal),
            PartKind::InputText | PartKind::OutputText | PartKind::SummaryText | PartKind::ReasoningText => {
                ("text", self.text)
            }
        };
        text.map(Part::Text).ok_or_else(|| missing(&format!("{field}.{name}")))
    }
}

fn missing(field: &str) -> Fault {
    Fault::field(field, "missing_required_parameter", format!("`{field}` is missing"))
}

fn parts(field: &str, content: TextOr<ItemPart>) -> Result<Vec<Part>, Fault> {
    match content {
        TextOr::Text(text) => Ok(vec![Part::Text(text)]),
        TextOr::List(parts) => {
            let part = |(place, part): (usize, ItemPart)| part.domain(&format!("{field}[{place}]"));
            parts.into_iter().enumerate().map(part).collect()
        }
    }
}

/// What a response object repeats of its request.
pub(super) struct Echo {
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) metadata: Option<Box<RawValue>>,
    pub(super) parallel_tool_calls: bool,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) effort: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) safety_identifier: Option<String>,
    pub(super) user: Option<String>,
    pub(super) text_format: EchoFormat,
    pub(super) tool_choice: WordOr<String>,
    pub(super) tools: Vec<EchoTool>,
    pub(super) top_logprobs: u8,
    pub(super) truncate: bool,
}

/// `text.format`, repeated.
pub(super) enum EchoFormat {
    Text,
    JsonObject,
    JsonSchema { name: String, schema: Box<RawValue> },
}

/// A tool, repeated.
pub(super) struct EchoTool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Box<RawValue>>,
    pub(super) strict: bool,
}

impl ResponseRequest<'_> {
    /// What the answer repeats.
    pub(super) fn echo(&self) -> Echo {
        let format = self.text.as_ref().and_then(|text| text.format.as_ref());
        let text_format = match format.map(|format| (format.kind, &format.name, format.schema)) {
            Some((FormatKind::JsonObject, ..)) => EchoFormat::JsonObject,
            Some((FormatKind::JsonSchema, Some(name), Some(schema))) => {
                EchoFormat::JsonSchema { name: name.clone(), schema: schema.to_owned() }
            }
            _ => EchoFormat::Text,
        };
        let tool = |tool: &WireTool<'_>| EchoTool {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.parameters.map(ToOwned::to_owned),
            strict: tool.strict.unwrap_or(true),
        };
        Echo {
            instructions: self.instructions.clone(),
            max_output_tokens: self.max_output_tokens,
            metadata: self.metadata.map(ToOwned::to_owned),
            parallel_tool_calls: self.parallel_tool_calls.unwrap_or(true),
            temperature: self.temperature,
            top_p: self.top_p,
            effort: self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.clone()),
            summary: self.reasoning.as_ref().and_then(|reasoning| reasoning.summary.clone()),
            safety_identifier: self.safety_identifier.clone(),
            user: self.user.clone(),
            text_format,
            tool_choice: match &self.tool_choice {
                None => WordOr::Word("auto".to_owned()),
                Some(WordOr::Word(word)) => WordOr::Word(word.clone()),
                Some(WordOr::Object(named)) => WordOr::Object(named.name.clone()),
            },
            tools: self.tools.iter().flatten().map(tool).collect(),
            top_logprobs: self.top_logprobs.unwrap_or(0),
            truncate: self.truncation == Some(Truncation::Auto),
        }
    }

    /// The conversation in domain words.
    pub(super) fn chat(&mut self) -> Result<Chat, Fault> {
        let mut sampling = self.common_sampling()?;
        sampling.max_tokens = within("max_output_tokens", self.max_output_tokens, 1, u32::MAX)?;
        sampling.logprobs = self.logprobs()?;
        sampling.truncate_prompt |= self.truncation == Some(Truncation::Auto);
        let tools = self.tools()?;
        let mut marked = None;
        let messages = self.messages(&mut marked)?;
        let pin_through = pinned(self.pin, &messages)?.or(marked);
        Ok(Chat {
            tool_choice: self.tool_choice(&tools)?,
            parallel_tool_calls: self.parallel_tool_calls,
            output: self.output()?,
            tools,
            messages,
            sampling,
            pin_through,
        })
    }

    /// `include` asks for parts of the answer; only what there is to include is taken.
    fn logprobs(&self) -> Result<Option<u8>, Fault> {
        let top = within("top_logprobs", self.top_logprobs, 0, TOP_LOGPROBS)?;
        let mut wanted = top.is_some_and(|top| top > 0);
        for part in self.include.iter().flat_map(|few| &few.0) {
            match part.as_str() {
                "message.output_text.logprobs" => wanted = true,
                // Thinking comes unencrypted here, pictures are the caller's own, and tools that the server runs do
                // not exist.
                "reasoning.encrypted_content" | "message.input_image.image_url" => {}
                other if other.contains("_call.") || other.contains("_call_output.") => {}
                other => {
                    let other: String = other.chars().take(64).collect();
                    return Err(Fault::unsupported("include", format!("`include` cannot hold `{other}`")));
                }
            }
        }
        Ok(wanted.then(|| top.unwrap_or(0)))
    }

    fn tools(&mut self) -> Result<Vec<Tool>, Fault> {
        let mut tools = Vec::new();
        for (place, tool) in self.tools.take().unwrap_or_default().into_iter().enumerate() {
            tool_name(&format!("tools[{place}].name"), &tool.name)?;
            let field = format!("tools[{place}].parameters");
            tools.push(Tool {
                parameters: tool.parameters.map(|raw| schema(&field, raw)).transpose()?,
                name: tool.name,
                description: tool.description,
                strict: tool.strict.unwrap_or(true),
            });
        }
        distinct_tools(&tools)?;
        Ok(tools)
    }

    fn tool_choice(&mut self, tools: &[Tool]) -> Result<ToolChoice, Fault> {
        let choice = match self.tool_choice.take() {
            None => return Ok(ToolChoice::Auto),
            Some(WordOr::Word(word)) => choice_word(&word)?,
            Some(WordOr::Object(named)) => ToolChoice::Function(named.name),
        };
        checked_choice(choice, tools)
    }

    fn output(&mut self) -> Result<OutputFormat, Fault> {
        let format = match self.text.take().and_then(|text| text.format) {
            None => None,
            Some(wanted) => {
                let named = wanted.name.map(|name| (name, wanted.schema));
                if wanted.kind == FormatKind::JsonSchema && named.is_none() {
                    return Err(missing("text.format.name"));
                }
                Some(format(wanted.kind, "text.format", named)?)
            }
        };
        fields::output(format, self.grammar.take(), self.guided_regex.take())
    }

    fn messages(&mut self, marked: &mut Option<usize>) -> Result<Vec<Message>, Fault> {
        let mut messages = Vec::new();
        messages.extend(self.instructions.take().map(|text| Message::text(Role::System, text)));
        match self.input.take() {
            None => return Err(missing("input")),
            Some(TextOr::Text(text)) => messages.push(Message::text(Role::User, text)),
            Some(TextOr::List(items)) => {
                if items.is_empty() || items.len() > MESSAGES {
                    return Err(Fault::value("input", format!("`input` must hold 1 to {MESSAGES} items")));
                }
                for (place, item) in items.into_iter().enumerate() {
                    let mark = item.marked();
                    item.append(place, &mut messages)?;
                    if mark {
                        *marked = messages.len().checked_sub(1);
                    }
                }
            }
        }
        Ok(messages)
    }
}

impl Item {
    /// Whether a part of it is marked to be kept.
    fn marked(&self) -> bool {
        let marks = |content: &Option<TextOr<ItemPart>>| match content {
            Some(TextOr::List(parts)) => parts.iter().any(|part| part.prompt_cache_breakpoint.is_some()),
            _ => false,
        };
        marks(&self.content) || marks(&self.output)
    }

    fn append(self, place: usize, messages: &mut Vec<Message>) -> Result<(), Fault> {
        let field = |name: &str| format!("input[{place}].{name}");
        match self.kind {
            // Thinking of earlier answers is not part of the prompt.
            ItemKind::Reasoning => {}
            ItemKind::Message => {
                let role = self.role.ok_or_else(|| missing(&field("role")))?.domain();
                let content = self.content.ok_or_else(|| missing(&field("content")))?;
                let content = parts(&field("content"), content)?;
                messages.push(Message { content, ..Message::text(role, "") });
            }
            ItemKind::FunctionCall => {
                let call = ToolCall {
                    id: self.call_id.ok_or_else(|| missing(&field("call_id")))?,
                    name: self.name.ok_or_else(|| missing(&field("name")))?,
                    arguments: self.arguments.ok_or_else(|| missing(&field("arguments")))?,
                };
                // Text and calls of one answer are items of their own here, and one message to a model.
                match messages.last_mut() {
                    Some(last) if last.role == Role::Assistant => last.tool_calls.push(call),
                    _ => messages.push(Message {
                        content: Vec::new(),
                        tool_calls: vec![call],
                        ..Message::text(Role::Assistant, "")
                    }),
                }
            }
            ItemKind::FunctionCallOutput => {
                let id = self.call_id.ok_or_else(|| missing(&field("call_id")))?;
                let output = self.output.ok_or_else(|| missing(&field("output")))?;
                let content = parts(&field("output"), output)?;
                messages.push(Message { content, tool_call_id: Some(id), ..Message::text(Role::Tool, "") });
            }
        }
        Ok(())
    }
}
