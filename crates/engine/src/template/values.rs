//! Conversations as the values that templates look at: OpenAI's chat format, which transformers uses as well.

use inshore_domain::request::{Message, Part, Role, Tool, ToolCall};
use minijinja::Value;
use minijinja::value::ValueKind;

use super::TemplateError;
use super::people::Markup;

/// Templates differ in what they expect of a message; the first shape that renders is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Content as a list of parts instead of a string.
    parts: bool,
    /// Arguments of calls as JSON text instead of an object.
    arguments_as_text: bool,
    /// An empty content beside calls is `""` instead of none.
    empty_content: bool,
    /// The system message goes in front of the first user message.
    system_in_user: bool,
    /// Ids of calls have nine letters or digits, as Mistral's templates demand.
    short_ids: bool,
}

impl Shape {
    /// The shapes worth trying, likeliest first.
    pub(super) fn to_try(messages: &[Message], template: &str) -> Vec<Shape> {
        let short_ids = template.contains("length != 9") || template.contains("length < 9");
        let wants_parts = template.contains("content[0]['type']") && !template.contains("is string");
        let plain = Shape {
            parts: wants_parts,
            arguments_as_text: false,
            empty_content: false,
            system_in_user: false,
            short_ids,
        };
        let mut shapes = vec![plain];
        if messages.iter().any(|message| !message.tool_calls.is_empty()) {
            shapes.push(Shape { empty_content: true, ..plain });
            shapes.push(Shape { arguments_as_text: true, ..plain });
            shapes.push(Shape { arguments_as_text: true, empty_content: true, ..plain });
        }
        shapes.push(Shape { parts: !wants_parts, ..plain });
        if has_system(messages) {
            shapes.push(Shape { system_in_user: true, ..plain });
        }
        shapes
    }
}

/// Whether there is a system message.
pub(super) fn has_system(messages: &[Message]) -> bool {
    messages.iter().any(|message| message.role == Role::System)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// The `messages` of a template.
pub(super) fn messages(messages: &[Message], shape: Shape, markup: &Markup) -> Result<Value, TemplateError> {
    let mut values = Vec::new();
    let mut system = String::new();
    for given in messages {
        if shape.system_in_user && given.role == Role::System {
            system.push_str(&given.joined_text());
            system.push_str("\n\n");
            continue;
        }
        let mut given = std::borrow::Cow::Borrowed(given);
        if given.role == Role::User && !system.is_empty() {
            given.to_mut().content.insert(0, Part::Text(std::mem::take(&mut system)));
        }
        values.push(message(&given, messages, shape, markup)?);
    }
    Ok(Value::from(values))
}

fn message(
    message: &Message,
    all: &[Message],
    shape: Shape,
    markup: &Markup,
) -> Result<Value, TemplateError> {
    let mut pairs =
        vec![("role", Value::from(role(message.role))), ("content", content(message, shape, markup))];
    if !message.tool_calls.is_empty() {
        let calls: Result<Vec<Value>, TemplateError> =
            message.tool_calls.iter().map(|call| tool_call(call, shape, markup)).collect();
        pairs.push(("tool_calls", Value::from(calls?)));
    }
    if let Some(id) = &message.tool_call_id {
        pairs.push(("tool_call_id", Value::from(call_id(id, shape))));
    }
    if let Some(name) = message.name.as_deref().or_else(|| tool_name(message, all)) {
        pairs.push(("name", Value::from(markup.mark(name))));
    }
    Ok(Value::from_pairs(pairs))
}

/// The name of the function that a result belongs to: many templates want it and few callers give it.
fn tool_name<'a>(message: &Message, all: &'a [Message]) -> Option<&'a str> {
    let id = message.tool_call_id.as_deref().filter(|_| message.role == Role::Tool)?;
    all.iter()
        .flat_map(|message| &message.tool_calls)
        .find(|call| call.id == id)
        .map(|call| call.name.as_str())
}

fn content(message: &Message, shape: Shape, markup: &Markup) -> Value {
    let mark = |text: &str| match message.role {
        Role::Assistant => markup.mark_model(text),
        _ => markup.mark(text),
    };
    let texts = message.content.iter().filter_map(|part| match part {
        Part::Text(text) => Some(mark(text)),
        Part::Image { .. } => None,
    });
    if shape.parts {
        return texts.map(|text| Value::from_pairs([("type", "text".to_owned()), ("text", text)])).collect();
    }
    let joined: String = texts.collect();
    match joined.is_empty() && !message.tool_calls.is_empty() && !shape.empty_content {
        true => Value::from(()),
        false => Value::from(joined),
    }
}

fn tool_call(call: &ToolCall, shape: Shape, markup: &Markup) -> Result<Value, TemplateError> {
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    let arguments = match json(arguments) {
        Ok(value) if !shape.arguments_as_text => marked(&value, markup),
        // What a model wrote need not be JSON.
        _ => Value::from(markup.mark(arguments)),
    };
    let function =
        Value::from_pairs([("name", Value::from(markup.mark(&call.name))), ("arguments", arguments)]);
    let pairs = [
        ("id", Value::from(call_id(&call.id, shape))),
        ("type", Value::from("function")),
        ("function", function),
    ];
    Ok(Value::from_pairs(pairs))
}

/// Mistral's ids have nine letters and digits; any other id is replaced by nine digits of its hash, the same for call and result.
fn call_id(id: &str, shape: Shape) -> String {
    let plain: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    if !shape.short_ids || (plain == id && id.len() == 9) {
        // Nothing but these letters belongs into an id, and no special token consists of them alone.
        return id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).take(64).collect();
    }
    // FNV-1a, 64 bits: stable between runs, so that prompts stay the same.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{:09}", hash % 1_000_000_000)
}

/// The `tools` of a template.
pub(super) fn tools(tools: &[Tool], markup: &Markup) -> Result<Value, TemplateError> {
    let mut values = Vec::new();
    for tool in tools {
        let parameters = tool.parameters.as_ref().map_or(Ok(empty_object()), |schema| json(&schema.0));
        let parameters = parameters.map_err(|error| {
            TemplateError::Refused(format!("the parameters of tool `{}` are not JSON: {error}", tool.name))
        })?;
        let pairs = [
            ("name", Value::from(markup.mark(&tool.name))),
            ("description", Value::from(markup.mark(tool.description.as_deref().unwrap_or_default()))),
            ("parameters", marked(&parameters, markup)),
        ];
        values.push(Value::from_pairs([
            ("type", Value::from("function")),
            ("function", Value::from_pairs(pairs)),
        ]));
    }
    Ok(Value::from(values))
}

fn empty_object() -> Value {
    let none: [(&str, Value); 0] = [];
    Value::from_pairs([("type", Value::from("object")), ("properties", Value::from_pairs(none))])
}

/// Reads JSON, keeping the order of keys. Its depth is bounded by the parser (128).
fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

/// The same value with marks in every text of it.
fn marked(value: &Value, markup: &Markup) -> Value {
    match value.kind() {
        ValueKind::String => Value::from(markup.mark(value.as_str().unwrap_or_default())),
        ValueKind::Seq => value
            .try_iter()
            .map(|items| items.map(|item| marked(&item, markup)).collect())
            .unwrap_or_default(),
        ValueKind::Map => {
            let keys = value.try_iter().map(Iterator::collect::<Vec<Value>>).unwrap_or_default();
            let pairs = keys.into_iter().map(|key| {
                let item = value.get_item(&key).unwrap_or_default();
                (marked(&key, markup), marked(&item, markup))
            });
            Value::from_pairs(pairs.collect::<Vec<_>>())
        }
        _ => value.clone(),
    }
}
