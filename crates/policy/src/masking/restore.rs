//! Puts values back into an answer while it comes.

use std::fmt;
use std::sync::Arc;

use inshore_domain::request::OutputFormat;
use inshore_domain::{Delta, Event, FinishReason};

use super::json::{self, Inside};
use super::placeholder::{self, End, Seen, Sighting};
use super::{Mask, Name};

/// Different remarks that are kept: what a model invents a hundred times needs no hundred lines.
const MAX_NOTES: usize = 16;

/// Something about an answer that its reader must know: restoration is not certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It reads as a placeholder and stands for nothing: the model made it up or altered it too far.
    Invented(String),
    /// It may be a placeholder that the model altered, or the model's own words.
    Doubtful(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invented(text) => {
                write!(
                    f,
                    "restoration is not certain: `{text}` in the answer stands for nothing that was masked"
                )
            }
            Self::Doubtful(text) => {
                write!(
                    f,
                    "restoration is not certain: `{text}` in the answer may stand for a masked value, and was left as it is"
                )
            }
        }
    }
}

/// Takes the events of one answer in order, and gives them with the values in their places.
#[derive(Debug)]
pub struct Restorer {
    mask: Arc<Mask>,
    /// The text of the answer is JSON: values are escaped in it.
    json: bool,
    channels: Vec<Channel>,
    notes: Vec<Note>,
}

/// A text of its own in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Text,
    Reasoning,
    Arguments(u32),
}

#[derive(Debug)]
struct Channel {
    index: u32,
    source: Source,
    /// What may become a placeholder.
    held: String,
    /// The last character that is done with.
    before: char,
    inside: Option<Inside>,
}

impl Restorer {
    /// For an answer to a request that this mask changed and that asked for this form.
    pub fn new(mask: Arc<Mask>, output: &OutputFormat) -> Self {
        let json = matches!(output, OutputFormat::JsonObject | OutputFormat::JsonSchema { .. });
        Self { mask, json, channels: Vec::new(), notes: Vec::new() }
    }

    /// What cannot be restored with certainty, so far; each once.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Takes one event and adds what can be passed on because of it. The bytes of [`Event::Wire`] hold placeholders in a form that
    /// nobody has read: they are dropped.
    pub fn restore(&mut self, event: Event, out: &mut Vec<Event>) {
        match event {
            Event::Delta { index, delta } => self.delta(index, delta, out),
            Event::Finished { index, reason } => {
                let own = matches!(reason, FinishReason::Stop | FinishReason::ToolCalls);
                self.flush(index, |_| true, if own { End::Whole } else { End::Cut }, out);
                out.push(Event::Finished { index, reason });
            }
            Event::Wire(_) => {}
            Event::Started { .. } | Event::Usage(_) => out.push(event),
        }
    }

    /// The stream ended: what is held back is passed on, also of answers that never finished.
    pub fn end(&mut self, out: &mut Vec<Event>) {
        while let Some(index) = self.channels.first().map(|channel| channel.index) {
            self.flush(index, |_| true, End::Cut, out);
            self.channels.retain(|channel| channel.index != index);
        }
    }

    fn delta(&mut self, index: u32, delta: Delta, out: &mut Vec<Event>) {
        // Readers take the parts of an answer one after the other: what an earlier one holds back comes before a later one.
        match delta {
            Delta::Text { text, logprobs } => {
                self.flush(index, |source| source != Source::Text, End::Whole, out);
                let text = self.push(index, Source::Text, text);
                if !text.is_empty() || !logprobs.is_empty() {
                    out.push(Event::Delta { index, delta: Delta::Text { text, logprobs } });
                }
            }
            Delta::Reasoning(text) => {
                self.flush(index, |source| source != Source::Reasoning, End::Whole, out);
                let text = self.push(index, Source::Reasoning, text);
                if !text.is_empty() {
                    out.push(Event::Delta { index, delta: Delta::Reasoning(text) });
                }
            }
            Delta::ToolCall { call, id, name } => {
                self.flush(index, |_| true, End::Whole, out);
                let name = self.mask.named(&name).map_or(name, str::to_owned);
                out.push(Event::Delta { index, delta: Delta::ToolCall { call, id, name } });
            }
            Delta::ToolArguments { call, fragment } => {
                self.flush(
                    index,
                    |source| matches!(source, Source::Text | Source::Reasoning),
                    End::Whole,
                    out,
                );
                let fragment = self.push(index, Source::Arguments(call), fragment);
                if !fragment.is_empty() {
                    out.push(Event::Delta { index, delta: Delta::ToolArguments { call, fragment } });
                }
            }
        }
    }

    fn push(&mut self, index: u32, source: Source, text: String) -> String {
        let same = |channel: &Channel| channel.index == index && channel.source == source;
        let place = self.channels.iter().position(same).unwrap_or_else(|| {
            let json = matches!(source, Source::Arguments(_)) || (self.json && source == Source::Text);
            let inside = json.then(Inside::default);
            self.channels.push(Channel { index, source, held: String::new(), before: ' ', inside });
            self.channels.len() - 1
        });
        let Some(channel) = self.channels.get_mut(place) else { return text };
        if channel.held.is_empty() {
            channel.held = text;
        } else {
            channel.held.push_str(&text);
        }
        channel.run(&self.mask, End::Open, &mut self.notes)
    }

