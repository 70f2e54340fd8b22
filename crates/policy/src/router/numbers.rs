//! Numbers in a text, and sums that it does: `16 - 3 = 13`.

/// A number as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// What it is worth, without percent sign.
    pub(super) value: f64,
    /// Whether a percent sign follows.
    pub(super) percent: bool,
    /// Digits behind the point.
    pub(super) decimals: u32,
    /// Where it ends, in bytes.
    pub(super) end: usize,
}

/// Numbers of one text that are looked at: a table of figures has no more to say than its beginning.
const MOST: usize = 400;

/// The numbers of a text in order. Commas between groups of three digits belong to a number, a sign does not.
pub(super) fn numbers(text: &str) -> impl Iterator<Item = Number> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = text.get(at..)?.find(|c: char| c.is_ascii_digit())?;
        let number = number_at(text, at + found)?;
        at = number.end;
        Some(number)
    })
    .take(MOST)
}

/// The number that begins with the digit at a place.
pub(super) fn number_at(text: &str, at: usize) -> Option<Number> {
    let rest = text.get(at..)?.as_bytes();
    let digit = |i: usize| rest.get(i).is_some_and(u8::is_ascii_digit);
    let (mut value, mut decimals, mut i) = (0.0, 0, 0);
    while digit(i) || group(rest, i) {
        if let Some(digit) = rest.get(i).filter(|byte| byte.is_ascii_digit()) {
            value = value * 10.0 + f64::from(digit - b'0');
        }
        i += 1;
    }
    if i == 0 {
        return None;
    }
    if rest.get(i) == Some(&b'.') && digit(i + 1) {
        i += 1;
        while let Some(digit) = rest.get(i).filter(|byte| byte.is_ascii_digit()) {
            value = value * 10.0 + f64::from(digit - b'0');
            decimals += 1;
            i += 1;
        }
    }
    let value = value / power_of_ten(decimals);
    let percent = rest.get(i) == Some(&b'%') || rest.get(i..i + 2) == Some(b"\\%");
    // More digits than a number can have make none.
    value.is_finite().then_some(Number { value, percent, decimals, end: at + i })
}

/// Ten to some power, by products: exact up to 22, and the same on every machine.
fn power_of_ten(power: u32) -> f64 {
    (0..power.min(300)).fold(1.0, |product, _| product * 10.0)
}

/// Whether a comma begins a group of exactly three digits.
fn group(rest: &[u8], comma: usize) -> bool {
    let digit = |i: usize| rest.get(i).is_some_and(u8::is_ascii_digit);
    rest.get(comma) == Some(&b',') && comma > 0 && (1..=3).all(|i| digit(comma + i)) && !digit(comma + 4)
}

/// A sum that a text does: what stands before an equals sign, and what the text says it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sum {
    /// The numbers that go in.
    pub(super) operands: Vec<f64>,
    /// What the text says comes out.
    pub(super) result: f64,
    /// Whether that is what comes out, but for rounding.
    pub(super) right: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    Number(Number),
    Sign(char),
    Word,
}

/// Bytes before an equals sign that are looked at: a longer sum is one that nobody reads.
const BEFORE: usize = 120;
/// Sums of one text that are looked at.
const MOST_SUMS: usize = 100;

/// The sums of a text in order. Only those without brackets; words between the numbers (`3 eggs + 4 eggs = 7`) are passed over.
pub(super) fn sums(text: &str) -> impl Iterator<Item = Sum> {
    text.match_indices('=').filter_map(move |(at, _)| sum(text, at)).take(MOST_SUMS)
}

fn sum(text: &str, equals: usize) -> Option<Sum> {
    let mut begin = equals.saturating_sub(BEFORE);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    let before = text.get(begin..equals)?;
    let before = before.rsplit(['=', '\n', ';']).next()?;
    let (negative, result) = result(text.get(equals + 1..)?)?;
    let pieces = pieces(before)?;
    let terms = last_expression(&pieces);
    if terms.len() < 3 {
        return None;
    }
    let operands: Vec<f64> = terms
        .iter()
        .filter_map(|piece| match piece {
            Piece::Number(number) => Some(number.value),
            _ => None,
        })
        .collect();
    let stated = if negative { -result.value } else { result.value };
    let near = |value: f64| {
        let rounding = 0.51 / power_of_ten(result.decimals);
        // Whole numbers are rounded only where a division came before.
        let rounding = if result.decimals == 0 && value.fract().abs() < 1e-9 { 1e-6 } else { rounding };
        (value - stated).abs() <= rounding.max(1e-9 * stated.abs())
    };
    let [as_is, as_share] = [false, true].map(|share| evaluate(&terms, share));
    let in_percent = as_share.filter(|_| result.percent).map(|value| value * 100.0);
    let right = [as_is, as_share, in_percent].into_iter().flatten().any(near);
    Some(Sum { operands, result: stated, right })
}

/// The number behind an equals sign: `$13`, `-4`, ` 2.5`.
fn result(after: &str) -> Option<(bool, Number)> {
    let trimmed = after.trim_start_matches([' ', '$', '€', '£']);
    let (negative, trimmed) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start_matches([' ', '$'])),
        None => (false, trimmed),
    };
    Some((negative, number_at(trimmed, 0)?))
}

