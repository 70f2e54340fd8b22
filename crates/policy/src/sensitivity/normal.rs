//! Text without its disguises, and the way back.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A text in which what looks alike is alike: compatibility forms (full-width, circled, mathematical) as the characters
/// they stand for, digits of any script as 0 to 9, spaces as spaces, dashes as hyphens, Cyrillic and Greek letters that pose as
/// Latin ones as these, nothing that has no width, and `%40`, `\u0040`, `&#64;` and soft line breaks as what they encode.
#[derive(Debug)]
pub(crate) struct Normal<'a> {
    /// The text to look at. The original itself when there was nothing to undo.
    pub(crate) text: Cow<'a, str>,
    /// Where positions of the two part: from `.0` in the text on, the original is at `.1`. Ascending.
    steps: Vec<(usize, usize)>,
}

impl<'a> Normal<'a> {
    pub(crate) fn of(original: &'a str) -> Self {
        if is_plain(original) {
            return Self { text: Cow::Borrowed(original), steps: Vec::new() };
        }
        let mut writer =
            Writer { text: String::with_capacity(original.len()), steps: Vec::new(), delta: 0, latin: false };
        let mut at = 0;
        while let Some(rest) = original.get(at..).filter(|rest| !rest.is_empty()) {
            let plain = rest.bytes().position(is_special).unwrap_or(rest.len());
            match rest.get(..plain).filter(|run| !run.is_empty()) {
                Some(run) => {
                    writer.run(run, at);
                    at += plain;
                }
                None => at += writer.one(rest, at),
            }
        }
        writer.steps.push((writer.text.len(), original.len()));
        Self { text: Cow::Owned(writer.text), steps: writer.steps }
    }

    /// Where in the original a position of the text is. The end of what an escape stands for is the end of the escape.
    pub(crate) fn original(&self, at: usize) -> usize {
        let next = self.steps.partition_point(|(normal, _)| *normal <= at);
        match next.checked_sub(1).and_then(|step| self.steps.get(step)) {
            Some((normal, original)) => original + (at - normal),
            None => at,
        }
    }

    /// Where in the text a span of the original is.
    pub(crate) fn place(&self, span: &std::ops::Range<usize>) -> (usize, usize) {
        let of = |at: usize| {
            let next = self.steps.partition_point(|(_, original)| *original <= at);
            let place = match next.checked_sub(1).and_then(|step| self.steps.get(step)) {
                Some((normal, original)) => normal + (at - original),
                None => at,
            };
            self.steps.get(next).map_or(place, |(normal, _)| place.min(*normal))
        };
        (of(span.start), of(span.end))
    }

    /// Where in the original a span of the text is: whole characters and escapes, with what has no width after them.
    pub(crate) fn span(&self, start: usize, end: usize) -> std::ops::Range<usize> {
        let from = self.original(start);
        let last =
            self.text.get(start..end).and_then(|span| span.chars().next_back()).map_or(0, char::len_utf8);
        let (begin, until) = (self.original(end - last), self.original(end));
        if until > begin || last == 0 {
            return from..until.max(from);
        }
        // One character stands for several here, and the span ends among them.
        let after = self.steps.iter().find(|(normal, original)| *normal >= end && *original > begin);
        from..after.map_or(until, |(_, original)| *original).max(from)
    }
}

/// Whether a byte may be a disguise or part of one.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&' | b'=' | 0x7f..)
}

/// Whether nothing in it can be a disguise.
fn is_plain(text: &str) -> bool {
    text.is_ascii()
        && memchr::memchr3(b'%', b'\\', b'&', text.as_bytes()).is_none()
        && memchr::memchr(b'\x7f', text.as_bytes()).is_none()
        && memchr::memmem::find(text.as_bytes(), b"=\n").is_none()
        && memchr::memmem::find(text.as_bytes(), b"=\r\n").is_none()
}

/// Stands for every sign beyond ASCII that has no twin there.
const SIGN: char = '\u{1a}';

struct Writer {
    text: String,
    steps: Vec<(usize, usize)>,
    /// Original position less position in the text, so far.
    delta: isize,
    /// The run without a space before here has a Latin letter.
    latin: bool,
}

impl Writer {
    /// Takes a run that stands for itself.
    fn run(&mut self, run: &str, at: usize) {
        self.step(at);
        self.text.push_str(run);
        let space = run.bytes().rposition(|byte| byte.is_ascii_whitespace());
        let last = space.map_or(run, |space| run.get(space + 1..).unwrap_or_default());
        self.latin = (self.latin && space.is_none()) || last.bytes().any(|byte| byte.is_ascii_alphabetic());
    }

