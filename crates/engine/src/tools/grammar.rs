//! Grammars that hold an answer to a model's way of calling tools, in llguidance's dialect of Lark
//! (<https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md>).

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use inshore_domain::request::{Tool, ToolChoice};

use super::{Format, control_token};
use crate::frames::Constraint;
use crate::gguf::SpecialToken;

/// What is demanded of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The model's way.
    pub(crate) format: Format,
    /// The tools there are.
    pub(crate) tools: &'a [Tool],
    /// Whether one must be called.
    pub(crate) choice: &'a ToolChoice,
    /// Whether several calls are fine.
    pub(crate) parallel: bool,
    /// The model's tokens with a meaning.
    pub(crate) tokens: &'a [SpecialToken],
    /// The prompt ended in a thought, which comes first.
    pub(crate) thinking: bool,
    /// The model may think first.
    pub(crate) thinks: bool,
}

/// The grammar for a demanded call; `None` when nothing is demanded. Strict tools of a choice that is left to the model are held to
/// their schema where the model's mark of a call is text (Hermes); elsewhere only when a call is demanded.
/// The error says which tool's schema cannot be read.
pub(crate) fn constraint(wanted: Wanted<'_>) -> Result<Option<Constraint>, String> {
    let demanded = match wanted.choice {
        ToolChoice::Required | ToolChoice::Function(_) => true,
        ToolChoice::Auto => false,
        ToolChoice::None => return Ok(None),
    };
    let strict = wanted.tools.iter().any(|tool| tool.strict)
        && wanted.format == Format::Hermes
        && wanted.mark("<tool_call>").starts_with('"');
    if wanted.tools.is_empty() || !(demanded || strict) {
        return Ok(None);
    }
    let mut grammar = wanted.start(demanded);
    for (nth, tool) in wanted.callable().enumerate() {
        let schema = parameters(tool)?;
        grammar.push_str(&wanted.rule(nth, tool, &schema));
    }
    Ok(Some(Constraint::Lark(grammar)))
}

/// A schema for what follows a thought that the prompt began.
pub(crate) fn after_thought(schema: &str, tokens: &[SpecialToken]) -> Constraint {
    Constraint::Lark(format!("start: thought answer\n{}answer: %json {schema}\n", thought(tokens)))
}

/// A rule for the rest of a thought.
fn thought(tokens: &[SpecialToken]) -> String {
    match control_token(tokens, "</think>") {
        Some(id) => format!("thought: /(.|\\n)*/ <[{id}]> /\\s*/\n"),
        None => "thought_text[lazy]: /(.|\\n)*<\\/think>/\nthought: thought_text /\\s*/\n".to_owned(),
    }
}

