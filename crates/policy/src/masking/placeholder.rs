//! What placeholders look like, and how they are read again, also where a model altered them.
//!
//! `[EMAIL_1]` stands for a value, `[EMAIL_1B]` for the same in another writing or for a part of it. Letters, a digit and brackets survive
//! every tokenizer, need no escape in JSON, and take endings (`[PERSON_1]'s`) as a word does.

use std::fmt;
use std::sync::LazyLock;

use crate::sensitivity::KINDS;

/// Stands for text that looked like a placeholder before anything was masked.
pub(super) const TEXT: &str = "TEXT";
/// Stands for the name of a tool or speaker, without brackets, because names may have none.
pub(super) const NAME: &str = "NAME";
/// Stands for what a configured recogniser found.
pub(super) const DATA: &str = "DATA";

/// Letters behind the number, for further writings of a value. `A` would be an article, `S` a plural.
const FORMS: &[u8] = b"BCDEFGHIJKLMNOPQRTUVWXYZ";
/// Digits of the longest number: more than a mask may hold.
const DIGITS: usize = 5;

/// How many writings of one value have a name.
pub(super) const MAX_FORMS: u8 = FORMS.len() as u8 + 1;

/// The name of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) word: &'static str,
    pub(super) number: u32,
    /// 0 for the first writing.
    pub(super) form: u8,
}

impl fmt::Display for Name {
    /// Without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.word, self.number)?;
        match usize::from(self.form).checked_sub(1).and_then(|at| FORMS.get(at)) {
            Some(letter) => write!(f, "{}", char::from(*letter)),
            None => Ok(()),
        }
    }
}

/// All words of placeholders, by their first letters.
static WORDS: LazyLock<[Vec<&'static str>; 26]> = LazyLock::new(|| {
    let mut words: [Vec<&'static str>; 26] = Default::default();
    for word in KINDS.iter().filter_map(|kind| kind.placeholder).chain([TEXT, NAME, DATA]) {
        let letter =
            word.bytes().next().map_or(0, |first| usize::from(first.to_ascii_uppercase().wrapping_sub(b'A')));
        if let Some(of_letter) = words.get_mut(letter) {
            of_letter.push(word);
        }
    }
    words
});

/// The words that begin with the first letter of this.
fn words(run: &[u8]) -> &'static [&'static str] {
    let first = run.first().map_or(u8::MAX, |first| first.to_ascii_uppercase().wrapping_sub(b'A'));
    WORDS.get(usize::from(first)).map_or(&[], Vec::as_slice)
}

/// What begins at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// No placeholder.
    Nothing,
    /// Nobody can tell before more text has come.
    More,
    /// A placeholder, or what may have been one.
    One(Sighting),
}

/// Something that reads as a placeholder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) name: Name,
    /// Bytes it takes.
    pub(super) length: usize,
    /// Where in it an ending stands that belongs behind the value: `'s`.
    pub(super) ending: (usize, usize),
    /// It can be nothing else. What is not certain is left as it is.
    pub(super) certain: bool,
}

/// What is behind the end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More of it will come.
    Open,
    /// Nothing: it is whole.
    Whole,
    /// Nothing, but it is not whole: its last number may have had more digits.
    Cut,
}

/// Reads from the beginning of `text`. `before` is the character in front.
pub(super) fn read(text: &str, before: char, end: End) -> Seen {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, end };
    match reader.sighting(before) {
        Ok(sighting) => Seen::One(sighting),
        Err(Stop::Nothing) => Seen::Nothing,
        Err(Stop::More) => Seen::More,
    }
}

/// Whether a placeholder can begin with this character behind that one: a quick look before [`read`].
#[inline]
pub(super) fn may_begin(character: u8, before: char) -> bool {
    matches!(character, b'[' | b'\\')
        || (character.is_ascii_alphabetic() && !(before.is_alphanumeric() || before == '_'))
}

/// Why reading stopped.
enum Stop {
    Nothing,
    More,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: End,
}

