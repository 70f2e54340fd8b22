//! Copies in base64: what is sensitive in the text they stand for is sensitive in them.

use super::normal::Normal;
use super::scan::{Scan, Word};

/// The word that a run begins with is at least this long: shorter ones are words of a language.
pub(super) const LEAST_WORD: usize = 12;
/// Characters of the shortest run: what fifteen bytes take.
const LEAST: usize = 20;
/// Characters of a run that are decoded: 48 KB of text.
const MOST: usize = 64 << 10;
/// Encodings in each other that are taken off.
const DEPTH: u8 = 2;
/// A line of this length may be wrapped, as MIME and PEM wrap.
const LINE: usize = 60;

fn value(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    }))
}

/// A run in base64 may begin with this word; where it ends, if something was found in it.
pub(super) fn base64(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if scan.depth >= DEPTH || value(scan.byte_before(word.start)).is_some() {
        return None;
    }
    let mut end = word.start;
    let mut line = word.start;
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    while end - word.start < MOST {
        let byte = scan.byte(end);
        if let Some(six) = value(byte) {
            (bits, held) = (bits << 6 | six, held + 6);
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held & 0xff) as u8);
            }
            end += 1;
        } else if byte == b'\n' && end - line >= LINE && value(scan.byte(end + 1)).is_some() {
            end += 1;
            line = end;
        } else {
            break;
        }
    }
    if end - word.start < LEAST {
        return None;
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    // What is no text decodes to control characters soon.
    if text.chars().any(|character| character.is_control() && !character.is_whitespace()) {
        return None;
    }
    let inner = Normal::of(text);
    let best = Scan::new(&inner.text, scan.depth + 1).run().into_iter().max_by_key(|one| one.confidence)?;
    let padded = scan.run_of(end, |byte| byte == b'=').min(end + 2);
    scan.add(best.kind, word.start..padded, best.confidence.saturating_sub(3));
    Some(padded)
}
