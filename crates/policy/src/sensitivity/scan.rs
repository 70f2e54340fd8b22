//! One pass over a text: words and signs are looked at once, and what may begin something is handed to who knows it.

use std::ops::Range;

use super::vocabulary::{self, Context, Meaning};
use super::{codes, contacts, dates, encoded, markings, network, numbers, people, secrets};

/// Something found, by positions in the text that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: &'static str,
    pub(super) span: Range<usize>,
    pub(super) confidence: u8,
}

/// A run of letters and digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) digits: usize,
    /// Its first letter is a capital.
    pub(super) capital: bool,
    /// It has a small letter.
    pub(super) small: bool,
    /// It has a capital after a small letter.
    pub(super) camel: bool,
    pub(super) meaning: Meaning,
}

impl Word {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// The state of a pass.
pub(super) struct Scan<'a> {
    pub(super) text: &'a str,
    bytes: &'a [u8],
    pub(super) found: Vec<Found>,
    /// Where a word of each context was last seen: its end, plus one.
    seen: [u32; Context::COUNT],
    /// The words before the present one, for what needs two.
    pub(super) before: Option<Word>,
    /// Nothing that begins before here is looked at again.
    done: usize,
    pub(super) people: people::Run,
    /// How many encodings were taken off to get to this text.
    pub(super) depth: u8,
}

/// The first byte of characters from U+3000 on.
pub(super) const WIDE: u8 = 0xe3;

/// What kind of byte it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Space,
    Sign,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "in bounds, or it would not compile")]
        {
            classes[byte] = match byte as u8 {
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => Class::Word,
                b' ' | b'\n' | b'\t' | b'\r' => Class::Space,
                b'@' | b'+' | b'(' | b':' | b'-' | b'$' | b'<' => Class::Sign,
                _ => Class::Other,
            };
        }
        byte += 1;
    }
    classes
};

