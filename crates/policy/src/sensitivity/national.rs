//! National ids and tax numbers that are written in digits, by the rules of the offices that give them.
//!
//! Where check digits alone would let one in ten other numbers pass, a word that announces the number is asked for.

use super::checks::{date, luhn, mod11_10, verhoeff, weighted};
use super::kinds;
use super::numbers::{CONTEXT, Number};
use super::scan::Scan;
use super::vocabulary::Context;

type Verdict = Option<(&'static str, u8)>;

/// What is known about a number besides its digits.
struct Case<'a> {
    digits: &'a [u8],
    sizes: &'a [u8],
    separator: u8,
    /// A word before it says that it is somebody's number.
    announced: bool,
    taxed: bool,
}

impl Case<'_> {
    fn is(&self, sizes: &[u8], separators: &[u8]) -> bool {
        self.sizes == sizes && separators.contains(&self.separator)
    }

    fn plain(&self) -> bool {
        self.sizes.len() == 1
    }

    fn digit(&self, at: usize) -> u32 {
        self.digits.get(at).copied().map_or(0, u32::from)
    }

    /// The number that these digits make.
    fn value(&self, from: usize, count: usize) -> u32 {
        self.digits.iter().skip(from).take(count).fold(0, |value, digit| value * 10 + u32::from(*digit))
    }

    fn weighted(&self, weights: &[u32]) -> u32 {
        weighted(self.digits, weights)
    }

    /// A month and a day at these places, in a year whose century is not written.
    fn day(&self, month: usize, day: usize) -> bool {
        date(None, self.value(month, 2), self.value(day, 2))
    }
}

pub(super) fn number(scan: &Scan<'_>, number: &Number) -> Verdict {
    let shape = number.shape();
    let start = number.start();
    let case = Case {
        digits: number.digits(),
        sizes: shape.sizes(),
        separator: number.separator,
        announced: scan.near(Context::NationalId, start, CONTEXT),
        taxed: scan.near(Context::Tax, start, CONTEXT),
    };
    if case.plain() && (7..=9).contains(&number.count) && scan.near(Context::Passport, start, CONTEXT) {
        return Some((kinds::PASSPORT, 85));
    }
    if scan.near(Context::Medical, start, 16) && case.plain() && (5..=12).contains(&number.count) {
        return Some((kinds::MEDICAL_RECORD, 85));
    }
    let known = match number.count {
        9 => nine(&case),
        10 => ten(&case),
        11 => eleven(&case),
        12 => twelve(&case),
        13 => thirteen(&case),
        14 => fourteen(&case),
        15 => france(&case),
        18 => china(&case),
        _ => None,
    };
    known.or_else(|| tax(&case)).or_else(|| driving(scan, &case, start))
}

fn id(confidence: u8) -> Verdict {
    Some((kinds::NATIONAL_ID, confidence))
}

/// The verdict where check digits are weak: only with a word in front.
fn announced(case: &Case<'_>, right: bool) -> Verdict {
    (right && case.announced).then_some((kinds::NATIONAL_ID, 95))
}

/// The verdict where the form or the check digits are strong enough by themselves.
fn strong(case: &Case<'_>, right: bool) -> Verdict {
    right.then_some((kinds::NATIONAL_ID, if case.announced { 97 } else { 85 }))
}

fn nine(case: &Case<'_>) -> Verdict {
    // United States: area, group and serial are never zero, area 666 is not given, and from 900 on they are tax numbers (SSA, IRS).
    let (area, group, serial) = (case.value(0, 3), case.value(3, 2), case.value(5, 4));
    let given = area != 0 && area != 666 && group != 0 && serial != 0;
    if case.is(&[3, 2, 4], b"-") || (case.announced && case.is(&[3, 2, 4], b" .")) {
        return match (given, area >= 900, case.announced) {
            (false, ..) => None,
            (true, true, false) => Some((kinds::TAX_NUMBER, 75)),
            (true, _, true) => id(95),
            (true, false, false) => id(85),
        };
    }
    // Netherlands (BSN): the eleven test. Canada (SIN) and Israel: Luhn. Portugal (NIF): modulus 11.
    let bsn = (case.weighted(&[9, 8, 7, 6, 5, 4, 3, 2]) + 10 * case.digit(8)).is_multiple_of(11);
    let nif = modulus11(case.weighted(&[9, 8, 7, 6, 5, 4, 3, 2])) == case.digit(8);
    let checked = bsn || luhn(case.digits) || nif;
    if case.announced && (case.plain() || case.is(&[3, 3, 3], b" -.")) {
        // American ones have no check digit.
        return if checked || (case.plain() && given) { id(if checked { 95 } else { 80 }) } else { None };
    }
    (case.taxed && case.plain() && checked).then_some((kinds::TAX_NUMBER, 85))
}

