//! Check digits. Each function takes digits as values 0 to 9 unless it says otherwise, and names its source.

/// Luhn's formula (ISO/IEC 7812-1, annex B): the last digit is the check digit.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let mut sum = 0_u32;
    for (place, digit) in digits.iter().rev().enumerate() {
        let digit = u32::from(*digit);
        sum += match place % 2 {
            0 => digit,
            _ if digit > 4 => 2 * digit - 9,
            _ => 2 * digit,
        };
    }
    digits.len() > 1 && sum.is_multiple_of(10)
}

/// ISO/IEC 7064 MOD 97-10 over letters and digits, letters as 10 to 35: the remainder.
pub(super) fn mod97(text: impl Iterator<Item = u8>) -> Option<u32> {
    let mut rest = 0_u32;
    for byte in text {
        rest = match byte {
            b'0'..=b'9' => rest * 10 + u32::from(byte - b'0'),
            b'A'..=b'Z' => rest * 100 + u32::from(byte - b'A') + 10,
            b'a'..=b'z' => rest * 100 + u32::from(byte - b'a') + 10,
            _ => return None,
        } % 97;
    }
    Some(rest)
}

/// ISO/IEC 7064 MOD 11,10: the last digit is the check digit (German tax ids, Croatian OIB, German VAT numbers).
pub(super) fn mod11_10(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let mut product = 10_u32;
    for digit in body {
        let sum = match (u32::from(*digit) + product) % 10 {
            0 => 10,
            sum => sum,
        };
        product = (sum * 2) % 11;
    }
    (11 - product) % 10 == u32::from(*check)
}

/// Verhoeff's scheme (J. Verhoeff, Error Detecting Decimal Codes, 1969): the last digit is the check digit.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    /// The powers of the permutation (1 5 8 9 4 2 7 0)(3 6).
    const PERMUTED: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let mut state = 0_u8;
    for (place, digit) in digits.iter().rev().enumerate() {
        let row = PERMUTED.get(place % 8);
        let Some(permuted) = row.and_then(|row| row.get(usize::from(*digit))) else { return false };
        state = dihedral(state, *permuted);
    }
    digits.len() > 1 && state == 0
}

/// Multiplication in the dihedral group of order ten: 0 to 4 turn, 5 to 9 turn and flip.
fn dihedral(left: u8, right: u8) -> u8 {
    let (turn, by) = (left % 5, right % 5);
    match (left < 5, right < 5) {
        (true, true) => (turn + by) % 5,
        (true, false) => (turn + by) % 5 + 5,
        (false, true) => (turn + 5 - by) % 5 + 5,
        (false, false) => (turn + 5 - by) % 5,
    }
}

/// The sum of digits times weights.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// Whether there is such a day. Years from 1850 to 2099; `None` for the year accepts 29 February.
pub(super) fn date(year: Option<u32>, month: u32, day: u32) -> bool {
    let leap = year.is_none_or(|year| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    year.is_none_or(|year| (1850..2100).contains(&year)) && (1..=days).contains(&day)
}

/// Shannon entropy of the bytes, in bits for each.
pub(super) fn entropy(bytes: &[u8]) -> f32 {
    let mut counts = [0_u16; 256];
    for byte in bytes.iter().take(usize::from(u16::MAX)) {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = bytes.len().min(usize::from(u16::MAX)) as f32;
    let part = |count: u16| {
        let share = f32::from(count) / total;
        -share * share.log2()
    };
    counts.into_iter().filter(|count| *count > 0).map(part).sum()
}

/// The five-bit groups of a bech32 text (BIP 173 and BIP 350), its prefix in front: whether the checksum is right.
pub(super) fn bech32(prefix: &str, data: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const BECH32: u32 = 1;
    const BECH32M: u32 = 0x2bc8_30a3;
    let step = |state: u32, value: u32| {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = state >> 25;
        let mut next = ((state & 0x1ff_ffff) << 5) ^ value;
        for (bit, term) in GENERATOR.iter().enumerate() {
            if (top >> bit) & 1 == 1 {
                next ^= term;
            }
        }
        next
    };
    let mut state = 1;
    for byte in prefix.bytes() {
        state = step(state, u32::from(byte >> 5));
    }
    state = step(state, 0);
    for byte in prefix.bytes() {
        state = step(state, u32::from(byte & 31));
    }
    for byte in data {
        let Some(value) = ALPHABET.iter().position(|letter| *letter == byte.to_ascii_lowercase()) else {
            return false;
        };
        state = step(state, u32::try_from(value).unwrap_or_default());
    }
    state == BECH32 || state == BECH32M
}

/// Base58Check: the last four bytes are the first of the doubled SHA-256 of the others. At most 64 characters.
pub(super) fn base58check(text: &[u8]) -> bool {
    use sha2::{Digest, Sha256};
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    if text.len() > 64 {
        return false;
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(48);
    for byte in text {
        let Some(value) = ALPHABET.iter().position(|letter| letter == byte) else { return false };
        let mut carry = u32::try_from(value).unwrap_or_default();
        for digit in &mut bytes {
            carry += u32::from(*digit) * 58;
            *digit = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push((carry & 0xff) as u8);
        }
    }
    bytes.extend(text.iter().take_while(|byte| **byte == b'1').map(|_| 0));
    bytes.reverse();
    let Some((body, check)) = bytes.split_last_chunk::<4>() else { return false };
    let digest = Sha256::digest(Sha256::digest(body));
    !body.is_empty() && digest.starts_with(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
    }

    #[test]
    fn published_examples_pass_and_any_changed_digit_fails() {
        let all_changed_fail = |text: &str, check: fn(&[u8]) -> bool| {
            let right = digits(text);
            assert!(check(&right), "{text}");
            for place in 0..right.len() {
                let mut wrong = right.clone();
                wrong[place] = (wrong[place] + 1) % 10;
                assert!(!check(&wrong), "{wrong:?}");
            }
        };
        all_changed_fail("4111 1111 1111 1111", luhn);
        all_changed_fail("12345678903", mod11_10);
        all_changed_fail("2363", verhoeff);
        all_changed_fail("1428570", verhoeff);
    }

    #[test]
    fn the_iban_of_the_standard_has_remainder_one() {
        let moved = |iban: &str| mod97(iban[4..].bytes().chain(iban[..4].bytes()));
        assert_eq!(moved("GB82WEST12345698765432"), Some(1));
        assert_ne!(moved("GB82WEST12345698765433"), Some(1));
    }

    #[test]
    fn addresses_of_the_bitcoin_proposals_pass() {
        assert!(bech32("bc", b"qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"));
        assert!(!bech32("bc", b"qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5"));
        assert!(base58check(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"));
        assert!(!base58check(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb"));
    }

    #[test]
    fn days_that_are_not_there_are_no_dates() {
        assert!(date(Some(2000), 2, 29) && !date(Some(1900), 2, 29) && date(None, 2, 29));
        assert!(!date(Some(2001), 4, 31) && !date(Some(2001), 13, 1) && !date(Some(2001), 0, 1));
    }

    #[test]
    fn entropy_is_bits_for_each_byte() {
        assert_eq!(entropy(b"aaaa"), 0.0);
        assert_eq!(entropy(b"abcdabcd"), 2.0);
    }
}
