//! Words of letters and digits: IBANs, wallets, ids with letters, passports, plates, VAT numbers.

use super::checks::{self, base58check, bech32, date, luhn, mod11_10, mod97, weighted};
use super::kinds;
use super::national::china_check;
use super::network;
use super::numbers::CONTEXT;
use super::scan::{Scan, Word};
use super::vocabulary::Context;

/// A word with a digit; where to go on if something was found.
pub(super) fn word(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if word.digits == word.len() {
        return None;
    }
    network::hex(scan, word.start)
        .or_else(|| iban(scan, word))
        .or_else(|| wallet(scan, word))
        .or_else(|| vat(scan, word))
        .or_else(|| identity(scan, word))
        .or_else(|| announced(scan, word))
}

/// Lengths of IBANs by country (SWIFT's IBAN registry).
const IBANS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NL", 18),
    (b"NO", 15),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"SA", 24),
    (b"SC", 31),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

fn iban(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    let lead = scan.slice(word.start..word.start + 4);
    let [a, b, c, d] = lead else { return None };
    if !(a.is_ascii_alphabetic() && b.is_ascii_alphabetic() && c.is_ascii_digit() && d.is_ascii_digit()) {
        return None;
    }
    let country = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
    let length = IBANS.iter().find(|(code, _)| **code == country)?.1;
    let mut letters = [0_u8; 34];
    let (mut count, mut at, mut group, mut printed) = (0, word.start, 0, true);
    while count < length {
        let byte = scan.byte(at);
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                *letters.get_mut(count)? = byte.to_ascii_uppercase();
                count += 1;
                at += 1;
                group += 1;
            }
            // Groups are parted by one sign; a line may break between them.
            b' ' | b'-' | b'.' | b'\n' | b'\r' | b'\t' if count >= 4 => {
                let next = scan.run_of(at, |byte| matches!(byte, b' ' | b'-' | b'.' | b'\n' | b'\r' | b'\t'));
                if next - at > 3 || !scan.byte(next).is_ascii_alphanumeric() {
                    return None;
                }
                printed &= group == 4;
                group = 0;
                at = next;
            }
            _ => return None,
        }
    }
    let (front, rest) = letters.get(..length)?.split_at_checked(4)?;
    // Words of a sentence are no groups of four.
    let sentence = !printed && !rest.iter().all(u8::is_ascii_digit);
    if sentence
        || scan.byte(at).is_ascii_alphanumeric()
        || mod97(rest.iter().chain(front).copied()) != Some(1)
    {
        return None;
    }
    scan.add(kinds::IBAN, word.start..at, 99);
    Some(at)
}

fn wallet(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if word.len() < 25 || word.len() > 90 {
        return None;
    }
    let text = scan.slice(word.start..word.end);
    let ether = text.len() == 42
        && text.starts_with(b"0x")
        && text.iter().skip(2).all(u8::is_ascii_hexdigit)
        && checks::entropy(text) > 2.5;
    let chain = |prefix: &str| {
        let data = text.strip_prefix(prefix.as_bytes()).and_then(|rest| rest.strip_prefix(b"1"));
        data.is_some_and(|data| bech32(prefix, data))
    };
    let found = ether
        || ["bc", "tb", "ltc", "cosmos", "addr"].into_iter().any(chain)
        || (text.len() <= 35
            && matches!(text.first(), Some(b'1' | b'3' | b'L' | b'M' | b'D' | b'T'))
            && base58check(text));
    found.then(|| {
        scan.add(kinds::WALLET, word.start..word.end, 95);
        word.end
    })
}

/// Whether a word has this form: `A` a letter, `9` a digit, `X` either.
fn fits(text: &[u8], form: &str) -> bool {
    text.len() == form.len()
        && text.iter().zip(form.bytes()).all(|(byte, sign)| match sign {
            b'A' => byte.is_ascii_uppercase(),
            b'9' => byte.is_ascii_digit(),
            _ => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        })
}

/// The digits of a word, letters left out.
fn digits(text: &[u8]) -> Vec<u8> {
    text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect()
}

