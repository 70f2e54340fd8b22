//! JSON as text: what is inside a string of it, and what has to be escaped there.

use std::ops::Range;

/// Writes a text as the inside of a JSON string.
pub(super) fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                let code = u32::from(character);
                let digit = |shift: u32| char::from_digit(code >> shift & 15, 16).unwrap_or('0');
                out.push_str("\\u00");
                out.push(digit(4));
                out.push(digit(0));
            }
            _ => out.push(character),
        }
    }
}

/// The text that the inside of a JSON string stands for; `None` where an escape is broken.
pub(super) fn unescape(inside: &str) -> Option<String> {
    let mut out = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match characters.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => unicode(&mut characters)?,
            plain @ ('"' | '\\' | '/') => plain,
            _ => return None,
        });
    }
    Some(out)
}

fn unicode(characters: &mut std::str::Chars<'_>) -> Option<char> {
    let first = four(characters)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    let low = (characters.next()? == '\\' && characters.next()? == 'u').then(|| four(characters))??;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low.checked_sub(0xdc00)?)
}

fn four(characters: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut value = 0;
    for _ in 0..4 {
        value = value * 16 + characters.next()?.to_digit(16)?;
    }
    Some(value)
}

/// Whether one is inside a string, as a text is read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inside {
    pub(super) string: bool,
    escaped: bool,
}

impl Inside {
    /// Goes over a text.
    pub(super) fn pass(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.string,
                b'"' => self.string = !self.string,
                _ => {}
            }
        }
    }
}

/// A piece of a span that lies in one string, or is one bare number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) span: Range<usize>,
    /// It is inside a string.
    pub(super) string: bool,
}

/// Cuts spans of a JSON text at the borders of its strings, so that what is put in their place leaves it JSON. Spans are in order and
/// apart; what of them is neither in a string nor part of a number is left out.
pub(super) fn pieces(json: &str, spans: &[Range<usize>]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut inside = Inside::default();
    let mut at = 0;
    for span in spans {
        inside.pass(json.get(at..span.start).unwrap_or_default());
        at = span.start;
        // Whole escapes only: a span that begins behind the backslash of one does not begin there.
        if inside.escaped {
            let one = json.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            inside.pass(json.get(at..at + one).unwrap_or_default());
            at += one;
        }
        while at < span.end {
            let Some(character) = json.get(at..).and_then(|rest| rest.chars().next()) else { break };
            let end = at + character.len_utf8();
            let quote = character == '"' && !inside.escaped;
            let string = inside.string;
            let digit = character.is_ascii_digit() || matches!(character, '-' | '+' | '.' | 'e' | 'E');
            if !quote && (string || digit) {
                match pieces.last_mut().filter(|last| last.span.end == at && last.string == string) {
                    Some(last) => last.span.end = end,
                    None => pieces.push(Piece { span: at..end, string }),
                }
            }
            inside.pass(json.get(at..end).unwrap_or_default());
            at = end;
        }
        // An escape is not cut in two.
        if inside.escaped
            && let Some(last) = pieces.last_mut().filter(|last| last.span.end == at)
        {
            let one = json.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            inside.pass(json.get(at..at + one).unwrap_or_default());
            at += one;
            last.span.end = at;
        }
    }
    // Numbers are replaced as wholes: a placeholder beside a digit is no JSON.
    for piece in pieces.iter_mut().filter(|piece| !piece.string) {
        let of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let bytes = json.as_bytes();
        while piece.span.start > 0 && bytes.get(piece.span.start - 1).is_some_and(of_number) {
            piece.span.start -= 1;
        }
        while bytes.get(piece.span.end).is_some_and(of_number) {
            piece.span.end += 1;
        }
    }
    pieces.dedup_by(|later, earlier| later.span.start < earlier.span.end);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_read_again() {
        for text in ["plain", "a\"b\\c\nd\te\u{1}é\u{1f600}", ""] {
            let mut out = String::new();
            escape(text, &mut out);
            assert_eq!(unescape(&out).as_deref(), Some(text));
        }
        assert_eq!(unescape(r"\u00e9\ud83d\ude00\/").as_deref(), Some("é😀/"));
        assert_eq!(unescape(r"\x"), None);
        assert_eq!(unescape(r"\ud83d"), None);
    }

    #[test]
    fn spans_are_cut_at_the_borders_of_strings() {
        let json = r#"{"lat": 47.3769, "name": "a\"b"}"#;
        let all = pieces(json, std::slice::from_ref(&(8..json.len())));
        let texts: Vec<_> = all.iter().map(|piece| (&json[piece.span.clone()], piece.string)).collect();
        assert_eq!(texts, [("47.3769", false), ("name", true), (r#"a\"b"#, true)]);
        let part = pieces(json, std::slice::from_ref(&(10..12)));
        assert_eq!(&json[part[0].span.clone()], "47.3769");
    }
}
