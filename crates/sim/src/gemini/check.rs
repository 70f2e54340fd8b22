//! What the real API refuses, in its words.

use serde_json::{Value, json};

use super::Options;
use super::fields::{self, Message, Violation};
use super::frames::is_signed;
use crate::openai::json_deed;
use crate::script::tokens_of;
use crate::server::{Deed, Seen};

/// A refusal: a `google.rpc.Status`.
#[derive(Debug)]
pub(super) struct Refused {
    code: u16,
    status: &'static str,
    message: String,
    details: Vec<Value>,
}

impl Refused {
    fn bad(message: impl Into<String>) -> Self {
        Self { code: 400, status: "INVALID_ARGUMENT", message: message.into(), details: Vec::new() }
    }

    fn fields(violations: &[Violation]) -> Self {
        let message: Vec<&str> = violations.iter().map(|violation| violation.description.as_str()).collect();
        let list: Vec<Value> = violations
            .iter()
            .map(|violation| json!({ "field": violation.field, "description": violation.description }))
            .collect();
        let detail = json!({ "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": list });
        Self { details: vec![detail], ..Self::bad(message.join("\n")) }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self { code: 404, status: "NOT_FOUND", message: message.into(), details: Vec::new() }
    }

    pub(super) fn deed(self) -> Deed {
        let mut error = json!({ "code": self.code, "message": self.message, "status": self.status });
        if !self.details.is_empty() {
            error["details"] = json!(self.details);
        }
        json_deed(self.code, &json!({ "error": error }), None)
    }
}

type Check = Result<(), Refused>;

/// The key.
pub(super) fn caller(seen: &Seen, options: &Options) -> Check {
    match seen.headers.get("x-goog-api-key").and_then(|value| value.to_str().ok()) {
        None => Err(Refused {
            code: 403,
            status: "PERMISSION_DENIED",
            message: "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.".into(),
            details: Vec::new(),
        }),
        Some(key) if key != options.key => Err(Refused {
            details: vec![json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                "domain": "googleapis.com", "metadata": { "service": "generativelanguage.googleapis.com" },
            })],
            ..Refused::bad("API key not valid. Please pass a valid API key.")
        }),
        Some(_) => Ok(()),
    }
}

/// The body as JSON that holds only fields of the message.
pub(super) fn body(seen: &Seen, message: &'static Message) -> Result<Value, Refused> {
    let value: Value = serde_json::from_slice(&seen.body)
        .map_err(|_| Refused::bad("Invalid JSON payload received. Unexpected end of string."))?;
    let violations = fields::violations(&value, message);
    if violations.is_empty() { Ok(plain(value)) } else { Err(Refused::fields(&violations)) }
}

/// The same with one spelling of each field. Names that are data (arguments, schemas) are not looked up later.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (snake(&name), plain(value)))
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A request for an answer.
pub(super) fn generate(body: &Value, model: &str, options: &Options) -> Check {
    contents(&body["contents"], "GenerateContentRequest.contents")?;
    turns(&body["contents"])?;
    signatures(&body["contents"], model)?;
    tools(body)?;
    config(&body["generation_config"])?;
    let tokens = prompt_tokens(body);
    if tokens > options.context_window {
        return Err(Refused::bad(format!(
            "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({}).",
            options.context_window
        )));
    }
    Ok(())
}

/// A request for a count: a conversation, or a whole request.
pub(super) fn count<'a>(body: &'a Value, model: &str) -> Result<&'a Value, Refused> {
    let inner = &body["generate_content_request"];
    if inner.is_null() {
        contents(&body["contents"], "CountTokensRequest.contents")?;
        return Ok(body);
    }
    if !body["contents"].is_null() {
        return Err(Refused::bad(
            "* CountTokensRequest: only one of contents and generate_content_request may be set",
        ));
    }
    if inner["model"] != model {
        return Err(Refused::bad(
            "* GenerateContentRequest.model: unexpected model name format or model mismatch",
        ));
    }
    contents(&inner["contents"], "GenerateContentRequest.contents")?;
    Ok(inner)
}

