//! Whether an answer stands up to checks: what a cascade asks before it keeps the answer of a smaller model.
//!
//! These checks are deterministic and ask nobody. Two more need a model and are run by whoever runs models: [`Check::Agreement`] and
//! [`Check::SelfJudged`]. A check that has nothing to say about an answer passes it.

mod code;
mod form;
mod prose;

use std::fmt;

use inshore_domain::request::OutputFormat;
use inshore_domain::{FinishReason, Request, Task};
use regex::Regex;

/// The longest pattern: one that is longer is a program.
const PATTERN_BYTES: usize = 1_024;
/// Memory that a compiled pattern may take.
const PATTERN_MEMORY: usize = 1 << 20;
/// Most checks of one feature: each is a reason to pay for another answer.
pub const MOST_CHECKS: usize = 16;

/// An answer as checks see it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its text.
    pub text: &'a str,
    /// Tools that it calls: name and arguments.
    pub calls: &'a [(String, String)],
    /// Why it ended.
    pub reason: FinishReason,
    /// The log-probability of each token, where the target tells them.
    pub logprobs: &'a [f32],
}

/// One check.
#[derive(Debug, Clone)]
pub enum Check {
    /// It ended by itself, and not because there was no more room.
    Finished,
    /// It follows the JSON schema that the request gives; is JSON where the request asks for JSON.
    Schema,
    /// The tools that it calls are declared, and their arguments follow the declared schema; one is called where one must be.
    Tools,
    /// It has at least and at most so many characters.
    Length(usize, usize),
    /// It matches this pattern.
    Pattern(Regex),
    /// It refuses nothing, and does not say that it cannot.
    Refusal,
    /// It does not repeat itself.
    Repetition,
    /// It is in the language of the question.
    Language,
    /// Code in it can be read as code.
    Code,
    /// At most so many percent of its tokens are less likely than this (as a natural logarithm).
    Likely(u8, f32),
    /// A second answer says the same: another small model's, or the same model's drawn again.
    Agreement,
    /// The model that gave it finds it right, with at least this probability in percent ("P(true)", Kadavath et al., arXiv:2207.05221).
    SelfJudged(u8),
}

/// A check is the word that names it.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Schema => f.write_str("schema"),
            Self::Tools => f.write_str("tools"),
            Self::Length(least, most) => write!(f, "length:{least}-{most}"),
            Self::Pattern(pattern) => write!(f, "pattern:{pattern}"),
            Self::Refusal => f.write_str("refusal"),
            Self::Repetition => f.write_str("repetition"),
            Self::Language => f.write_str("language"),
            Self::Code => f.write_str("code"),
            Self::Likely(percent, least) => write!(f, "likely:{percent}:{least}"),
            Self::Agreement => f.write_str("agreement"),
            Self::SelfJudged(percent) => write!(f, "self-judged:{percent}"),
        }
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Check {}

/// A text that names no check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no check: {expected}")]
pub struct BadCheck {
    /// What was given, cut to a length that can be shown.
    pub given: String,
    /// What is expected.
    pub expected: &'static str,
}

impl std::str::FromStr for Check {
    type Err = BadCheck;

    fn from_str(text: &str) -> Result<Self, BadCheck> {
        let bad = |expected| BadCheck { given: text.chars().take(64).collect(), expected };
        let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
        let percent = |text: &str| text.parse().ok().filter(|percent| *percent <= 100_u8);
        match (word, rest) {
            ("finished", None) => Ok(Self::Finished),
            ("schema", None) => Ok(Self::Schema),
            ("tools", None) => Ok(Self::Tools),
            ("refusal", None) => Ok(Self::Refusal),
            ("repetition", None) => Ok(Self::Repetition),
            ("language", None) => Ok(Self::Language),
            ("code", None) => Ok(Self::Code),
            ("agreement", None) => Ok(Self::Agreement),
            ("self-judged", rest) => percent(rest.unwrap_or("70"))
                .map(Self::SelfJudged)
                .ok_or_else(|| bad("`self-judged:70` has a percentage up to 100")),
            ("length", Some(range)) => range
                .split_once('-')
                .and_then(|(least, most)| Some((least.parse().ok()?, most.parse().ok()?)))
                .filter(|(least, most)| least <= most)
                .map(|(least, most)| Self::Length(least, most))
                .ok_or_else(|| bad("`length:1-500` has the fewest and the most characters")),
            ("pattern", Some(pattern)) if pattern.len() <= PATTERN_BYTES => regex::RegexBuilder::new(pattern)
                .size_limit(PATTERN_MEMORY)
                .build()
                .map(Self::Pattern)
                .map_err(|_| bad("what follows `pattern:` is no regular expression, or a very large one")),
            ("likely", Some(rest)) => rest
                .split_once(':')
                .and_then(|(share, least)| Some((percent(share)?, least.parse().ok()?)))
                .filter(|(_, least): &(u8, f32)| least.is_finite() && *least <= 0.0)
                .map(|(share, least)| Self::Likely(share, least))
                .ok_or_else(|| {
                    bad("`likely:10:-2.5` has a percentage and a log-probability, which is 0 or less")
                }),
            _ => Err(bad(
                "known are finished, schema, tools, length:A-B, pattern:REGEX, refusal, repetition, language, code, \
                 likely:PERCENT:LOGPROB, agreement and self-judged:PERCENT",
            )),
        }
    }
}

