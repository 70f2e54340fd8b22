//! Long documents of which only what matters leaves the device.
//!
//! [`passages`] makes of a conversation with a long document one in which only those passages stand that an index of this very document
//! finds relevant to the question ([`Index`]); [`reading()`] has the device read a document for a target that gets nothing of it but
//! answers; [`document`] tells which part of a conversation is the document and what is asked of it;
//! [`pieces`] cuts a text at the borders that it has itself.
//!
//! What counts as the document: the text parts of the person's messages that have at least [`LONG_PART`] bytes, when they have
//! [`LEAST_DOCUMENT`] bytes together. The question is the short rest of the person's last message; where that message is one long part,
//! its first and last paragraph, or the one of the two that has a question mark. What is said in other messages (instructions, earlier
//! answers, results of tools), definitions of tools and pictures are no part of the document, and leave as they are.
//!
//! What is guaranteed of what [`passages`] gives: every text in it is one of the request, a run of passages of a document, or a
//! [`GAP`]; of the documents it holds the question and at most [`MOST_SENT`] bytes; a passage that shares no telling word with the
//! question is not in it. The same request always gives the same.

mod document;
mod index;
mod pieces;
mod reading;
#[cfg(test)]
mod tests;

use inshore_domain::request::{Part, PromptText};
use inshore_domain::{Request, Task};

pub use document::{Document, document};
pub use index::Index;
pub use pieces::pieces;
pub use reading::{
    ANSWERS, CHUNK, Found, HEADINGS, MOST_CALLS, MOST_CHARACTERS, MOST_QUESTIONS, Misshapen, Reading, found,
    reading,
};

/// Bytes of the person's text parts from which on they are a document: who asks in writing rarely writes more than a page.
pub const LONG_PART: usize = 2_000;
/// Bytes that all documents of a request must have together: below it most of the document would be sent anyway.
pub const LEAST_DOCUMENT: usize = 16_000;
/// Bytes of one passage at most, some 250 tokens: a few paragraphs. Longer ones carry what was not asked for with what was, shorter ones
/// lose what a sentence refers to.
pub const PASSAGE: usize = 1_200;
/// Bytes of documents that leave at most, gaps included: about a dozen passages, some 3,000 tokens.
pub const MOST_SENT: usize = 12_000;
/// Passages that fit less well than this share of the best one are not sent, also where there is room: what is merely near the
/// question is not what the answer needs.
const RELEVANT: f64 = 0.3;
/// Stands where passages are left out.
pub const GAP: &str = "\n[…]\n";

/// What becomes of a request of which only passages are to leave.
#[derive(Debug, Clone)]
pub enum Parted {
    /// It is too short to be worth it: it may leave as it is.
    Short,
    /// It is long, and what of it matters cannot be told: there is no question, or nothing that has to do with it.
    Unclear,
    /// This is what leaves in its place.
    Chosen(Box<Chosen>),
}

/// A request with passages in the place of its document.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// What leaves.
    pub request: Request,
    /// Passages in it.
    pub passages: usize,
    /// Passages there are.
    pub of_passages: usize,
    /// Bytes of these passages.
    pub bytes: usize,
    /// Bytes of the document.
    pub of_bytes: usize,
}

/// Chooses what of a long request may leave.
pub fn passages(request: &Request) -> Parted {
    let document = match document(request) {
        Ok(document) => document,
        Err(parted) => return parted,
    };
    let passages: Vec<Vec<&str>> = document.texts.iter().map(|text| pieces(text.body, PASSAGE)).collect();
    let all: Vec<&str> = passages.iter().flatten().copied().collect();
    // Each text may end with a gap, and each passage have one in front of it.
    let room = MOST_SENT.saturating_sub(document.texts.len().saturating_mul(GAP.len()));
    let chosen = choose(&all, &document.question, room);
    if !chosen.contains(&true) {
        return Parted::Unclear;
    }
    let sizes = all.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(passage, _)| passage.len());
    let (count, bytes) = sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
    let mut reduced = request.clone();
    // The body as it came in holds the whole document.
    reduced.original = None;
    let mut flags = chosen.into_iter();
    for (text, passages) in document.texts.iter().zip(&passages) {
        let kept = joined(passages, &mut flags);
        if let Some(part) = part_mut(&mut reduced, text.message, text.part) {
            *part = [text.head, &kept, text.tail].concat();
        }
    }
    let of_bytes = document.texts.iter().map(|text| text.body.len()).sum();
    let chosen = Chosen { request: reduced, passages: count, of_passages: all.len(), bytes, of_bytes };
    Parted::Chosen(Box::new(chosen))
}

/// Which passages leave: the best first, as long as there is room; among equals the earlier.
fn choose(passages: &[&str], question: &str, mut left: usize) -> Vec<bool> {
    let scores = Index::of(passages).scores(question);
    let best = scores.iter().copied().fold(0.0, f64::max);
    let mut order: Vec<(usize, f64)> = scores
        .into_iter()
        .enumerate()
        .filter(|(_, score)| *score > 0.0 && *score >= best * RELEVANT)
        .collect();
    order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut chosen = vec![false; passages.len()];
    for (place, _) in order {
        let size = passages.get(place).map_or(0, |passage| passage.len() + GAP.len());
        if let Some(flag) = chosen.get_mut(place)
            && size <= left
        {
            left -= size;
            *flag = true;
        }
    }
    chosen
}

/// The chosen passages of one text in its order, with gaps between.
fn joined(passages: &[&str], chosen: &mut impl Iterator<Item = bool>) -> String {
    let mut text = String::new();
    let mut gap = false;
    for (passage, chosen) in passages.iter().zip(chosen) {
        if !chosen {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            text.push_str(GAP);
        }
        text.push_str(passage);
    }
    if gap {
        text.push_str(GAP);
    }
    text
}

fn part_mut(request: &mut Request, message: usize, part: usize) -> Option<&mut String> {
    let Task::Chat(chat) = &mut request.task else { return None };
    match chat.messages.get_mut(message)?.content.get_mut(part)? {
        Part::Text(text) => Some(text),
        Part::Image { .. } => None,
    }
}

/// Bytes of the prompts of a text to be continued.
fn prompt_bytes(prompts: &[PromptText]) -> usize {
    let bytes = |prompt: &PromptText| match prompt {
        PromptText::Text(text) => text.len(),
        // Some four bytes make a token.
        PromptText::Tokens(tokens) => tokens.len().saturating_mul(4),
    };
    prompts.iter().map(bytes).fold(0, usize::saturating_add)
}