    /// Takes one character or escape of the original, at `at`; how long it was.
    fn one(&mut self, rest: &str, at: usize) -> usize {
        let Some(first) = rest.chars().next() else { return 0 };
        if let Some((character, length)) = escape(rest) {
            self.put(character, at);
            return length;
        }
        let length = first.len_utf8();
        if first.is_ascii() {
            if first.is_ascii_alphabetic() {
                self.latin = true;
            } else if first.is_ascii_whitespace() {
                self.latin = false;
            }
            if first == '=' {
                let after = rest.get(1..).unwrap_or_default();
                let soft = if after.starts_with("\r\n") { 3 } else { 2 };
                if after.starts_with('\n') || after.starts_with("\r\n") {
                    return soft;
                }
            }
            self.put(first, at);
            return length;
        }
        self.foreign(first, rest, at);
        length
    }

    fn foreign(&mut self, character: char, rest: &str, at: usize) {
        if is_invisible(character) {
            return;
        }
        if let Some(plain) = plain(character) {
            self.put(plain, at);
            return;
        }
        if let Some(twin) = latin_twin(character)
            && (self.latin || latin_follows(rest))
        {
            self.put(twin, at);
            return;
        }
        // Most letters in use stand for themselves: accented Latin, Cyrillic, Chinese, Japanese, Korean.
        if matches!(character, '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{131}' | '\u{400}'..='\u{481}' | '\u{3041}'..='\u{3096}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
        {
            self.put(character, at);
            return;
        }
        for part in std::iter::once(character).nfkc() {
            // What is no letter, mark or digit parts words, whatever it is.
            let part = if part.is_ascii() || part.is_alphanumeric() || is_combining_mark(part) {
                part
            } else {
                SIGN
            };
            self.put(part, at);
        }
        if character.is_whitespace() {
            self.latin = false;
        }
    }

    fn put(&mut self, character: char, at: usize) {
        self.step(at);
        self.text.push(character);
    }

    /// What comes next in the text is at this place of the original.
    fn step(&mut self, at: usize) {
        let here = self.text.len();
        let delta = isize::try_from(at).unwrap_or(isize::MAX) - isize::try_from(here).unwrap_or(isize::MAX);
        if delta != self.delta {
            self.delta = delta;
            self.steps.push((here, at));
        }
    }
}

/// What an escape at the beginning stands for, and its length: `%40`, `\u0040`, `\n`, `&#64;`, `&#x40;`, `&amp;`.
fn escape(rest: &str) -> Option<(char, usize)> {
    let bytes = rest.as_bytes();
    match bytes.first()? {
        b'%' => percent(bytes),
        b'\\' => backslash(bytes),
        b'&' => entity(rest),
        _ => None,
    }
}

fn hex(byte: u8) -> Option<u32> {
    char::from(byte).to_digit(16)
}

/// `%40`, and `%2540`, which was encoded twice. Bytes beyond ASCII stay as they are: no finding needs them.
fn percent(bytes: &[u8]) -> Option<(char, usize)> {
    let mut length = 3;
    let mut digits = bytes.get(1..3)?;
    while digits == b"25" && length < 9 {
        let Some(next) = bytes.get(length..length + 2).filter(|next| next.iter().all(u8::is_ascii_hexdigit))
        else {
            break;
        };
        digits = next;
        length += 2;
    }
    let value = hex(*digits.first()?)? * 16 + hex(*digits.get(1)?)?;
    let character = char::from_u32(value).filter(|c| matches!(c, ' '..='~' | '\t' | '\n' | '\r'))?;
    Some((character, length))
}

fn backslash(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'n' | b'r' => '\n',
        b't' => '\t',
        b'"' => '"',
        b'/' => '/',
        b'u' => {
            let digits = bytes.get(2..6)?;
            let value = digits.iter().try_fold(0, |value, byte| Some(value * 16 + hex(*byte)?))?;
            return Some((char::from_u32(value)?, 6));
        }
        _ => return None,
    };
    Some((character, 2))
}

fn entity(rest: &str) -> Option<(char, usize)> {
    const NAMED: [(&str, char); 6] =
        [("&amp;", '&'), ("&nbsp;", ' '), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&commat;", '@')];
    if let Some((name, character)) = NAMED.iter().find(|(name, _)| rest.starts_with(name)) {
        return Some((*character, name.len()));
    }
    let body = rest.strip_prefix("&#")?;
    let end = body.bytes().take(8).position(|byte| byte == b';')?;
    let number = body.get(..end)?;
    let value = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    Some((char::from_u32(value)?, end + 3))
}

/// Characters that take no place: zero-width ones, soft hyphens, direction marks, variation selectors, tags.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e01ef}'
    )
}

