//! From the domain to the JSON of `:generateContent` and `:countTokens`.

use std::borrow::Cow;
use std::collections::HashMap;

use inshore_domain::request::{
    Chat, Message, OutputFormat, Part as DomainPart, Role, Sampling, Tool, ToolChoice,
};
use inshore_domain::{BackendError, BackendErrorKind, Target};
use serde::Serialize;
use serde_json::value::RawValue;

use super::signatures::{SKIP, Signatures, wanted};
use crate::json::{arguments, encode, object, raw};
use crate::protocol::{Picture, picture, refuse};

/// The body of a request for an answer.
pub(super) fn generate(
    chat: &Chat,
    target: &Target,
    signatures: &Signatures,
) -> Result<Vec<u8>, BackendError> {
    check_sampling(chat, target)?;
    let conversation = conversation(chat, target, signatures)?;
    encode(&Body { conversation, generation_config: generation_config(chat, target)? })
}

/// The body of a token count. Only this form of it counts system text and tools too.
pub(super) fn count(
    chat: &Chat,
    target: &Target,
    model: &str,
    signatures: &Signatures,
) -> Result<Vec<u8>, BackendError> {
    let conversation = conversation(chat, target, signatures)?;
    encode(&CountBody { generate_content_request: Counted { model, conversation } })
}

/// Refuses by name what the API does not know and what would change the answer.
fn check_sampling(chat: &Chat, target: &Target) -> Result<(), BackendError> {
    let sampling = &chat.sampling;
    let set = |value: Option<f32>, neutral: f32| value.is_some_and(|value| value != neutral);
    let unknown = [
        ("min_p", set(sampling.min_p, 0.0)),
        ("repetition_penalty", set(sampling.repetition_penalty, 1.0)),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("ignore_eos", sampling.ignore_eos),
        ("parallel_tool_calls", chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty()),
    ];
    match unknown.into_iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(refuse(target, name)),
        None => Ok(()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(flatten)]
    conversation: Conversation<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<GenerationConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountBody<'a> {
    generate_content_request: Counted<'a>,
}

#[derive(Serialize)]
struct Counted<'a> {
    model: &'a str,
    #[serde(flatten)]
    conversation: Conversation<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conversation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
}

/// One turn.
#[derive(Serialize)]
pub(super) struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

impl<'a> Content<'a> {
    /// Parts that nobody says.
    pub(super) fn of(parts: Vec<Part<'a>>) -> Self {
        Self { role: None, parts }
    }

    fn holds_results(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.data, Said::FunctionResponse(_)))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(flatten)]
    data: Said<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<String>,
}

impl<'a> Part<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Said::Text(text).into()
    }
}

impl<'a> From<Said<'a>> for Part<'a> {
    fn from(data: Said<'a>) -> Self {
        Self { data, thought_signature: None }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Said<'a> {
    Text(&'a str),
    InlineData(Blob<'a>),
    FileData(FileData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    id: &'a str,
    name: &'a str,
    args: &'a RawValue,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    id: &'a str,
    name: &'a str,
    response: ToolResult<'a>,
}

/// The result must be an object. One that is an object already is sent as it is; any other text is its `output`.
#[derive(Serialize)]
#[serde(untagged)]
enum ToolResult<'a> {
    Object(Box<RawValue>),
    Text { output: Cow<'a, str> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTools<'a> {
    function_declarations: Vec<FunctionDeclaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionDeclaration<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    /// JSON Schema; the older `parameters` takes a part of OpenAPI's only, and refuses the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: FunctionCalling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionCalling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<&'a str>,
}

#[derive(Serialize, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(flatten)]
    numbers: Numbers,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    /// JSON Schema, as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
}

fn generation_config<'a>(
    chat: &'a Chat,
    target: &Target,
) -> Result<Option<GenerationConfig<'a>>, BackendError> {
    let json = Some("application/json");
    let (response_mime_type, response_json_schema) = match &chat.output {
        OutputFormat::Text => (None, None),
        OutputFormat::JsonObject => (json, None),
        OutputFormat::JsonSchema { schema, .. } => (json, Some(raw(schema, "response_format")?)),
        OutputFormat::Grammar(_) => return Err(refuse(target, "grammar")),
        OutputFormat::Regex(_) => return Err(refuse(target, "guided_regex")),
    };
    let numbers = numbers(&chat.sampling);
    let stop_sequences = chat.sampling.stop.as_slice();
    let empty = numbers == Numbers::default() && stop_sequences.is_empty() && response_mime_type.is_none();
    let config = GenerationConfig { numbers, stop_sequences, response_mime_type, response_json_schema };
    Ok((!empty).then_some(config))
}

fn numbers(sampling: &Sampling) -> Numbers {
    Numbers {
        candidate_count: (sampling.n > 1).then_some(sampling.n),
        max_output_tokens: sampling.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        // The API takes 31 bits. The same seed still gives the same answer.
        seed: sampling.seed.map(|seed| (seed & 0x7fff_ffff) as u32),
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        response_logprobs: sampling.logprobs.map(|_| true),
        logprobs: sampling.logprobs,
    }
}

fn conversation<'a>(
    chat: &'a Chat,
    target: &Target,
    signatures: &Signatures,
) -> Result<Conversation<'a>, BackendError> {
    let mut system = Vec::new();
    let mut contents: Vec<Content<'a>> = Vec::new();
    // A result names the function, which other protocols leave to the call.
    let mut called: HashMap<&str, &str> = HashMap::new();
    for message in &chat.messages {
        called.extend(message.tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())));
        let role = match message.role {
            Role::System => {
                system.extend(parts(message, target)?);
                continue;
            }
            Role::Assistant => "model",
            Role::User | Role::Tool => "user",
        };
        let mut parts = match message.role {
            Role::Tool => result(message, target, &called)?,
            _ => parts(message, target)?,
        };
        if message.role == Role::Assistant {
            parts.extend(calls(message, target, signatures)?);
        }
        let turn = Content { role: Some(role), parts };
        match contents.last_mut() {
            // Results of one turn belong together, and apart from what the user says next.
            Some(last) if last.role == turn.role && last.holds_results() == turn.holds_results() => {
                last.parts.extend(turn.parts);
            }
            // A turn without parts is refused by the API and says nothing.
            _ if turn.parts.is_empty() => {}
            _ => contents.push(turn),
        }
    }
    if contents.is_empty() {
        let kind = BackendErrorKind::InvalidRequest { field: Some("messages".into()) };
        let message = format!("`{}` needs a message of the user", target.id);
        return Err(BackendError::new(kind, message));
    }
    let declarations = chat.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    let tool_config = if declarations.is_empty() { None } else { tool_config(chat) };
    let tools = if declarations.is_empty() {
        Vec::new()
    } else {
        vec![WireTools { function_declarations: declarations }]
    };
    let system_instruction = (!system.is_empty()).then(|| Content::of(system));
    Ok(Conversation { system_instruction, contents, tools, tool_config })
}

