//! What an answer comes down to, and whether several answers come down to the same.
//!
//! A final answer is what stands in the field `answer` of JSON, behind `####` (the convention of GSM8K), in the last `\boxed{}` (that of MATH),
//! behind "answer is", the letter of a choice, the last number, or a short text itself. Values are compared, not spellings: `$1,200.00`
//! is `1200`. Long prose has no final answer, and agrees with nothing.

use serde_json::Value;

use super::numbers::{number_at, numbers};

/// What an answer comes down to.
#[derive(Debug, Clone, PartialEq)]
pub enum Final {
    /// A number, rounded to nine digits behind the point.
    Number(f64),
    /// The letter of a choice, upper case.
    Letter(char),
    /// A short text, in lower case, with single spaces and without punctuation at its ends.
    Text(String),
    /// JSON, whose order of fields does not count.
    Json(Value),
}

/// Where a final answer stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the field `answer` of JSON, or the answer was JSON as a whole.
    Field,
    /// Where the answer said that it is final.
    Marked,
    /// The whole answer was short.
    Whole,
    /// It was the last number of an answer that marks nothing.
    LastNumber,
}

/// Bytes of an answer that are looked at, from its end, where final answers are: an answer of that length takes a minute to read.
const MOST_BYTES: usize = 16 << 10;
/// Bytes of a final text. What is longer is prose, in which no two models agree.
const MOST_TEXT: usize = 80;

/// What an answer comes down to, and where that stood; `None` where it comes down to nothing short.
pub fn final_answer(answer: &str) -> Option<(Final, Place)> {
    let answer = ending(answer.trim());
    if let Some(found) = in_json(answer) {
        return Some((found, Place::Field));
    }
    if let Some(marked) = marked(answer).and_then(value) {
        return Some((marked, Place::Marked));
    }
    if answer.len() <= MOST_TEXT && !answer.contains('\n') {
        return Some((value(answer)?, Place::Whole));
    }
    let last = answer.lines().rev().find_map(last_number)?;
    Some((last, Place::LastNumber))
}

fn ending(text: &str) -> &str {
    let mut at = text.len().saturating_sub(MOST_BYTES);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    text.get(at..).unwrap_or_default()
}

/// Opens the field that holds the answer.
const FIELD: &str = "\"answer\"";

/// The first field `answer` of JSON anywhere in the answer, also where the JSON is broken: programs take the first object that comes. Other JSON
/// is a final answer where it is the whole answer.
fn in_json(answer: &str) -> Option<Final> {
    let whole = unfenced(answer);
    let begin = if whole.starts_with(['{', '[']) { answer.find(['{', '[']) } else { answer.find('{') };
    let object = begin.and_then(|at| answer.get(at..));
    let parsed = object.and_then(|json| serde_json::Deserializer::from_str(json).into_iter().next()?.ok());
    match parsed {
        Some(Value::Object(fields)) if fields.contains_key("answer") => match fields.get("answer")? {
            Value::String(text) => return value(text),
            Value::Number(number) => return number.as_f64().map(number_of),
            other => return Some(Final::Json(other.clone())),
        },
        Some(json)
            if serde_json::from_str::<Value>(whole).is_ok_and(|whole| whole == json) && !json.is_number() =>
        {
            return Some(Final::Json(json));
        }
        _ => {}
    }
    answer.match_indices(FIELD).find_map(|(at, field)| field_value(answer.get(at + field.len()..)?))
}

/// What stands behind the name of a field, up to the end of its text, or of the line.
fn field_value(after: &str) -> Option<Final> {
    let after = after.trim_start().strip_prefix(':')?.trim_start();
    match after.strip_prefix('"') {
        Some(text) => value(text.split(['"', '\n']).next()?),
        None => value(after.split([',', '}', '\n']).next()?),
    }
}

/// Without the fence of a block of code around all of it.
fn unfenced(answer: &str) -> &str {
    let Some(rest) = answer.strip_prefix("```") else { return answer };
    let rest = rest.strip_prefix("json").unwrap_or(rest);
    rest.strip_suffix("```").unwrap_or(rest).trim()
}

/// Whether an answer begins as JSON, and whether it then is JSON and nothing else.
pub(super) fn as_json(answer: &str) -> (bool, bool) {
    let whole = unfenced(answer.trim());
    let begins = whole.starts_with(['{', '[']);
    (begins, begins && serde_json::from_str::<serde::de::IgnoredAny>(whole).is_ok())
}

/// How often an answer says that it is final: more than once is a model that goes on with the next question, or changes its mind.
pub(super) fn marks(answer: &str) -> usize {
    let lower = answer.to_ascii_lowercase();
    let words = ["final answer", "answer is", "answer:"].iter().map(|mark| lower.matches(mark).count()).max();
    [FIELD, "####", "\\boxed{"].iter().map(|mark| answer.matches(mark).count()).sum::<usize>()
        + words.unwrap_or(0)
}

/// Words before a final answer, in lower case.
const MARKS: [&str; 6] = [
    "final answer is",
    "answer is",
    "answer:",
    "answer to the question is",
    "the answer would be",
    "correct option is",
];

/// What stands where an answer says that it is final.
fn marked(answer: &str) -> Option<&str> {
    if let Some((_, after)) = answer.rsplit_once("####") {
        return after.trim_start().lines().next().filter(|line| !line.trim().is_empty());
    }
    if let Some((_, after)) = answer.rsplit_once("\\boxed{") {
        return Some(braced(after));
    }
    // Lower-casing ASCII keeps every byte where it is.
    let lower = answer.to_ascii_lowercase();
    let at = MARKS.iter().filter_map(|mark| Some(lower.rfind(mark)? + mark.len())).max()?;
    let after = answer.get(at..)?.trim_start_matches([':', '*', ' ', '\n', '\t']);
    let line = after.lines().next()?;
    let sentence = line.split(". ").next()?;
    (!sentence.trim().is_empty()).then_some(sentence)
}

