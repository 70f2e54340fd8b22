//! Chat templates: turns a conversation into the text that a model was trained to continue.
//!
//! The template is the model's own (`tokenizer.chat_template`, Jinja as transformers renders it): a program that anybody may have
//! written. [`ChatTemplate`] is what the daemon knows of it, from reading it. It is compiled and run by [`Writer`], and only in a
//! child process that does nothing else (`crate::child`), because the limits that an interpreter can keep are not enough. Steps,
//! nesting and output are counted here; but one step can double a string, repeat a list or search megabytes, and values can be nested
//! deeper than the stack on which they are dropped. The child's memory is limited by the system and its time by the
//! daemon, so such a template ends its own process, and the daemon says so to the one who asked.
//!
//! Invariant: what people write is never read as markup. See [`people`] for how that is kept through whatever a template
//! does to the text.

mod date;
mod environment;
mod json;
mod people;
mod values;

use inshore_domain::Timestamp;
use inshore_domain::request::{Chat, Message, Role, ToolChoice};
use minijinja::{Environment, Value};

use crate::frames::conversation::{Conversation, Template, Written};
pub use crate::frames::conversation::{Rendered, TemplateError};
use crate::gguf::{Model, SpecialToken};
use people::Markup;
use values::Shape;

/// The name a template has inside its environment.
const NAME: &str = "chat_template";
/// The template that some models keep apart for conversations with tools.
const TOOL_USE: &str = "tool_use";
/// Pieces of one prompt. Each is cut into tokens on its own, and people who quote markup quote it a few times.
const MAX_PIECES: usize = 1 << 16;

/// A model's way of writing conversations, as far as reading its template tells.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    frame: Template,
    source: String,
}

impl ChatTemplate {
    /// The model's template, or one given instead of it. A model without a template gets the plain way: the texts joined by
    /// blank lines, so that a completion model goes on where the last one ends.
    pub fn of(model: &Model, instead: Option<&str>) -> Self {
        let named = model.named_templates.iter().find(|(name, _)| name == TOOL_USE && instead.is_none());
        let text =
            |token: &Option<SpecialToken>| token.as_ref().map(|token| token.text.clone()).unwrap_or_default();
        let mut frame = Template {
            source: instead.or(model.chat_template.as_deref()).map(str::to_owned),
            tool_source: named.map(|(_, source)| source.clone()),
            spellings: Vec::new(),
            bos: text(&model.bos),
            eos: text(&model.eos),
        };
        let source = all_source(&frame);
        frame.spellings = people::spellings(&model.special_tokens, &source);
        Self { frame, source }
    }

    /// The source of all templates of the model; empty for the plain way.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it has a place for tools.
    pub fn takes_tools(&self) -> bool {
        self.frame.tool_source.is_some() || self.source.contains("tools")
    }

    /// Whether the model thinks aloud between `<think>` and `</think>`.
    pub fn thinks(&self) -> bool {
        self.source.contains("<think>") || self.source.contains("</think>")
    }

    /// What a [`Writer`] is made of.
    pub fn frame(&self) -> &Template {
        &self.frame
    }
}

fn all_source(frame: &Template) -> String {
    [&frame.source, &frame.tool_source].into_iter().flatten().map(String::as_str).collect()
}

/// Writes a model's conversations.
#[derive(Debug)]
pub struct Writer {
    environment: Option<Environment<'static>>,
    tool_environment: Option<Environment<'static>>,
    /// Why there are no environments although there is a template.
    unusable: Option<String>,
    source: String,
    markup: Markup,
    bos: String,
    eos: String,
}

impl Writer {
    /// Compiles the template. One that cannot be compiled is no reason to say nothing at all: its model gets the plain way, but
    /// for conversations with tools.
    pub fn of(frame: Template) -> Self {
        let compile = |source: &Option<String>| {
            source.as_deref().map(|source| environment::compile(NAME, source)).transpose()
        };
        let compiled = compile(&frame.source).and_then(|own| Ok((own, compile(&frame.tool_source)?)));
        let (environment, tool_environment, unusable) = match compiled {
            Ok((environment, tool_environment)) => (environment, tool_environment, None),
            Err(
                TemplateError::Broken(reason)
                | TemplateError::Refused(reason)
                | TemplateError::Limit(reason)
                | TemplateError::NotRun(reason),
            ) => (None, None, Some(reason)),
        };
        let source = all_source(&frame);
        let Template { spellings, bos, eos, .. } = frame;
        Self { environment, tool_environment, unusable, source, markup: Markup::new(spellings), bos, eos }
    }