fn parts<'a>(message: &'a Message, target: &Target) -> Result<Vec<Part<'a>>, BackendError> {
    let mut parts = Vec::with_capacity(message.content.len());
    for part in &message.content {
        match part {
            // An empty part says nothing, and may stand where the API wants something.
            DomainPart::Text(text) if text.is_empty() => {}
            DomainPart::Text(text) => parts.push(Part::text(text)),
            DomainPart::Image { url } => parts.push(image(url, target)?.into()),
        }
    }
    Ok(parts)
}

fn image<'a>(url: &'a str, target: &Target) -> Result<Said<'a>, BackendError> {
    Ok(match picture(url).ok_or_else(|| refuse(target, "image_url"))? {
        Picture::Inline { media_type, data } => Said::InlineData(Blob { mime_type: media_type, data }),
        Picture::At(file_uri) => Said::FileData(FileData { mime_type: image_type(file_uri), file_uri }),
    })
}

/// The type of the picture at an address, as far as its name tells; otherwise the API looks for itself.
fn image_type(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let (_, ending) = path.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        _ => return None,
    })
}

fn calls<'a>(
    message: &'a Message,
    target: &Target,
    signatures: &Signatures,
) -> Result<Vec<Part<'a>>, BackendError> {
    let mut parts = Vec::with_capacity(message.tool_calls.len());
    for call in &message.tool_calls {
        // Of calls made at once only the first is signed.
        let stand_in = || (parts.is_empty() && wanted(&target.model)).then(|| SKIP.to_owned());
        let thought_signature = signatures.of(&call.id).or_else(stand_in);
        let function = FunctionCall { id: &call.id, name: &call.name, args: arguments(call)? };
        parts.push(Part { data: Said::FunctionCall(function), thought_signature });
    }
    Ok(parts)
}

/// A tool's result, and pictures in it behind.
fn result<'a>(
    message: &'a Message,
    target: &Target,
    called: &HashMap<&str, &'a str>,
) -> Result<Vec<Part<'a>>, BackendError> {
    let invalid = |message: String| {
        let kind = BackendErrorKind::InvalidRequest { field: Some("tool_call_id".into()) };
        BackendError::new(kind, message)
    };
    let id = message
        .tool_call_id
        .as_deref()
        .ok_or_else(|| invalid("a tool's result must name the call that it answers".into()))?;
    let name = called.get(id).copied().or(message.name.as_deref());
    let name = name.ok_or_else(|| invalid(format!("no call before this result has the id `{id}`")))?;
    let mut texts = message.content.iter().filter_map(|part| match part {
        DomainPart::Text(text) => Some(text.as_str()),
        DomainPart::Image { .. } => None,
    });
    let output: Cow<'a, str> = match (texts.next(), texts.next()) {
        (None, _) => "".into(),
        (Some(only), None) => only.into(),
        _ => message.joined_text().into(),
    };
    let response = match object(output.trim()) {
        Some(object) => ToolResult::Object(object.to_owned()),
        None => ToolResult::Text { output },
    };
    let mut parts: Vec<Part<'a>> =
        vec![Said::FunctionResponse(FunctionResponse { id, name, response }).into()];
    for part in &message.content {
        if let DomainPart::Image { url } = part {
            parts.push(image(url, target)?.into());
        }
    }
    Ok(parts)
}

fn tool(tool: &Tool) -> Result<FunctionDeclaration<'_>, BackendError> {
    let parameters_json_schema = tool.parameters.as_ref().map(|schema| raw(schema, "tools")).transpose()?;
    let description = tool.description.as_deref();
    Ok(FunctionDeclaration { name: &tool.name, description, parameters_json_schema })
}

fn tool_config(chat: &Chat) -> Option<ToolConfig<'_>> {
    let strict = chat.tools.iter().any(|tool| tool.strict);
    let (mode, allowed_function_names) = match &chat.tool_choice {
        ToolChoice::Auto if !strict => return None,
        // The model decides, and a call that it makes is held to its schema.
        ToolChoice::Auto => ("VALIDATED", Vec::new()),
        ToolChoice::None => ("NONE", Vec::new()),
        ToolChoice::Required => ("ANY", Vec::new()),
        ToolChoice::Function(name) => ("ANY", vec![name.as_str()]),
    };
    Some(ToolConfig { function_calling_config: FunctionCalling { mode, allowed_function_names } })
}