    /// Ends the texts of an answer that fit.
    fn flush(&mut self, index: u32, fits: impl Fn(Source) -> bool, end: End, out: &mut Vec<Event>) {
        let mut at = 0;
        while let Some(channel) = self.channels.get_mut(at) {
            if channel.index != index || !fits(channel.source) {
                at += 1;
                continue;
            }
            let text = channel.run(&self.mask, end, &mut self.notes);
            let source = channel.source;
            // The text may go on after a call; where a string began is not forgotten.
            if channel.inside.is_none() || matches!(source, Source::Arguments(_)) {
                self.channels.remove(at);
            } else {
                at += 1;
            }
            if text.is_empty() {
                continue;
            }
            let delta = match source {
                Source::Text => Delta::Text { text, logprobs: Vec::new() },
                Source::Reasoning => Delta::Reasoning(text),
                Source::Arguments(call) => Delta::ToolArguments { call, fragment: text },
            };
            out.push(Event::Delta { index, delta });
        }
    }
}

impl Channel {
    /// Everything that is certain by now, with values in their places; everything at an end.
    fn run(&mut self, mask: &Mask, end: End, notes: &mut Vec<Note>) -> String {
        let held = std::mem::take(&mut self.held);
        let mut out = String::with_capacity(held.len());
        let mut at = 0;
        // Up to here is passed on as it came.
        let mut plain = 0;
        while let Some(rest) = held.get(at..).filter(|rest| !rest.is_empty()) {
            let first = rest.as_bytes().first().copied().unwrap_or(0);
            if placeholder::may_begin(first, self.before) {
                match placeholder::read(rest, self.before, end) {
                    Seen::Nothing => {}
                    Seen::More => break,
                    Seen::One(sighting) => {
                        let length = sighting.length;
                        let seen = rest.get(..length).unwrap_or_default();
                        if let Some(value) = judge(mask, seen, &sighting, notes) {
                            self.pass(held.get(plain..at).unwrap_or_default(), &mut out);
                            let ending = seen.get(sighting.ending.0..sighting.ending.1).unwrap_or_default();
                            self.put(value, ending, &mut out);
                            plain = at + length;
                        }
                        self.before = seen.chars().next_back().unwrap_or(' ');
                        at += length;
                        continue;
                    }
                }
            }
            let Some(length) = self.step(rest, end != End::Open) else { break };
            at += length;
        }
        self.pass(held.get(plain..at).unwrap_or_default(), &mut out);
        self.held = held.get(at..).unwrap_or_default().to_owned();
        out
    }

    /// One character, or in JSON one escape, that begins no placeholder: how long it is. `None`: it is not all there.
    fn step(&mut self, rest: &str, whole: bool) -> Option<usize> {
        let first = rest.chars().next()?;
        if self.inside.is_some() && first == '\\' {
            let Some(second) = rest.chars().nth(1) else {
                self.before = ' ';
                return whole.then_some(1);
            };
            let length = if second == 'u' { 6 } else { 1 + second.len_utf8() };
            if rest.len() < length && !whole {
                return None;
            }
            // What an escape stands for is no letter that a placeholder could not follow.
            self.before = ' ';
            return Some(if rest.is_char_boundary(length.min(rest.len())) {
                length.min(rest.len())
            } else {
                1
            });
        }
        self.before = first;
        Some(first.len_utf8())
    }

    fn pass(&mut self, text: &str, out: &mut String) {
        if let Some(inside) = &mut self.inside {
            inside.pass(text);
        }
        out.push_str(text);
    }

    fn put(&mut self, value: &str, ending: &str, out: &mut String) {
        match self.inside {
            None => {
                out.push_str(value);
                out.push_str(ending);
            }
            Some(inside) => {
                let quote = if inside.string { "" } else { "\"" };
                out.push_str(quote);
                json::escape(value, out);
                json::escape(ending, out);
                out.push_str(quote);
            }
        }
    }
}

/// The value that what was seen stands for, where that is certain; a note where it is not.
fn judge<'a>(mask: &'a Mask, seen: &str, sighting: &Sighting, notes: &mut Vec<Note>) -> Option<&'a str> {
    let value = mask.value(sighting.name);
    let note = match (value, sighting.certain) {
        (Some(value), true) => return Some(value),
        (None, true) => Note::Invented(seen.to_owned()),
        (Some(_), false) if !mask.is_familiar(sighting.name) => Note::Doubtful(seen.to_owned()),
        (_, false) => return None,
    };
    if notes.len() < MAX_NOTES && !notes.contains(&note) {
        notes.push(note);
    }
    None
}

impl Mask {
    /// The name of a tool that stands behind this one.
    fn named(&self, name: &str) -> Option<&str> {
        let number = name.strip_prefix(placeholder::NAME)?.strip_prefix('_')?;
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.name.word == placeholder::NAME && entry.name.to_string() == name)?;
        number.starts_with(|first: char| first.is_ascii_digit()).then_some(entry.value.as_str())
    }

    fn is_familiar(&self, name: Name) -> bool {
        self.familiar.contains(&name)
    }
}
