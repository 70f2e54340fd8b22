//! The messages of the API and their fields, and the check that JSON holds nothing else
//! (`google/ai/generativelanguage/v1beta` in `googleapis/googleapis`). A field may be written as `thoughtSignature` or as
//! `thought_signature`.

use serde_json::Value;

/// A message.
pub(super) struct Message(&'static [(&'static str, Kind)]);

/// What a field holds.
enum Kind {
    Text,
    /// Base 64.
    Bytes,
    Bool,
    Int,
    Float,
    /// One of these words.
    Enum(&'static str, &'static [&'static str]),
    One(&'static Message),
    Many(&'static Kind),
    Map(&'static Kind),
    /// A JSON object.
    Struct,
    /// Not looked into here.
    Any,
}

use Kind::{Any, Bool, Bytes, Enum, Float, Int, Many, Map, One, Struct, Text};

/// A field that is not as it should be: where, and the API's words.
#[derive(Debug, PartialEq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) description: String,
}

static CONTENT: Message = Message(&[("parts", Many(&One(&PART))), ("role", Text)]);

static PART: Message = Message(&[
    ("text", Text),
    ("inline_data", One(&Message(&[("mime_type", Text), ("data", Bytes)]))),
    ("file_data", One(&Message(&[("mime_type", Text), ("file_uri", Text)]))),
    ("function_call", One(&Message(&[("id", Text), ("name", Text), ("args", Struct)]))),
    ("function_response", One(&FUNCTION_RESPONSE)),
    ("executable_code", Any),
    ("code_execution_result", Any),
    ("thought", Bool),
    ("thought_signature", Bytes),
    ("video_metadata", Any),
    ("media_resolution", Any),
    ("part_metadata", Struct),
]);

static FUNCTION_RESPONSE: Message = Message(&[
    ("id", Text),
    ("name", Text),
    ("response", Struct),
    ("parts", Many(&Any)),
    ("will_continue", Bool),
    ("scheduling", Text),
]);

static SCHEMA: Message = Message(&[
    ("type", Enum("Type", TYPES)),
    ("format", Text),
    ("title", Text),
    ("description", Text),
    ("nullable", Bool),
    ("enum", Many(&Text)),
    ("items", One(&SCHEMA)),
    ("max_items", Int),
    ("min_items", Int),
    ("properties", Map(&One(&SCHEMA))),
    ("required", Many(&Text)),
    ("min_properties", Int),
    ("max_properties", Int),
    ("minimum", Float),
    ("maximum", Float),
    ("min_length", Int),
    ("max_length", Int),
    ("pattern", Text),
    ("example", Any),
    ("any_of", Many(&One(&SCHEMA))),
    ("property_ordering", Many(&Text)),
    ("default", Any),
]);

/// The parser takes them in small letters too.
const TYPES: &[&str] = &[
    "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL", "string", "number", "integer",
    "boolean", "array", "object", "null",
];

static TOOL: Message = Message(&[
    ("function_declarations", Many(&One(&FUNCTION_DECLARATION))),
    ("google_search", Any),
    ("google_search_retrieval", Any),
    ("google_maps", Any),
    ("code_execution", Any),
    ("computer_use", Any),
    ("file_search", Any),
    ("url_context", Any),
    ("mcp_servers", Many(&Any)),
]);

static FUNCTION_DECLARATION: Message = Message(&[
    ("name", Text),
    ("description", Text),
    ("parameters", One(&SCHEMA)),
    ("parameters_json_schema", Any),
    ("response", One(&SCHEMA)),
    ("response_json_schema", Any),
    ("behavior", Text),
]);

static TOOL_CONFIG: Message = Message(&[
    ("function_calling_config", One(&FUNCTION_CALLING)),
    ("retrieval_config", Any),
    ("include_server_side_tool_invocations", Bool),
]);

static FUNCTION_CALLING: Message = Message(&[
    ("mode", Enum("FunctionCallingConfig.Mode", &["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"])),
    ("allowed_function_names", Many(&Text)),
]);

static GENERATION_CONFIG: Message = Message(&[
    ("candidate_count", Int),
    ("stop_sequences", Many(&Text)),
    ("max_output_tokens", Int),
    ("temperature", Float),
    ("top_p", Float),
    ("top_k", Int),
    ("seed", Int),
    ("response_mime_type", Text),
    ("response_schema", One(&SCHEMA)),
    ("response_json_schema", Any),
    ("presence_penalty", Float),
    ("frequency_penalty", Float),
    ("response_logprobs", Bool),
    ("logprobs", Int),
    ("enable_enhanced_civic_answers", Bool),
    ("response_modalities", Many(&Text)),
    ("speech_config", Any),
    (
        "thinking_config",
        One(&Message(&[("include_thoughts", Bool), ("thinking_budget", Int), ("thinking_level", Text)])),
    ),
    ("image_config", Any),
    ("media_resolution", Text),
]);

pub(super) static GENERATE: Message = Message(&[
    ("model", Text),
    ("system_instruction", One(&CONTENT)),
    ("contents", Many(&One(&CONTENT))),
    ("tools", Many(&One(&TOOL))),
    ("tool_config", One(&TOOL_CONFIG)),
    ("safety_settings", Many(&One(&Message(&[("category", Text), ("threshold", Text)])))),
    ("generation_config", One(&GENERATION_CONFIG)),
    ("cached_content", Text),
    ("service_tier", Text),
]);

pub(super) static COUNT: Message = Message(&[
    ("model", Text),
    ("contents", Many(&One(&CONTENT))),
    ("generate_content_request", One(&GENERATE)),
]);

pub(super) static BATCH_EMBED: Message = Message(&[("model", Text), ("requests", Many(&One(&EMBED)))]);

static EMBED: Message = Message(&[
    ("model", Text),
    ("content", One(&CONTENT)),
    ("task_type", Text),
    ("title", Text),
    ("output_dimensionality", Int),
    ("embed_content_config", Any),
]);

/// Everything in `value` that the message has no field for, or a field of another type.
pub(super) fn violations(value: &Value, message: &'static Message) -> Vec<Violation> {
    let mut found = Vec::new();
    look(value, message, "", &mut found);
    found
}

fn look(value: &Value, message: &'static Message, at: &str, found: &mut Vec<Violation>) {
    let Some(members) = value.as_object() else {
        return found.push(Violation {
            field: at.to_owned(),
            description: format!("Invalid value at '{at}' (type.googleapis.com/Message), {value}"),
        });
    };
    for (name, value) in members {
        let known = message.0.iter().find(|(field, _)| field == name || camel(field) == *name);
        match known {
            Some((field, kind)) => {
                let at = if at.is_empty() { (*field).to_owned() } else { format!("{at}.{field}") };
                field_of(value, kind, &at, found);
            }
            None => {
                let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
                let description = format!(
                    "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
                );
                found.push(Violation { field: at.to_owned(), description });
            }
        }
    }
}

fn field_of(value: &Value, kind: &'static Kind, at: &str, found: &mut Vec<Violation>) {
    let type_name = match (kind, value) {
        // A field that is null is a field that is not there.
        (_, Value::Null) => return,
        (One(message), _) => return look(value, message, at, found),
        (Many(kind), Value::Array(items)) => {
            for (place, item) in items.iter().enumerate() {
                field_of(item, kind, &format!("{at}[{place}]"), found);
            }
            return;
        }
        (Map(kind), Value::Object(members)) => {
            for (place, value) in members.values().enumerate() {
                field_of(value, kind, &format!("{at}[{place}].value"), found);
            }
            return;
        }
        (kind, value) if kind.holds(value) => return,
        (kind, _) => kind.name(),
    };
    let description = format!("Invalid value at '{at}' ({type_name}), {value}");
    found.push(Violation { field: at.to_owned(), description });
}

impl Kind {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Text => value.is_string(),
            Bytes => value.as_str().is_some_and(is_base64),
            Bool => value.is_boolean(),
            Int => {
                let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                number.is_some_and(|number| i32::try_from(number).is_ok())
            }
            Float => value.is_number(),
            Enum(_, words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Struct => value.is_object(),
            Any => true,
            One(_) | Many(_) | Map(_) => false,
        }
    }

    fn name(&self) -> String {
        match self {
            Text => "TYPE_STRING".into(),
            Bytes => "TYPE_BYTES".into(),
            Bool => "TYPE_BOOL".into(),
            Int => "TYPE_INT32".into(),
            Float => "TYPE_FLOAT".into(),
            Enum(name, _) => format!("type.googleapis.com/google.ai.generativelanguage.v1beta.{name}"),
            Struct => "type.googleapis.com/google.protobuf.Struct".into(),
            Many(_) => "Proto field is repeating".into(),
            Any | One(_) | Map(_) => "type.googleapis.com/Message".into(),
        }
    }
}

/// `thought_signature` as `thoughtSignature`.
fn camel(field: &str) -> String {
    let mut words = field.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        name.extend(word.chars().next().map(|first| first.to_ascii_uppercase()));
        name.push_str(word.get(1..).unwrap_or_default());
    }
    name
}

/// Either alphabet, with or without padding.
fn is_base64(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    text.len() - bare.len() <= 2
        && bare.len() % 4 != 1
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_api_does_not_know_is_named_with_its_place() {
        let body = json!({
            "contents": [{ "parts": [{ "text": 7, "thoughtSignature": "c2ln", "extra": 1 }] }],
            "stream": true,
            "generationConfig": { "seed": 4_294_967_295u32, "topK": "3", "temperature": null },
            "tools": [{ "functionDeclarations": [{ "parameters": { "properties": { "a": { "const": 1 } } } }] }],
        });
        let said: Vec<String> =
            violations(&body, &GENERATE).into_iter().map(|violation| violation.description).collect();
        assert_eq!(
            said,
            [
                "Invalid value at 'contents[0].parts[0].text' (TYPE_STRING), 7",
                "Invalid JSON payload received. Unknown name \"extra\" at 'contents[0].parts[0]': Cannot find field.",
                "Invalid JSON payload received. Unknown name \"stream\": Cannot find field.",
                "Invalid value at 'generation_config.seed' (TYPE_INT32), 4294967295",
                "Invalid JSON payload received. Unknown name \"const\" at 'tools[0].function_declarations[0].parameters.properties[0].value': Cannot find field.",
            ]
        );
    }
}