/// A request for vectors.
pub(super) fn embed(body: &Value, model: &str) -> Check {
    let requests = body["requests"].as_array().map_or(&[][..], Vec::as_slice);
    if requests.is_empty() {
        return Err(Refused::bad("* BatchEmbedContentsRequest.requests: requests is not specified"));
    }
    if requests.len() > 100 {
        return Err(Refused::bad(
            "* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch",
        ));
    }
    for (place, request) in requests.iter().enumerate() {
        let at = format!("BatchEmbedContentsRequest.requests[{place}]");
        if request["model"] != model {
            return Err(Refused::bad(format!(
                "* {at}.model: the model must match the model in the parent request"
            )));
        }
        parts(&request["content"], &format!("{at}.content"))?;
    }
    Ok(())
}

fn contents(contents: &Value, at: &str) -> Check {
    let list = contents.as_array().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        return Err(Refused::bad(format!("* {at}: contents is not specified")));
    }
    for (place, content) in list.iter().enumerate() {
        if !["user", "model", ""].contains(&content["role"].as_str().unwrap_or_default()) {
            return Err(Refused::bad("Please use a valid role: user, model."));
        }
        parts(content, &format!("{at}[{place}]"))?;
    }
    Ok(())
}

fn parts(content: &Value, at: &str) -> Check {
    let list = content["parts"].as_array().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        return Err(Refused::bad(format!("* {at}.parts: contents.parts must not be empty.")));
    }
    const DATA: [&str; 7] = [
        "text",
        "inline_data",
        "file_data",
        "function_call",
        "function_response",
        "executable_code",
        "code_execution_result",
    ];
    for (place, part) in list.iter().enumerate() {
        let at = format!("{at}.parts[{place}]");
        if DATA.iter().filter(|name| !part[**name].is_null()).count() != 1 {
            return Err(Refused::bad(format!(
                "* {at}.data: required oneof field 'data' must have one initialized field"
            )));
        }
        for name in ["function_call", "function_response"] {
            if !part[name].is_null() && part[name]["name"].as_str().is_none_or(str::is_empty) {
                return Err(Refused::bad(format!("* {at}.{name}.name: Name cannot be empty.")));
            }
        }
        if !part["function_response"].is_null() && part["function_response"]["response"].is_null() {
            return Err(Refused::bad(format!("* {at}.function_response.response: response is required")));
        }
    }
    Ok(())
}

fn of_kind<'a>(content: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let parts = content["parts"].as_array().into_iter().flatten();
    parts.map(move |part| &part[kind]).filter(|data| !data.is_null())
}

/// Calls come after the user or after results, and results right after their calls, as many as these.
fn turns(contents: &Value) -> Check {
    let mut before: Option<&Value> = None;
    for content in contents.as_array().into_iter().flatten() {
        let calls = of_kind(content, "function_call").count();
        let results = of_kind(content, "function_response").count();
        let calls_before = before.map_or(0, |before| of_kind(before, "function_call").count());
        if calls > 0 && before.is_none_or(|before| before["role"] == "model") {
            return Err(Refused::bad(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
            ));
        }
        if results != calls_before {
            return Err(Refused::bad(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
            ));
        }
        let open = before.into_iter().flat_map(|before| of_kind(before, "function_call"));
        for (call, result) in open.zip(of_kind(content, "function_response")) {
            if !result["id"].is_null() && result["id"] != call["id"] || result["name"] != call["name"] {
                return Err(Refused::bad(
                    "Please ensure that function response parts match the function call parts of the function call turn.",
                ));
            }
        }
        before = Some(content);
    }
    match before.map(|last| of_kind(last, "function_call").count()) {
        Some(1..) => Err(Refused::bad("Please ensure that function call turn is followed by its responses.")),
        _ => Ok(()),
    }
}

