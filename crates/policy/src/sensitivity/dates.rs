//! Dates of birth, where a word says that a date is one.

use super::checks::date;
use super::kinds;
use super::scan::{Scan, Word};
use super::vocabulary::{Context, Meaning};

/// How far before the date the word may stand, in bytes: `Date of birth of the insured person: `.
const WITHIN: usize = 40;

/// A date of birth may begin at `start`, with a digit.
pub(super) fn birth(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    if !scan.near(Context::Birth, start, WITHIN) {
        return None;
    }
    let end = numeric(scan, start).or_else(|| day_first(scan, start))?;
    scan.add(kinds::BIRTH_DATE, start..end, 88);
    Some(end)
}

/// A date of birth may begin with the name of a month: `March 12, 1980`.
pub(super) fn month_first(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if !word.meaning.has(Meaning::MONTH) || !scan.near(Context::Birth, word.start, WITHIN) {
        return None;
    }
    let at = scan.run_of(word.end, |byte| matches!(byte, b' ' | b'.'));
    let (_, at) = small(scan, at)?;
    let at = scan.run_of(at, |byte| matches!(byte, b' ' | b',' | b's' | b't' | b'n' | b'd' | b'r' | b'h'));
    let end = year(scan, at)?;
    scan.add(kinds::BIRTH_DATE, word.start..end, 88);
    Some(end)
}

/// One or two digits.
fn small(scan: &Scan<'_>, start: usize) -> Option<(u32, usize)> {
    let end = scan.run_of(start, |byte| byte.is_ascii_digit());
    let digits = scan.slice(start..end);
    let value = digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    (1..=2).contains(&digits.len()).then_some((value, end))
}

/// Four digits, or two.
fn year(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let end = scan.run_of(start, |byte| byte.is_ascii_digit());
    matches!(end - start, 2 | 4).then_some(end)
}

fn numeric(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let sign = |at: usize| matches!(scan.byte(at), b'-' | b'/' | b'.');
    let first = scan.run_of(start, |byte| byte.is_ascii_digit());
    if first - start == 4 && sign(first) {
        let (month, at) = small(scan, first + 1)?;
        let (day, end) = small(scan, at + 1)?;
        return (sign(at) && date(None, month, day)).then_some(end);
    }
    let (one, at) = small(scan, start)?;
    if !sign(at) {
        return None;
    }
    let gap = scan.run_of(at + 1, |byte| byte == b' ');
    let (two, at) = small(scan, gap)?;
    let gap = scan.run_of(at + 1, |byte| byte == b' ');
    let end = year(scan, gap)?;
    (sign(at) && (date(None, one, two) || date(None, two, one))).then_some(end)
}

/// `12 March 1980`, `12. März 1980`, `12th of March, 1980`.
fn day_first(scan: &Scan<'_>, start: usize) -> Option<usize> {
    let (day, at) = small(scan, start)?;
    let mut at = scan.run_of(at, |byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b' '));
    if at - start > 10 || !(1..=31).contains(&day) {
        return None;
    }
    // Small letters were taken for `th of`: go back to a month that is not capitalised.
    let mut end = scan.run_of(at, |byte| byte.is_ascii_alphabetic() || byte >= 0x80);
    if end == at {
        end = scan.run_of(start + 1, |byte| !byte.is_ascii_alphabetic());
        at = end;
        end = scan.run_of(at, |byte| byte.is_ascii_alphabetic() || byte >= 0x80);
    }
    if !super::vocabulary::meaning(scan.slice(at..end)).has(Meaning::MONTH) {
        return None;
    }
    let gap = scan.run_of(end, |byte| matches!(byte, b' ' | b',' | b'.'));
    year(scan, gap)
}
