//! E-mail addresses and phone numbers.

use super::kinds;
use super::numbers::{self, Number};
use super::scan::Scan;
use super::vocabulary::Context;

/// Longest local part (RFC 5321, 4.5.3.1.1) and domain that is looked at.
const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 255;

/// An `@` stands at `at`; where the address ends, if it is one.
pub(super) fn email(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let local =
        |byte: u8| byte.is_ascii_alphanumeric() || byte >= 0x80 || b"._%+-'!#&*=?^{}~".contains(&byte);
    let mut start = at;
    while start > 0 && at - start < LONGEST_LOCAL && local(scan.byte(start - 1)) {
        start -= 1;
    }
    while !scan.text.is_char_boundary(start) {
        start += 1;
    }
    // What can stand inside an address but is punctuation in front of one: `mail=anna@…`, `'anna@…'`.
    let body = scan.slice(start..at);
    let cut = body.iter().rposition(|byte| b"=?&#'*!{}^".contains(byte)).map_or(0, |place| place + 1);
    start += cut;
    start = scan.run_of(start, |byte| matches!(byte, b'.' | b'-' | b'_' | b'%' | b'~' | b'+')).min(at);
    if start == at || scan.byte(at - 1) == b'.' {
        return None;
    }
    let end = domain(scan, at + 1)?;
    // `git@host:path` names a program's user, not a person.
    if scan.slice(start..at) == b"git" {
        return None;
    }
    scan.add(kinds::EMAIL, start..end, 97);
    Some(end)
}

/// The end of a domain with a dot and a top level of letters. A line may break after the `@` or a dot.
fn domain(scan: &Scan<'_>, start: usize) -> Option<usize> {
    /// Endings of files, which `icon@2x.png` has.
    const FILES: [&[u8]; 10] =
        [b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"js", b"css", b"html", b"json"];
    let label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte >= 0x80;
    let skip = |at: usize| {
        let next = scan.run_of(at, |byte| matches!(byte, b'\n' | b'\r' | b' '));
        let broken = (1..=4).contains(&(next - at)) && scan.slice(at..next).contains(&b'\n');
        if broken { next } else { at }
    };
    let mut at = skip(start);
    let (mut dots, mut good) = (0, None);
    while at - start < LONGEST_DOMAIN {
        let end = scan.run_of(at, label);
        let part = scan.slice(at..end);
        if part.is_empty() || part.first() == Some(&b'-') {
            break;
        }
        let top = part.len() >= 2 && part.iter().all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
        if dots > 0 && (top || part.starts_with(b"xn--")) && !FILES.contains(&part) {
            good = Some(end);
        } else if dots > 0 {
            good = good.filter(|_| false);
        }
        if scan.byte(end) != b'.' {
            break;
        }
        dots += 1;
        let next = skip(end + 1);
        // A sentence ends after the address, and the next begins with a capital on a new line.
        if next > end + 1 && good.is_some() {
            break;
        }
        at = next;
    }
    good
}

/// Country calling codes of one and two digits; those of three begin with what is not here (ITU-T E.164).
fn calling_code(digits: &[u8]) -> bool {
    matches!(
        digits,
        [1 | 7, ..]
            | [2, 0 | 7, ..]
            | [2, 1..=6 | 9, _, ..]
            | [3, 0..=4 | 6 | 9, ..]
            | [3, 5 | 7 | 8, _, ..]
            | [4, 0 | 1 | 3..=9, ..]
            | [4, 2, _, ..]
            | [5, ..]
            | [6, ..]
            | [8, 0..=2 | 4..=8, ..]
            | [9, 0..=9, ..]
    )
}

/// A plus stands at `at`; where the phone number ends, if it is one.
pub(super) fn international(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let before = scan.byte_before(at);
    if before.is_ascii_alphanumeric()
        || matches!(before, b'+' | b')' | b'=') && scan.byte_before(at.saturating_sub(1)) == b'+'
    {
        return None;
    }
    let first = scan.run_of(at + 1, |byte| matches!(byte, b' ' | b'('));
    if first - at > 3 || !scan.byte(first).is_ascii_digit() {
        return None;
    }
    let open = scan.byte(first - 1) == b'(';
    let whole = numbers::read(scan, first, open)?;
    // The longest that is a number: what follows it may be another.
    let number = (1..=whole.parts).rev().map(|parts| whole.first(parts)).find(|number| number.count <= 15)?;
    if !(8..=15).contains(&number.count) || !calling_code(number.digits()) {
        return None;
    }
    let number = trimmed(&number);
    let end = extension(scan, number.end());
    scan.add(kinds::PHONE, at..end, 93);
    Some(end)
}

