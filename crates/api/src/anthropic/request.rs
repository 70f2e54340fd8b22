//! `POST /v1/messages`: the request.
//!
//! Source: Anthropic API reference, "Create a Message", "Count tokens in a Message", "Prompt caching".

use inshore_domain::request::{
    Chat, Message, OutputFormat, Part, Role, Sampling, Tool, ToolCall, ToolChoice,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json::{Few, Ignored, OnlyFalse, Refused, TextOr, schema, within};
use crate::openai::fields::{Callers, distinct_tools, stops, tool_name};
use crate::openai::{MESSAGES, checked_choice};

/// The body of `POST /v1/messages`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesRequest<'a> {
    // Honoured.
    model: String,
    max_tokens: u32,
    messages: Few<WireMessage<'a>>,
    #[serde(borrow)]
    system: Option<TextOr<Block<'a>>>,
    pub(super) stream: Option<bool>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    stop_sequences: Option<Few<String>>,
    #[serde(borrow)]
    tools: Option<Vec<WireTool<'a>>>,
    tool_choice: Option<WireChoice>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    output_config: Option<OutputConfig<'a>>,
    cache_control: Option<CacheControl>,
    // Honoured by models that think, wherever they run; others have nothing to think with. Checked for its type.
    thinking: Option<Thinking>,
    // Ignored: how it is billed and where, never what is answered.
    #[expect(dead_code, reason = "ignored")]
    service_tier: Ignored,
    #[expect(dead_code, reason = "ignored")]
    inference_geo: Ignored,
    #[expect(dead_code, reason = "ignored")]
    speed: Ignored,
    #[expect(dead_code, reason = "ignored")]
    diagnostics: Ignored,
    // Refused.
    #[expect(dead_code, reason = "refused while parsing")]
    container: Refused,
    #[expect(dead_code, reason = "refused while parsing")]
    mcp_servers: Refused,
    #[expect(dead_code, reason = "refused while parsing")]
    context_management: Refused,
}

/// The body of `POST /v1/messages/count_tokens`: what makes up a prompt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountRequest<'a> {
    model: String,
    #[serde(borrow)]
    messages: Few<WireMessage<'a>>,
    #[serde(borrow)]
    system: Option<TextOr<Block<'a>>>,
    #[serde(borrow)]
    tools: Option<Vec<WireTool<'a>>>,
    tool_choice: Option<WireChoice>,
    #[expect(dead_code, reason = "adds no tokens to a prompt")]
    thinking: Option<Thinking>,
    #[expect(dead_code, reason = "adds no tokens to a prompt")]
    cache_control: Option<CacheControl>,
    #[expect(dead_code, reason = "adds no tokens to a prompt")]
    output_config: Ignored,
    #[expect(dead_code, reason = "adds no tokens to a prompt")]
    speed: Ignored,
    #[expect(dead_code, reason = "refused while parsing")]
    mcp_servers: Refused,
    #[expect(dead_code, reason = "refused while parsing")]
    context_management: Refused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMessage<'a> {
    role: WireRole,
    #[serde(borrow)]
    content: TextOr<Block<'a>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum WireRole {
    System,
    User,
    Assistant,
}

impl WireRole {
    fn domain(self) -> Role {
        match self {
            Self::System => Role::System,
            Self::User => Role::User,
            Self::Assistant => Role::Assistant,
        }
    }
}

#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct CacheControl {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only checked")]
    kind: Ephemeral,
    /// Kept here until memory or disk is needed for others, which is longer than any of these.
    #[expect(dead_code, reason = "ignored")]
    ttl: Ignored,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
enum Ephemeral {
    #[serde(rename = "ephemeral")]
    Ephemeral,
}

/// A block of content. One struct for all kinds: which fields a kind needs is checked when it is converted.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: BlockKind,
    text: Option<String>,
    source: Option<Source>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    tool_use_id: Option<String>,
    content: Option<TextOr<Block<'a>>>,
    is_error: Option<bool>,
    cache_control: Option<CacheControl>,
    #[expect(dead_code, reason = "of an earlier answer")]
    citations: Ignored,
    #[expect(dead_code, reason = "of an earlier answer")]
    caller: Ignored,
    #[expect(dead_code, reason = "where an earlier call's tool came from")]
    toolset_name: Ignored,
    #[expect(dead_code, reason = "refused while parsing")]
    transformations: Refused,
    #[expect(dead_code, reason = "thinking of an earlier answer, which chat templates leave out")]
    thinking: Ignored,
    #[expect(dead_code, reason = "thinking of an earlier answer, which chat templates leave out")]
    signature: Ignored,
    #[expect(dead_code, reason = "thinking of an earlier answer, which chat templates leave out")]
    data: Ignored,
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum BlockKind {
    Text,
    Image,
    ToolUse,
    ToolResult,
    Thinking,
    RedactedThinking,
}

