//! Statistics of an answer, most of them asked together with its request.

use inshore_domain::FinishReason;

use super::{Answer, flag, ln, log, share, words};
use crate::router::agreement::{Final, Place, as_json, final_answer, marks};
use crate::router::numbers::{Number, Sum, numbers as numbers_of, sums};

/// How many there are.
pub(super) const NUMBERS: usize = SHAPE + FINAL + SUMS + MANNER + TOKENS;
const SHAPE: usize = 10;
const FINAL: usize = 14;
const SUMS: usize = 14;
const MANNER: usize = 8;
const TOKENS: usize = 5;

/// Where numbers stand that the prior asks for.
pub(in crate::router) mod place {
    /// The share of runs of words that were there before.
    pub(in crate::router) const REPEATED: usize = 6;
    /// Whether the answer was cut off.
    pub(in crate::router) const CUT: usize = 7;
    /// Whether it comes down to nothing.
    pub(in crate::router) const NO_FINAL: usize = super::SHAPE;
    /// Whether it says what is final.
    pub(in crate::router) const MARKED: usize = super::SHAPE + 1;
    /// The share of its sums that are wrong.
    pub(in crate::router) const WRONG_SUMS: usize = super::SHAPE + super::FINAL + 4;
    /// The mean log-probability of its tokens.
    pub(in crate::router) const MEAN_LOGPROB: usize = super::NUMBERS - super::TOKENS + 1;
}

pub(super) fn numbers(prompt: &str, text: &str, answer: &Answer<'_>) -> Vec<f32> {
    let mut all = Vec::with_capacity(NUMBERS);
    let final_answer = final_answer(answer.text);
    let found: Vec<Number> = numbers_of(text).collect();
    let sums: Vec<Sum> = sums(text).collect();
    all.extend(of_shape(prompt, text, answer.finish));
    all.extend(of_final(final_answer.as_ref(), &found, prompt, text));
    all.extend(of_sums(&sums, final_answer.as_ref(), &found, prompt));
    all.extend(of_manner(text));
    all.extend(of_tokens(answer.logprobs));
    all
}

fn of_shape(prompt: &str, text: &str, finish: Option<FinishReason>) -> [f32; SHAPE] {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut distinct = lines.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let words = text.split_whitespace().count();
    let cut = matches!(finish, Some(FinishReason::Length | FinishReason::ContentFilter));
    let ends = text.trim_end().ends_with(['.', '!', '?', '}', ']', ')', '`', '"', '$'])
        || text.trim_end().ends_with(|last: char| last.is_ascii_digit());
    [
        1.0,
        log(text.len()),
        log(words),
        log(lines.len()),
        ln(text.len() as f64 / prompt.len().max(1) as f64),
        share(lines.len() - distinct.len(), lines.len()),
        repeated(text),
        flag(cut),
        flag(ends),
        flag(text.contains("```")),
    ]
}

/// The share of runs of four words that were there before: models that lost the thread say the same again.
fn repeated(text: &str) -> f32 {
    let words: Vec<&str> = text.split_whitespace().take(2_000).collect();
    let mut runs: Vec<&[&str]> = words.windows(4).collect();
    let all = runs.len();
    runs.sort_unstable();
    runs.dedup();
    share(all - runs.len(), all)
}

fn of_final(found: Option<&(Final, Place)>, numbers: &[Number], prompt: &str, text: &str) -> [f32; FINAL] {
    let (begins, is) = as_json(text);
    let number = found.and_then(|(found, _)| match found {
        Final::Number(number) => Some(*number),
        _ => None,
    });
    let place = found.map(|&(_, place)| place);
    let in_prompt = |value: f64| numbers_of(prompt).any(|number| same(number.value, value));
    let times =
        number.map_or(0, |value| numbers.iter().filter(|number| same(number.value, value.abs())).count());
    [
        flag(found.is_none()),
        flag(matches!(place, Some(Place::Marked | Place::Field))),
        flag(place == Some(Place::LastNumber)),
        flag(number.is_some()),
        flag(number.is_some_and(|number| number.fract() != 0.0)),
        flag(number.is_some_and(|number| number < 0.0)),
        flag(number == Some(0.0)),
        number.map_or(0.0, |number| ln(number.abs())),
        flag(number.is_some_and(in_prompt)),
        flag(times > 1),
        flag(place == Some(Place::Field)),
        flag(begins),
        flag(begins && !is),
        log(marks(text)),
    ]
}

fn of_sums(sums: &[Sum], found: Option<&(Final, Place)>, numbers: &[Number], prompt: &str) -> [f32; SUMS] {
    let wrong = sums.iter().filter(|sum| !sum.right).count();
    let asked = asked(prompt);
    let used = asked.iter().filter(|&&value| numbers.iter().any(|number| same(number.value, value))).count();
    let mut known = asked.clone();
    let mut unknown = 0;
    for sum in sums {
        unknown +=
            sum.operands.iter().filter(|&&operand| !known.iter().any(|&value| same(value, operand))).count();
        known.push(sum.result);
    }
    let new = numbers.iter().filter(|number| !known.iter().any(|&value| same(number.value, value))).count();
    let last = match (sums.last(), found) {
        (Some(sum), Some((Final::Number(number), _))) => Some(same(sum.result, *number)),
        _ => None,
    };
    let long = numbers.iter().filter(|number| number.decimals > 2).count();
    let results: Vec<f64> = sums.iter().map(|sum| sum.result).collect();
    let broken = results.iter().filter(|result| result.fract() != 0.0).count();
    let loose = results.iter().enumerate().filter(|&(at, &result)| {
        let later = sums.iter().skip(at + 1).flat_map(|sum| &sum.operands);
        let is_final = matches!(found, Some((Final::Number(number), _)) if same(*number, result));
        !is_final && !later.into_iter().any(|&operand| same(operand, result))
    });
    [
        log(sums.len()),
        flag(sums.is_empty()),
        log(wrong),
        flag(wrong > 0),
        share(wrong, sums.len()),
        flag(last == Some(true)),
        flag(last == Some(false)),
        share(used, asked.len()),
        log(asked.len() - used),
        log(unknown),
        log(new),
        log(long),
        share(broken, sums.len()),
        log(loose.count()),
    ]
}

