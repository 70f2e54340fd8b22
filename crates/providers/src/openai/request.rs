//! From the domain to the JSON of `/chat/completions` and `/completions`.

use inshore_domain::request::{
    Chat, Completion, Message, OutputFormat, Part, PromptText, Role, Sampling, Tool, ToolChoice,
};
use inshore_domain::{BackendError, Capability, Target};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::json::{encode, raw};
use crate::protocol::refuse;

/// How the endpoint differs from the others that imitate the API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// OpenAI itself wants `max_completion_tokens`; its imitators know `max_tokens`.
    pub(super) new_token_limit: bool,
}

/// The body of a chat completion.
pub(super) fn chat(
    chat: &Chat,
    target: &Target,
    stream: bool,
    style: Style,
) -> Result<Vec<u8>, BackendError> {
    let messages = chat.messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    let tools = chat.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let has_tools = !tools.is_empty();
    let body = ChatBody {
        model: &target.model,
        messages,
        tool_choice: has_tools.then(|| tool_choice(&chat.tool_choice)).flatten(),
        parallel_tool_calls: chat.parallel_tool_calls.filter(|_| has_tools),
        tools,
        response_format: response_format(&chat.output)?,
        logprobs: chat.sampling.logprobs.map(|_| true),
        top_logprobs: chat.sampling.logprobs,
        sampling: sampling(&chat.sampling, &chat.output, target, style)?,
        stream: stream.then_some(true),
        stream_options: stream.then_some(StreamOptions { include_usage: true }),
    };
    encode(&body)
}

/// The body of a completion.
pub(super) fn completion(
    completion: &Completion,
    target: &Target,
    stream: bool,
) -> Result<Vec<u8>, BackendError> {
    if !matches!(completion.output, OutputFormat::Text | OutputFormat::Grammar(_) | OutputFormat::Regex(_)) {
        return Err(refuse(target, "response_format"));
    }
    let tokens = completion.prompts.iter().any(|prompt| matches!(prompt, PromptText::Tokens(_)));
    if tokens && !target.capabilities.has(Capability::TokenPrompts) {
        return Err(refuse(target, "prompt"));
    }
    let prompts = completion.prompts.iter().map(Prompt::from).collect::<Vec<_>>();
    let style = Style { new_token_limit: false };
    let body = CompletionBody {
        model: &target.model,
        prompt: prompts,
        suffix: completion.suffix.as_deref(),
        echo: completion.echo.then_some(true),
        logprobs: completion.sampling.logprobs,
        sampling: sampling(&completion.sampling, &completion.output, target, style)?,
        stream: stream.then_some(true),
        stream_options: stream.then_some(StreamOptions { include_usage: true }),
    };
    encode(&body)
}

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(flatten)]
    sampling: WireSampling<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct CompletionBody<'a> {
    model: &'a str,
    prompt: Vec<Prompt<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    echo: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u8>,
    #[serde(flatten)]
    sampling: WireSampling<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Prompt<'a> {
    Text(&'a str),
    Tokens(&'a [u32]),
}

impl<'a> From<&'a PromptText> for Prompt<'a> {
    fn from(prompt: &'a PromptText) -> Self {
        match prompt {
            PromptText::Text(text) => Self::Text(text),
            PromptText::Tokens(tokens) => Self::Tokens(tokens),
        }
    }
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// One text is written as a string, which every imitator understands; anything else as a list.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    None,
    Text(&'a str),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: OfferedFunction<'a>,
}

#[derive(Serialize)]
struct OfferedFunction<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Function { r#type: &'static str, function: NamedFunction<'a> },
}

#[derive(Serialize)]
struct NamedFunction<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: NamedSchema<'a> },
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    schema: &'a RawValue,
    strict: bool,
}

#[derive(Serialize, Default)]
struct WireSampling<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    /// vLLM's name; llama.cpp's is the next one. Each ignores the other's.
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "LogitBias::is_empty")]
    logit_bias: LogitBias<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grammar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guided_regex: Option<&'a str>,
}

#[derive(Default)]
struct LogitBias<'a>(&'a [(u32, f32)]);