/// VAT numbers of the European Union and the United Kingdom, by the forms and check digits of the VIES rules.
fn vat(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if !(10..=14).contains(&word.len()) {
        return None;
    }
    let text = scan.slice(word.start..word.end);
    let (country, body) = text.split_at_checked(2)?;
    let digits = digits(body);
    let all = digits.len() == body.len();
    let last = digits.last().copied().map_or(0, u32::from);
    let value = |count: usize| digits.iter().take(count).fold(0_u64, |v, digit| v * 10 + u64::from(*digit));
    let eleven = |weights: &[u32]| weighted(&digits, weights) % 11;
    // What the check digits say; `None`: they are not looked at, and a word must announce the number.
    let checked = match (country, body.len(), all) {
        (b"DE", 9, true) => Some(mod11_10(&digits)),
        (b"FR", 11, true) => Some({
            let siren = digits.iter().skip(2).fold(0_u64, |v, digit| v * 10 + u64::from(*digit));
            (12 + 3 * (siren % 97)) % 97 == value(2)
        }),
        (b"IT", 11, true) => Some(luhn(&digits)),
        (b"BE", 10, true) => Some(97 - value(8) % 97 == u64::from(last) + 10 * (value(9) % 10)),
        (b"PL", 10, true) => Some(eleven(&[6, 5, 7, 2, 3, 4, 5, 6, 7]) == last),
        (b"PT", 9, true) => Some(eleven(&[9, 8, 7, 6, 5, 4, 3, 2, 1]) == 0),
        (b"DK", 8, true) => Some(eleven(&[2, 7, 6, 5, 4, 3, 2, 1]) == 0),
        (b"FI", 8, true) => Some(eleven(&[7, 9, 10, 5, 8, 4, 2, 1]) == 0),
        (b"SE", 12, true) => Some(luhn(digits.get(..10).unwrap_or_default()) && value(12) % 100 == 1),
        (b"AT", 9, false) if body.starts_with(b"U") => None,
        (b"NL", 12, false) if body.get(9) == Some(&b'B') => None,
        (b"ES", 9, false) | (b"IE", 8 | 9, false) => None,
        (
            b"GB" | b"EL" | b"CZ" | b"HU" | b"RO" | b"BG" | b"HR" | b"LT" | b"LV" | b"EE" | b"LU" | b"MT"
            | b"CY" | b"SI" | b"SK",
            _,
            true,
        ) => None,
        _ => return None,
    };
    let confidence = match (checked, scan.near(Context::Tax, word.start, CONTEXT)) {
        (Some(false), _) | (None, false) => return None,
        (Some(true), true) => 97,
        (Some(true), false) => 75,
        (None, true) => 85,
    };
    scan.add(kinds::TAX_NUMBER, word.start..word.end, confidence);
    Some(word.end)
}

/// Ids with letters in them, by the check characters of the offices that give them.
fn identity(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if !(7..=18).contains(&word.len()) {
        return None;
    }
    let mut upper = [0_u8; 18];
    let text = scan.slice(word.start..word.end);
    for (to, from) in upper.iter_mut().zip(text) {
        *to = from.to_ascii_uppercase();
    }
    let text = upper.get(..text.len())?;
    let announced = scan.near(Context::NationalId, word.start, CONTEXT);
    let (kind, confidence, end) = match text.len() {
        7 => (kinds::NATIONAL_ID, hong_kong(scan, text, word.end)?, word.end + 3),
        8 | 9 => (kinds::NATIONAL_ID, nine(text, announced)?, word.end),
        10 => (
            kinds::TAX_NUMBER,
            india(text, announced || scan.near(Context::Tax, word.start, CONTEXT))?,
            word.end,
        ),
        16 => (kinds::NATIONAL_ID, italy(text).then_some(97)?, word.end),
        18 => (kinds::NATIONAL_ID, (mexico(text) || china(text)).then_some(96)?, word.end),
        _ => return None,
    };
    scan.add(kind, word.start..end, confidence);
    Some(end)
}