/// Numbers, signs and words. `None`: there are brackets around numbers, which this does not do.
fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let mut next = at + first.len_utf8();
        match first {
            '0'..='9' => {
                let number = number_at(text, at)?;
                next = number.end;
                pieces.push(Piece::Number(number));
            }
            '+' | '*' | '/' | '-' => pieces.push(Piece::Sign(first)),
            '×' | '·' | '⋅' => pieces.push(Piece::Sign('*')),
            '÷' => pieces.push(Piece::Sign('/')),
            '−' | '–' => pieces.push(Piece::Sign('-')),
            '(' => {
                // A remark in brackets is a word; a sum in brackets is beyond this.
                let inside = text.get(next..)?.split(')').next()?;
                if inside.contains(|c: char| c.is_ascii_digit()) {
                    return None;
                }
                next = (next + inside.len() + 1).min(text.len());
                pieces.push(Piece::Word);
            }
            c if c.is_alphabetic() => {
                let word = text.get(at..)?.split(|c: char| !c.is_alphabetic()).next()?;
                next = at + word.len();
                pieces.push(if word == "x" || word == "times" { Piece::Sign('*') } else { Piece::Word });
            }
            _ => {}
        }
        at = next;
    }
    Some(pieces)
}

/// Words that may stand behind a number before its sign: `4 fresh eggs + 3`.
const MOST_WORDS: usize = 3;

/// The longest run of number, sign, number, … at the end, in order and without words.
fn last_expression(pieces: &[Piece]) -> Vec<Piece> {
    let mut terms = Vec::new();
    let mut words = 0;
    for &piece in pieces.iter().rev() {
        let want_number = terms.len() % 2 == 0;
        match piece {
            Piece::Word if words < MOST_WORDS => words += 1,
            Piece::Number(_) if want_number => {
                terms.push(piece);
                words = 0;
            }
            Piece::Sign(_) if !want_number => {
                terms.push(piece);
                words = 0;
            }
            _ => break,
        }
    }
    if terms.len() % 2 == 0 {
        terms.pop();
    }
    terms.reverse();
    terms
}

/// What comes out, products before sums. With `share`, percent signs count.
fn evaluate(terms: &[Piece], share: bool) -> Option<f64> {
    let mut sum = 0.0;
    let mut product: Option<f64> = None;
    let mut sign = '+';
    let mut outer = 1.0;
    for &term in terms {
        match term {
            Piece::Sign(next) => sign = next,
            Piece::Number(number) => {
                let value = if share && number.percent { number.value / 100.0 } else { number.value };
                match (product, sign) {
                    (Some(left), '*') => product = Some(left * value),
                    (Some(left), '/') => product = Some(left / value),
                    (left, sign) => {
                        sum += outer * left.unwrap_or(0.0);
                        outer = if sign == '-' { -1.0 } else { 1.0 };
                        product = Some(value);
                    }
                }
            }
            Piece::Word => return None,
        }
    }
    Some(sum + outer * product?).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<f64> {
        numbers(text).map(|number| number.value).collect()
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(found("16 eggs, 1,234.5 kg and 20%"), [16.0, 1234.5, 20.0]);
        assert_eq!(found("1,2 or 10,0000 at 3."), [1.0, 2.0, 10.0, 0.0, 3.0]);
        assert_eq!(found("none – ½"), Vec::<f64>::new());
        assert!(numbers("20%").all(|number| number.percent));
        assert_eq!(numbers(&"1 ".repeat(9_999)).count(), MOST);
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&[f64], f64, bool)]) {
        let found: Vec<_> = sums(text).map(|sum| (sum.operands, sum.result, sum.right)).collect();
        let expected: Vec<_> =
            expected.iter().map(|&(of, result, right)| (of.to_vec(), result, right)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn sums_are_done_again() {
        check("16 - 3 = 13 and 13 − 4 = 8", &[(&[16.0, 3.0], 13.0, true), (&[13.0, 4.0], 8.0, false)]);
        check("9 * $2 = $<<9*2=18>>18.", &[(&[9.0, 2.0], 18.0, true)]);
        check("9 (eggs sold) * $2 (price per egg) = $18", &[(&[9.0, 2.0], 18.0, true)]);
        check("She has 3 eggs + 4 eggs = 7 eggs", &[(&[3.0, 4.0], 7.0, true)]);
        check("2 + 3 * 4 - 5 = 9", &[(&[2.0, 3.0, 4.0, 5.0], 9.0, true)]);
        check("x = 2 * 3 = 6", &[(&[2.0, 3.0], 6.0, true)]);
        check("3 - 5 = -2", &[(&[3.0, 5.0], -2.0, true)]);
    }

    #[test]
    fn rounding_and_percent_are_no_mistake() {
        check("10 / 3 = 3.33", &[(&[10.0, 3.0], 3.33, true)]);
        check("10 / 3 = 3.4", &[(&[10.0, 3.0], 3.4, false)]);
        check("20% * 50 = 10", &[(&[20.0, 50.0], 10.0, true)]);
        check("5 / 20 = 25%", &[(&[5.0, 20.0], 25.0, true)]);
        check("5 / 20 = 25", &[(&[5.0, 20.0], 25.0, false)]);
        check("1 / 0 = 0", &[(&[1.0, 0.0], 0.0, false)]);
    }

    #[test]
    fn what_is_no_sum_is_passed_over() {
        for text in ["a == b", "x = 5", "(1 + 2) * 3 = 9", "fn f() -> u8 { x = y }", "=", "3 = 3", "é= 4"] {
            check(text, &[]);
        }
    }
}