#[inline]
fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str, depth: u8) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            found: Vec::new(),
            seen: [0; Context::COUNT],
            before: None,
            done: 0,
            people: people::Run::default(),
            depth,
        }
    }

    /// Looks at the whole text.
    pub(super) fn run(mut self) -> Vec<Found> {
        let mut at = 0;
        while at < self.bytes.len() {
            match class(self.byte(at)) {
                Class::Word => at = self.word(at),
                Class::Sign => at = self.sign(at),
                Class::Space | Class::Other => at += 1,
            }
        }
        people::end(&mut self);
        self.found
    }

    /// The byte at a position; 0 outside.
    #[inline]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The byte before a position; 0 at the beginning.
    pub(super) fn byte_before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |before| self.byte(before))
    }

    pub(super) fn slice(&self, span: Range<usize>) -> &'a [u8] {
        self.bytes.get(span).unwrap_or_default()
    }

    pub(super) fn str(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    /// The end of the run from a position on whose bytes all fit.
    pub(super) fn run_of(&self, start: usize, fits: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(start..).unwrap_or_default();
        start + rest.iter().position(|byte| !fits(*byte)).unwrap_or(rest.len())
    }

    pub(super) fn add(&mut self, kind: &'static str, span: Range<usize>, confidence: u8) {
        self.found.push(Found { kind, span, confidence });
    }

    /// What begins before this position was dealt with, as part of something longer.
    pub(super) fn done_until(&mut self, end: usize) {
        self.done = self.done.max(end);
    }

    /// Whether a word of this context ended no more than so many bytes before a position.
    pub(super) fn near(&self, context: Context, at: usize, within: usize) -> bool {
        let end = self.seen.get(context as usize).map_or(0, |end| *end as usize);
        end > 0 && at + 1 >= end && at + 1 - end <= within
    }

    fn note(&mut self, meaning: Meaning, end: usize) {
        let mut bits = meaning.contexts();
        while bits != 0 {
            let context = bits.trailing_zeros() as usize;
            if let Some(seen) = self.seen.get_mut(context) {
                *seen = u32::try_from(end).unwrap_or(u32::MAX - 1) + 1;
            }
            bits &= bits - 1;
        }
    }

    /// A word begins at `start`; the position to go on from.
    fn word(&mut self, start: usize) -> usize {
        let word = self.read_word(start);
        if start < self.done {
            return word.end.max(self.done.min(self.text.len()));
        }
        if word.len() >= encoded::LEAST_WORD
            && let Some(end) = encoded::base64(self, &word)
        {
            self.done_until(end);
            self.before = Some(word);
            return end;
        }
        if word.digits > 0 {
            if let Some(end) = codes::word(self, &word) {
                self.done_until(end);
                self.before = Some(word);
                return end;
            }
            if word.digits == word.len() {
                let end = numbers::number(self, start);
                people::other(self, &word);
                self.before = Some(word);
                return end.max(word.end);
            }
        }
        if word.digits == 0
            && let Some(end) = dates::month_first(self, &word).or_else(|| self.spaced(&word))
        {
            self.done_until(end);
            self.before = Some(word);
            return end;
        }
        let end = secrets::word(self, &word).unwrap_or(word.end);
        self.done_until(end);
        self.contexts(&word);
        markings::word(self, &word);
        people::word(self, &word);
        self.before = Some(word);
        end
    }

    /// Two capitals may begin a number that is printed in pairs.
    fn spaced(&mut self, word: &Word) -> Option<usize> {
        let pair = word.len() == 2
            && !word.small
            && self.byte(word.end) == b' '
            && self.byte(word.end + 1).is_ascii_digit();
        if pair { codes::british(self, word) } else { None }
    }

    /// Remembers what the word, or each part of a `camelCase` one, is about.
    fn contexts(&mut self, word: &Word) {
        if word.camel && word.len() <= vocabulary::LONGEST {
            let mut part = word.start;
            for at in word.start + 1..=word.end {
                let cut = at == word.end
                    || (self.byte(at).is_ascii_uppercase() && self.byte(at - 1).is_ascii_lowercase());
                if cut {
                    let meaning = vocabulary::meaning(self.slice(part..at));
                    self.note(meaning, at);
                    secrets::label(self, meaning, at, word.end);
                    part = at;
                }
            }
        } else {
            let pair = self.before.map_or(Meaning::NONE, |before| {
                let joined = word.meaning.has(Meaning::SECOND) && word.start - before.end <= 1;
                if joined {
                    vocabulary::pair(self.slice(before.start..before.end), self.slice(word.start..word.end))
                } else {
                    Meaning::NONE
                }
            });
            let meaning = word.meaning.or(pair);
            self.note(meaning, word.end);
            secrets::label(self, meaning, word.end, word.end);
        }
    }

    fn read_word(&self, start: usize) -> Word {
        let mut hash = vocabulary::SEED;
        let (mut digits, mut small, mut camel, mut foreign) = (0, false, false, false);
        let mut end = start;
        // Chinese, Japanese and Korean have no spaces: a number between their letters is a word of its own.
        let wide = self.byte(start) >= WIDE;
        while let Some(byte) = self.bytes.get(end).copied().filter(|byte| class(*byte) == Class::Word) {
            if end > start && ((wide && byte < 0x80) || (!wide && byte >= WIDE)) {
                break;
            }
            match byte {
                b'0'..=b'9' => digits += 1,
                b'a'..=b'z' => small = true,
                b'A'..=b'Z' => camel |= small,
                _ => foreign = true,
            }
            hash = vocabulary::step(hash, byte.to_ascii_lowercase());
            end += 1;
        }
        let meaning = match (foreign, end - start) {
            (_, length) if length > vocabulary::LONGEST || digits > 0 => Meaning::NONE,
            (false, _) => vocabulary::by_hash(hash),
            // Words are not parted there either: the last two letters may be one.
            (true, _) if wide => {
                let last = vocabulary::meaning(self.slice(end.saturating_sub(6).max(start)..end));
                vocabulary::meaning(self.slice(start..end)).or(last)
            }
            (true, _) => vocabulary::meaning(self.slice(start..end)),
        };
        let first = self.byte(start);
        let capital = first.is_ascii_uppercase()
            || (first >= 0x80 && self.str(start..end).chars().next().is_some_and(char::is_uppercase));
        Word { start, end, digits, capital, small: small || foreign, camel, meaning }
    }

    /// A sign stands at `at`; the position to go on from.
    fn sign(&mut self, at: usize) -> usize {
        if at < self.done {
            return at + 1;
        }
        let end = match self.byte(at) {
            b'@' => contacts::email(self, at),
            b'+' => contacts::international(self, at),
            b'(' if self.byte(at + 1).is_ascii_digit() || self.byte(at + 1) == b'+' => {
                Some(numbers::number(self, at)).filter(|end| *end > at)
            }
            b':' => network::colon(self, at),
            b'-' => secrets::dashes(self, at),
            _ => None,
        };
        if let Some(end) = end {
            self.done_until(end);
        }
        end.unwrap_or(at + 1).max(at + 1)
    }
}

/// What overlaps becomes one, of the kind of the surest, so that nothing of it stays uncovered. In the order of the text.
pub(super) fn settle(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by_key(|one| (one.span.start, std::cmp::Reverse(one.span.end)));
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    for one in found {
        match kept.last_mut().filter(|last| one.span.start < last.span.end) {
            Some(last) => {
                let end = last.span.end.max(one.span.end);
                if one.confidence > last.confidence {
                    (last.kind, last.confidence) = (one.kind, one.confidence);
                }
                last.span.end = end;
            }
            None => kept.push(one),
        }
    }
    kept
}