fn nine(text: &[u8], announced: bool) -> Option<u8> {
    let digits = digits(text);
    let value =
        digits.iter().fold(0_u32, |value, digit| value.wrapping_mul(10).wrapping_add(u32::from(*digit)));
    // United Kingdom (National Insurance): prefixes that are never given (HMRC, NIM39110).
    if fits(text, "AA999999A") && matches!(text.last(), Some(b'A'..=b'D')) {
        return british_prefix(text).then_some(if announced { 97 } else { 85 });
    }
    // Spain (DNI, NIE): modulus 23.
    const SPAIN: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let letter = |number: u32| SPAIN.get(number as usize % 23) == text.last();
    if fits(text, "99999999A") && letter(value) {
        return Some(if announced { 97 } else { 80 });
    }
    if fits(text, "A9999999A") {
        let foreigner = match text.first() {
            Some(b'X') => Some(0),
            Some(b'Y') => Some(10_000_000),
            Some(b'Z') => Some(20_000_000),
            _ => None,
        };
        if foreigner.is_some_and(|lead| letter(lead + value)) || singapore(text, &digits) {
            return Some(if announced { 97 } else { 90 });
        }
    }
    // Ireland (PPS): modulus 23.
    if announced && (fits(text, "9999999A") || fits(text, "9999999AA")) {
        let second = text.get(8).map_or(0, |letter| u32::from(letter - b'A' + 1) * 9);
        let check = (weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + second) % 23;
        let expected = if check == 0 { b'W' } else { b'A' + (check as u8) - 1 };
        return (text.get(7) == Some(&expected)).then_some(95);
    }
    None
}

fn british_prefix(text: &[u8]) -> bool {
    let [a, b, ..] = text else { return false };
    let never = b"DFIQUV";
    !never.contains(a)
        && !never.contains(b)
        && *b != b'O'
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[*a, *b])
}

/// A National Insurance number in its printed form, `AB 12 34 56 C`, of which the first two letters were read.
pub(super) fn british(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    let text = scan.slice(word.start..word.start + 13);
    let spaced = [2, 5, 8, 11].iter().all(|at| text.get(*at) == Some(&b' '));
    let joined: Vec<u8> = text.iter().copied().filter(|byte| *byte != b' ').collect();
    let end = word.start + 13;
    let right = spaced
        && fits(&joined, "AA999999A")
        && british_prefix(&joined)
        && matches!(joined.last(), Some(b'A'..=b'D'))
        && !scan.byte(end).is_ascii_alphanumeric();
    right.then(|| {
        scan.add(kinds::NATIONAL_ID, word.start..end, 95);
        end
    })
}

/// Singapore (NRIC, FIN): weights and a table of letters for each series.
fn singapore(text: &[u8], digits: &[u8]) -> bool {
    let (offset, table): (u32, &[u8; 11]) = match text.first() {
        Some(b'S') => (0, b"JZIHGFEDCBA"),
        Some(b'T') => (4, b"JZIHGFEDCBA"),
        Some(b'F') => (0, b"XWUTRQPNMLK"),
        Some(b'G') => (4, b"XWUTRQPNMLK"),
        _ => return false,
    };
    let sum = offset + weighted(digits, &[2, 7, 6, 5, 4, 3, 2]);
    table.get(sum as usize % 11) == text.last()
}

/// Hong Kong: a letter, six digits, and the check digit in parentheses.
fn hong_kong(scan: &Scan<'_>, text: &[u8], end: usize) -> Option<u8> {
    let [b'(', check, b')'] = scan.slice(end..end + 3) else { return None };
    if !fits(text, "A999999") {
        return None;
    }
    let letter = u32::from(text.first()? - b'A') + 10;
    let sum = 36 * 9 + letter * 8 + weighted(&digits(text), &[7, 6, 5, 4, 3, 2]);
    let expected = match (11 - sum % 11) % 11 {
        10 => b'A',
        digit => b'0' + (digit as u8),
    };
    (*check == expected).then_some(92)
}

