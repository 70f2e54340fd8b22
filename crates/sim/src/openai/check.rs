//! What the real API refuses, in its words.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::frames::Shape;
use super::{Options, json_deed};
use crate::script::tokens_of;
use crate::server::{Deed, Seen};

/// A refusal.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
}

impl Refused {
    fn bad(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), param: Some(param.into()), code: None }
    }

    fn wrong_type(param: &str, expected: &str, value: &Value) -> Self {
        let message =
            format!("Invalid type for '{param}': expected {expected}, but got {} instead.", type_of(value));
        Self { status: 400, message, param: Some(param.to_owned()), code: Some("invalid_type") }
    }

    pub(super) fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Invalid URL ({method} {path})");
        Self { status: 404, message, param: None, code: None }
    }

    pub(super) fn deed(self) -> Deed {
        let error = json!({
            "message": self.message, "type": "invalid_request_error", "param": self.param, "code": self.code,
        });
        json_deed(self.status, &json!({ "error": error }), None)
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

type Check = Result<(), Refused>;

const CHAT: &[&str] = &[
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];
const COMPLETION: &[&str] = &[
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "model",
    "n",
    "presence_penalty",
    "prompt",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_p",
    "user",
];
const RESPONSES: &[&str] = &[
    "background",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "reasoning",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
];
const EMBEDDINGS: &[&str] = &["dimensions", "encoding_format", "input", "model", "user"];

/// The key.
pub(super) fn caller(seen: &Seen, options: &Options) -> Check {
    let Some(key) = &options.key else { return Ok(()) };
    let given = seen.headers.get("authorization").and_then(|value| value.to_str().ok());
    let refused = |message: &str, code| Refused { status: 401, message: message.into(), param: None, code };
    match given.and_then(|given| given.strip_prefix("Bearer ")) {
        None => Err(refused(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth.",
            None,
        )),
        Some(given) if given != key => {
            Err(refused(&format!("Incorrect API key provided: {given}."), Some("invalid_api_key")))
        }
        Some(_) => Ok(()),
    }
}

/// The body, checked.
pub(super) fn body(seen: &Seen, shape: Shape, options: &Options) -> Result<Value, Refused> {
    let kind = seen.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unparsed = || Refused {
        status: 400,
        message: "We could not parse the JSON body of your request.".into(),
        param: None,
        code: None,
    };
    if !kind.starts_with("application/json") {
        return Err(unparsed());
    }
    let body: Value = serde_json::from_slice(&seen.body).map_err(|_| unparsed())?;
    let members = body.as_object().ok_or_else(unparsed)?;
    let known = match shape {
        Shape::Chat => CHAT,
        Shape::Completion => COMPLETION,
        Shape::Responses => RESPONSES,
        Shape::Embeddings => EMBEDDINGS,
    };
    if let Some(name) =
        members.keys().find(|name| options.strict_parameters && !known.contains(&name.as_str()))
    {
        let message = format!("Unrecognized request argument supplied: {name}");
        return Err(Refused { status: 400, message, param: None, code: None });
    }
    model(&body, options)?;
    sampling(&body, shape)?;
    match shape {
        Shape::Chat => chat(&body)?,
        Shape::Completion => texts(&body, "prompt")?,
        Shape::Responses => input(&body)?,
        Shape::Embeddings => texts(&body, "input")?,
    }
    length(&body, options)?;
    Ok(body)
}

fn model(body: &Value, options: &Options) -> Check {
    let model = &body["model"];
    let Some(name) = model.as_str() else {
        return Err(if model.is_null() {
            Refused::bad("model", "you must provide a model parameter")
        } else {
            Refused::wrong_type("model", "a string", model)
        });
    };
    if options.models.iter().any(|known| known == name) {
        return Ok(());
    }
    let message = format!("The model `{name}` does not exist or you do not have access to it.");
    Err(Refused { status: 404, message, param: None, code: Some("model_not_found") })
}

fn sampling(body: &Value, shape: Shape) -> Check {
    for (name, least, most) in [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
    ] {
        number(body, name, least, most, "a decimal")?;
    }
    for (name, least, most) in [
        ("n", 1.0, 128.0),
        ("max_tokens", 1.0, 1e9),
        ("max_completion_tokens", 1.0, 1e9),
        ("top_logprobs", 0.0, 20.0),
        ("seed", -9.3e18, 9.3e18),
        ("dimensions", 1.0, 1e5),
        ("max_output_tokens", 16.0, 1e9),
    ] {
        number(body, name, least, most, "an integer")?;
    }
    for name in ["stream", "parallel_tool_calls", "echo", "store"] {
        of_type(body, name, "a boolean", Value::is_boolean)?;
    }
    for name in ["logit_bias", "metadata", "stream_options"] {
        of_type(body, name, "an object", Value::is_object)?;
    }
    of_type(body, "user", "a string", Value::is_string)?;
    if shape == Shape::Chat {
        of_type(body, "logprobs", "a boolean", Value::is_boolean)?;
        if !body["top_logprobs"].is_null() && body["logprobs"] != true {
            return Err(Refused::bad(
                "top_logprobs",
                "'logprobs' must be set to true when 'top_logprobs' is used.",
            ));
        }
    }
    if !body["stream_options"].is_null() && body["stream"] != true {
        return Err(Refused::bad(
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    match &body["stop"] {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(stops) if stops.len() > 4 => Err(Refused::bad(
            "stop",
            "Invalid 'stop': array too long. Expected an array with maximum length 4.",
        )),
        Value::Array(stops) if stops.iter().all(Value::is_string) => Ok(()),
        other => Err(Refused::wrong_type("stop", "a string or array of strings", other)),
    }
}

fn number(body: &Value, name: &str, least: f64, most: f64, expected: &str) -> Check {
    let value = &body[name];
    let is_right = match expected {
        "an integer" => value.is_i64() || value.is_u64(),
        _ => value.is_number(),
    };
    match value.as_f64() {
        _ if value.is_null() => Ok(()),
        Some(number) if is_right && (least..=most).contains(&number) => Ok(()),
        Some(number) if is_right => {
            let message = format!("Invalid '{name}': {number} is not between {least} and {most}.");
            Err(Refused::bad(name, message))
        }
        _ => Err(Refused::wrong_type(name, expected, value)),
    }
}

fn of_type(body: &Value, name: &str, expected: &str, is: fn(&Value) -> bool) -> Check {
    let value = &body[name];
    if value.is_null() || is(value) { Ok(()) } else { Err(Refused::wrong_type(name, expected, value)) }
}

fn chat(body: &Value) -> Check {
    let messages = &body["messages"];
    let Some(list) = messages.as_array() else {
        return Err(if messages.is_null() {
            Refused::bad("messages", "Missing required parameter: 'messages'.")
        } else {
            Refused::wrong_type("messages", "an array of objects", messages)
        });
    };
    if list.is_empty() {
        return Err(Refused::bad(
            "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1.",
        ));
    }
    let mut open: HashSet<&str> = HashSet::new();
    for (place, message) in list.iter().enumerate() {
        let param = |name: &str| format!("messages[{place}].{name}");
        let role = message["role"]
            .as_str()
            .ok_or_else(|| Refused::bad(param("role"), "Missing required parameter: 'role'."))?;
        if !["system", "developer", "user", "assistant", "tool", "function"].contains(&role) {
            return Err(Refused::bad(param("role"), format!("Invalid value: '{role}'.")));
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().ok_or_else(|| {
                Refused::bad(param("tool_call_id"), "Missing required parameter: 'tool_call_id'.")
            })?;
            if !open.remove(id) {
                return Err(Refused::bad(
                    param("role"),
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                ));
            }
        } else if !open.is_empty() {
            return Err(Refused::bad(
                param("role"),
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.",
            ));
        }
        content(&message["content"], role, &param("content"), message["tool_calls"].is_array())?;
        open.extend(
            message["tool_calls"].as_array().into_iter().flatten().filter_map(|call| call["id"].as_str()),
        );
    }
    tools(body)
}

fn content(value: &Value, role: &str, param: &str, has_calls: bool) -> Check {
    match value {
        Value::String(_) => Ok(()),
        Value::Null if role == "assistant" && has_calls => Ok(()),
        Value::Array(parts) if !parts.is_empty() => {
            for part in parts {
                let kind = part["type"].as_str().unwrap_or_default();
                let good = match kind {
                    "text" => part["text"].is_string(),
                    "image_url" => role == "user" && part["image_url"]["url"].is_string(),
                    "refusal" => role == "assistant",
                    "input_audio" | "file" => role == "user",
                    _ => false,
                };
                if !good {
                    return Err(Refused::bad(param, format!("Invalid content part of type '{kind}'.")));
                }
            }
            Ok(())
        }
        other => Err(Refused::wrong_type(param, "one of a string or array of objects", other)),
    }
}

fn tools(body: &Value) -> Check {
    let tools = &body["tools"];
    if tools.is_null() {
        return if body["tool_choice"].is_null() {
            Ok(())
        } else {
            Err(Refused::bad(
                "tool_choice",
                "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            ))
        };
    }
    let list = tools.as_array().ok_or_else(|| Refused::wrong_type("tools", "an array of objects", tools))?;
    if list.is_empty() {
        return Err(Refused::bad(
            "tools",
            "Invalid 'tools': empty array. Expected an array with minimum length 1.",
        ));
    }
    for (place, tool) in list.iter().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        let valid = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if tool["type"] != "function" || !valid {
            return Err(Refused::bad(
                format!("tools[{place}].function.name"),
                "Invalid tool: expected a function with a name that matches '^[a-zA-Z0-9_-]+$'.",
            ));
        }
    }
    match &body["tool_choice"] {
        Value::Null => Ok(()),
        Value::String(word) if ["none", "auto", "required"].contains(&word.as_str()) => Ok(()),
        Value::Object(choice)
            if choice.get("function").is_some_and(|function| {
                list.iter().any(|tool| tool["function"]["name"] == function["name"])
            }) =>
        {
            Ok(())
        }
        _ => Err(Refused::bad("tool_choice", "Invalid value for 'tool_choice'.")),
    }
}

fn texts(body: &Value, name: &str) -> Check {
    let token = |value: &Value| value.is_u64();
    match &body[name] {
        Value::String(text) if !text.is_empty() || name == "prompt" => Ok(()),
        Value::Array(items) if !items.is_empty() => {
            let whole = items.iter().all(Value::is_string)
                || items.iter().all(token)
                || items.iter().all(|item| item.as_array().is_some_and(|tokens| tokens.iter().all(token)));
            if whole { Ok(()) } else { Err(Refused::wrong_type(name, "a string or array", &body[name])) }
        }
        Value::Null => Err(Refused::bad(name, format!("Missing required parameter: '{name}'."))),
        other => Err(Refused::wrong_type(name, "a string or array", other)),
    }
}

fn input(body: &Value) -> Check {
    match &body["input"] {
        Value::String(_) | Value::Array(_) => Ok(()),
        other => Err(Refused::wrong_type("input", "one of a string or array", other)),
    }
}

fn length(body: &Value, options: &Options) -> Check {
    let tokens = prompt_tokens(body);
    let window = options.context_window;
    if tokens <= window {
        return Ok(());
    }
    let message = format!(
        "This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. Please reduce the length of the messages."
    );
    Err(Refused {
        status: 400,
        message,
        param: Some("messages".into()),
        code: Some("context_length_exceeded"),
    })
}

/// Words of everything that is said.
pub(super) fn prompt_tokens(body: &Value) -> usize {
    fn words(value: &Value) -> usize {
        match value {
            Value::String(text) => tokens_of(text).len(),
            Value::Array(items) => items.iter().map(words).sum(),
            Value::Object(members) => {
                ["content", "text"].iter().filter_map(|name| members.get(*name)).map(words).sum()
            }
            Value::Number(_) => 1,
            _ => 0,
        }
    }
    ["messages", "prompt", "input", "instructions"].iter().map(|name| words(&body[*name])).sum()
}
