//! Runs of digits with what may stand between them: cards, national and tax numbers, phones, dates of birth, coordinates.

use super::kinds;
use super::scan::{Scan, WIDE};
use super::vocabulary::Context;
use super::{contacts, dates, national, network};

/// Digits of the longest number that is looked at as one; longer runs are nobody's number.
const MOST_DIGITS: usize = 24;
/// Groups of digits that are looked at together: a card has four, a French phone five, a NIR eight.
const MOST_GROUPS: usize = 9;
/// How far before a number a word may stand that says what it is, in bytes: half a line.
pub(super) const CONTEXT: usize = 40;

/// Groups of digits and what stands between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) digits: [u8; MOST_DIGITS],
    /// How many digits.
    pub(super) count: usize,
    /// Where each group begins and ends.
    pub(super) groups: [(usize, usize); MOST_GROUPS],
    /// How many groups.
    pub(super) parts: usize,
    /// What stands after each group but the last: the byte, or 0 for several.
    gaps: [u8; MOST_GROUPS],
    /// What stands between the groups: 0 where different things do or nothing does, the byte where it is always the same.
    pub(super) separator: u8,
}

impl Number {
    pub(super) fn digits(&self) -> &[u8] {
        self.digits.get(..self.count).unwrap_or_default()
    }

    pub(super) fn start(&self) -> usize {
        self.groups.first().map_or(0, |group| group.0)
    }

    pub(super) fn end(&self) -> usize {
        self.parts.checked_sub(1).and_then(|last| self.groups.get(last)).map_or(0, |group| group.1)
    }

    /// How many digits each group has.
    pub(super) fn shape(&self) -> Shape {
        let mut shape = [0_u8; MOST_GROUPS];
        for (size, (start, end)) in shape.iter_mut().zip(self.groups.iter().take(self.parts)) {
            *size = u8::try_from(end - start).unwrap_or(u8::MAX);
        }
        Shape { sizes: shape, parts: self.parts }
    }

    /// The number that only the first groups make.
    pub(super) fn first(&self, parts: usize) -> Self {
        let mut first = *self;
        first.parts = parts.min(self.parts);
        let groups = self.groups.iter().take(first.parts);
        first.count = groups.map(|(start, end)| end - start).sum();
        let mut gaps = first.gaps.iter().take(first.parts.saturating_sub(1));
        let one = gaps.next().copied().unwrap_or(0);
        first.separator = if gaps.all(|gap| *gap == one) { one } else { 0 };
        first
    }
}

/// Sizes of the groups of a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    sizes: [u8; MOST_GROUPS],
    parts: usize,
}

impl Shape {
    pub(super) fn sizes(&self) -> &[u8] {
        self.sizes.get(..self.parts).unwrap_or_default()
    }
}

/// A number may begin at `start`, with a digit or an opening parenthesis; the position to go on from.
pub(super) fn number(scan: &mut Scan<'_>, start: usize) -> usize {
    let (first, parenthesis) = match scan.byte(start) {
        b'(' => (start + 1, true),
        _ => (start, false),
    };
    if let Some(end) = network::ipv4(scan, first).or_else(|| network::hex(scan, first)) {
        return end;
    }
    if let Some(end) = network::coordinates(scan, first).or_else(|| dates::birth(scan, first)) {
        return end;
    }
    let before = scan.byte_before(start);
    if matches!(before, b'_' | b'$' | b'#') {
        return scan.run_of(first, |byte| byte.is_ascii_digit());
    }
    let whole = read(scan, first, parenthesis);
    let Some(whole) = whole else { return scan.run_of(first, |byte| byte.is_ascii_digit()) };
    for parts in (1..=whole.parts).rev() {
        let number = whole.first(parts);
        if number.count < 6 {
            break;
        }
        if let Some(end) = national::lettered(scan, &number) {
            return end;
        }
        if let Some(end) = classify(scan, &number, start) {
            return end;
        }
    }
    whole.groups.first().map_or(start + 1, |group| group.1)
}

/// Reads groups of digits from `start` on, as far as they may be one number.
pub(super) fn read(scan: &Scan<'_>, start: usize, mut parenthesis: bool) -> Option<Number> {
    let mut number = Number {
        digits: [0; MOST_DIGITS],
        count: 0,
        groups: [(0, 0); MOST_GROUPS],
        parts: 0,
        gaps: [0; MOST_GROUPS],
        separator: 0,
    };
    let mut at = start;
    loop {
        let end = scan.run_of(at, |byte| byte.is_ascii_digit());
        if number.count + (end - at) > MOST_DIGITS || number.parts == MOST_GROUPS {
            return (number.parts > 0).then_some(number);
        }
        // A group that goes on as a word is no part of the number: `4 am` is, `4am` is not. An extension is.
        let next = scan.byte(end);
        if next.is_ascii_alphabetic() && !matches!(next, b'x' | b'e') || (0x80..WIDE).contains(&next) {
            return (number.parts > 0).then_some(number);
        }
        for place in at..end {
            if let Some(digit) = number.digits.get_mut(number.count) {
                *digit = scan.byte(place) - b'0';
                number.count += 1;
            }
        }
        if let Some(group) = number.groups.get_mut(number.parts) {
            *group = (at, end);
            number.parts += 1;
        }
        let Some((next, separator)) = gap(scan, end, &mut parenthesis) else { return Some(number) };
        if let Some(gap) = number.gaps.get_mut(number.parts - 1) {
            *gap = separator;
        }
        at = next;
    }
}

