//! Drawing a token from logits. Pure: no clock, no global randomness; the same logits, history and seed give the same token.
//!
//! The order is llama.cpp's default: bias, penalties, the constraint's mask, top-k, top-p, min-p, temperature, draw.

use std::collections::HashMap;

use crate::frames::Sampling;

/// Tokens this much less likely than the likeliest (in natural logarithms, at temperature 1) cannot be drawn: a 150,000-token
/// vocabulary of them together would have a probability below 1e-8. Leaving them out saves their exponentials.
const NEGLIGIBLE: f32 = 30.0;
/// A bias at or below this forbids the token, as in OpenAI's API.
const FORBIDDING_BIAS: f32 = -100.0;

/// Draws the tokens of one answer.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    settings: Sampling,
    random: Random,
    /// How often each token was made.
    made: HashMap<u32, u32>,
}

/// Memory that is used again for each draw, so that a draw allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<(u32, f32)>,
}

/// Which tokens a constraint allows: one bit for each, lowest first.
pub(crate) type Mask<'a> = &'a [u32];

impl Sampler {
    /// A sampler for answer `answer` of several.
    pub(crate) fn new(settings: Sampling, answer: u32) -> Self {
        let random = Random::new(settings.seed.wrapping_add(u64::from(answer)));
        Self { settings, random, made: HashMap::new() }
    }

    /// Notes that a token was made.
    pub(crate) fn accept(&mut self, token: u32) {
        *self.made.entry(token).or_insert(0) += 1;
    }

    /// Draws a token. `history`: prompt and answer so far. `None`: no token can be drawn.
    pub(crate) fn draw(
        &mut self,
        logits: &[f32],
        history: &[i32],
        mask: Option<Mask<'_>>,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        let settings = &self.settings;
        let plain = mask.is_none() && settings.logit_bias.is_empty() && !self.penalises();
        let greedy = settings.temperature <= 0.0 || settings.top_k == 1;
        if plain {
            if greedy {
                return likeliest(logits);
            }
            gather(logits, settings, &mut scratch.candidates)?;
        } else {
            scratch.logits.clear();
            scratch.logits.extend_from_slice(logits);
            self.adjust(&mut scratch.logits, history);
            if let Some(mask) = mask {
                apply_mask(&mut scratch.logits, mask);
            }
            if greedy {
                return likeliest(&scratch.logits);
            }
            gather(&scratch.logits, settings, &mut scratch.candidates)?;
        }
        self.pick(&mut scratch.candidates)
    }

    fn penalises(&self) -> bool {
        let settings = &self.settings;
        (settings.repetition_penalty - 1.0).abs() > f32::EPSILON
            || settings.presence_penalty != 0.0
            || settings.frequency_penalty != 0.0
    }

    /// Bias and penalties. The repetition penalty sees the prompt too (CTRL, arXiv:1909.05858); presence and frequency
    /// see what was made, as OpenAI defines them.
    fn adjust(&self, logits: &mut [f32], history: &[i32]) {
        let settings = &self.settings;
        for (token, bias) in &settings.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = if *bias <= FORBIDDING_BIAS { f32::NEG_INFINITY } else { *logit + bias };
            }
        }
        if (settings.repetition_penalty - 1.0).abs() > f32::EPSILON {
            let window = usize::try_from(settings.repetition_window).unwrap_or(usize::MAX);
            let mut seen: Vec<i32> = history.iter().rev().take(window).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(logit) = usize::try_from(token).ok().and_then(|index| logits.get_mut(index)) {
                    let factor = settings.repetition_penalty;
                    *logit = if *logit <= 0.0 { *logit * factor } else { *logit / factor };
                }
            }
        }
        if settings.presence_penalty != 0.0 || settings.frequency_penalty != 0.0 {
            for (token, count) in &self.made {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    #[expect(clippy::cast_precision_loss, reason = "an answer has fewer than 2^24 tokens")]
                    let count = *count as f32;
                    *logit -= settings.presence_penalty + settings.frequency_penalty * count;
                }
            }
        }
    }

    /// Top-p, min-p, temperature and the draw itself.
    fn pick(&mut self, candidates: &mut Vec<(u32, f32)>) -> Option<u32> {
        let settings = &self.settings;
        let best = candidates.iter().map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
        if settings.top_p < 1.0 {
            keep_top_p(candidates, settings.top_p, best);
        }
        if settings.min_p > 0.0 {
            let least = best + settings.min_p.ln();
            candidates.retain(|(_, logit)| *logit >= least);
        }
        let weight = |logit: f32| f64::from((logit - best) / settings.temperature).exp();
        let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
        let mut left = self.random.unit() * total;
        for (token, logit) in candidates.iter() {
            left -= weight(*logit);
            if left < 0.0 {
                return Some(*token);
            }
        }
        candidates.last().map(|(token, _)| *token)
    }
}

