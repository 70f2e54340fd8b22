//! The form of an answer: JSON, schemas, tool calls.

use inshore_domain::Request;
use inshore_domain::request::{Chat, Json, OutputFormat, Task, ToolChoice};
use serde_json::Value;

use super::{Found, Seen};

/// Answers longer than this are not parsed: none that follows a schema is as long.
const JSON_BYTES: usize = 4 << 20;

pub(super) fn schema(request: &Request, seen: &Seen<'_>) -> Found {
    let output = match &request.task {
        Task::Chat(chat) => &chat.output,
        Task::Completion(completion) => &completion.output,
        Task::Embedding(_) => return Found::Fine,
    };
    // An answer that calls tools has no text yet.
    if !seen.calls.is_empty() {
        return Found::Fine;
    }
    match output {
        OutputFormat::JsonObject => match parse(seen.text) {
            Ok(Value::Object(_)) => Found::Fine,
            Ok(_) => Found::Wanting("it is JSON and not an object".into()),
            Err(why) => Found::Wanting(why),
        },
        OutputFormat::JsonSchema { schema, .. } => match parse(seen.text) {
            Ok(value) => follows(schema, &value).map_or_else(Found::Wanting, |()| Found::Sound),
            Err(why) => Found::Wanting(why),
        },
        OutputFormat::Text | OutputFormat::Grammar(_) | OutputFormat::Regex(_) => Found::Fine,
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text.len() > JSON_BYTES {
        return Err(format!("it is longer than {JSON_BYTES} bytes"));
    }
    serde_json::from_str(text).map_err(|error| format!("it is not JSON (line {})", error.line()))
}

/// Whether a value follows a schema. A schema that cannot be compiled is nothing that an answer could follow.
fn follows(Json(schema): &Json, value: &Value) -> Result<(), String> {
    let schema: Value = serde_json::from_str(schema).map_err(|_| "the schema is not JSON".to_owned())?;
    let validator = jsonschema::validator_for(&schema)
        .map_err(|_| "the schema cannot be used to check an answer".to_owned())?;
    validator.validate(value).map_err(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "/".into() } else { place };
        // Where, and not what: the message of the validator holds the value.
        format!("it does not follow the schema at `{place}`")
    })
}

pub(super) fn tools(request: &Request, seen: &Seen<'_>) -> Found {
    let Task::Chat(chat) = &request.task else { return Found::Fine };
    if seen.calls.is_empty() {
        return match &chat.tool_choice {
            ToolChoice::Required | ToolChoice::Function(_) => {
                Found::Wanting("it calls no tool, and one must be called".into())
            }
            ToolChoice::Auto | ToolChoice::None => Found::Fine,
        };
    }
    let wrong = seen.calls.iter().find_map(|(name, arguments)| call(chat, name, arguments).err());
    wrong.map_or(Found::Sound, Found::Wanting)
}

fn call(chat: &Chat, name: &str, arguments: &str) -> Result<(), String> {
    let tool = chat.tools.iter().find(|tool| tool.name == name);
    let tool = tool.ok_or_else(|| "it calls a tool that is not declared".to_owned())?;
    match &chat.tool_choice {
        ToolChoice::None => return Err("it calls a tool, and none may be called".into()),
        ToolChoice::Function(other) if other != name => {
            return Err(format!("it calls `{name}`, and `{other}` must be called"));
        }
        ToolChoice::Auto | ToolChoice::Required | ToolChoice::Function(_) => {}
    }
    // Tools without arguments are called with nothing at all by some models.
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let value = parse(arguments).map_err(|why| format!("the arguments of `{name}`: {why}"))?;
    if !value.is_object() {
        return Err(format!("the arguments of `{name}` are no object"));
    }
    let parameters = tool.parameters.as_ref();
    parameters
        .map_or(Ok(()), |schema| follows(schema, &value))
        .map_err(|why| format!("the arguments of `{name}`: {why}"))
}
