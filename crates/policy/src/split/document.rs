//! Which part of a conversation is the document, and what is asked of it.

use inshore_domain::request::{Chat, Message, Part, Role};
use inshore_domain::{Request, Task};

use super::{LEAST_DOCUMENT, LONG_PART, Parted, prompt_bytes};

/// Bytes of a paragraph from which on it is no question: then only its line may be one.
const ASKED: usize = 600;

/// The documents of a request, and the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    /// What is asked.
    pub question: String,
    /// The documents, in the order of the conversation.
    pub texts: Vec<Text<'a>>,
}

/// A part of a message that is a document. `head`, `body` and `tail` joined are the whole part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a> {
    /// The place of its message.
    pub message: usize,
    /// The place of the part in the message.
    pub part: usize,
    /// A question in front of the document.
    pub head: &'a str,
    /// The document.
    pub body: &'a str,
    /// A question after it.
    pub tail: &'a str,
}

/// The documents of a request and what is asked of them.
///
/// # Errors
/// [`Parted::Short`] where there is no long document, [`Parted::Unclear`] where there is one and no question, or where a long text is to
/// be continued: nobody asks anything of it.
pub fn document(request: &Request) -> Result<Document<'_>, Parted> {
    let chat = match &request.task {
        Task::Chat(chat) => chat,
        Task::Completion(task) if prompt_bytes(&task.prompts) >= LEAST_DOCUMENT => {
            return Err(Parted::Unclear);
        }
        Task::Completion(_) | Task::Embedding(_) => return Err(Parted::Short),
    };
    let mut texts = long_parts(chat);
    if texts.iter().map(|text| text.body.len()).fold(0, usize::saturating_add) < LEAST_DOCUMENT {
        return Err(Parted::Short);
    }
    let last = chat.messages.iter().rposition(|message| message.role == Role::User);
    let Some((place, message)) = last.and_then(|place| Some((place, chat.messages.get(place)?))) else {
        return Err(Parted::Unclear);
    };
    let mut question = short_rest(message);
    if question.trim().is_empty() {
        let inside = texts.iter_mut().rfind(|text| text.message == place).ok_or(Parted::Unclear)?;
        question = take_question(inside);
    }
    if question.trim().is_empty() { Err(Parted::Unclear) } else { Ok(Document { question, texts }) }
}

fn long_parts(chat: &Chat) -> Vec<Text<'_>> {
    let mut texts = Vec::new();
    for (place, message) in chat.messages.iter().enumerate().filter(|(_, message)| message.role == Role::User)
    {
        for (part, content) in message.content.iter().enumerate() {
            if let Part::Text(body) = content
                && body.len() >= LONG_PART
            {
                texts.push(Text { message: place, part, head: "", body, tail: "" });
            }
        }
    }
    texts
}

/// What a message says beside documents.
fn short_rest(message: &Message) -> String {
    let short = |part: &Part| match part {
        Part::Text(text) if text.len() < LONG_PART => Some(text.clone()),
        Part::Text(_) | Part::Image { .. } => None,
    };
    message.content.iter().filter_map(short).collect::<Vec<_>>().join("\n")
}

/// Takes the question out of a part that holds both: its first and its last paragraph, unless only one of them has a question mark.
fn take_question(text: &mut Text<'_>) -> String {
    let whole = text.body;
    let first = first_end(whole);
    let last = last_start(whole).max(first);
    let (head, tail) = (whole.get(..first).unwrap_or_default(), whole.get(last..).unwrap_or_default());
    let asks = |text: &str| text.contains(['?', '？', '؟']);
    let (first, last) = match (asks(head), asks(tail)) {
        (true, false) => (first, whole.len()),
        (false, true) => (0, last),
        _ => (first, last),
    };
    text.head = whole.get(..first).unwrap_or_default();
    text.body = whole.get(first..last).unwrap_or_default();
    text.tail = whole.get(last..).unwrap_or_default();
    [text.head.trim(), text.tail.trim()].join("\n")
}

/// Where the first paragraph ends, or the first line where the paragraph is too long for a question; 0 where the line is too.
fn first_end(text: &str) -> usize {
    let blank = text.len() - text.trim_start().len();
    let rest = text.get(blank..).unwrap_or_default();
    let ends = [rest.find("\n\n"), rest.find("\n\r\n"), rest.find('\n')];
    let paragraph = ends.iter().take(2).flatten().min().copied().filter(|end| *end < ASKED);
    paragraph.or(ends.last().copied().flatten().filter(|end| *end < LONG_PART)).map_or(0, |end| blank + end)
}

/// Where the last paragraph begins, or the last line where the paragraph is too long for a question; the end where the line is too.
fn last_start(text: &str) -> usize {
    let rest = text.trim_end();
    let starts = [rest.rfind("\n\n"), rest.rfind("\n\r\n"), rest.rfind('\n')];
    let within = |most: usize| move |start: &usize| rest.len() - *start < most;
    let paragraph = starts.iter().take(2).flatten().max().copied().filter(within(ASKED));
    paragraph.or(starts.last().copied().flatten().filter(within(LONG_PART))).unwrap_or(text.len())
}