/// The token with the highest logit, the first of equals; `None` when no logit is a number above negative infinity.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let best = highest(logits);
    if best == f32::NEG_INFINITY {
        return None;
    }
    let index = logits.iter().position(|logit| *logit >= best)?;
    u32::try_from(index).ok()
}

/// The highest logit. Not a number counts as negative infinity. In eight lanes, which the compiler makes vectors of.
fn highest(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let chunks = logits.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |best, logit| if *logit > best { *logit } else { best })
}

/// Collects the tokens that can be drawn: those not negligible, and of these the k likeliest, in the order of their ids.
fn gather(logits: &[f32], settings: &Sampling, candidates: &mut Vec<(u32, f32)>) -> Option<()> {
    let best = highest(logits);
    if best == f32::NEG_INFINITY {
        return None;
    }
    let least = best - NEGLIGIBLE * settings.temperature.max(1.0);
    candidates.clear();
    let numbered = (0u32..).zip(logits.iter().copied());
    candidates.extend(numbered.filter(|(_, logit)| *logit >= least && logit.is_finite()));
    if candidates.is_empty() {
        // An infinite logit: take the first of those.
        let index = logits.iter().position(|logit| *logit >= best)?;
        candidates.push((u32::try_from(index).ok()?, 0.0));
    }
    let keep = usize::try_from(settings.top_k).unwrap_or(usize::MAX);
    if keep > 0 && keep < candidates.len() {
        // Equal logits are told apart by their ids, so that the choice does not depend on the order.
        candidates.select_nth_unstable_by(keep - 1, by_likelihood);
        candidates.truncate(keep);
        candidates.sort_unstable_by_key(|(token, _)| *token);
    }
    Some(())
}

fn by_likelihood(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the likeliest tokens that together have this probability, at least one.
fn keep_top_p(candidates: &mut Vec<(u32, f32)>, top_p: f32, best: f32) {
    candidates.sort_unstable_by(by_likelihood);
    let total: f64 = candidates.iter().map(|(_, logit)| f64::from(logit - best).exp()).sum();
    let enough = f64::from(top_p) * total;
    let mut sum = 0.0;
    let mut keep = 0;
    for (_, logit) in candidates.iter() {
        keep += 1;
        sum += f64::from(logit - best).exp();
        if sum >= enough {
            break;
        }
    }
    candidates.truncate(keep);
}

fn apply_mask(logits: &mut [f32], mask: Mask<'_>) {
    for (index, chunk) in logits.chunks_mut(32).enumerate() {
        let word = mask.get(index).copied().unwrap_or(0);
        if word == u32::MAX {
            continue;
        }
        for (bit, logit) in chunk.iter_mut().enumerate() {
            if word >> bit & 1 == 0 {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

/// Log-probabilities of a token and of the `count` likeliest, likeliest first, from raw logits.
pub(crate) fn logprobs(
    logits: &[f32],
    token: u32,
    count: usize,
    scratch: &mut Scratch,
) -> (f32, Vec<(u32, f32)>) {
    let best = highest(logits);
    let sum: f64 =
        logits.iter().filter(|logit| !logit.is_nan()).map(|logit| f64::from(logit - best).exp()).sum();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a log-probability needs no more than single precision"
    )]
    let norm = best + sum.ln() as f32;
    let of = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { (logit - norm).min(0.0) };
    let own = logits.get(token as usize).map_or(f32::NEG_INFINITY, |logit| of(*logit));
    let mut top = Vec::new();
    if count > 0 {
        let candidates = &mut scratch.candidates;
        candidates.clear();
        candidates.extend((0u32..).zip(logits.iter().copied()).filter(|(_, logit)| !logit.is_nan()));
        let keep = count.min(candidates.len());
        if keep > 0 && keep < candidates.len() {
            candidates.select_nth_unstable_by(keep - 1, by_likelihood);
        }
        candidates.truncate(keep);
        candidates.sort_unstable_by(by_likelihood);
        top.extend(candidates.iter().map(|(token, logit)| (*token, of(*logit))));
    }
    (own, top)
}

/// PCG-XSH-RR 64/32 (O'Neill 2014): small, seedable, the same on every machine.
#[derive(Debug, Clone)]
struct Random {
    state: u64,
}

impl Random {
    const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
    const INCREMENT: u64 = 1_442_695_040_888_963_407;

    fn new(seed: u64) -> Self {
        let mut random = Self { state: seed.wrapping_add(Self::INCREMENT) };
        random.next();
        random
    }

    fn next(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT);
        #[expect(clippy::cast_possible_truncation, reason = "the upper bits are the output, by design")]
        let mixed = (((old >> 18) ^ old) >> 27) as u32;
        mixed.rotate_right(u32::try_from(old >> 59).unwrap_or(0))
    }

    /// From 0 up to, but not including, 1.
    fn unit(&mut self) -> f64 {
        let bits = u64::from(self.next()) << 21 | u64::from(self.next()) >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = bits as f64 / (1u64 << 53) as f64;
        unit
    }
}

#[cfg(test)]
mod tests;
