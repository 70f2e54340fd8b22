//! How long answers take: as measured here, else as such targets usually do.

use std::time::Duration;

use inshore_domain::Tier;

use super::{Candidate, Planned};

/// Where a figure comes from. Later is less certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// The median of answers of this installation.
    Measured,
    /// The config or whoever asks says so.
    Stated,
    /// What such targets usually do.
    Assumed,
}

impl Basis {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Stated => "stated",
            Self::Assumed => "assumed",
        }
    }
}

/// A time, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// How long.
    pub time: Duration,
    /// Where it comes from.
    pub basis: Basis,
}

impl Timed {
    /// One after the other.
    pub(super) fn then(self, other: Self) -> Self {
        Self { time: self.time.saturating_add(other.time), basis: self.basis.max(other.basis) }
    }

    fn times(self, count: u32) -> Self {
        Self { time: self.time.saturating_mul(count), ..self }
    }

    /// The mean where so many percent take the other time.
    pub(super) fn mixed(self, other: Self, percent: u8) -> Self {
        let percent = u32::from(percent.min(100));
        // Divided before: the longest time there is must not overflow.
        let share = |time: Duration, percent: u32| (time / 100).saturating_mul(percent);
        let time = share(self.time, 100 - percent).saturating_add(share(other.time, percent));
        Self { time, basis: self.basis.max(other.basis) }
    }
}

/// One answer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// The time to its first token.
    pub first_token: Duration,
    /// The time to its end.
    pub total: Duration,
}

impl Sample {
    /// The time for one token; `None` where the answer came as a whole, or was too short to tell.
    fn a_token(&self) -> Option<Duration> {
        let rest = self.total.checked_sub(self.first_token)?;
        // A provider that sends all at once at the end is not as fast as light.
        let streamed = rest >= self.total / 20;
        (streamed && self.output_tokens >= LEAST_TOKENS).then(|| rest / (self.output_tokens - 1))
    }
}

/// Answers of a target below which a median says little: of fewer than five, two slow ones decide it.
const LEAST_ANSWERS: usize = 5;
/// Tokens of an answer below which its speed is that of a single step.
const LEAST_TOKENS: u32 = 8;

/// What was measured of a target: medians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Over so many answers.
    pub answers: u32,
    /// Tokens of the prompts.
    pub prompt_tokens: u32,
    /// The time to the first token.
    pub first_token: Duration,
    /// The time for each token after it, where enough answers tell.
    pub a_token: Option<Duration>,
}

impl Seen {
    /// The medians of some answers; `None` where there are too few.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        Some(Self {
            answers: u32::try_from(samples.len()).unwrap_or(u32::MAX),
            prompt_tokens: median(samples.iter().map(|sample| sample.prompt_tokens))?,
            first_token: median(samples.iter().map(|sample| sample.first_token))?,
            a_token: median(samples.iter().filter_map(Sample::a_token)),
        })
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable();
    if sorted.len() < LEAST_ANSWERS { None } else { sorted.get(sorted.len() / 2).copied() }
}

/// What a target is assumed to do: a time of its own, and one for each token.
struct Prior {
    beside: Duration,
    a_prompt_token: Duration,
    a_token: Duration,
}

/// Bytes of a model's file that a machine without a graphics card reads in a second: an answer's token takes one reading of all
/// weights. docs/benchmarks.md has 97 tokens a second for a file of 0.35 GB on two cores of a server, 34 GB a second.
const BYTES_A_SECOND: u64 = 30_000_000_000;
/// How much faster a token of the prompt is than one of the answer, for each core: 339 against 97 a second on the two cores of
/// docs/benchmarks.md. Reading a prompt is arithmetic, which cores share; an answer waits for memory, which they do not.
const PROMPT_FASTER: (u32, u32) = (7, 4);
/// More cores than this are slowed by memory there too.
const MOST_CORES: u32 = 16;
/// A model of unknown size is taken for one of four billion weights in four bits, the smallest that people converse with.
const USUAL_BYTES: u64 = 2_500_000_000;
/// No model here makes more than 500 tokens a second: then sampling and text weigh more than the model.
const LEAST_A_TOKEN: Duration = Duration::from_millis(2);

fn prior(candidate: &Candidate) -> Prior {
    let millis = Duration::from_millis;
    match candidate.target.tier {
        Tier::Device => {
            let bytes = candidate.here.map_or(USUAL_BYTES, |here| here.bytes);
            let cores = candidate.here.map_or(1, |here| here.cores.clamp(1, MOST_CORES));
            let micros = bytes.saturating_mul(1_000_000) / BYTES_A_SECOND;
            let a_token = Duration::from_micros(micros).max(LEAST_A_TOKEN);
            let (faster, than) = PROMPT_FASTER;
            Prior { beside: millis(20), a_prompt_token: a_token * than / (faster * cores), a_token }
        }
        // A workstation with one graphics card, in the same house.
        Tier::Edge => Prior { beside: millis(60), a_prompt_token: millis(1), a_token: millis(25) },
        // Providers' own models of the middle size, by day.
        Tier::Cloud => {
            Prior { beside: millis(700), a_prompt_token: Duration::from_micros(100), a_token: millis(13) }
        }
    }
}

/// First token and whole answer.
pub(super) fn expected(plan: &Planned, candidate: &Candidate) -> (Timed, Timed) {
    let own = candidate.seen_for.get(&plan.name);
    let seen = own.or(candidate.seen.as_ref());
    let prior = prior(candidate);
    let assumed = |time| Timed { time, basis: Basis::Assumed };
    let first_token = match seen {
        Some(seen) if own.is_some() => Timed { time: seen.first_token, basis: Basis::Measured },
        Some(seen) => for_this_prompt(plan, candidate, seen),
        None => assumed(prior.beside.saturating_add(prior.a_prompt_token.saturating_mul(plan.prompt_tokens))),
    };
    let measured = seen.and_then(|seen| seen.a_token).map(|time| Timed { time, basis: Basis::Measured });
    let stated = candidate.a_token.map(|time| Timed { time, basis: Basis::Stated });
    let a_token = measured.or(stated).unwrap_or(assumed(prior.a_token));
    let rest = a_token.times(plan.answer().saturating_sub(1));
    (first_token, first_token.then(rest))
}

/// The device reads a prompt token by token: what was measured with much shorter or longer prompts is stretched to this one, and then
/// it is no measurement any more. Elsewhere the way there weighs more than the prompt.
fn for_this_prompt(plan: &Planned, candidate: &Candidate, seen: &Seen) -> Timed {
    let measured = Timed { time: seen.first_token, basis: Basis::Measured };
    let (planned, usual) = (plan.prompt_tokens.max(1), seen.prompt_tokens.max(1));
    let alike = planned / 2 <= usual && usual / 2 <= planned;
    if candidate.target.tier != Tier::Device || alike {
        return measured;
    }
    let nanos = seen.first_token.as_nanos().saturating_mul(u128::from(planned)) / u128::from(usual);
    let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    Timed { time, basis: Basis::Assumed }
}
