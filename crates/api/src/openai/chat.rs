//! `POST /v1/chat/completions`: the request.
//!
//! Source: OpenAI API reference, "Create chat completion".

use inshore_domain::request::{Chat, Message, OutputFormat, Part, Role, Tool, ToolCall, ToolChoice};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{self, Drawn, Pin, StreamOptions, distinct_tools, sampled_request, tool_name};
use crate::fault::Fault;
use crate::json::{Few, Ignored, Pairs, Refused, TextOr, WordOr, schema, within};

/// Messages of one conversation: longer ones do not fit in any context window.
pub(crate) const MESSAGES: usize = 16_384;
/// Alternatives for each token, as in OpenAI's API.
const TOP_LOGPROBS: u8 = 20;

sampled_request! {
    /// The body.
    struct ChatRequest<'a> {
        // Honoured.
        messages: Few<WireMessage>,
        stream_options: Option<StreamOptions>,
        max_tokens: Option<u32>,
        max_completion_tokens: Option<u32>,
        n: Option<u32>,
        stop: Option<TextOr<String>>,
        presence_penalty: Option<f32>,
        frequency_penalty: Option<f32>,
        logit_bias: Option<Pairs<f32>>,
        seed: Option<i64>,
        logprobs: Option<bool>,
        top_logprobs: Option<u8>,
        #[serde(borrow)]
        tools: Option<Vec<WireTool<'a>>>,
        tool_choice: Option<WordOr<NamedTool>>,
        parallel_tool_calls: Option<bool>,
        #[serde(borrow)]
        response_format: Option<ResponseFormat<'a>>,
        // Honoured by models that think, wherever they run; others have nothing to shorten or lengthen.
        #[expect(dead_code, reason = "reaches the target in the body as it came")]
        reasoning_effort: Ignored,
        // Ignored: a guess at the answer, which only makes it come sooner.
        #[expect(dead_code, reason = "ignored")]
        prediction: Ignored,
        // Ignored where they ask for nothing but text.
        modalities: Option<Few<String>>,
        // Refused.
        #[expect(dead_code, reason = "refused while parsing")]
        audio: Refused,
        #[expect(dead_code, reason = "refused while parsing; `tools` took its place")]
        functions: Refused,
        #[expect(dead_code, reason = "refused while parsing; `tool_choice` took its place")]
        function_call: Refused,
        #[expect(dead_code, reason = "refused while parsing")]
        web_search_options: Refused,
        #[expect(dead_code, reason = "refused while parsing")]
        verbosity: Refused,
    }
}

/// A message as it stands in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireMessage {
    role: WireRole,
    content: Option<TextOr<WirePart>>,
    name: Option<String>,
    tool_calls: Option<Vec<WireToolCall>>,
    tool_call_id: Option<String>,
    /// What the model said instead of an answer, when an earlier answer is sent back.
    refusal: Option<String>,
    /// Thinking of an earlier answer, which chat templates leave out.
    #[expect(dead_code, reason = "ignored")]
    reasoning_content: Ignored,
    #[expect(dead_code, reason = "ignored")]
    reasoning: Ignored,
    #[expect(dead_code, reason = "ignored")]
    annotations: Ignored,
    #[expect(dead_code, reason = "refused while parsing")]
    audio: Refused,
    #[expect(dead_code, reason = "refused while parsing")]
    function_call: Refused,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum WireRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