impl LogitBias<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for LogitBias<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (token, bias) in self.0 {
            map.serialize_entry(&token.to_string(), bias)?;
        }
        map.end()
    }
}

fn message(message: &Message) -> Result<WireMessage<'_>, BackendError> {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let content = match message.content.as_slice() {
        [] if !message.tool_calls.is_empty() => Content::None,
        [] => Content::Text(""),
        [Part::Text(text)] => Content::Text(text),
        parts => Content::Parts(
            parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => WirePart::Text { text },
                    Part::Image { url } => WirePart::ImageUrl { image_url: ImageUrl { url } },
                })
                .collect(),
        ),
    };
    let tool_calls = message
        .tool_calls
        .iter()
        .map(|call| WireCall {
            id: &call.id,
            r#type: "function",
            function: CalledFunction { name: &call.name, arguments: &call.arguments },
        })
        .collect();
    // A tool's result has no name in this API; the call it answers has.
    let name = message.name.as_deref().filter(|_| message.role != Role::Tool);
    let tool_call_id = message.tool_call_id.as_deref();
    Ok(WireMessage { role, content, tool_calls, tool_call_id, name })
}

fn tool(tool: &Tool) -> Result<WireTool<'_>, BackendError> {
    let function = OfferedFunction {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters.as_ref().map(|schema| raw(schema, "tools")).transpose()?,
        strict: tool.strict.then_some(true),
    };
    Ok(WireTool { r#type: "function", function })
}

fn tool_choice(choice: &ToolChoice) -> Option<WireChoice<'_>> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(WireChoice::Word("none")),
        ToolChoice::Required => Some(WireChoice::Word("required")),
        ToolChoice::Function(name) => {
            Some(WireChoice::Function { r#type: "function", function: NamedFunction { name } })
        }
    }
}

fn response_format(output: &OutputFormat) -> Result<Option<ResponseFormat<'_>>, BackendError> {
    Ok(match output {
        OutputFormat::Text | OutputFormat::Grammar(_) | OutputFormat::Regex(_) => None,
        OutputFormat::JsonObject => Some(ResponseFormat::JsonObject),
        OutputFormat::JsonSchema { name, schema } => {
            let schema = raw(schema, "response_format")?;
            Some(ResponseFormat::JsonSchema { json_schema: NamedSchema { name, schema, strict: true } })
        }
    })
}

fn sampling<'a>(
    sampling: &'a Sampling,
    output: &'a OutputFormat,
    target: &Target,
    style: Style,
) -> Result<WireSampling<'a>, BackendError> {
    let extended = [
        ("top_k", sampling.top_k.is_some()),
        ("min_p", sampling.min_p.is_some()),
        ("repetition_penalty", sampling.repetition_penalty.is_some()),
        ("ignore_eos", sampling.ignore_eos),
    ];
    let known = target.capabilities.has(Capability::ExtendedSampling);
    if let Some((name, _)) = extended.into_iter().find(|(_, set)| *set && !known) {
        return Err(refuse(target, name));
    }
    let grammar = match output {
        OutputFormat::Grammar(grammar) => Some(grammar.as_str()),
        _ => None,
    };
    let guided_regex = match output {
        OutputFormat::Regex(regex) => Some(regex.as_str()),
        _ => None,
    };
    if (grammar.is_some() || guided_regex.is_some()) && !target.capabilities.has(Capability::Grammar) {
        return Err(refuse(target, if grammar.is_some() { "grammar" } else { "guided_regex" }));
    }
    let limit = sampling.max_tokens;
    Ok(WireSampling {
        max_tokens: limit.filter(|_| !style.new_token_limit),
        max_completion_tokens: limit.filter(|_| style.new_token_limit),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        repeat_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        seed: sampling.seed,
        stop: &sampling.stop,
        logit_bias: LogitBias(&sampling.logit_bias),
        n: (sampling.n > 1).then_some(sampling.n),
        ignore_eos: sampling.ignore_eos.then_some(true),
        grammar,
        guided_regex,
    })
}