/// 11 less the remainder, where 10 and 11 count as 0.
fn modulus11(sum: u32) -> u32 {
    match 11 - sum % 11 {
        10 | 11 => 0,
        check => check,
    }
}

fn ten(case: &Case<'_>) -> Verdict {
    // United Kingdom (NHS number): modulus 11.
    let nhs = modulus11(case.weighted(&[10, 9, 8, 7, 6, 5, 4, 3, 2])) == case.digit(9);
    if case.announced && nhs && (case.plain() || case.is(&[3, 3, 4], b" -")) {
        return id(95);
    }
    let (by_year, by_day) = (case.day(2, 4), case.day(2, 0));
    // Sweden (personnummer): a date and Luhn; coordination numbers add 60 to the day.
    let sixty = date(None, case.value(2, 2), case.value(4, 2).saturating_sub(60));
    if case.is(&[6, 4], b"-+") && luhn(case.digits) && (by_year || sixty) {
        return strong(case, true);
    }
    // Czechia and Slovakia (rodné číslo): divisible by 11; women's months have 50 added, full series 20 more.
    let whole = case.digits.iter().fold(0_u64, |value, digit| value * 10 + u64::from(*digit));
    let month = case.value(2, 2);
    let months = [month, month.saturating_sub(20), month.saturating_sub(50), month.saturating_sub(70)];
    if case.is(&[6, 4], b"/")
        && whole.is_multiple_of(11)
        && months.iter().any(|m| date(None, *m, case.value(4, 2)))
    {
        return strong(case, true);
    }
    // Iceland (kennitala): a date and modulus 11. Denmark (CPR): a date only. Austria: modulus 11 in the fourth place.
    let iceland = by_day && modulus11(case.weighted(&[3, 2, 7, 6, 5, 4, 3, 2])) == case.digit(8);
    let austria = case.weighted(&[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11 == case.digit(3) && case.day(6, 4);
    let bulgaria = case.weighted(&[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == case.digit(9);
    let usual = case.plain() || case.is(&[6, 4], b"- ") || case.is(&[4, 6], b" ");
    if usual && (iceland || austria || by_day || (bulgaria && case.plain()) || (by_year && luhn(case.digits)))
    {
        return announced(case, true);
    }
    None
}

fn eleven(case: &Case<'_>) -> Verdict {
    // Brazil (CPF): two check digits, modulus 11.
    let check = |weights: &[u32]| case.weighted(weights) * 10 % 11 % 10;
    let same = case.digits.iter().all(|digit| u32::from(*digit) == case.digit(0));
    let cpf = !same
        && check(&[10, 9, 8, 7, 6, 5, 4, 3, 2]) == case.digit(9)
        && check(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) == case.digit(10);
    if cpf && (case.is(&[3, 3, 3, 2], &[0]) || (case.plain() && (case.announced || case.taxed))) {
        return strong(case, true);
    }
    // Norway (fødselsnummer): a date and two check digits; D-numbers add 40 to the day.
    let day = case.value(0, 2);
    let norway = modulus11(case.weighted(&[3, 7, 6, 1, 8, 9, 4, 5, 2])) == case.digit(9)
        && modulus11(case.weighted(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2])) == case.digit(10)
        && date(None, case.value(2, 2), if day > 40 { day - 40 } else { day });
    if norway && (case.plain() || case.is(&[6, 5], b" ")) {
        return strong(case, true);
    }
    // Belgium: the rest of 97, with a 2 in front for those born since 2000.
    let (body, key) = (u64::from(case.value(0, 9)), u64::from(case.value(9, 2)));
    let belgium = (97 - body % 97 == key || 97 - (2_000_000_000 + body) % 97 == key) && case.day(2, 4);
    if belgium && (case.is(&[2, 2, 2, 3, 2], &[0, b'.']) || (case.plain() && case.announced)) {
        return strong(case, true);
    }
    // Argentina (CUIT): modulus 11.
    let cuit = modulus11(case.weighted(&[5, 4, 3, 2, 7, 6, 5, 4, 3, 2])) == case.digit(10);
    if cuit && case.is(&[2, 8, 1], b"-") {
        return Some((kinds::TAX_NUMBER, 90));
    }
    // Turkey: two check digits.
    let (odd, even) =
        (case.weighted(&[1, 0, 1, 0, 1, 0, 1, 0, 1]), case.weighted(&[0, 1, 0, 1, 0, 1, 0, 1, 0]));
    let turkey = case.digit(0) != 0
        && (7 * odd + 90 - even) % 10 == case.digit(9)
        && weighted(case.digits, &[1; 10]) % 10 == case.digit(10);
    // Germany (Steuer-Identifikationsnummer) and Croatia (OIB): ISO 7064 MOD 11,10. Poland (PESEL): weights and a date.
    let pesel = (10 - case.weighted(&[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10 == case.digit(10)
        && date(None, case.value(2, 2) % 20, case.value(4, 2));
    // Estonia and Lithuania: a date and modulus 11 in two rounds.
    let first = case.weighted(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
    let second = case.weighted(&[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
    let baltic = (if first < 10 { first } else { second }) == case.digit(10) && case.day(3, 5);
    let checked = turkey || mod11_10(case.digits) || pesel || baltic || cuit;
    let usual = case.plain() || case.is(&[2, 3, 3, 3], b" ");
    if usual && checked && (case.announced || case.taxed) {
        return id(95);
    }
    None
}

fn twelve(case: &Case<'_>) -> Verdict {
    // India (Aadhaar): Verhoeff, and the first digit is neither 0 nor 1. Japan (My Number): modulus 11.
    let india = case.digit(0) > 1 && verhoeff(case.digits);
    let japan = {
        let sum = case.weighted(&[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
        (if sum % 11 <= 1 { 0 } else { 11 - sum % 11 }) == case.digit(11)
    };
    if case.plain() || case.is(&[4, 4, 4], b" -") {
        let right = announced(case, india || japan);
        if right.is_some() {
            return right;
        }
    }
    // Sweden with the century.
    let sweden = case.is(&[8, 4], b"-")
        && luhn(case.digits.get(2..).unwrap_or_default())
        && date(Some(case.value(0, 4)), case.value(4, 2), case.value(6, 2));
    strong(case, sweden)
}

fn thirteen(case: &Case<'_>) -> Verdict {
    // Switzerland (AHV): EAN-13 with the country's 756. Thailand: modulus 11.
    let ean = (10 - case.weighted(&[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]) % 10) % 10 == case.digit(12);
    if ean && case.value(0, 3) == 756 && (case.is(&[3, 4, 4, 2], b".") || (case.plain() && case.announced)) {
        return strong(case, true);
    }
    let thai = (11 - case.weighted(&[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 10 == case.digit(12);
    if thai && (case.is(&[1, 4, 5, 2, 1], b"- ") || (case.plain() && case.announced)) {
        return strong(case, true);
    }
    // South Korea: a date, and the century and sex in one digit.
    if case.is(&[6, 7], b"-") && case.day(2, 4) && (1..=8).contains(&case.digit(6)) {
        return strong(case, true);
    }
    // South Africa: a date, citizenship, Luhn. Romania (CNP): a date and modulus 11. Serbia (JMBG): a date and modulus 11.
    let africa = case.day(2, 4) && case.digit(10) <= 2 && luhn(case.digits);
    let control = case.weighted(&[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    let romania = case.digit(0) != 0
        && case.day(3, 5)
        && (1..=52).contains(&case.value(7, 2))
        && (if control == 10 { 1 } else { control }) == case.digit(12);
    let serbia = case.day(2, 0)
        && matches!(case.value(4, 3), 900..=999 | 0..=30)
        && modulus11(case.weighted(&[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2])) == case.digit(12);
    // Times in milliseconds have thirteen digits too, and begin with 1.
    let unlike_time = case.digit(0) != 1 || case.announced;
    let shaped = case.plain() || case.is(&[6, 4, 3], b" ") || case.is(&[6, 4, 2, 1], b" ");
    strong(case, shaped && unlike_time && (africa || romania || serbia))
}

fn fourteen(case: &Case<'_>) -> Verdict {
    // Brazil (CNPJ): two check digits, modulus 11.
    let check = |weights: &[u32]| modulus11(case.weighted(weights));
    let cnpj = check(&[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]) == case.digit(12)
        && check(&[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]) == case.digit(13);
    // France (SIRET): Luhn.
    let siret = luhn(case.digits) && (case.plain() || case.is(&[3, 3, 3, 5], b" ")) && case.taxed;
    let shaped = case.is(&[2, 3, 3, 4, 2], &[0]) || (case.plain() && case.taxed);
    ((cnpj && shaped) || siret).then_some((kinds::TAX_NUMBER, 90))
}

fn france(case: &Case<'_>) -> Verdict {
    // NIR: 97 less the rest of 97, after sex, year and month.
    let body = case.digits.iter().take(13).fold(0_u64, |value, digit| value * 10 + u64::from(*digit));
    let month = matches!(case.value(3, 2), 1..=12 | 20..=42 | 50..=99);
    let right =
        matches!(case.digit(0), 1 | 2 | 7 | 8) && month && 97 - body % 97 == u64::from(case.value(13, 2));
    let shaped = case.is(&[1, 2, 2, 2, 3, 3, 2], b" .-");
    strong(case, right && (shaped || case.is(&[13, 2], b" ") || (case.plain() && case.announced)))
}

/// ISO 7064 MOD 11-2 over 17 digits; the check character stands apart where it is an X.
pub(super) fn china_check(digits: &[u8]) -> u32 {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    (12 - weighted(digits, &WEIGHTS) % 11) % 11
}

fn china(case: &Case<'_>) -> Verdict {
    let born = date(Some(case.value(6, 4)), case.value(10, 2), case.value(12, 2));
    strong(case, case.plain() && born && china_check(case.digits) == case.digit(17))
}

fn tax(case: &Case<'_>) -> Verdict {
    let ein = case.is(&[2, 7], b"-");
    let german = case.separator == b'/' && (10..=13).contains(&case.digits.len());
    let polish = case.digits.len() == 10
        && case.weighted(&[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == case.digit(9)
        && (case.plain() || case.separator == b'-');
    (case.taxed && (ein || german || polish || (case.plain() && (9..=12).contains(&case.digits.len()))))
        .then_some((kinds::TAX_NUMBER, 80))
}

fn driving(scan: &Scan<'_>, case: &Case<'_>, start: usize) -> Verdict {
    let shaped = case.plain() || case.separator == b'-';
    let announced = scan.near(Context::Driving, start, 24);
    (announced && shaped && (7..=13).contains(&case.digits.len())).then_some((kinds::DRIVING_LICENCE, 70))
}

/// What begins with digits and ends in a letter or after a dash: Finland (henkilötunnus) and Chile (RUT). Where it ends.
pub(super) fn lettered(scan: &mut Scan<'_>, number: &Number) -> Option<usize> {
    let (start, first) = (number.start(), number.groups.first()?.1);
    if first - start == 6 && matches!(scan.byte(first), b'-' | b'+' | b'A'..=b'F' | b'U'..=b'Y') {
        return finland(scan, start);
    }
    let rut = number.parts >= 3 && matches!(number.shape().sizes(), [1 | 2, 3, 3, ..]);
    let third = number.groups.get(2)?.1;
    if rut && scan.byte(first) == b'.' && scan.byte(third) == b'-' {
        return chile(scan, number, third);
    }
    None
}

fn finland(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    const LETTERS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let text = scan.slice(start..start + 11);
    let (date_part, serial) = (text.get(..6)?, text.get(7..10)?);
    let value = |digits: &[u8]| {
        digits.iter().try_fold(0_u32, |value, byte| Some(value * 10 + char::from(*byte).to_digit(10)?))
    };
    let (day, month) = (value(date_part.get(..2)?)?, value(date_part.get(2..4)?)?);
    let whole = value(date_part)? * 1000 + value(serial)?;
    let check = LETTERS.get(whole as usize % 31)?;
    let right = date(None, month, day) && text.get(10) == Some(check);
    if !right || scan.byte(start + 11).is_ascii_alphanumeric() {
        return None;
    }
    scan.add(kinds::NATIONAL_ID, start..start + 11, 92);
    Some(start + 11)
}

fn chile(scan: &mut Scan<'_>, number: &Number, third: usize) -> Option<usize> {
    let groups = number.groups.iter().take(3);
    let count: usize = groups.map(|(start, end)| end - start).sum();
    let body = number.digits.get(..count)?;
    let weights = [2, 3, 4, 5, 6, 7, 2, 3];
    let sum: u32 = body.iter().rev().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    let expected = match 11 - sum % 11 {
        11 => b'0',
        10 => b'K',
        check => b'0' + (check as u8),
    };
    let right = scan.byte(third + 1).to_ascii_uppercase() == expected
        && !scan.byte(third + 2).is_ascii_alphanumeric();
    right.then(|| {
        scan.add(kinds::NATIONAL_ID, number.start()..third + 2, 90);
        third + 2
    })
}