/// From the third generation on, calls since the user last spoke must bear their signatures.
fn signatures(contents: &Value, model: &str) -> Check {
    let list = contents.as_array().map_or(&[][..], Vec::as_slice);
    let spoke = |content: &Value| content["role"] == "user" && of_kind(content, "text").next().is_some();
    let since = list.iter().rposition(spoke).unwrap_or(0);
    let strict = model.contains("gemini-3");
    for (position, content) in list.iter().enumerate() {
        let all = content["parts"].as_array().into_iter().flatten();
        let calls = all.filter(|part| !part["function_call"].is_null());
        for (place, part) in calls.enumerate() {
            match part["thought_signature"].as_str() {
                Some(signature) if strict && !is_signed(signature) => {
                    return Err(Refused::bad("Thought signature is not valid."));
                }
                None if strict && place == 0 && position >= since => {
                    let name = part["function_call"]["name"].as_str().unwrap_or_default();
                    return Err(Refused::bad(format!(
                        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:{name}` , position {position}."
                    )));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn tools(body: &Value) -> Check {
    let mut names = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        for declaration in tool["function_declarations"].as_array().into_iter().flatten() {
            let name = declaration["name"].as_str().unwrap_or_default();
            let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            let rest = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
            if !first || name.len() > 128 || !name.chars().all(rest) {
                return Err(Refused::bad(format!("[FieldNameError] Invalid function name: {name}.")));
            }
            if !declaration["parameters"].is_null() && !declaration["parameters_json_schema"].is_null() {
                return Err(Refused::bad("parameters and parameters_json_schema are mutually exclusive."));
            }
            names.push(name);
        }
    }
    let calling = &body["tool_config"]["function_calling_config"];
    if calling.is_null() {
        return Ok(());
    }
    if names.is_empty() {
        return Err(Refused::bad("Function calling config is set without function_declarations."));
    }
    let allowed = calling["allowed_function_names"].as_array().map_or(&[][..], Vec::as_slice);
    if !allowed.is_empty() && !["ANY", "VALIDATED"].iter().any(|mode| calling["mode"] == *mode) {
        return Err(Refused::bad("Allowed function names should only be set when mode is ANY."));
    }
    match allowed.iter().find(|name| name.as_str().is_none_or(|name| !names.contains(&name))) {
        Some(name) => Err(Refused::bad(format!("allowed_function_names: unknown function {name}."))),
        None => Ok(()),
    }
}

fn config(config: &Value) -> Check {
    let refused = |name: &str, rule: &str| {
        Err(Refused::bad(format!("* GenerateContentRequest.generation_config.{name}: {rule}")))
    };
    for (name, least, most) in [
        ("candidate_count", 1.0, 8.0),
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("max_output_tokens", 1.0, 1e9),
        ("top_k", 1.0, 1e9),
        ("logprobs", 0.0, 20.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
    ] {
        if config[name].as_f64().is_some_and(|number| !(least..=most).contains(&number)) {
            return refused(name, &format!("must be in the range [{least}, {most}]."));
        }
    }
    if config["stop_sequences"].as_array().is_some_and(|stops| stops.len() > 5) {
        return refused("stop_sequences", "at most 5 stop sequences are allowed.");
    }
    if !config["logprobs"].is_null() && config["response_logprobs"] != true {
        return refused("logprobs", "only valid if response_logprobs is set.");
    }
    let schema = !config["response_schema"].is_null();
    let json_schema = !config["response_json_schema"].is_null();
    if schema && json_schema {
        return refused("response_json_schema", "response_schema must be omitted.");
    }
    if (schema || json_schema) && config["response_mime_type"] != "application/json" {
        return refused("response_schema", "a compatible response_mime_type must also be set.");
    }
    Ok(())
}

/// Words of everything that is said.
pub(super) fn prompt_tokens(body: &Value) -> usize {
    fn words(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(words).sum(),
            Value::Object(members) => {
                let text =
                    members.get("text").and_then(Value::as_str).map_or(0, |text| tokens_of(text).len());
                let result = members.get("function_response").map_or(0, |result| {
                    tokens_of(result["response"]["output"].as_str().unwrap_or_default()).len()
                });
                text + result
                    + ["parts", "content"]
                        .iter()
                        .filter_map(|name| members.get(*name))
                        .map(words)
                        .sum::<usize>()
            }
            _ => 0,
        }
    }
    words(&body["contents"]) + words(&body["system_instruction"]) + words(&body["requests"])
}
