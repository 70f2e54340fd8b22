//! Cheap statistics of a request and of the answer that the device gave: a fixed list of numbers and the hashed words of the request.
//!
//! A few microseconds for a request of usual length, no model. The list has a version: numbers of different versions are never
//! compared, so that a judgement can be repeated from what was stored. No text is kept, but rare words can be guessed from
//! their buckets by who tries words out: labels belong where receipts are, encrypted on the device.

mod answer;
mod words;

use inshore_domain::FinishReason;

use super::agreement::Agreement;
use super::family::{Prompt, choices};
use super::numbers::numbers;

pub(super) use answer::place;
pub use words::BUCKETS;

/// The version of the list. Raised whenever a number of it means something else.
pub const VERSION: u16 = 1;

/// How many numbers there are.
pub const NUMBERS: usize = OF_PROMPT + answer::NUMBERS + OF_AGREEMENT;
const OF_PROMPT: usize = 18;
const OF_AGREEMENT: usize = 8;

/// Bytes of a text that are read: 16 KiB are four times what people write by hand, and take some 100 µs.
const MOST_BYTES: usize = 16 << 10;

/// An answer of the device, with what was found about it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its text, or its tool calls as JSON.
    pub text: &'a str,
    /// Why it ended; `None` when that is not known.
    pub finish: Option<FinishReason>,
    /// The log-probability of each token, as far as the target tells.
    pub logprobs: &'a [f32],
    /// What other models on the device, or other samples of the same, answered to the same request.
    pub others: &'a [&'a str],
    /// What a check against a schema, or of a tool call, said; `None` where nothing was checked.
    pub check: Option<bool>,
}

impl<'a> Answer<'a> {
    /// An answer of which only the text is known.
    pub fn text(text: &'a str) -> Self {
        Self { text, finish: None, logprobs: &[], others: &[], check: None }
    }
}

/// The statistics of a request, and of an answer where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals {
    numbers: Vec<f32>,
    words: Vec<u16>,
    failed: bool,
}

impl Signals {
    /// Reads a request and, if it was answered, the answer.
    pub fn read(prompt: Prompt<'_>, answer: Option<Answer<'_>>) -> Self {
        let text = beginning(prompt.text);
        let mut words = words::hashed(text, words::REQUEST);
        let mut numbers = Vec::with_capacity(NUMBERS);
        numbers.extend(of_prompt(prompt, text));
        match answer {
            None => numbers.extend([0.0; answer::NUMBERS + OF_AGREEMENT]),
            Some(answer) => {
                let read = beginning(answer.text);
                numbers.extend(answer::numbers(text, read, &answer));
                numbers.extend(of_agreement(Agreement::of(answer.text, answer.others), answer.check));
                words.extend(words::hashed(read, words::ANSWER));
            }
        }
        words.sort_unstable();
        words.dedup();
        let failed =
            answer.is_some_and(|answer| answer.check == Some(false) || answer.text.trim().is_empty());
        Self { numbers, words, failed }
    }

    /// The list of this [`VERSION`], [`NUMBERS`] long. All are finite.
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// The buckets of the words, each below [`BUCKETS`], ascending, each once.
    pub fn words(&self) -> &[u16] {
        &self.words
    }

    /// Whether the answer is empty, or a check failed. Such an answer is never kept, whatever the labels say.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The share of the others that say the same, and whether there were others.
    pub(super) fn agreement(&self) -> (f32, bool) {
        let at = |i: usize| self.numbers.get(OF_PROMPT + answer::NUMBERS + i).copied().unwrap_or(0.0);
        (at(1), at(0) > 0.0)
    }

    /// What was found of the answer alone, in the order of the list.
    pub(super) fn of_answer(&self) -> &[f32] {
        self.numbers.get(OF_PROMPT..OF_PROMPT + answer::NUMBERS).unwrap_or_default()
    }

    /// What was stored as plain numbers. `None` when it is not a list of this version.
    pub fn from_parts(numbers: Vec<f32>, words: Vec<u16>, failed: bool) -> Option<Self> {
        let ascending = words.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        let in_range = words.last().is_none_or(|&word| u32::from(word) < BUCKETS);
        let sound = numbers.len() == NUMBERS && numbers.iter().all(|number| number.is_finite());
        (sound && ascending && in_range).then_some(Self { numbers, words, failed })
    }
}