/// What a check says of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing against it.
    Fine,
    /// It says more than that: what was to be known of this answer is known, and dearer checks need not be asked.
    Sound,
    /// Not good enough, and why; for people, without text of the answer.
    Wanting(String),
}

impl Check {
    /// Looks at an answer. [`Check::Agreement`] and [`Check::SelfJudged`] find nothing by themselves.
    pub fn look(&self, request: &Request, seen: &Seen<'_>) -> Found {
        match self {
            Self::Finished => finished(seen.reason),
            Self::Schema => form::schema(request, seen),
            Self::Tools => form::tools(request, seen),
            Self::Length(least, most) => length(seen, *least, *most),
            Self::Pattern(pattern) if pattern.is_match(seen.text) => Found::Sound,
            Self::Pattern(_) => Found::Wanting("it does not match the pattern".into()),
            Self::Refusal => prose::refusal(seen.text),
            Self::Repetition => prose::repetition(seen.text),
            Self::Language => prose::language(request, seen.text),
            Self::Code => code::readable(seen.text),
            Self::Likely(percent, least) => likely(seen.logprobs, *percent, *least),
            Self::Agreement | Self::SelfJudged(_) => Found::Fine,
        }
    }

    /// Whether it takes a model to find out.
    pub fn needs_model(&self) -> bool {
        matches!(self, Self::Agreement | Self::SelfJudged(_))
    }

    /// Whether it reads log-probabilities of the answer.
    pub fn needs_logprobs(&self) -> bool {
        matches!(self, Self::Likely(..))
    }
}

fn finished(reason: FinishReason) -> Found {
    match reason {
        FinishReason::Length => Found::Wanting("it was cut off for its length".into()),
        FinishReason::ContentFilter => Found::Wanting("a part of it was withheld".into()),
        FinishReason::Stop | FinishReason::StopText(_) | FinishReason::ToolCalls => Found::Fine,
    }
}

fn length(seen: &Seen<'_>, least: usize, most: usize) -> Found {
    if !seen.calls.is_empty() {
        return Found::Fine;
    }
    // One more than the most is enough to know.
    let length = seen.text.trim().chars().take(most.saturating_add(1)).count();
    if (least..=most).contains(&length) {
        return Found::Fine;
    }
    let what = if length < least { "fewer" } else { "more" };
    let limit = if length < least { least } else { most };
    Found::Wanting(format!("it has {what} than {limit} characters"))
}

fn likely(logprobs: &[f32], percent: u8, least: f32) -> Found {
    if logprobs.is_empty() {
        return Found::Wanting("the target told no log-probabilities".into());
    }
    let unlikely = logprobs.iter().filter(|logprob| **logprob < least).count();
    if unlikely * 100 <= logprobs.len() * usize::from(percent) {
        return Found::Fine;
    }
    Found::Wanting(format!("{unlikely} of {} tokens are unlikely", logprobs.len()))
}

/// The first check that an answer did not stand up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// Why.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it failed the check `{}`: {}", self.check, self.why)
    }
}

/// Runs the checks that ask nobody, in order. `Ok(true)`: dearer ones need not be asked.
///
/// # Errors
/// The first one that the answer did not stand up to.
pub fn verify(checks: &[Check], request: &Request, seen: &Seen<'_>) -> Result<bool, Failure> {
    let mut sound = false;
    for check in checks {
        match check.look(request, seen) {
            Found::Fine => {}
            Found::Sound => sound = true,
            Found::Wanting(why) => return Err(Failure { check: check.clone(), why }),
        }
    }
    Ok(sound)
}

/// The checks of a feature that declares none: what can be told from the form that the request asks for, and what no answer should be.
/// Where the form says nothing, a second answer must agree.
pub fn usual(request: &Request) -> Vec<Check> {
    let (output, tools) = match &request.task {
        Task::Chat(chat) => (Some(&chat.output), !chat.tools.is_empty()),
        Task::Completion(completion) => (Some(&completion.output), false),
        Task::Embedding(_) => (None, false),
    };
    let mut checks = vec![Check::Finished];
    if matches!(output, Some(OutputFormat::JsonObject | OutputFormat::JsonSchema { .. })) {
        checks.push(Check::Schema);
    }
    if tools {
        checks.push(Check::Tools);
    }
    checks.extend([Check::Refusal, Check::Repetition, Check::Language, Check::Code, Check::Agreement]);
    checks
}

#[cfg(test)]
mod tests;