/// India (PAN): five letters of which the fourth says whose it is, four digits, a letter.
fn india(text: &[u8], announced: bool) -> Option<u8> {
    let kind =
        matches!(text.get(3), Some(b'A' | b'B' | b'C' | b'F' | b'G' | b'H' | b'J' | b'L' | b'P' | b'T'));
    (fits(text, "AAAAA9999A") && kind).then_some(if announced { 97 } else { 75 })
}

/// Italy (codice fiscale): sums over odd and even places, modulus 26 (D.M. 23/12/1976).
fn italy(text: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let letters = text.iter().enumerate().all(|(at, byte)| match at {
        0..=5 | 8 | 11 | 15 => byte.is_ascii_uppercase(),
        // Digits are replaced by letters where two people would have the same code.
        _ => byte.is_ascii_digit() || b"LMNPQRSTUV".contains(byte),
    });
    let month = text.get(8).is_some_and(|month| b"ABCDEHLMPRST".contains(month));
    let sum: u32 = text
        .iter()
        .take(15)
        .enumerate()
        .map(|(at, byte)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte.wrapping_sub(b'A') };
            if at % 2 == 0 { ODD.get(usize::from(value)).copied().unwrap_or(0) } else { u32::from(value) }
        })
        .sum();
    letters && month && text.get(15).is_some_and(|check| u32::from(check - b'A') == sum % 26)
}

/// Mexico (CURP): weights from 18 down over a base of 37 signs.
fn mexico(text: &[u8]) -> bool {
    let sum = text.iter().take(17).zip((2..=18).rev()).map(|(byte, weight)| {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            // Ñ stands between N and O.
            b'A'..=b'N' => byte - b'A' + 10,
            _ => byte.wrapping_sub(b'A') + 11,
        };
        u32::from(value) * weight
    });
    let check = (10 - sum.sum::<u32>() % 10) % 10;
    fits(text, "AAAA999999AAAAAAX9")
        && matches!(text.get(10), Some(b'H' | b'M' | b'X'))
        && text.last().is_some_and(|last| u32::from(last - b'0') == check)
}

fn china(text: &[u8]) -> bool {
    let digits = digits(text);
    let value = |from: usize, count: usize| {
        digits.iter().skip(from).take(count).fold(0_u32, |value, digit| value * 10 + u32::from(*digit))
    };
    text.last() == Some(&b'X')
        && digits.len() == 17
        && date(Some(value(6, 4)), value(10, 2), value(12, 2))
        && china_check(&digits) == 10
}

/// What only a word in front makes an identifier: passports, driving licences, medical records, plates.
fn announced(scan: &mut Scan<'_>, word: &Word) -> Option<usize> {
    if word.digits < 2 || word.len() > 16 || word.len() < 4 {
        return None;
    }
    let capitals = scan
        .slice(word.start..word.end)
        .iter()
        .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let (start, length) = (word.start, word.len());
    let (kind, confidence) = if !capitals {
        return None;
    } else if scan.near(Context::Passport, start, CONTEXT) && (6..=9).contains(&length) && word.digits >= 4 {
        (kinds::PASSPORT, 88)
    } else if scan.near(Context::Driving, start, 24) && (6..=16).contains(&length) && word.digits >= 4 {
        (kinds::DRIVING_LICENCE, 75)
    } else if scan.near(Context::Medical, start, 16) && (5..=12).contains(&length) && word.digits >= 4 {
        (kinds::MEDICAL_RECORD, 80)
    } else if scan.near(Context::Plate, start, 24) && (4..=8).contains(&length) {
        (kinds::PLATE, 75)
    } else {
        return None;
    };
    let mut end = word.end;
    if kind == kinds::PLATE && matches!(scan.byte(end), b' ' | b'-') {
        let more = scan.run_of(end + 1, |byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        if (1..=4).contains(&(more - end - 1)) && !scan.byte(more).is_ascii_alphanumeric() {
            end = more;
        }
    }
    scan.add(kind, start..end, confidence);
    Some(end)
}