impl WireRole {
    fn domain(self) -> Role {
        match self {
            Self::System | Self::Developer => Role::System,
            Self::User => Role::User,
            Self::Assistant => Role::Assistant,
            Self::Tool => Role::Tool,
        }
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct WirePart {
    #[serde(rename = "type")]
    kind: PartKind,
    text: Option<String>,
    image_url: Option<ImageUrl>,
    refusal: Option<String>,
    /// The prompt up to here is worth keeping.
    prompt_cache_breakpoint: Ignored,
}

#[derive(Deserialize, Debug, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum PartKind {
    Text,
    ImageUrl,
    Refusal,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct ImageUrl {
    url: String,
    /// How closely to look: a hint that targets may take.
    #[expect(dead_code, reason = "ignored")]
    detail: Ignored,
}

impl WirePart {
    fn domain(self, field: &str) -> Result<Part, Fault> {
        let missing = |name: &str| {
            let field = format!("{field}.{name}");
            Fault::field(&field, "missing_required_parameter", format!("`{field}` is missing"))
        };
        match self.kind {
            PartKind::Text => self.text.map(Part::Text).ok_or_else(|| missing("text")),
            PartKind::Refusal => self.refusal.map(Part::Text).ok_or_else(|| missing("refusal")),
            PartKind::ImageUrl => {
                let url = self.image_url.ok_or_else(|| missing("image_url"))?.url;
                image(&format!("{field}.image_url.url"), url)
            }
        }
    }
}

/// A picture by a URL that a target can be given.
pub(super) fn image(field: &str, url: String) -> Result<Part, Fault> {
    if url.starts_with("data:image/") || url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Part::Image { url });
    }
    Err(Fault::value(field, format!("`{field}` is wrong: expected a `data:image/…` or `https:` URL")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireToolCall {
    id: String,
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only functions are taken")]
    kind: Option<FunctionWord>,
    function: CalledFunction,
    #[expect(dead_code, reason = "some clients send the stream's index back")]
    index: Ignored,
}

#[derive(Deserialize)]
enum FunctionWord {
    #[serde(rename = "function")]
    Function,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CalledFunction {
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only functions are taken")]
    kind: FunctionWord,
    #[serde(borrow)]
    function: WireFunction<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFunction<'a> {
    name: String,
    description: Option<String>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    strict: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedTool {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "only functions are taken")]
    kind: FunctionWord,
    function: ToolName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolName {
    name: String,
}

/// `response_format`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: FormatKind,
    #[serde(borrow)]
    json_schema: Option<NamedSchema<'a>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormatKind {
    Text,
    JsonObject,
    JsonSchema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedSchema<'a> {
    name: String,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[expect(dead_code, reason = "for people")]
    description: Ignored,
    /// The schema is always kept to.
    #[expect(dead_code, reason = "always so")]
    strict: Ignored,
}

/// The format that is asked for; `field` is where the schema stands.
pub(super) fn format(
    kind: FormatKind,
    field: &str,
    named: Option<(String, Option<&RawValue>)>,
) -> Result<OutputFormat, Fault> {
    match (kind, named) {
        (FormatKind::Text, _) => Ok(OutputFormat::Text),
        (FormatKind::JsonObject, _) => Ok(OutputFormat::JsonObject),
        (FormatKind::JsonSchema, Some((name, Some(raw)))) => {
            Ok(OutputFormat::JsonSchema { name, schema: schema(&format!("{field}.schema"), raw)? })
        }
        (FormatKind::JsonSchema, None) => {
            Err(Fault::field(field, "missing_required_parameter", format!("`{field}` is missing")))
        }
        (FormatKind::JsonSchema, Some((_, None))) => {
            let field = format!("{field}.schema");
            Err(Fault::field(&field, "missing_required_parameter", format!("`{field}` is missing")))
        }
    }
}

impl ChatRequest<'_> {
    /// Whether the usage chunk was asked for.
    pub(super) fn include_usage(&self) -> Result<bool, Fault> {
        usage_wanted(self.stream, self.stream_options.as_ref())
    }

    /// The conversation in domain words.
    pub(super) fn chat(&mut self) -> Result<Chat, Fault> {
        let mut sampling = self.common_sampling()?;
        Drawn {
            n: self.n,
            stop: self.stop.take(),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.take(),
            seed: self.seed,
        }
        .into_sampling(&mut sampling)?;
        sampling.max_tokens = self.answer_limit()?;
        sampling.logprobs = self.logprobs()?;
        self.only_text()?;
        let tools = self.tools()?;
        let marked = self.messages.0.iter().rposition(WireMessage::marked);
        let messages = self.messages()?;
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

    fn answer_limit(&self) -> Result<Option<u32>, Fault> {
        within("max_tokens", self.max_tokens, 1, u32::MAX)?;
        within("max_completion_tokens", self.max_completion_tokens, 1, u32::MAX)?;
        match (self.max_completion_tokens, self.max_tokens) {
            (Some(new), Some(old)) if new != old => {
                Err(Fault::value("max_tokens", "`max_tokens` and `max_completion_tokens` differ"))
            }
            (new, old) => Ok(new.or(old)),
        }
    }

    fn logprobs(&self) -> Result<Option<u8>, Fault> {
        let top = within("top_logprobs", self.top_logprobs, 0, TOP_LOGPROBS)?;
        match (self.logprobs.unwrap_or(false), top) {
            (true, top) => Ok(Some(top.unwrap_or(0))),
            (false, Some(1..)) => {
                Err(Fault::value("top_logprobs", "`top_logprobs` needs `logprobs` to be true"))
            }
            (false, _) => Ok(None),
        }
    }

    fn only_text(&self) -> Result<(), Fault> {
        let modalities = self.modalities.as_ref().map_or(&[][..], |few| &few.0);
        match modalities.iter().find(|modality| *modality != "text") {
            Some(other) => {
                let other: String = other.chars().take(64).collect();
                Err(Fault::unsupported(
                    "modalities",
                    format!("`modalities` cannot hold `{other}`: only text is made"),
                ))
            }
            None => Ok(()),
        }
    }

    fn tools(&mut self) -> Result<Vec<Tool>, Fault> {
        let mut tools = Vec::new();
        for (place, tool) in self.tools.take().unwrap_or_default().into_iter().enumerate() {
            let function = tool.function;
            tool_name(&format!("tools[{place}].function.name"), &function.name)?;
            let field = format!("tools[{place}].function.parameters");
            tools.push(Tool {
                parameters: function.parameters.map(|raw| schema(&field, raw)).transpose()?,
                name: function.name,
                description: function.description,
                strict: function.strict.unwrap_or(false),
            });
        }
        distinct_tools(&tools)?;
        Ok(tools)
    }

    fn tool_choice(&mut self, tools: &[Tool]) -> Result<ToolChoice, Fault> {
        let choice = match self.tool_choice.take() {
            None => return Ok(ToolChoice::Auto),
            Some(WordOr::Word(word)) => choice_word(&word)?,
            Some(WordOr::Object(named)) => ToolChoice::Function(named.function.name),
        };
        checked_choice(choice, tools)
    }

    fn messages(&mut self) -> Result<Vec<Message>, Fault> {
        let messages = std::mem::take(&mut self.messages.0);
        if messages.is_empty() || messages.len() > MESSAGES {
            return Err(Fault::value("messages", format!("`messages` must hold 1 to {MESSAGES} messages")));
        }
        messages.into_iter().enumerate().map(|(place, message)| message.domain(place)).collect()
    }

    fn output(&mut self) -> Result<OutputFormat, Fault> {
        let format = match self.response_format.take() {
            None => None,
            Some(wanted) => {
                let named = wanted.json_schema.map(|named| (named.name, named.schema));
                Some(format(wanted.kind, "response_format.json_schema", named)?)
            }
        };
        fields::output(format, self.grammar.take(), self.guided_regex.take())
    }
}

/// Whether a stream's last chunk is to carry the usage.
pub(super) fn usage_wanted(stream: Option<bool>, options: Option<&StreamOptions>) -> Result<bool, Fault> {
    match options {
        Some(_) if stream != Some(true) => {
            Err(Fault::value("stream_options", "`stream_options` needs `stream` to be true"))
        }
        options => Ok(options.is_some_and(|options| options.include_usage)),
    }
}

pub(super) fn choice_word(word: &str) -> Result<ToolChoice, Fault> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        other => {
            let other: String = other.chars().take(64).collect();
            let message = format!("`tool_choice` is `{other}`: expected auto, none, required or a function");
            Err(Fault::value("tool_choice", message))
        }
    }
}

/// A choice that the tools on offer can satisfy.
pub(crate) fn checked_choice(choice: ToolChoice, tools: &[Tool]) -> Result<ToolChoice, Fault> {
    match &choice {
        ToolChoice::Required if tools.is_empty() => {
            Err(Fault::value("tool_choice", "`tool_choice` demands a call, and `tools` is empty"))
        }
        ToolChoice::Function(name) if !tools.iter().any(|tool| tool.name == *name) => {
            let shown: String = name.chars().take(128).collect();
            Err(Fault::value(
                "tool_choice",
                format!("`tool_choice` names `{shown}`, which `tools` does not hold"),
            ))
        }
        _ => Ok(choice),
    }
}

/// The index of the last message to keep.
pub(super) fn pinned(pin: Option<Pin>, messages: &[Message]) -> Result<Option<usize>, Fault> {
    match pin {
        None | Some(Pin::No) => Ok(None),
        Some(Pin::Instructions) => {
            Ok(messages.iter().take_while(|message| message.role == Role::System).count().checked_sub(1))
        }
        Some(Pin::Through(index)) if index < messages.len() => Ok(Some(index)),
        Some(Pin::Through(index)) => {
            Err(Fault::value("pin", format!("`pin` is {index}, and there are {} messages", messages.len())))
        }
    }
}

impl WireMessage {
    /// Whether a part of it is marked to be kept.
    fn marked(&self) -> bool {
        match &self.content {
            Some(TextOr::List(parts)) => parts.iter().any(|part| part.prompt_cache_breakpoint.is_some()),
            _ => false,
        }
    }

