//! A long document that the device reads for a target which must not see it.
//!
//! Two rounds, and there are no more: the other target is asked what it needs to know ([`Reading::plan`]), the device answers that for each
//! chunk of the document ([`Reading::ask`]), and what it found goes up with the request in the place of the document
//! ([`Reading::report`]). A third round would double what waits and leaks, for questions that the second could have held.
//!
//! What leaves: the question, how long the document is, its headings (lines of Markdown that begin with `#`, [`HEADINGS`] bytes at most),
//! and the answers of the device, [`ANSWERS`] bytes at most. Answers may be quotes: a target that asks for the text word by word
//! gets so much of it and no more.

use inshore_domain::request::{Chat, Json, Message, OutputFormat, Role};
use inshore_domain::{Facts, Request, Task};
use serde::Deserialize;

use super::pieces::is_heading;
use super::{GAP, Index, Parted, document, part_mut, pieces};
use crate::inspect;

/// Bytes of one chunk at most, some 1,500 tokens: with the question and an answer it fits the smallest windows in use (4,096 tokens), and
/// small models still find one sentence in it.
pub const CHUNK: usize = 6_000;
/// Calls of the device for one request at most: some minutes of a small model on a laptop, and nobody waits longer.
pub const MOST_CALLS: usize = 128;
/// Questions at most: what needs more is not a question about a document.
pub const MOST_QUESTIONS: usize = 8;
/// Characters of a question, and of an answer: two or three sentences. Longer ones are the text itself.
pub const MOST_CHARACTERS: usize = 300;
/// Bytes of answers that leave at most: as many as of passages ([`super::MOST_SENT`]).
pub const ANSWERS: usize = super::MOST_SENT;
/// Bytes of headings that leave at most: the table of contents of a long report.
pub const HEADINGS: usize = 2_000;
/// Bytes that the two requests have beside the question, headings and answers.
const AROUND: usize = 4_000;
/// Tokens that a plan may have: eight questions of [`MOST_CHARACTERS`] and their quotes.
const PLAN_TOKENS: u32 = 800;
/// Tokens of an answer of the device: [`MOST_CHARACTERS`] in most scripts, and the form around them.
const ANSWER_TOKENS: u32 = 200;

const PLAN_SCHEMA: &str = r#"{"type":"object","properties":{"questions":{"type":"array","items":{"type":"string","maxLength":300},"minItems":1,"maxItems":8}},"required":["questions"],"additionalProperties":false}"#;
const ANSWER_SCHEMA: &str = r#"{"type":"object","properties":{"found":{"type":"boolean"},"answer":{"type":"string","maxLength":300}},"required":["found","answer"],"additionalProperties":false}"#;

/// A document, cut for being read, and the request without it.
#[derive(Debug)]
pub struct Reading {
    question: String,
    outline: String,
    /// What is read, in order.
    pub chunks: Vec<String>,
    /// Chunks there are: more than are read where the document is too long for [`MOST_CALLS`].
    pub of_chunks: usize,
    /// Bytes of the document.
    pub of_bytes: usize,
    /// The request with gaps in the place of documents.
    shell: Request,
    place: Place,
}

/// Where the answers go.
#[derive(Debug)]
struct Place {
    message: usize,
    part: usize,
    head: String,
    tail: String,
}

/// Something that the device found in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The place of the chunk.
    pub chunk: usize,
    /// The question it answers.
    pub question: String,
    /// The answer, [`MOST_CHARACTERS`] characters at most.
    pub answer: String,
}

/// Cuts the document of a request for being read.
///
/// # Errors
/// As [`document`].
pub fn reading(request: &Request) -> Result<Reading, Parted> {
    let found = document(request)?;
    let first = found.texts.first().ok_or(Parted::Unclear)?;
    let (head, tail) = (first.head.to_owned(), first.tail.to_owned());
    let place = Place { message: first.message, part: first.part, head, tail };
    let all: Vec<&str> = found.texts.iter().flat_map(|text| pieces(text.body, CHUNK)).collect();
    let of_bytes = found.texts.iter().map(|text| text.body.len()).sum();
    let outline = outline(found.texts.iter().map(|text| text.body), of_bytes, all.len());
    let mut shell = request.clone();
    shell.original = None;
    for text in &found.texts {
        if let Some(part) = part_mut(&mut shell, text.message, text.part) {
            *part = [text.head, GAP, text.tail].concat();
        }
    }
    let chunks = read_at_most(&all, &found.question);
    Ok(Reading { question: found.question, outline, chunks, of_chunks: all.len(), of_bytes, shell, place })
}

/// All chunks, or those that fit the question best where there are too many.
fn read_at_most(all: &[&str], question: &str) -> Vec<String> {
    let mut order: Vec<(usize, f64)> = Index::of(all).scores(question).into_iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut read: Vec<usize> = order.into_iter().take(MOST_CALLS).map(|(place, _)| place).collect();
    read.sort_unstable();
    read.into_iter().filter_map(|place| all.get(place)).map(|chunk| (*chunk).to_owned()).collect()
}

fn outline<'a>(texts: impl Iterator<Item = &'a str>, bytes: usize, chunks: usize) -> String {
    let mut outline = format!("{bytes} bytes in {chunks} parts.");
    let mut left = HEADINGS;
    let headings = texts.flat_map(str::lines).map(str::trim).filter(|line| is_heading(line));
    for heading in headings {
        let Some(less) = left.checked_sub(heading.len() + 1) else { break };
        left = less;
        outline.push('\n');
        outline.push_str(heading);
    }
    outline
}

