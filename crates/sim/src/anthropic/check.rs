//! What the real API refuses, in its words.

use serde_json::{Value, json};

use super::Options;
use crate::openai::json_deed;
use crate::script::tokens_of;
use crate::server::{Deed, Seen};

/// A refusal.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    kind: &'static str,
    message: String,
}

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, kind: "invalid_request_error", message: message.into() }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { status: 404, kind: "not_found_error", message: message.into() }
    }

    pub(super) fn deed(self) -> Deed {
        let error = json!({ "type": self.kind, "message": self.message });
        json_deed(self.status, &json!({ "type": "error", "error": error, "request_id": "req_sim" }), None)
    }
}

type Check = Result<(), Refused>;

const MEMBERS: &[&str] = &[
    "container",
    "context_management",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];
const COUNTED: &[&str] = &[
    "context_management",
    "mcp_servers",
    "messages",
    "model",
    "output_config",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];

/// Key and version.
pub(super) fn caller(seen: &Seen, options: &Options) -> Check {
    let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
    let refused =
        |message: &str| Refused { status: 401, kind: "authentication_error", message: message.into() };
    match header("x-api-key") {
        None => return Err(refused("x-api-key header is required")),
        Some(key) if key != options.key => return Err(refused("invalid x-api-key")),
        Some(_) => {}
    }
    match header("anthropic-version") {
        Some("2023-06-01" | "2023-01-01") => Ok(()),
        Some(other) => Err(Refused::bad(format!("anthropic-version: \"{other}\" is not a valid version"))),
        None => Err(Refused::bad("anthropic-version: header is required")),
    }
}

/// The body, checked.
pub(super) fn body(seen: &Seen, counting: bool, options: &Options) -> Result<Value, Refused> {
    let body: Value =
        serde_json::from_slice(&seen.body).map_err(|_| Refused::bad("The request body is not valid JSON"))?;
    let members = body.as_object().ok_or_else(|| Refused::bad("Input should be a valid dictionary"))?;
    let known = if counting { COUNTED } else { MEMBERS };
    if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Refused::bad(format!("{name}: Extra inputs are not permitted")));
    }
    let model = body["model"].as_str().ok_or_else(|| Refused::bad("model: Field required"))?;
    if !options.models.iter().any(|name| name == model) {
        return Err(Refused::not_found(format!("model: {model}")));
    }
    if !counting {
        sampling(&body)?;
    }
    tools(&body)?;
    messages(&body)?;
    let tokens = prompt_tokens(&body);
    if tokens > options.context_window {
        return Err(Refused::bad(format!(
            "prompt is too long: {tokens} tokens > {} maximum",
            options.context_window
        )));
    }
    Ok(body)
}

fn sampling(body: &Value) -> Check {
    match &body["max_tokens"] {
        Value::Null => return Err(Refused::bad("max_tokens: Field required")),
        value if value.as_u64().is_some_and(|tokens| tokens > 0) => {}
        _ => return Err(Refused::bad("max_tokens: Input should be a valid integer greater than 0")),
    }
    for name in ["temperature", "top_p"] {
        let value = &body[name];
        if !value.is_null() && !value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number)) {
            return Err(Refused::bad(format!("{name}: range: 0..1")));
        }
    }
    if !body["top_k"].is_null() && !body["top_k"].is_u64() {
        return Err(Refused::bad("top_k: Input should be a valid integer"));
    }
    if !body["stream"].is_null() && !body["stream"].is_boolean() {
        return Err(Refused::bad("stream: Input should be a valid boolean"));
    }
    if let Some(stops) = body.get("stop_sequences") {
        let good = stops.as_array().is_some_and(|stops| {
            stops.iter().all(|stop| stop.as_str().is_some_and(|text| !text.trim().is_empty()))
        });
        if !good {
            return Err(Refused::bad("stop_sequences: each stop sequence must contain non-whitespace"));
        }
    }
    Ok(())
}