    /// Writes a conversation that came in a frame.
    pub fn write(&self, conversation: Conversation) -> Written {
        let (chat, now) = conversation.into_chat();
        match self.render(&chat, now) {
            Ok(rendered) => Written::Prompt(rendered),
            Err(error) => Written::Failed(error),
        }
    }

    /// Renders a chat up to where the model begins to answer. When the last message is the assistant's, the model goes on with it.
    pub fn render(&self, chat: &Chat, now: Timestamp) -> Result<Rendered, TemplateError> {
        if let Some(reason) = self.unusable.as_ref().filter(|_| !chat.tools.is_empty()) {
            return Err(TemplateError::Broken(reason.clone()));
        }
        let (messages, begun) = match chat.messages.split_last() {
            Some((last, before)) if last.role == Role::Assistant && last.tool_calls.is_empty() => {
                (before, Some(last))
            }
            _ => (chat.messages.as_slice(), None),
        };
        let moment = Moment { now, open: true };
        let mut text = self.render_text(messages, chat, moment)?;
        if let Some(begun) = begun {
            text.push_str(&self.markup.mark_model(&begun.joined_text()));
        }
        let moment = Moment { open: false, ..moment };
        let pinned = match chat.pin_through.map(|last| last.saturating_add(1)) {
            Some(count) if count >= chat.messages.len() => Some(text.clone()),
            Some(count) => {
                self.render_text(chat.messages.get(..count).unwrap_or_default(), chat, moment).ok()
            }
            None => None,
        };
        let thinking = ends_in_thought(&text);
        let (pieces, pinned) = self.markup.cut(&text, pinned.as_deref());
        if pieces.len() > MAX_PIECES {
            return Err(TemplateError::Limit("too many places in which people spell markup".to_owned()));
        }
        Ok(Rendered { pieces, pinned, thinking, without_template: self.unusable.clone() })
    }

    /// The text with marks in it.
    fn render_text(
        &self,
        messages: &[Message],
        chat: &Chat,
        moment: Moment,
    ) -> Result<String, TemplateError> {
        let environment =
            self.tool_environment.as_ref().filter(|_| !chat.tools.is_empty()).or(self.environment.as_ref());
        let Some(environment) = environment else { return Ok(self.plain(messages)) };
        // The likeliest shape's error says most.
        let mut first = None;
        for shape in Shape::to_try(messages, &self.source) {
            let context = self.context(messages, chat, moment, shape)?;
            match environment::render(environment, NAME, context) {
                // Another shape may suit the template's code, or its refusal of system messages.
                Err(error @ TemplateError::Broken(_)) => first = first.or(Some(error)),
                Err(error @ TemplateError::Refused(_)) if values::has_system(messages) => {
                    first = first.or(Some(error));
                }
                outcome => return outcome,
            }
        }
        Err(first
            .unwrap_or_else(|| TemplateError::Broken("there is no way to write this conversation".into())))
    }

    fn context(
        &self,
        messages: &[Message],
        chat: &Chat,
        moment: Moment,
        shape: Shape,
    ) -> Result<Value, TemplateError> {
        let tools = match chat.tools.as_slice() {
            [] => Value::from(()),
            _ if chat.tool_choice == ToolChoice::None => Value::from(()),
            tools => values::tools(tools, &self.markup)?,
        };
        let now = moment.now;
        let pairs = [
            ("messages", values::messages(messages, shape, &self.markup)?),
            ("tools", tools),
            ("add_generation_prompt", Value::from(moment.open)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
            ("strftime_now", Value::from_function(move |format: String| date::format(now, &format))),
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

/// What a rendering is told beside the conversation.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Timestamp,
    /// The model is to answer.
    open: bool,
}

/// `…<think>` with nothing but white space after it.
fn ends_in_thought(text: &str) -> bool {
    text.trim_end().ends_with("<think>")
}