impl Reader<'_> {
    fn sighting(&mut self, before: char) -> Result<Sighting, Stop> {
        let bracket = self.sign(b'[', b'b')?;
        if bracket {
            self.space()?;
        } else if before.is_alphanumeric() || before == '_' {
            return Err(Stop::Nothing);
        }
        let (word, shouted) = self.word()?;
        let underscore = self.joint()?;
        let number = self.number()?;
        let form = self.form()?;
        let begin = self.at;
        self.ending()?;
        let ending = (begin, self.at);
        let name = Name { word, number, form };
        if bracket {
            self.space()?;
            if !self.sign(b']', b'd')? {
                return Err(Stop::Nothing);
            }
            return Ok(Sighting { name, length: self.at, ending, certain: underscore || shouted });
        }
        let length = self.at;
        let certain =
            shouted && underscore && self.stands_alone()? && !matches!(before, '$' | '#' | '@' | '%');
        if !underscore && !self.boundary()? {
            return Err(Stop::Nothing);
        }
        Ok(Sighting { name, length, ending, certain })
    }

    /// The byte at a distance; an error where only more text can tell. `None` behind the end.
    #[inline]
    fn peek(&self, ahead: usize) -> Result<Option<u8>, Stop> {
        match self.bytes.get(self.at + ahead) {
            Some(byte) => Ok(Some(*byte)),
            None if self.end != End::Open => Ok(None),
            None => Err(Stop::More),
        }
    }

    /// A sign, also with backslashes in front as Markdown has them (two inside JSON), or as `\u005b`: `low` is the last digit of that.
    #[inline]
    fn sign(&mut self, sign: u8, low: u8) -> Result<bool, Stop> {
        let mut ahead = 0;
        while ahead < 2 && self.peek(ahead)? == Some(b'\\') {
            ahead += 1;
        }
        let next = self.peek(ahead)?;
        if next == Some(sign) {
            self.at += ahead + 1;
            return Ok(true);
        }
        if ahead != 1 || next != Some(b'u') {
            return Ok(false);
        }
        for (place, expected) in [b'0', b'0', b'5', low].into_iter().enumerate() {
            if self.peek(2 + place)?.map(|byte| byte.to_ascii_lowercase()) != Some(expected) {
                return Ok(false);
            }
        }
        self.at += 6;
        Ok(true)
    }

    /// At most one space.
    fn space(&mut self) -> Result<bool, Stop> {
        let space = self.peek(0)? == Some(b' ');
        self.at += usize::from(space);
        Ok(space)
    }

    /// The word, and whether it is in capitals as we wrote it.
    fn word(&mut self) -> Result<(&'static str, bool), Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
        let run = rest.get(..length).unwrap_or_default();
        if length == rest.len() && self.end == End::Open {
            let begins = |word: &&str| {
                word.as_bytes().get(..length).is_some_and(|lead| lead.eq_ignore_ascii_case(run))
            };
            let may = length == 0 || words(run).iter().any(begins);
            return Err(if may { Stop::More } else { Stop::Nothing });
        }
        // In prose a word is followed by another: most are done here.
        let gap = usize::from(rest.get(length) == Some(&b' '));
        if rest
            .get(length + gap)
            .is_some_and(|next| !matches!(next, b'_' | b'-' | b'#' | b'\\' | b'0'..=b'9' | b' '))
        {
            return Err(Stop::Nothing);
        }
        let word =
            words(run).iter().find(|word| word.as_bytes().eq_ignore_ascii_case(run)).ok_or(Stop::Nothing)?;
        self.at += length;
        Ok((word, word.as_bytes() == run))
    }

    /// What stands between word and number; whether it is the underscore.
    fn joint(&mut self) -> Result<bool, Stop> {
        self.space()?;
        if self.sign(b'_', b'f')? {
            self.space()?;
            return Ok(true);
        }
        if matches!(self.peek(0)?, Some(b'-' | b'#')) {
            self.at += 1;
        }
        Ok(false)
    }

    fn number(&mut self) -> Result<u32, Stop> {
        let mut value = 0;
        let mut count = 0;
        while let Some(digit) = self.peek(0)?.filter(u8::is_ascii_digit) {
            if count == DIGITS || (count == 0 && digit == b'0') {
                return Err(Stop::Nothing);
            }
            value = value * 10 + u32::from(digit - b'0');
            count += 1;
            self.at += 1;
        }
        if count == 0 { Err(Stop::Nothing) } else { Ok(value) }
    }

    fn form(&mut self) -> Result<u8, Stop> {
        let Some(letter) = self.peek(0)?.map(|byte| byte.to_ascii_uppercase()) else { return Ok(0) };
        let Some(place) = FORMS.iter().position(|form| *form == letter) else { return Ok(0) };
        self.at += 1;
        Ok(u8::try_from(place + 1).unwrap_or(0))
    }

    /// An ending inside the brackets or at the bare name: `s`, `'s`, `’s`.
    fn ending(&mut self) -> Result<(), Stop> {
        let first = self.peek(0)?;
        if first == Some(b's') {
            self.at += 1;
        } else if first == Some(b'\'') && self.peek(1)? == Some(b's') {
            self.at += 2;
        } else if first == Some(0xe2)
            && self.peek(1)? == Some(0x80)
            && self.peek(2)? == Some(0x99)
            && self.peek(3)? == Some(b's')
        {
            self.at += 4;
        }
        Ok(())
    }

    fn boundary(&self) -> Result<bool, Stop> {
        Ok(self.peek(0)?.is_none_or(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80)))
    }

    /// Whether a name without brackets is one, and no variable of somebody's program.
    fn stands_alone(&self) -> Result<bool, Stop> {
        let cut = self.end == End::Cut && self.at == self.bytes.len();
        if cut || !self.boundary()? || self.peek(0)? == Some(b'(') {
            return Ok(false);
        }
        let gap = usize::from(self.peek(0)? == Some(b' '));
        Ok(self.peek(gap)? != Some(b'=') || self.peek(gap + 1)? == Some(b'='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn sighting(text: &str) -> Option<(String, usize, bool)> {
        match read(text, ' ', End::Whole) {
            Seen::One(one) => Some((one.name.to_string(), one.length, one.certain)),
            Seen::Nothing => None,
            Seen::More => panic!("{text} is whole"),
        }
    }

    fn one(name: &str, length: usize, certain: bool) -> Option<(String, usize, bool)> {
        Some((name.to_owned(), length, certain))
    }

    #[test]
    fn placeholders_are_read_as_they_were_written_and_as_models_alter_them() {
        for certain in [
            "[EMAIL_1]",
            "[email_1]",
            "[Email_1]",
            "[ EMAIL_1 ]",
            "[EMAIL 1]",
            "[EMAIL-1]",
            "[EMAIL1]",
            "[EMAIL_ 1]",
            r"\[EMAIL\_1\]",
            r"\\[EMAIL\\_1\\]",
            r"\u005bEMAIL_1\u005D",
            "EMAIL_1",
            "[EMAIL_1's]",
            "[EMAIL_1s]",
            "[EMAIL#1]",
            "EMAIL_1's",
        ] {
            assert_eq!(sighting(certain), one("EMAIL_1", certain.len(), true), "{certain}");
        }
        assert_eq!(sighting("[PERSON_12C] and"), one("PERSON_12C", 12, true));
        assert_eq!(sighting("EMAIL_1 == x"), one("EMAIL_1", 7, true));
    }

    #[test]
    fn what_may_be_the_models_own_is_not_certain() {
        for text in
            ["[Email 1]", "email 1", "email_1", "Email_1", "EMAIL 1", "EMAIL_1 = 5", "EMAIL_1(", "EMAIL_1=x"]
        {
            assert!(
                matches!(read(text, ' ', End::Whole), Seen::One(Sighting { certain: false, .. })),
                "{text}"
            );
        }
        assert!(matches!(read("EMAIL_1", '$', End::Whole), Seen::One(Sighting { certain: false, .. })));
    }

    #[test]
    fn other_text_is_none() {
        for text in [
            "[MAIL_1]",
            "[EMAIL_]",
            "[EMAIL_1",
            "[EMAIL_01]",
            "[EMAIL_123456]",
            "[1]",
            "emails 1",
            "EMAIL_x",
            "[EMAIL_1}",
            "é",
        ] {
            assert!(
                matches!(sighting(text), None | Some((_, _, false))) || text.starts_with("[EMAIL_1"),
                "{text}"
            );
        }
        assert_eq!(sighting("[EMAIL_1}"), None);
        assert_eq!(read("EMAIL_1", 'x', End::Whole), Seen::Nothing);
    }

    #[test]
    fn a_beginning_asks_for_more() {
        let text = "[EMAIL_1]";
        for end in 1..text.len() {
            assert_eq!(read(&text[..end], ' ', End::Open), Seen::More, "{}", &text[..end]);
        }
        assert_eq!(read("EMAIL_1", ' ', End::Open), Seen::More);
        assert_eq!(read("[x", ' ', End::Open), Seen::Nothing);
        assert_eq!(read("hello", ' ', End::Open), Seen::Nothing);
        assert!(matches!(read("EMAIL_1", ' ', End::Cut), Seen::One(Sighting { certain: false, .. })));
        assert!(matches!(read("[EMAIL_1]", ' ', End::Cut), Seen::One(Sighting { certain: true, .. })));
    }
}
