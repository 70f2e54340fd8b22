//! Chat templates: turns a conversation into the text that a model was trained to continue.
//!
//! The template is the model's own (`tokenizer.chat_template`, Jinja as transformers renders it). It is foreign code, so it runs with a limit on
//! steps, recursion and output, without files, network or time other than what is handed in. Known gap: the *memory* of intermediate
//! strings is bounded only by these limits together, see [`environment::FUEL`].
//!
//! Invariant: what people write is never read as markup. See [`people`] for how that is kept through whatever a template
//! does to the text.

mod date;
mod environment;
mod json;
mod people;
mod values;

use std::sync::Arc;

use inshore_domain::Clock;
use inshore_domain::request::{Chat, Message, Role};
use minijinja::{Environment, Value};

use crate::frames::Piece;
use crate::gguf::Model;
pub(crate) use people::Markup;
use values::Shape;

/// A conversation as the model reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Markup and, where people spelled markup, text that must not be read as such.
    pub pieces: Vec<Piece>,
    /// How many leading pieces are the pinned prefix, when the chat asked for one and it is not empty.
    pub pinned: Option<u32>,
    /// The prompt ends inside a thought: the model goes on thinking.
    pub thinking: bool,
}

/// Why a conversation could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template says that this conversation is not for this model.
    #[error("the model's chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template is broken, or asks for what is not there.
    #[error("the model's chat template failed: {0}")]
    Broken(String),
    /// The template ran past a limit.
    #[error("the model's chat template ran past its limit: {0}")]
    Limit(&'static str),
}

/// The name a template has inside its environment.
const NAME: &str = "chat_template";
/// The template that some models keep apart for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// A model's way of writing conversations.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Option<Environment<'static>>,
    tool_environment: Option<Environment<'static>>,
    source: String,
    markup: Markup,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Compiles the model's template, or one given instead of it. A model without a template gets the plain way: the texts joined by
    /// blank lines, so that a completion model goes on where the last one ends.
    pub fn of(model: &Model, instead: Option<&str>, clock: &Arc<dyn Clock>) -> Result<Self, TemplateError> {
        let source = instead.or(model.chat_template.as_deref());
        let tool_source =
            model.named_templates.iter().find(|(name, _)| name == TOOL_USE && instead.is_none());
        let compile = |source: &str| environment::compile(NAME, source, clock);
        let all = format!(
            "{}{}",
            source.unwrap_or_default(),
            tool_source.map(|(_, text)| text.as_str()).unwrap_or_default()
        );
        let text = |token: &Option<crate::gguf::SpecialToken>| {
            token.as_ref().map(|token| token.text.clone()).unwrap_or_default()
        };
        Ok(Self {
            environment: source.map(compile).transpose()?,
            tool_environment: tool_source.map(|(_, text)| compile(text)).transpose()?,
            markup: Markup::new(&model.special_tokens, &all),
            source: all,
            bos: text(&model.bos),
            eos: text(&model.eos),
        })
    }

    /// The source of all templates of the model; empty for the plain way.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is a real template and not the plain way.
    pub fn is_template(&self) -> bool {
        self.environment.is_some() || self.tool_environment.is_some()
    }

    /// Whether it has a place for tools.
    pub fn takes_tools(&self) -> bool {
        self.tool_environment.is_some() || self.source.contains("tools")
    }

    /// Whether the model thinks aloud between `<think>` and `</think>`.
    pub fn thinks(&self) -> bool {
        self.source.contains("<think>") || self.source.contains("</think>")
    }

    /// Renders a chat up to where the model begins to answer. When the last message is the assistant's, the model goes on with it.
    pub fn render(&self, chat: &Chat) -> Result<Rendered, TemplateError> {
        let (messages, begun) = match chat.messages.split_last() {
            Some((last, before)) if last.role == Role::Assistant && last.tool_calls.is_empty() => {
                (before, Some(last))
            }
            _ => (chat.messages.as_slice(), None),
        };
        let mut text = self.render_text(messages, chat, true)?;
        if let Some(begun) = begun {
            text.push_str(&self.markup.mark_model(&begun.joined_text()));
        }
        let pinned = match chat.pin_through.map(|last| last.saturating_add(1)) {
            Some(count) if count >= chat.messages.len() => Some(text.clone()),
            Some(count) => self.render_text(chat.messages.get(..count).unwrap_or_default(), chat, false).ok(),
            None => None,
        };
        let thinking = ends_in_thought(&text);
        let (pieces, pinned) = self.markup.cut(&text, pinned.as_deref());
        Ok(Rendered { pieces, pinned, thinking })
    }

    /// The text with marks in it.
    fn render_text(&self, messages: &[Message], chat: &Chat, open: bool) -> Result<String, TemplateError> {
        let environment =
            self.tool_environment.as_ref().filter(|_| !chat.tools.is_empty()).or(self.environment.as_ref());
        let Some(environment) = environment else { return Ok(self.plain(messages)) };
        let mut outcome = Err(TemplateError::Broken("there is no way to write this conversation".into()));
        for shape in Shape::to_try(messages, &self.source) {
            let context = self.context(messages, chat, open, shape)?;
            outcome = environment::render(environment, NAME, context);
            match &outcome {
                // Another shape may suit the template's code, or its refusal of system messages.
                Err(TemplateError::Broken(_)) => {}
                Err(TemplateError::Refused(_)) if values::has_system(messages) => {}
                _ => break,
            }
        }
        outcome
    }

    fn context(
        &self,
        messages: &[Message],
        chat: &Chat,
        open: bool,
        shape: Shape,
    ) -> Result<Value, TemplateError> {
        let tools = match chat.tools.as_slice() {
            [] => Value::from(()),
            _ if chat.tool_choice == inshore_domain::request::ToolChoice::None => Value::from(()),
            tools => values::tools(tools, &self.markup)?,
        };
        let pairs = [
            ("messages", values::messages(messages, shape, &self.markup)?),
            ("tools", tools),
            ("add_generation_prompt", Value::from(open)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
        ];
        Ok(Value::from_pairs(pairs))
    }

    fn plain(&self, messages: &[Message]) -> String {
        let texts: Vec<String> = messages
            .iter()
            .map(Message::joined_text)
            .filter(|text| !text.is_empty())
            .map(|text| self.markup.mark(&text))
            .collect();
        texts.join("\n\n")
    }
}

/// `…<think>` with nothing but white space after it.
fn ends_in_thought(text: &str) -> bool {
    text.trim_end().ends_with("<think>")
}