/// Spaces, dashes, dots and digits of any script as those of ASCII.
fn plain(character: char) -> Option<char> {
    if let Some(digit) = digit(character) {
        return Some(digit);
    }
    Some(match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' | '\u{2043}' => '-',
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        '\u{2028}' | '\u{2029}' | '\u{85}' => '\n',
        '\u{2024}' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{fe52}' => '.',
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' => '"',
        // Angles are read with carets.
        '\u{b0}' | '\u{ba}' | '\u{2da}' => '^',
        '\u{ff01}'..='\u{ff5e}' => return char::from_u32(u32::from(character) - 0xfee0),
        _ => return None,
    })
}

/// The first of the ten decimal digits of a script, for those in use (Unicode's category Nd).
const ZEROES: [u32; 24] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50, 0xed0, 0xf20,
    0x1040, 0x17e0, 0x1810, 0xff10, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6,
];

fn digit(character: char) -> Option<char> {
    let code = u32::from(character);
    if code < 0x660 {
        return None;
    }
    let zero = ZEROES.iter().find(|zero| (**zero..**zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

/// The Latin letter that a Cyrillic, Greek or Armenian one cannot be told from (a part of Unicode's confusables).
fn latin_twin(character: char) -> Option<char> {
    const TWINS: [(&str, &str); 2] = [
        ("АВСЕНІЈКМОРЅТХУԚԜҮаеорсухіјѕһԛԝкмт", "ABCEHIJKMOPSTXYQWYaeopcyxijshqwkmt"),
        ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανιυρϲχ", "ABEZHIKMNOPTYXoaviupcx"),
    ];
    if !matches!(character, '\u{370}'..='\u{58f}') {
        return None;
    }
    TWINS.iter().find_map(|(foreign, latin)| {
        let place = foreign.chars().position(|twin| twin == character)?;
        latin.chars().nth(place)
    })
}

/// Whether the run up to the next space has a Latin letter.
fn latin_follows(rest: &str) -> bool {
    /// Longer words than this are none.
    const FAR: usize = 64;
    let run = rest.chars().take(FAR).take_while(|character| !character.is_whitespace());
    run.into_iter().any(|character| character.is_ascii_alphabetic())
}

/// A letter without what hangs on it: `É` is `E`.
pub(super) fn without_marks(character: char) -> char {
    match character {
        _ if character.is_ascii() => character,
        'ł' => 'l',
        'Ł' => 'L',
        'ø' => 'o',
        'Ø' => 'O',
        'đ' | 'ð' => 'd',
        'Đ' | 'Ð' => 'D',
        'ı' => 'i',
        _ => std::iter::once(character).nfd().find(|part| !is_combining_mark(*part)).unwrap_or(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: &str, expected: &str) {
        assert_eq!(Normal::of(original).text, expected, "{original}");
    }

    #[test]
    fn disguises_are_taken_off() {
        check("ａｎｎａ＠ｅｘａｍｐｌｅ．ｏｒｇ", "anna@example.org");
        check("41\u{200b}11\u{a0}11\u{ad}11", "4111 1111");
        check("аnnа@ехample.org", "anna@example.org");
        check("anna%40example.org anna%2540example.org", "anna@example.org anna@example.org");
        check(r"\u0061nna\u0040example.org\nnext", "anna@example.org\nnext");
        check("anna&#64;example&#x2e;org", "anna@example.org");
        check("anna@exam=\nple.org and exam=\r\nple", "anna@example.org and example");
        check("٤١١١ ४१११", "4111 4111");
    }

    #[test]
    fn what_is_no_disguise_stays() {
        check("Это русский текст, 50 %", "Это русский текст, 50 %");
        check("100% sure, 5 % of it", "100% sure, 5 % of it");
        check("Αυτό είναι", "Αυτό είναι");
        assert!(matches!(Normal::of("plain text").text, Cow::Borrowed(_)));
    }

    #[test]
    fn spans_lead_back_to_the_original() {
        let original = "x ａ\u{200b}nna%40example.org, y";
        let normal = Normal::of(original);
        let start = normal.text.find("anna").unwrap();
        let end = normal.text.find(',').unwrap();
        assert_eq!(&original[normal.span(start, end)], "ａ\u{200b}nna%40example.org");
    }
}