    fn domain(self, place: usize) -> Result<Message, Fault> {
        let role = self.role.domain();
        let field = |name: &str| format!("messages[{place}].{name}");
        let calls = self.tool_calls.unwrap_or_default();
        if !calls.is_empty() && role != Role::Assistant {
            return Err(Fault::value(
                field("tool_calls"),
                "only an assistant's message may hold `tool_calls`",
            ));
        }
        if role == Role::Tool && self.tool_call_id.is_none() {
            let field = field("tool_call_id");
            return Err(Fault::field(&field, "missing_required_parameter", format!("`{field}` is missing")));
        }
        let mut content = match self.content {
            Some(TextOr::Text(text)) => vec![Part::Text(text)],
            Some(TextOr::List(parts)) => parts
                .into_iter()
                .enumerate()
                .map(|(part_place, part)| part.domain(&format!("messages[{place}].content[{part_place}]")))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        if content.is_empty() {
            content.extend(self.refusal.map(Part::Text));
        }
        if content.is_empty() && calls.is_empty() && role != Role::Assistant {
            let field = field("content");
            return Err(Fault::field(&field, "missing_required_parameter", format!("`{field}` is missing")));
        }
        let tool_calls = calls
            .into_iter()
            .map(|call| ToolCall {
                id: call.id,
                name: call.function.name,
                arguments: call.function.arguments,
            })
            .collect();
        Ok(Message { role, content, tool_calls, tool_call_id: self.tool_call_id, name: self.name })
    }
}
