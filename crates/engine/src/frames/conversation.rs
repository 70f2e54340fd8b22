//! What the daemon and the child that writes conversations say to each other.
//!
//! The first frame is [`super::ToChild::Write`]. From then on each [`Conversation`] is answered by one [`Written`], in order.

use inshore_domain::Timestamp;
use inshore_domain::request::{Chat, Json, Message, Part, Role, Tool, ToolCall, ToolChoice};
use serde::{Deserialize, Serialize};

use super::Piece;

/// Memory that running a template may take. A conversation has at most 16 MB and so has what is written of it; both are there
/// as a frame, as values and as text, which makes less than half of this.
pub const MEMORY: u64 = 256 << 20;

/// A model's way of writing conversations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Template {
    /// Jinja. `None`: the texts are joined by blank lines.
    pub source: Option<String>,
    /// Used instead for conversations with tools.
    pub tool_source: Option<String>,
    /// What people must not be able to write.
    pub spellings: Vec<Spelling>,
    /// The token texts begin with.
    pub bos: String,
    /// The token answers end with.
    pub eos: String,
}

/// How a special token is spelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spelling {
    /// The text.
    pub text: String,
    /// Read as special in any text, so it must be cut in two to be harmless.
    pub everywhere: bool,
}

/// A conversation to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The time that the template may tell, in milliseconds since 1970.
    pub now: u64,
    /// Oldest first.
    pub messages: Vec<Said>,
    /// Functions the model may call.
    pub tools: Vec<Function>,
    /// None of them may be called, so the template is not told of them.
    pub hide_tools: bool,
    /// The messages up to and including this one are pinned.
    pub pin_through: Option<u64>,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Who speaks.
    pub by: Speaker,
    /// The parts of the text.
    pub texts: Vec<String>,
    /// Calls that the model made.
    pub calls: Vec<Called>,
    /// The call that this answers.
    pub answers: Option<String>,
    /// The speaker's name, or the tool's.
    pub name: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Speaker {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool.
    Tool,
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// Joins the call to its result.
    pub id: String,
    /// The function.
    pub name: String,
    /// Meant to be a JSON object.
    pub arguments: String,
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub parameters: Option<String>,
}

/// What became of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Written {
    /// The text for the model.
    Prompt(Rendered),
    /// There is none.
    Failed(TemplateError),
}

/// A conversation as the model reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    /// Markup and, where people spelled markup, text that must not be read as such.
    pub pieces: Vec<Piece>,
    /// How many leading pieces are the pinned prefix, when the chat asked for one and it is not empty.
    pub pinned: Option<u32>,
    /// The prompt ends inside a thought: the model goes on thinking.
    pub thinking: bool,
    /// The model has a template that cannot be used, and why: the texts were joined by blank lines instead.
    pub without_template: Option<String>,
}

/// Why a conversation could not be written. Reads on from "the chat template of `model`".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TemplateError {
    /// The template says that this conversation is not for this model.
    #[error("refuses this conversation: {0}")]
    Refused(String),
    /// The template is broken, or asks for what is not there.
    #[error("failed: {0}")]
    Broken(String),
    /// The template ran past a limit.
    #[error("ran past its limit: {0}")]
    Limit(String),
    /// It was not tried, because the process that would run it cannot be locked up.
    #[error("was not run: {0}")]
    NotRun(String),
}

impl Conversation {
    /// Everything of a chat that a template may see.
    pub fn of(chat: &Chat, now: Timestamp) -> Self {
        Self {
            now: now.unix_millis(),
            messages: chat.messages.iter().map(said).collect(),
            tools: chat.tools.iter().map(function).collect(),
            hide_tools: chat.tool_choice == ToolChoice::None,
            pin_through: chat.pin_through.map(|last| last as u64),
        }
    }

    /// The chat again, and the time. What no template sees is as in an empty chat.
    pub fn into_chat(self) -> (Chat, Timestamp) {
        let chat = Chat {
            messages: self.messages.into_iter().map(message).collect(),
            tools: self.tools.into_iter().map(tool).collect(),
            tool_choice: if self.hide_tools { ToolChoice::None } else { ToolChoice::Auto },
            pin_through: self.pin_through.map(|last| usize::try_from(last).unwrap_or(usize::MAX)),
            ..Chat::default()
        };
        (chat, Timestamp::from_unix_millis(self.now))
    }

    /// Bytes of all texts together.
    pub fn bytes(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let said = |said: &Said| {
            let calls = said.calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len());
            let names = [length(&said.answers), length(&said.name)];
            said.texts.iter().map(String::len).chain(calls).chain(names).sum::<usize>()
        };
        let function = |function: &Function| {
            function.name.len() + length(&function.description) + length(&function.parameters)
        };
        self.messages.iter().map(said).chain(self.tools.iter().map(function)).sum()
    }
}

fn said(message: &Message) -> Said {
    let text = |part: &Part| match part {
        Part::Text(text) => Some(text.clone()),
        Part::Image { .. } => None,
    };
    let called = |call: &ToolCall| Called {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
    };
    Said {
        by: match message.role {
            Role::System => Speaker::System,
            Role::User => Speaker::User,
            Role::Assistant => Speaker::Assistant,
            Role::Tool => Speaker::Tool,
        },
        texts: message.content.iter().filter_map(text).collect(),
        calls: message.tool_calls.iter().map(called).collect(),
        answers: message.tool_call_id.clone(),
        name: message.name.clone(),
    }
}

fn message(said: Said) -> Message {
    let call = |call: Called| ToolCall { id: call.id, name: call.name, arguments: call.arguments };
    Message {
        role: match said.by {
            Speaker::System => Role::System,
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
            Speaker::Tool => Role::Tool,
        },
        content: said.texts.into_iter().map(Part::Text).collect(),
        tool_calls: said.calls.into_iter().map(call).collect(),
        tool_call_id: said.answers,
        name: said.name,
    }
}

fn function(tool: &Tool) -> Function {
    Function {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: tool.parameters.as_ref().map(|schema| schema.0.clone()),
    }
}

fn tool(function: Function) -> Tool {
    Tool {
        name: function.name,
        description: function.description,
        parameters: function.parameters.map(Json),
        strict: false,
    }
}