impl BlockKind {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::ToolUse => "tool_use",
            Self::ToolResult => "tool_result",
            Self::Thinking => "thinking",
            Self::RedactedThinking => "redacted_thinking",
        }
    }
}

#[derive(Deserialize, Debug)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Source {
    Base64 { media_type: String, data: String },
    Url { url: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "tools that the provider runs are refused by their type")]
    kind: Option<CustomWord>,
    name: String,
    description: Option<String>,
    #[serde(borrow)]
    input_schema: &'a RawValue,
    strict: Option<bool>,
    cache_control: Option<CacheControl>,
    #[expect(dead_code, reason = "how input is streamed, never what it is")]
    eager_input_streaming: Ignored,
    #[expect(dead_code, reason = "only checked")]
    allowed_callers: Option<Vec<Callers>>,
    #[expect(dead_code, reason = "only checked: there is no search for tools")]
    defer_loading: OnlyFalse,
    #[expect(dead_code, reason = "refused while parsing: no prompt format has a place for them")]
    input_examples: Refused,
}

#[derive(Deserialize)]
enum CustomWord {
    #[serde(rename = "custom")]
    Custom,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireChoice {
    #[serde(rename = "type")]
    kind: ChoiceKind,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum ChoiceKind {
    Auto,
    Any,
    Tool,
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputConfig<'a> {
    #[serde(borrow)]
    format: Option<WireFormat<'a>>,
    /// Honoured by models that think.
    #[expect(dead_code, reason = "reaches the target in the body as it came")]
    effort: Ignored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFormat<'a> {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only schemas are known")]
    kind: SchemaWord,
    #[serde(borrow)]
    schema: &'a RawValue,
}

#[derive(Deserialize)]
enum SchemaWord {
    #[serde(rename = "json_schema")]
    JsonSchema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thinking {
    #[serde(rename = "type")]
    kind: ThinkingKind,
    budget_tokens: Option<u32>,
    #[expect(dead_code, reason = "how much of it is shown")]
    display: Ignored,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum ThinkingKind {
    Enabled,
    Disabled,
    Adaptive,
    BetweenTools,
}

fn missing(field: &str) -> Fault {
    Fault::field(field, "missing_required_parameter", format!("`{field}` is missing"))
}

impl MessagesRequest<'_> {
    /// `metadata.user_id`.
    pub(super) fn end_user(&self) -> Result<Option<String>, Fault> {
        #[derive(Deserialize)]
        struct Metadata {
            user_id: Option<String>,
        }
        let Some(metadata) = self.metadata else { return Ok(None) };
        let read = serde_json::from_str::<Metadata>(metadata.get());
        read.map(|metadata| metadata.user_id).map_err(|_| {
            Fault::field(
                "metadata",
                "invalid_type",
                "`metadata` is wrong: expected an object, `user_id` in it a string",
            )
        })
    }

    /// The model asked for, and the conversation in domain words.
    pub(super) fn chat(self) -> Result<(String, Chat), Fault> {
        within("max_tokens", Some(self.max_tokens), 1, u32::MAX)?;
        if let Some(thinking) = &self.thinking {
            let budget = thinking.budget_tokens;
            if thinking.kind == ThinkingKind::Enabled
                && budget.is_some_and(|budget| budget >= self.max_tokens)
            {
                return Err(Fault::value(
                    "thinking.budget_tokens",
                    "`thinking.budget_tokens` must be less than `max_tokens`",
                ));
            }
        }
        let sampling = Sampling {
            max_tokens: Some(self.max_tokens),
            temperature: within("temperature", self.temperature, 0.0, 1.0)?,
            top_p: within("top_p", self.top_p, 0.0, 1.0)?,
            top_k: self.top_k,
            stop: stops("stop_sequences", self.stop_sequences.map(|few| few.0).unwrap_or_default())?,
            n: 1,
            ..Sampling::default()
        };
        let output = match self.output_config.and_then(|config| config.format) {
            None => OutputFormat::Text,
            Some(format) => OutputFormat::JsonSchema {
                name: "answer".to_owned(),
                schema: schema("output_config.format.schema", format.schema)?,
            },
        };
        let mut chat = conversation(self.system, self.messages.0, self.tools, self.tool_choice)?;
        // At the top level, Anthropic caches up to the last block that can be: here, all messages.
        if self.cache_control.is_some() {
            chat.pin_through = chat.messages.len().checked_sub(1);
        }
        Ok((self.model, Chat { sampling, output, ..chat }))
    }
}

impl CountRequest<'_> {
    /// The model asked for, and the conversation in domain words.
    pub(super) fn chat(self) -> Result<(String, Chat), Fault> {
        let chat = conversation(self.system, self.messages.0, self.tools, self.tool_choice)?;
        Ok((self.model, chat))
    }
}

/// Everything that becomes part of the prompt.
fn conversation(
    system: Option<TextOr<Block<'_>>>,
    messages: Vec<WireMessage<'_>>,
    tools: Option<Vec<WireTool<'_>>>,
    choice: Option<WireChoice>,
) -> Result<Chat, Fault> {
    if messages.is_empty() || messages.len() > MESSAGES {
        return Err(Fault::value("messages", format!("`messages` must hold 1 to {MESSAGES} messages")));
    }
    if messages.last().is_some_and(|message| message.role == WireRole::Assistant) {
        return Err(Fault::unsupported(
            "messages",
            "the last message must be the user's: an answer cannot be begun for the model",
        )
        .hint("ask for a form of the answer with `output_config.format` or a stop sequence instead"));
    }
    let mut built = Built::default();
    if let Some(system) = system {
        built.system(system)?;
    }
    let mut pinned_tools = false;
    let tools = tools_of(tools.unwrap_or_default(), &mut pinned_tools)?;
    if pinned_tools && built.pinned.is_none() {
        // Tools stand in front of all messages, in the prompt of the system message where there is one.
        built.pinned = (!built.messages.is_empty()).then_some(0);
    }
    for (place, message) in messages.into_iter().enumerate() {
        built.message(place, message)?;
    }
    let parallel =
        choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use).map(|disabled| !disabled);
    Ok(Chat {
        tool_choice: choice_of(choice, &tools)?,
        parallel_tool_calls: parallel,
        tools,
        messages: built.messages,
        pin_through: built.pinned,
        ..Chat::default()
    })
}

fn tools_of(wire: Vec<WireTool<'_>>, pinned: &mut bool) -> Result<Vec<Tool>, Fault> {
    let mut tools = Vec::with_capacity(wire.len());
    for (place, tool) in wire.into_iter().enumerate() {
        tool_name(&format!("tools[{place}].name"), &tool.name)?;
        *pinned |= tool.cache_control.is_some();
        tools.push(Tool {
            parameters: Some(schema(&format!("tools[{place}].input_schema"), tool.input_schema)?),
            name: tool.name,
            description: tool.description,
            strict: tool.strict.unwrap_or(false),
        });
    }
    distinct_tools(&tools)?;
    Ok(tools)
}

fn choice_of(choice: Option<WireChoice>, tools: &[Tool]) -> Result<ToolChoice, Fault> {
    let Some(choice) = choice else { return Ok(ToolChoice::Auto) };
    let choice = match choice.kind {
        ChoiceKind::Auto => ToolChoice::Auto,
        ChoiceKind::None => ToolChoice::None,
        ChoiceKind::Any => ToolChoice::Required,
        ChoiceKind::Tool => ToolChoice::Function(choice.name.ok_or_else(|| missing("tool_choice.name"))?),
    };
    checked_choice(choice, tools)
}

/// The messages so far, and how far they are to be kept.
#[derive(Default)]
struct Built {
    messages: Vec<Message>,
    pinned: Option<usize>,
}

impl Built {
    fn system(&mut self, system: TextOr<Block<'_>>) -> Result<(), Fault> {
        let mut pinned = false;
        let content = match system {
            TextOr::Text(text) => vec![Part::Text(text)],
            TextOr::List(blocks) => {
                let mut content = Vec::with_capacity(blocks.len());
                for (place, block) in blocks.into_iter().enumerate() {
                    pinned |= block.cache_control.is_some();
                    let field = format!("system[{place}]");
                    if block.kind != BlockKind::Text {
                        return Err(misplaced(&field, block.kind));
                    }
                    content.push(Part::Text(block.text.ok_or_else(|| missing(&format!("{field}.text")))?));
                }
                content
            }
        };
        if content.is_empty() {
            return Ok(());
        }
        self.messages.push(Message { content, ..Message::text(Role::System, "") });
        if pinned {
            self.pinned = Some(0);
        }
        Ok(())
    }