impl Wanted<'_> {
    fn callable(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(move |tool| match self.choice {
            ToolChoice::Function(name) => tool.name == *name,
            _ => true,
        })
    }

    /// A mark as the model's tokeniser has it: one token, or plain text.
    fn mark(&self, text: &str) -> String {
        match control_token(self.tokens, text) {
            Some(id) => format!("<[{id}]>"),
            None => Value::from(text).to_string(),
        }
    }

    fn several(&self) -> bool {
        self.parallel && matches!(self.choice, ToolChoice::Required | ToolChoice::Auto)
    }

    fn start(&self, demanded: bool) -> String {
        let names: Vec<String> = (0..self.callable().count()).map(|nth| format!("call{nth}")).collect();
        let any = format!("call: {}\n", names.join(" | "));
        let (mut rules, before) =
            match (self.thinking, self.thinks && control_token(self.tokens, "</think>").is_none()) {
                (true, _) => (thought(self.tokens), "thought "),
                (false, true) => (format!("{}whole: \"<think>\" thought\n", thought(self.tokens)), "whole? "),
                (false, false) => (String::new(), ""),
            };
        let start = match (self.format, demanded) {
            // Text is free up to the mark, as often as the model likes.
            (_, false) => {
                rules.push_str("lead[lazy]: /(.|\\n)*<tool_call>/\nfree: lead \"\\n\" call\n");
                "start: free* /(.|\\n)*/\n".to_owned()
            }
            (Format::Mistral, _) => format!("start: {before}{} {}\n", self.mark("[TOOL_CALLS]"), self.list()),
            (Format::Phi, _) => {
                format!(
                    "start: {before}{} {} {}\n",
                    self.mark("<|tool_call|>"),
                    self.list(),
                    self.mark("<|/tool_call|>")
                )
            }
            (Format::Llama, _) => format!("start: {before}call\n"),
            (Format::Hermes | Format::MistralNamed, _) if self.several() => {
                format!("start: {before}call (/\\s*/ call)*\n")
            }
            (Format::Hermes | Format::MistralNamed, _) => format!("start: {before}call\n"),
        };
        rules.insert_str(0, &format!("{start}{any}"));
        rules
    }

    fn rule(&self, nth: usize, tool: &Tool, schema: &Schema<'_>) -> String {
        let free = self.choice == &ToolChoice::Auto;
        match self.format {
            Format::Hermes => {
                let open =
                    if free { String::new() } else { format!("{} \"\\n\" ", self.mark("<tool_call>")) };
                format!(
                    "call{nth}: {open}%json {} \"\\n\" {}\n",
                    self.object(tool, schema),
                    self.mark("</tool_call>")
                )
            }
            Format::MistralNamed => {
                let (open, name, args) =
                    (self.mark("[TOOL_CALLS]"), Value::from(tool.name.as_str()), self.mark("[ARGS]"));
                format!("call{nth}: {open} {name} {args} %json {}\n", schema.text)
            }
            Format::Llama | Format::Mistral | Format::Phi => {
                format!("call{nth}: %json {}\n", self.object(tool, schema))
            }
        }
    }

    /// `{"name": …, "arguments": …}` for one tool, name first as models are trained to write it. The schema's text is kept as it is, because
    /// the order of its properties is the order in which they are written. Definitions that it refers to are repeated outside, because
    /// references count from the root.
    fn object(&self, tool: &Tool, schema: &Schema<'_>) -> String {
        let (name, key) = (Value::from(tool.name.as_str()), self.format.arguments_key());
        let definitions: String =
            schema.definitions.iter().map(|(key, text)| format!(r#","{key}":{text}"#)).collect();
        format!(
            r#"{{"type":"object","properties":{{"name":{{"const":{name}}},"{key}":{}}},"required":["name","{key}"],"additionalProperties":false{definitions}}}"#,
            schema.text
        )
    }

    /// Calls as a JSON list.
    fn list(&self) -> &'static str {
        if self.several() { "\"[\" call (/,\\s?/ call)* \"]\"" } else { "\"[\" call \"]\"" }
    }
}

/// A tool's schema as text.
struct Schema<'a> {
    text: &'a str,
    definitions: Vec<(&'static str, &'a str)>,
}

fn parameters(tool: &Tool) -> Result<Schema<'_>, String> {
    let text = tool.parameters.as_ref().map_or("{\"type\":\"object\"}", |schema| schema.0.as_str());
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text)
        .map_err(|error| format!("the parameters of tool `{}` are not a JSON schema: {error}", tool.name))?;
    let definitions =
        ["$defs", "definitions"].into_iter().filter_map(|key| Some((key, fields.get(key)?.get())));
    Ok(Schema { text, definitions: definitions.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Special;
    use inshore_domain::request::Json;

    fn tool(name: &str) -> Tool {
        let schema = r##"{"type":"object","properties":{"city":{"$ref":"#/$defs/c"}},"$defs":{"c":{"type":"string"}}}"##;
        Tool { name: name.into(), description: None, parameters: Some(Json(schema.into())), strict: false }
    }

    fn lark(format: Format, choice: &ToolChoice, tokens: &[SpecialToken], thinks: bool) -> String {
        let tools = [tool("weather"), tool("time")];
        let wanted =
            Wanted { format, tools: &tools, choice, parallel: true, tokens, thinking: false, thinks };
        match constraint(wanted).unwrap() {
            Some(Constraint::Lark(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn grammars_have_each_formats_marks() {
        let control = |id, text: &str| SpecialToken { id, text: text.into(), special: Special::Control };
        let tokens = [control(5, "[TOOL_CALLS]"), control(6, "[ARGS]")];
        let one = ToolChoice::Function("time".into());
        insta::assert_snapshot!("hermes", lark(Format::Hermes, &ToolChoice::Required, &[], true));
        insta::assert_snapshot!("llama", lark(Format::Llama, &one, &[], false));
        insta::assert_snapshot!("mistral", lark(Format::Mistral, &ToolChoice::Required, &tokens, false));
        insta::assert_snapshot!("mistral_named", lark(Format::MistralNamed, &one, &tokens, false));
    }

    #[test]
    fn nothing_is_demanded_of_a_free_choice() {
        let tools = [tool("weather")];
        let wanted = Wanted {
            format: Format::Llama,
            tools: &tools,
            choice: &ToolChoice::Auto,
            parallel: true,
            tokens: &[],
            thinking: false,
            thinks: false,
        };
        assert_eq!(constraint(wanted).unwrap(), None);
    }
}