impl Reading {
    /// What a call for this reading takes at most: the facts that money is set aside by.
    pub fn bound(&self, facts: &mut Facts) {
        let shell = inspect::inspect(&self.shell);
        let room = ANSWERS + HEADINGS + AROUND;
        facts.prompt_tokens = shell.prompt_tokens;
        facts.prompt_tokens_at_most =
            shell.prompt_tokens_at_most.saturating_add(u32::try_from(room).unwrap_or(u32::MAX));
        // What JSON escapes may take twice its bytes.
        facts.bytes_at_most = shell.bytes_at_most.saturating_add(2 * room as u64);
    }

    /// Asks what there is to find out. With `schema` the answer's form is demanded, and not only asked for.
    pub fn plan(&self, most_tokens: Option<u32>, schema: bool) -> Request {
        let text = format!(
            "You will be asked to do a task about a document that you cannot see. A small model reads it for you, part by part, and \
             answers questions about each part. Task:\n{}\n\nDocument: {}\n\nWhich questions should it answer? Reply with JSON only: \
             {{\"questions\": [\"...\"]}}, at most {MOST_QUESTIONS}, each short and answerable from one part alone.",
            self.question, self.outline
        );
        self.chat(
            text,
            "questions",
            schema.then_some(PLAN_SCHEMA),
            PLAN_TOKENS.min(most_tokens.unwrap_or(u32::MAX)),
        )
    }

    /// The questions of a plan, as many as there is time for. `None`: it is not one.
    pub fn questions(&self, plan: &str) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Plan {
            questions: Vec<String>,
        }
        let plan: Plan = serde_json::from_str(plan.trim()).ok()?;
        let most = (MOST_CALLS / self.chunks.len().max(1)).clamp(1, MOST_QUESTIONS);
        let mut questions: Vec<String> = Vec::new();
        for question in plan.questions {
            let question: String = question.trim().chars().take(MOST_CHARACTERS).collect();
            if !question.is_empty() && !questions.contains(&question) && questions.len() < most {
                questions.push(question);
            }
        }
        (!questions.is_empty()).then_some(questions)
    }

    /// The plan where there is no other: what the person asks, as it is.
    pub fn usual_questions(&self) -> Vec<String> {
        vec![self.question.clone()]
    }

    /// Asks the device a question about a chunk. The chunk comes first, so that the next question about it finds it read.
    pub fn ask(&self, chunk: &str, question: &str, schema: bool) -> Request {
        let text = format!(
            "Part of a document:\n\"\"\"\n{chunk}\n\"\"\"\n\nAnswer from this part alone, in at most two sentences. Reply with JSON only: \
             {{\"found\": true or false, \"answer\": \"...\"}}; found is false where this part does not say it.\nQuestion: {question}"
        );
        self.chat(text, "answer", schema.then_some(ANSWER_SCHEMA), ANSWER_TOKENS)
    }

    fn chat(&self, text: String, name: &str, schema: Option<&str>, most_tokens: u32) -> Request {
        let mut chat = Chat { messages: vec![Message::text(Role::User, text)], ..Chat::default() };
        chat.sampling.temperature = Some(0.0);
        chat.sampling.max_tokens = Some(most_tokens);
        if let Some(schema) = schema {
            chat.output = OutputFormat::JsonSchema { name: name.into(), schema: Json(schema.into()) };
        }
        Request { task: Task::Chat(chat), ..self.shell.clone() }
    }

    /// The request with what was found in the place of the document, as far as there is room, and how much of it that is.
    pub fn report(&self, found: &[Found]) -> (Request, usize) {
        let mut text = String::new();
        let mut told = 0;
        // Where one question was asked, it stands in the request already.
        let one = found.windows(2).all(|two| matches!(two, [a, b] if a.question == b.question));
        for found in found {
            let asked = if one { "" } else { found.question.trim() };
            let line = format!(
                "- part {}{}{asked}: {}\n",
                found.chunk + 1,
                if one { "" } else { ", " },
                found.answer
            );
            if text.len() + line.len() > ANSWERS {
                break;
            }
            text.push_str(&line);
            told += 1;
        }
        if told == 0 {
            text.push_str("- nothing\n");
        }
        let mut request = self.shell.clone();
        if let Some(part) = part_mut(&mut request, self.place.message, self.place.part) {
            let Place { head, tail, .. } = &self.place;
            *part = format!(
                "{head}\n[The document is not given here. It was read part by part for this task; this was found in it:\n{text}]\n{tail}"
            );
        }
        (request, told)
    }
}

/// What the device found, by its own words. `Ok(None)`: nothing.
///
/// # Errors
/// When that is no answer in the form that was asked for.
pub fn found(answer: &str) -> Result<Option<String>, Misshapen> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        found: bool,
        answer: String,
    }
    let answer: Answer = serde_json::from_str(answer.trim()).map_err(|_| Misshapen)?;
    let text: String = answer.answer.trim().chars().take(MOST_CHARACTERS).collect();
    Ok((answer.found && !text.is_empty()).then_some(text))
}

/// An answer of the device that has not the form that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer has not the form that was asked for")]
pub struct Misshapen;