/// Numbers of a request, those written as words too.
fn asked(prompt: &str) -> Vec<f64> {
    const WORDS: [(&str, f64); 16] = [
        ("two", 2.0),
        ("three", 3.0),
        ("four", 4.0),
        ("five", 5.0),
        ("six", 6.0),
        ("seven", 7.0),
        ("eight", 8.0),
        ("nine", 9.0),
        ("ten", 10.0),
        ("eleven", 11.0),
        ("twelve", 12.0),
        ("twice", 2.0),
        ("double", 2.0),
        ("half", 2.0),
        ("dozen", 12.0),
        ("third", 3.0),
    ];
    let mut asked: Vec<f64> = numbers_of(prompt).map(|number| number.value).collect();
    let said = WORDS.iter().filter(|(name, _)| words::count(prompt, |word| word == *name) > 0);
    asked.extend(said.map(|&(_, value)| value));
    asked.sort_by(f64::total_cmp);
    asked.dedup();
    asked
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
}

/// Words of someone who is not sure.
const HEDGES: [&str; 14] = [
    "maybe",
    "perhaps",
    "might",
    "possibly",
    "unclear",
    "assume",
    "assuming",
    "approximately",
    "about",
    "likely",
    "probably",
    "unsure",
    "estimate",
    "roughly",
];
/// Words of someone who turns round.
const TURNS: [&str; 9] =
    ["however", "but", "wait", "actually", "sorry", "mistake", "incorrect", "error", "instead"];
/// Words of someone who will not, or cannot.
const REFUSALS: [&str; 6] = ["cannot", "unable", "impossible", "apologize", "insufficient", "inappropriate"];
/// Words of someone who argues with a number.
const ROUNDING: [&str; 5] = ["round", "rounded", "rounding", "whole", "nearest"];

fn of_manner(text: &str) -> [f32; MANNER] {
    let says = |list: &[&str]| words::count(text, |word| list.contains(&word));
    let algebra = words::count(text, |word| word.len() == 1 && matches!(word, "x" | "y" | "z" | "n"));
    let brackets = text.bytes().filter(|byte| b"()[]".contains(byte)).count();
    [
        log(says(&HEDGES)),
        log(says(&TURNS)),
        flag(says(&REFUSALS) > 0),
        log(says(&ROUNDING)),
        log(algebra),
        log(brackets),
        log(says(&["if", "then", "so", "therefore", "since", "because"])),
        log(text.matches('=').count()),
    ]
}

fn of_tokens(logprobs: &[f32]) -> [f32; TOKENS] {
    // Nothing is less likely than this; a token that cannot be has minus infinity, which is no number to count with.
    const LEAST: f32 = -20.0;
    let mut sorted: Vec<f32> =
        logprobs.iter().map(|p| if p.is_nan() { LEAST } else { p.clamp(LEAST, 0.0) }).collect();
    if sorted.is_empty() {
        return [0.0; TOKENS];
    }
    sorted.sort_by(f32::total_cmp);
    let at = |per_cent: usize| sorted.get((sorted.len() - 1) * per_cent / 100).copied().unwrap_or(0.0);
    let mean = sorted.iter().map(|&p| f64::from(p)).sum::<f64>() / sorted.len() as f64;
    [1.0, mean as f32, at(0), at(5), at(25)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f32, expected: f32) -> bool {
        (found - expected).abs() < 1e-6
    }

    #[test]
    fn sums_of_an_answer_are_held_against_the_request_and_its_end() {
        let prompt = "16 eggs, she eats three and sells the rest for $2. How much?";
        let of = |text: &str| {
            let found = final_answer(text);
            of_sums(
                &sums(text).collect::<Vec<_>>(),
                found.as_ref(),
                &numbers_of(text).collect::<Vec<_>>(),
                prompt,
            )
        };
        let good = of("16 - 3 = 13\n13 * 2 = 26\n#### 26");
        assert!(near(good[3], 0.0) && near(good[5], 1.0) && near(good[7], 1.0) && near(good[9], 0.0));
        let bad = of("16 - 5 = 12\n12 * 2 = 24\n#### 25");
        assert!(near(bad[3], 1.0) && near(bad[4], 0.5) && near(bad[6], 1.0));
        assert!(bad[8] > 0.0 && bad[9] > 0.0, "three is not used and five comes from nowhere");
    }

    #[test]
    fn saying_it_again_and_breaking_off_are_seen() {
        assert!(repeated("one two three four five six") < 0.01);
        assert!(repeated(&"the same four words ".repeat(9)) > 0.8);
        let cut = of_shape("a", "so the", Some(FinishReason::Length));
        assert!(near(cut[7], 1.0) && near(cut[8], 0.0));
    }

    #[test]
    fn unlikely_tokens_are_told_and_impossible_ones_are_numbers() {
        let found = of_tokens(&[-0.1, -0.1, -3.0, f32::NEG_INFINITY, f32::NAN]);
        assert!(found.iter().all(|number| number.is_finite()));
        assert!(near(found[2], -20.0));
        assert_eq!(of_tokens(&[]), [0.0; TOKENS]);
    }
}