    fn message(&mut self, place: usize, message: WireMessage<'_>) -> Result<(), Fault> {
        let blocks = match message.content {
            TextOr::Text(text) => {
                self.push(message.role.domain(), vec![Part::Text(text)]);
                return Ok(());
            }
            TextOr::List(blocks) => blocks,
        };
        if blocks.is_empty() {
            let field = format!("messages[{place}].content");
            return Err(Fault::value(&field, format!("`{field}` is empty")));
        }
        let before = self.messages.len();
        let pinned = blocks.iter().any(|block| block.cache_control.is_some());
        match message.role {
            WireRole::System => self.instructions(place, blocks)?,
            WireRole::User => self.user(place, blocks)?,
            WireRole::Assistant => self.assistant(place, blocks)?,
        }
        if pinned && self.messages.len() >= before {
            self.pinned = Some(self.messages.len() - 1);
        }
        Ok(())
    }

    /// Results of tools are messages of their own, in the order in which they stand.
    fn user(&mut self, place: usize, blocks: Vec<Block<'_>>) -> Result<(), Fault> {
        let mut content = Vec::new();
        for (block_place, block) in blocks.into_iter().enumerate() {
            let field = format!("messages[{place}].content[{block_place}]");
            if block.kind == BlockKind::ToolResult {
                self.push(Role::User, std::mem::take(&mut content));
                self.messages.push(block.tool_result(&field)?);
            } else {
                content.push(block.part(&field)?);
            }
        }
        self.push(Role::User, content);
        Ok(())
    }

