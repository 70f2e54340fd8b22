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

    fn control(id: u32, text: &str) -> SpecialToken {
        SpecialToken { id, text: text.into(), special: Special::Control }
    }

    fn marks() -> [SpecialToken; 4] {
        [
            control(256, "[TOOL_CALLS]"),
            control(257, "[ARGS]"),
            control(258, "<|tool_call|>"),
            control(259, "<|/tool_call|>"),
        ]
    }

    #[test]
    fn grammars_have_each_formats_marks() {
        let one = ToolChoice::Function("time".into());
        insta::assert_snapshot!("hermes", lark(Format::Hermes, &ToolChoice::Required, &[], true));
        insta::assert_snapshot!("llama", lark(Format::Llama, &one, &[], false));
        insta::assert_snapshot!("mistral", lark(Format::Mistral, &ToolChoice::Required, &marks(), false));
        insta::assert_snapshot!("mistral_named", lark(Format::MistralNamed, &one, &marks(), false));
    }

    /// What llguidance says of an answer: whether it may end there, or at which byte it may not go on.
    fn judge(grammar: &str, answer: &str) -> Result<bool, String> {
        use llguidance::api::TopLevelGrammar;
        use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
        let special = |text: &str| [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat();
        let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        words.extend(marks().iter().map(|mark| special(&mark.text)));
        words.push(special("</s>"));
        let trie = TokTrie::from(&TokRxInfo::new(261, 260), &words);
        let environment: TokEnv = std::sync::Arc::new(ApproximateTokEnv::new(trie));
        let factory =
            llguidance::ParserFactory::new(&environment, InferenceCapabilities::default(), &[]).unwrap();
        let mut matcher =
            llguidance::Matcher::new(factory.create_parser(TopLevelGrammar::from_lark(grammar.to_owned())));
        assert_eq!(matcher.get_error(), None, "{grammar}");
        let mut rest = answer;
        while let Some(first) = rest.bytes().next() {
            let mark = marks().into_iter().find(|mark| rest.starts_with(&mark.text));
            let (token, len) = mark.map_or((u32::from(first), 1), |mark| (mark.id, mark.text.len()));
            matcher.consume_token(token).map_err(|_| rest.to_owned())?;
            rest = rest.get(len..).unwrap_or_default();
        }
        matcher.is_accepting().map_err(|error| error.to_string())
    }

    #[test]
    fn llguidance_reads_the_grammars_and_takes_what_each_model_writes() {
        let (any, one) = (ToolChoice::Required, ToolChoice::Function("time".into()));
        let good = r#"{"name": "time", "arguments": {"city": "Rome"}}"#;
        let bad = r#"{"name": "rain", "arguments": {}}"#;
        for (format, choice, thinks, answer, fits) in [
            (
                Format::Hermes,
                &any,
                true,
                format!("<tool_call>\n{good}\n</tool_call>\n<tool_call>\n{good}\n</tool_call>"),
                true,
            ),
            (
                Format::Hermes,
                &any,
                true,
                format!("<think>hm</think>\n\n<tool_call>\n{good}\n</tool_call>"),
                true,
            ),
            (Format::Hermes, &one, false, format!("<tool_call>\n{good}\n</tool_call>"), true),
            (Format::Hermes, &any, false, format!("<tool_call>\n{bad}"), false),
            (Format::Hermes, &any, false, "Sorry".to_owned(), false),
            (Format::Llama, &any, false, good.replace("arguments", "parameters"), true),
            (Format::Llama, &any, false, good.to_owned(), false),
            (Format::Mistral, &any, false, format!("[TOOL_CALLS][{good}, {good}]"), true),
            (Format::Mistral, &one, false, format!("[TOOL_CALLS][{good}, "), false),
            (
                Format::MistralNamed,
                &any,
                false,
                "[TOOL_CALLS]time[ARGS]{\"city\": \"Rome\"}".to_owned(),
                true,
            ),
            (Format::MistralNamed, &one, false, "[TOOL_CALLS]weather".to_owned(), false),
            (Format::Phi, &any, false, format!("<|tool_call|>[{good}]<|/tool_call|>"), true),
        ] {
            let grammar = lark(format, choice, &marks(), thinks);
            match judge(&grammar, &answer) {
                Ok(complete) => assert_eq!(complete, fits, "{answer}\n{grammar}"),
                Err(rest) => assert!(!fits, "refused at {rest}\n{grammar}"),
            }
        }
    }

    #[test]
    fn a_thought_that_the_prompt_began_comes_before_the_form() {
        let Constraint::Lark(grammar) = after_thought(r#"{"type":"object"}"#, &[]) else { panic!() };
        assert_eq!(judge(&grammar, "so it is {\"x\"}</think>\n{\"a\": 1}"), Ok(true));
        assert_eq!(judge(&grammar, "{}"), Ok(false));
    }

    #[test]
    fn strict_tools_of_a_free_choice_are_held_to_their_schema_behind_the_mark() {
        let tools = [Tool { strict: true, ..tool("weather") }];
        let wanted = Wanted {
            format: Format::Hermes,
            tools: &tools,
            choice: &ToolChoice::Auto,
            parallel: true,
            tokens: &[],
            thinking: false,
            thinks: false,
        };
        let Some(Constraint::Lark(grammar)) = constraint(wanted).unwrap() else { panic!() };
        assert_eq!(judge(&grammar, "I need no tool {} at all."), Ok(true));
        let call = r#"{"name": "weather", "arguments": {"city": "Rome"}}"#;
        assert_eq!(judge(&grammar, &format!("Wait.\n<tool_call>\n{call}\n</tool_call>")), Ok(true));
        assert!(judge(&grammar, "Wait.\n<tool_call>\n{\"name\": \"rain").is_err());
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