/// Up to the bracket that closes the one before.
fn braced(after: &str) -> &str {
    let mut depth = 1u32;
    let end = after.char_indices().find(|&(_, character)| {
        match character {
            '{' => depth = depth.saturating_add(1),
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    after.get(..end.map_or(after.len(), |(at, _)| at)).unwrap_or_default()
}

/// A short text as a value; `None` where it is none, or not short.
fn value(text: &str) -> Option<Final> {
    let text = text.trim().trim_matches(['*', '`', '"', '\'', ' ', '.', ',', ':', '\n']).trim();
    let text = text.strip_prefix("\\(").and_then(|text| text.strip_suffix("\\)")).unwrap_or(text).trim();
    if text.is_empty() {
        return None;
    }
    if let Some(letter) = letter(text) {
        return Some(Final::Letter(letter));
    }
    if let Some(number) = whole_number(text) {
        return Some(number_of(number));
    }
    let squeezed: Vec<&str> = text.split_whitespace().collect();
    let text = squeezed.join(" ").to_lowercase();
    (text.len() <= MOST_TEXT).then_some(Final::Text(text))
}

/// `B`, `(b)`, `B.`, `B) the second one`, `option B`; one letter of the first ten. A lower-case one only in brackets, since `a` is a word.
fn letter(text: &str) -> Option<char> {
    let text = ["option ", "Option ", "choice ", "Choice "]
        .iter()
        .find_map(|word| text.strip_prefix(word))
        .unwrap_or(text);
    let (bracketed, text) = match text.strip_prefix('(') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut characters = text.chars();
    let first = characters.next()?;
    let second = characters.next();
    let ends = match second {
        None => !bracketed,
        Some(')') => true,
        Some('.' | ':') => !bracketed && characters.next().is_none_or(char::is_whitespace),
        Some(_) => false,
    };
    let upper = first.to_ascii_uppercase();
    (ends && ('A'..='J').contains(&upper) && (first == upper || bracketed)).then_some(upper)
}

/// A text that is one number with what people put around one: currency, unit, sign, a variable before an equals sign; or a fraction.
fn whole_number(text: &str) -> Option<f64> {
    let text = text.rsplit_once('=').map_or(text, |(_, right)| right).trim();
    let text = text.trim_matches('$').trim().trim_start_matches(['€', '£', '+', '~', '≈']).trim_start();
    let (sign, text) = match text.strip_prefix(['-', '−']) {
        Some(rest) => (-1.0, rest.trim_start_matches([' ', '$', '€', '£'])),
        None => (1.0, text),
    };
    if let Some(parts) = ["\\frac{", "\\dfrac{"].iter().find_map(|frac| text.strip_prefix(frac)) {
        let (above, below) = parts.split_once("}{")?;
        return Some(sign * entire(above)? / entire(braced(below))?).filter(|value| value.is_finite());
    }
    if let Some((above, below)) = text.split_once('/')
        && let (Some(above), Some(below)) = (entire(above), entire(below))
    {
        return Some(sign * above / below).filter(|value| value.is_finite());
    }
    let number = number_at(text, 0)?;
    let unit = text.get(number.end..)?.trim_start_matches(['%', '\\']).trim();
    // Three words are a unit (`square metres long`), more are prose; another number makes it something else.
    let is_unit = unit.split_whitespace().count() <= 3
        && numbers(unit).next().is_none()
        && unit.chars().next().is_none_or(|c| c.is_alphabetic() || c == '$' || c == '°');
    is_unit.then_some(sign * number.value)
}

fn entire(text: &str) -> Option<f64> {
    let text = text.trim();
    number_at(text, 0).filter(|number| number.end == text.len()).map(|number| number.value)
}

fn last_number(line: &str) -> Option<Final> {
    let number = numbers(line).last()?;
    Some(number_of(number.value))
}

fn number_of(value: f64) -> Final {
    // Numbers that were computed in another order differ in their last digits.
    let rounded = (value * 1e9).round() / 1e9;
    Final::Number(if rounded.is_finite() { rounded } else { value })
}

/// How many of several answers come down to the same as the one from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Others that were asked.
    pub others: u32,
    /// Others that come down to the same.
    pub same: u32,
    /// Others in the largest group that comes down to one other thing.
    pub rival: u32,
}

/// Answers that are compared: more do not change the vote of an odd dozen.
pub const MOST_OTHERS: usize = 12;

impl Agreement {
    /// Compares an answer with those of other models, or with other samples of the same. An answer that comes down to nothing agrees with none.
    pub fn of(answer: &str, others: &[&str]) -> Self {
        let others = others.get(..MOST_OTHERS).unwrap_or(others);
        let ours = final_answer(answer).map(|(found, _)| found);
        let theirs: Vec<Option<Final>> =
            others.iter().map(|other| final_answer(other).map(|(found, _)| found)).collect();
        let votes = |of: &Final| count(theirs.iter().flatten().filter(|&other| other == of).count());
        let rivals = theirs.iter().flatten().filter(|&other| Some(other) != ours.as_ref());
        Self {
            others: count(others.len()),
            same: ours.as_ref().map_or(0, votes),
            rival: rivals.map(votes).max().unwrap_or(0),
        }
    }

    /// Whether at least so many others say the same: with three others, 2 is "two of three confirm", 3 is "all do".
    pub fn confirmed_by(self, at_least: u32) -> bool {
        self.same >= at_least
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "agreement/tests.rs"]
mod tests;