/// Without groups that would make the number longer than numbers of its country are: after eleven digits a separate group of one or of
/// more than four is something else.
fn trimmed(number: &Number) -> Number {
    let mut kept = *number;
    while kept.count > 12 && kept.parts > 2 {
        kept = kept.first(kept.parts - 1);
    }
    kept
}

/// The end of `x4587`, ` ext. 12` behind a number.
fn extension(scan: &Scan<'_>, end: usize) -> usize {
    let at = scan.run_of(end, |byte| byte == b' ');
    let rest = scan.slice(at..(at + 10).min(scan.text.len()));
    let word = ["extension", "ext.", "ext", "x", "#"]
        .into_iter()
        .find(|word| rest.get(..word.len()).is_some_and(|lead| lead.eq_ignore_ascii_case(word.as_bytes())));
    let Some(word) = word else { return end };
    let first = scan.run_of(at + word.len(), |byte| byte == b' ');
    let last = scan.run_of(first, |byte| byte.is_ascii_digit());
    if (1..=6).contains(&(last - first)) { last } else { end }
}

/// A phone number as it is written at home; where it ends, if it is one.
pub(super) fn national_phone(scan: &mut Scan<'_>, number: &Number, start: usize) -> Option<usize> {
    let shape = number.shape();
    let sizes = shape.sizes();
    let announced = scan.near(Context::Phone, start, 28) || announced_after(scan, number.end());
    let reference = scan.near(Context::Reference, start, 16) && !announced;
    let digit = |at: usize| number.digits().get(at).copied().unwrap_or(0);
    // North America: area and exchange begin with 2 to 9 (NANPA); with a word, any.
    let american = matches!(sizes, [3, 3, 4]) && ((digit(0) > 1 && digit(3) > 1) || announced)
        || matches!(sizes, [1, 3, 3, 4]) && digit(0) == 1;
    let parenthesis = scan.byte(start) == b'(';
    let trunk = digit(0) == 0 && digit(1) != 0 && (9..=11).contains(&number.count) && number.parts >= 2;
    let prefix = digit(0) == 0
        && digit(1) == 0
        && (10..=15).contains(&number.count)
        && calling_code(number.digits().get(2..).unwrap_or_default());
    // In a longer row of groups only a word in front tells where a number begins.
    let inside = matches!(scan.byte_before(start), b' ' | b'-' | b'.')
        && scan.byte_before(start.saturating_sub(1)).is_ascii_digit();
    let confidence = match () {
        () if number.count > 15 || looks_like_date(number, sizes) => return None,
        () if american && !(number.separator == b' ' && !announced && !parenthesis) => 85,
        () if announced && (7..=13).contains(&number.count) => 80,
        () if reference || inside => return None,
        () if parenthesis && (8..=12).contains(&number.count) && number.parts > 1 => 75,
        () if trunk && groups_of_phone(sizes) => 72,
        () if prefix && number.parts > 1 => 80,
        () => return None,
    };
    let from = if parenthesis { start } else { number.start() };
    let end = extension(scan, number.end());
    scan.add(kinds::PHONE, from..end, confidence);
    Some(end)
}

/// `office`, `mobile` or `fax` behind the number on the same line.
fn announced_after(scan: &Scan<'_>, end: usize) -> bool {
    let at = scan.run_of(end, |byte| matches!(byte, b' ' | b'('));
    let last = scan.run_of(at, |byte| byte.is_ascii_alphabetic());
    (at - end <= 2) && last > at && super::vocabulary::meaning(scan.slice(at..last)).announces(Context::Phone)
}

/// Trunk zero, area and subscriber: groups of two to six, the first of two to five.
fn groups_of_phone(sizes: &[u8]) -> bool {
    sizes.first().is_some_and(|first| (2..=5).contains(first))
        && sizes.iter().all(|size| (2..=8).contains(size))
}

/// `2024-01-02`, `01.02.2024`, and rows of years.
fn looks_like_date(number: &Number, sizes: &[u8]) -> bool {
    let year = |digits: Option<&[u8]>| matches!(digits, Some([1, 8 | 9, ..] | [2, 0, ..]));
    let digits = number.digits();
    match sizes {
        [4, 2, 2] => year(digits.get(..4)),
        [2, 2, 4] => year(digits.get(4..)),
        [8] => year(digits.get(..4)) || year(digits.get(4..)),
        [4, 4] | [4, 4, 4] => year(digits.get(..4)) && year(digits.get(4..8)),
        [4, 2, 2, 2, 2, ..] => year(digits.get(..4)),
        _ => false,
    }
}