    /// Instructions in the middle of a conversation.
    fn instructions(&mut self, place: usize, blocks: Vec<Block<'_>>) -> Result<(), Fault> {
        let part = |(at, block): (usize, Block<'_>)| block.part(&format!("messages[{place}].content[{at}]"));
        let content = blocks.into_iter().enumerate().map(part).collect::<Result<_, _>>()?;
        self.push(Role::System, content);
        Ok(())
    }

    /// Consecutive turns of the same speaker are one turn, as the API's reference says.
    fn push(&mut self, role: Role, content: Vec<Part>) {
        match self.messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role && role != Role::System && last.tool_calls.is_empty() => {
                last.content.extend(content);
            }
            _ => self.messages.push(Message { content, ..Message::text(role, "") }),
        }
    }

    fn assistant(&mut self, place: usize, blocks: Vec<Block<'_>>) -> Result<(), Fault> {
        let (mut content, mut tool_calls) = (Vec::new(), Vec::new());
        for (block_place, block) in blocks.into_iter().enumerate() {
            let field = format!("messages[{place}].content[{block_place}]");
            match block.kind {
                BlockKind::Thinking | BlockKind::RedactedThinking => {}
                BlockKind::ToolUse => tool_calls.push(block.tool_use(&field)?),
                _ => content.push(block.part(&field)?),
            }
        }
        match self.messages.last_mut() {
            Some(last) if last.role == Role::Assistant && last.tool_calls.is_empty() => {
                last.content.extend(content);
                last.tool_calls = tool_calls;
            }
            _ => self.messages.push(Message { content, tool_calls, ..Message::text(Role::Assistant, "") }),
        }
        Ok(())
    }
}

fn misplaced(field: &str, kind: BlockKind) -> Fault {
    Fault::value(field, format!("`{field}` is a `{}` block, which cannot stand there", kind.word()))
}

impl Block<'_> {
    /// Text or a picture.
    fn part(self, field: &str) -> Result<Part, Fault> {
        match self.kind {
            BlockKind::Text => self.text.map(Part::Text).ok_or_else(|| missing(&format!("{field}.text"))),
            BlockKind::Image => match self.source.ok_or_else(|| missing(&format!("{field}.source")))? {
                Source::Url { url } if url.starts_with("https://") || url.starts_with("http://") => {
                    Ok(Part::Image { url })
                }
                Source::Base64 { media_type, data } if media_type.starts_with("image/") => {
                    Ok(Part::Image { url: format!("data:{media_type};base64,{data}") })
                }
                _ => Err(Fault::value(format!("{field}.source"), format!("`{field}.source` is no picture"))),
            },
            other => Err(misplaced(field, other)),
        }
    }

    fn tool_use(self, field: &str) -> Result<ToolCall, Fault> {
        Ok(ToolCall {
            id: self.id.ok_or_else(|| missing(&format!("{field}.id")))?,
            name: self.name.ok_or_else(|| missing(&format!("{field}.name")))?,
            arguments: self.input.ok_or_else(|| missing(&format!("{field}.input")))?.get().to_owned(),
        })
    }

    fn tool_result(self, field: &str) -> Result<Message, Fault> {
        let id = self.tool_use_id.ok_or_else(|| missing(&format!("{field}.tool_use_id")))?;
        let mut content = match self.content {
            None => Vec::new(),
            Some(TextOr::Text(text)) => vec![Part::Text(text)],
            Some(TextOr::List(blocks)) => {
                let part =
                    |(place, block): (usize, Block<'_>)| block.part(&format!("{field}.content[{place}]"));
                blocks.into_iter().enumerate().map(part).collect::<Result<_, _>>()?
            }
        };
        if self.is_error == Some(true) {
            // Chat templates have no place for the mark, and a model has to know.
            content.insert(0, Part::Text("error: ".to_owned()));
        }
        Ok(Message { content, tool_call_id: Some(id), ..Message::text(Role::Tool, "") })
    }
}