fn beginning(text: &str) -> &str {
    let mut end = text.len().min(MOST_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A count as a number that does not run away: most counts matter by their order of magnitude.
fn log(count: usize) -> f32 {
    ln(count as f64)
}

/// ln(1 + x), for numbers that are not negative.
fn ln(x: f64) -> f32 {
    super::elementary::ln(1.0 + x.max(0.0)) as f32
}

fn share(part: usize, of: usize) -> f32 {
    if of == 0 { 0.0 } else { (part as f64 / of as f64) as f32 }
}

fn flag(is: bool) -> f32 {
    f32::from(u8::from(is))
}

/// Words that ask for what is not, which small models pass over.
const NEGATIONS: [&str; 5] = ["not", "except", "never", "without", "least"];
/// Words that ask for steps.
const STEPS: [&str; 12] =
    ["each", "every", "twice", "half", "times", "more", "less", "than", "remaining", "percent", "per", "if"];

fn of_prompt(prompt: Prompt<'_>, text: &str) -> [f32; OF_PROMPT] {
    let bytes = text.len();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let words = text.split_whitespace().count();
    let found: Vec<f64> = numbers(text).map(|number| number.value).collect();
    let largest = found.iter().copied().fold(0.0, f64::max);
    let says = |list: &[&str]| words::count(text, |word| list.contains(&word));
    [
        log(bytes),
        log(words),
        log(text.lines().count()),
        log(text.split(['.', '?', '!']).count()),
        share(text.bytes().filter(u8::is_ascii_digit).count(), bytes),
        share(text.bytes().filter(u8::is_ascii_uppercase).count(), letters),
        share(text.bytes().filter(|byte| !byte.is_ascii()).count(), bytes),
        share(text.bytes().filter(|byte| b"{}[]();=<>\\^_`$".contains(byte)).count(), bytes),
        share(letters, words) / 5.0,
        log(found.len()),
        ln(largest),
        flag(text.contains('%')),
        flag(found.iter().any(|number| number.fract() != 0.0)),
        log(text.matches('?').count()),
        log(says(&NEGATIONS)),
        log(says(&STEPS)),
        log(choices(text) as usize),
        flag(prompt.tools || prompt.json),
    ]
}

fn of_agreement(agreement: Agreement, check: Option<bool>) -> [f32; OF_AGREEMENT] {
    let Agreement { others, same, rival } = agreement;
    let of = |votes: u32| share(votes as usize, others as usize);
    [
        flag(others > 0),
        of(same),
        of(rival),
        flag(others > 0 && same == others),
        flag(others > 0 && same == 0),
        flag(rival > same),
        flag(check == Some(true)),
        flag(check == Some(false)),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(prompt: &str, answer: Option<&str>) -> Signals {
        Signals::read(Prompt { text: prompt, ..Prompt::default() }, answer.map(Answer::text))
    }

    #[test]
    fn what_is_stored_comes_back_and_what_is_wrong_does_not() {
        let signals = read("How many are 3 and 4?", Some("3 + 4 = 7\n#### 7"));
        let (numbers, words) = (signals.numbers().to_vec(), signals.words().to_vec());
        assert_eq!(Signals::from_parts(numbers.clone(), words.clone(), false), Some(signals));
        assert_eq!(Signals::from_parts(vec![0.0; NUMBERS - 1], words.clone(), false), None);
        assert_eq!(Signals::from_parts(vec![f32::NAN; NUMBERS], words, false), None);
        assert_eq!(Signals::from_parts(numbers.clone(), vec![2, 1], false), None);
        assert_eq!(Signals::from_parts(numbers.clone(), vec![1, 1], false), None);
        assert_eq!(
            Signals::from_parts(numbers, vec![u16::MAX], false).is_some(),
            BUCKETS > u32::from(u16::MAX)
        );
    }

    #[test]
    fn empty_answers_and_failed_checks_are_failures() {
        assert!(read("a", Some(" \n")).failed());
        assert!(!read("a", Some("b")).failed());
        assert!(!read("a", None).failed());
        let answer = Answer { check: Some(false), ..Answer::text("{}") };
        assert!(Signals::read(Prompt::default(), Some(answer)).failed());
    }

    proptest! {
        #[test]
        fn any_texts_have_finite_signals_and_always_the_same(prompt in "\\PC{0,300}", answer in proptest::option::of("[ -~\n]{0,300}"),
            logprobs in proptest::collection::vec(proptest::num::f32::ANY, 0..9)) {
            let read = || {
                let answer = answer.as_deref().map(|text| Answer { logprobs: &logprobs, ..Answer::text(text) });
                Signals::read(Prompt { text: &prompt, ..Prompt::default() }, answer)
            };
            let signals = read();
            prop_assert_eq!(&signals, &read());
            prop_assert!(Signals::from_parts(signals.numbers().to_vec(), signals.words().to_vec(), false).is_some());
        }
    }
}