fn tools(body: &Value) -> Check {
    for (place, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        if !tool["name"].is_string() {
            return Err(Refused::bad(format!("tools.{place}.custom.name: Field required")));
        }
        if !tool["input_schema"].is_object() || tool["input_schema"]["type"] != "object" {
            return Err(Refused::bad(format!("tools.{place}.custom.input_schema.type: Field required")));
        }
    }
    let choice = &body["tool_choice"];
    if choice.is_null() {
        return Ok(());
    }
    let named =
        body["tools"].as_array().is_some_and(|tools| tools.iter().any(|tool| tool["name"] == choice["name"]));
    match choice["type"].as_str() {
        Some("auto" | "any" | "none") => Ok(()),
        Some("tool") if named => Ok(()),
        _ => Err(Refused::bad("tool_choice: Input should be one of auto, any, tool, none")),
    }
}

fn messages(body: &Value) -> Check {
    let list = body["messages"].as_array().ok_or_else(|| Refused::bad("messages: Field required"))?;
    if list.is_empty() {
        return Err(Refused::bad("messages: at least one message is required"));
    }
    let mut open: Vec<String> = Vec::new();
    for (place, message) in list.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role != "user" && role != "assistant" {
            return Err(Refused::bad(format!(
                "messages.{place}.role: Input should be 'user' or 'assistant'"
            )));
        }
        if place == 0 && role != "user" {
            return Err(Refused::bad("messages: first message must use the \"user\" role"));
        }
        let blocks = blocks(&message["content"], role, place, place + 1 == list.len())?;
        let results = ids(&blocks, "tool_result", "tool_use_id");
        if let Some(missing) = open.iter().find(|id| !results.contains(id)) {
            return Err(Refused::bad(format!(
                "messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after: {missing}"
            )));
        }
        if let Some(stray) = results.iter().find(|id| !open.contains(id)) {
            return Err(Refused::bad(format!(
                "messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {stray}"
            )));
        }
        open = ids(&blocks, "tool_use", "id");
    }
    match open.first() {
        Some(id) => Err(Refused::bad(format!(
            "messages: `tool_use` ids were found without `tool_result` blocks immediately after: {id}"
        ))),
        None => Ok(()),
    }
}

fn ids(blocks: &[Value], kind: &str, name: &str) -> Vec<String> {
    blocks
        .iter()
        .filter(|block| block["type"] == kind)
        .filter_map(|block| block[name].as_str().map(str::to_owned))
        .collect()
}

fn blocks(content: &Value, role: &str, place: usize, last: bool) -> Result<Vec<Value>, Refused> {
    let blocks = match content {
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        Value::Array(blocks) => blocks.clone(),
        _ => return Err(Refused::bad(format!("messages.{place}.content: Field required"))),
    };
    if blocks.is_empty() && !(last && role == "assistant") {
        return Err(Refused::bad(format!("messages.{place}: all messages must have non-empty content")));
    }
    for (number, block) in blocks.iter().enumerate() {
        let at = format!("messages.{place}.content.{number}");
        match (block["type"].as_str().unwrap_or_default(), role) {
            ("text", _) => match block["text"].as_str() {
                Some("") => return Err(Refused::bad("messages: text content blocks must be non-empty")),
                Some(text) if last && role == "assistant" && text.ends_with(char::is_whitespace) => {
                    return Err(Refused::bad(
                        "messages: final assistant content cannot end with trailing whitespace",
                    ));
                }
                Some(_) => {}
                None => return Err(Refused::bad(format!("{at}.text: Field required"))),
            },
            ("image", "user") if ["base64", "url"].iter().any(|kind| block["source"]["type"] == *kind) => {}
            ("tool_use", "assistant") if block["id"].is_string() && block["input"].is_object() => {}
            ("tool_result", "user") if block["tool_use_id"].is_string() => {}
            ("document", "user") | ("thinking" | "redacted_thinking", "assistant") => {}
            (kind, _) => return Err(Refused::bad(format!("{at}: Input tag '{kind}' is not expected here"))),
        }
    }
    Ok(blocks)
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
            _ => 0,
        }
    }
    words(&body["messages"]) + words(&body["system"])
}