/// What stands between two groups: where the next begins, and the byte that parts them, if it is one.
fn gap(scan: &Scan<'_>, end: usize, parenthesis: &mut bool) -> Option<(usize, u8)> {
    let mut separator = 0;
    for at in end..end + 4 {
        let byte = scan.byte(at);
        match byte {
            b'0'..=b'9' => return (at > end).then_some((at, separator)),
            b')' if *parenthesis => *parenthesis = false,
            b'(' if !*parenthesis => *parenthesis = true,
            b' ' | b'-' | b'.' | b'/' => {}
            // One line break inside a number is a wrapped line.
            b'\n' | b'\r' if matches!(separator, 0 | b'-' | b' ') && scan.byte(at + 1) != b'\n' => {}
            _ => return None,
        }
        separator = if at == end { byte } else { 0 };
    }
    None
}

fn classify(scan: &mut Scan<'_>, number: &Number, start: usize) -> Option<usize> {
    let end = number.end();
    // Digits go on behind a sign that binds: `1.5`, `12-ab`.
    let glued = matches!(scan.byte(end), b'-' | b'_' | b'/') && scan.byte(end + 1).is_ascii_alphanumeric();
    let found = (!glued)
        .then(|| {
            card(scan, number).or_else(|| national::number(scan, number)).or_else(|| account(scan, number))
        })
        .flatten();
    if let Some((kind, confidence)) = found {
        let start = prefixed(scan, number.start(), kind);
        scan.add(kind, start..end, confidence);
        return Some(end);
    }
    contacts::national_phone(scan, number, start)
}

/// Where a number begins whose office puts letters in front: `MRN-4016436`.
fn prefixed(scan: &Scan<'_>, start: usize, kind: &str) -> usize {
    let lettered = kind == kinds::MEDICAL_RECORD || kind == kinds::NATIONAL_ID;
    let before = scan.before.filter(|before| before.end + 1 == start && scan.byte(before.end) == b'-');
    before
        .filter(|before| lettered && before.digits == 0 && before.len() <= 4)
        .map_or(start, |before| before.start)
}

/// A payment card: Luhn, and a length that its issuer uses (ISO/IEC 7812; ranges as the networks publish them).
fn card(scan: &Scan<'_>, number: &Number) -> Option<(&'static str, u8)> {
    let digits = number.digits();
    if !(12..=19).contains(&digits.len()) || !super::checks::luhn(digits) {
        return None;
    }
    let shape = number.shape();
    let grouped = matches!(shape.sizes(), [_] | [4, 4, 4, 1..=4] | [4, 6, 4 | 5] | [4, 4, 4, 4, 1..=3]);
    if !grouped || !matches!(number.separator, 0 | b' ' | b'-' | b'.' | b'\n') {
        return None;
    }
    let lead = digits.iter().take(6).fold(0_u32, |lead, digit| lead * 10 + u32::from(*digit));
    let usual = matches!(
        (lead, digits.len()),
        (400_000..=499_999, 13 | 16 | 19)
            | (510_000..=559_999 | 222_100..=272_099, 16)
            | (340_000..=349_999 | 370_000..=379_999, 15)
            | (300_000..=305_999 | 360_000..=369_999 | 380_000..=399_999, 14)
            | (601_100..=601_199 | 644_000..=659_999 | 622_126..=622_925, 16..=19)
            | (352_800..=358_999, 16)
            | (180_000..=180_099 | 213_100..=213_199, 15)
    );
    let announced = scan.near(Context::Card, number.start(), CONTEXT);
    let maestro = matches!(lead, 500_000..=509_999 | 560_000..=699_999);
    match (usual, maestro, announced) {
        (true, _, true) => Some((kinds::CARD, 98)),
        // Numbers of orders are long too, but nobody prints them as cards are printed.
        (true, _, false) if scan.near(Context::Reference, number.start(), CONTEXT) => {
            (number.parts > 1).then_some((kinds::CARD, 70))
        }
        (true, _, false) => Some((kinds::CARD, 85)),
        (false, true, true) => Some((kinds::CARD, 90)),
        (false, false, true) => Some((kinds::CARD, 75)),
        (false, _, false) => None,
    }
}

/// An account's number, where a word says that it is one.
fn account(scan: &Scan<'_>, number: &Number) -> Option<(&'static str, u8)> {
    // Two years with a hyphen are no account.
    let plain = number.parts == 1 || (matches!(number.separator, b'-' | b' ') && number.count > 9);
    let announced = scan.near(Context::Account, number.start(), 16);
    (announced && plain && (8..=17).contains(&number.count)).then_some((kinds::ACCOUNT, 75))
}
