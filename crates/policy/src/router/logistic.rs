//! Logistic regression over [`Signals`], with a quadratic penalty, by L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.5).
//!
//! Training has no randomness and uses no function of the platform: the same labels in the same order give the same bits. Two hundred labels
//! take a few milliseconds.

use std::collections::VecDeque;

use super::elementary::{exp, ln, logistic};
use super::signals::{NUMBERS, Signals, VERSION};

/// Signals and what is to be learned of them.
#[derive(Debug, Clone, Copy)]
pub struct Example<'a> {
    /// The statistics.
    pub signals: &'a Signals,
    /// What the model should say, from 0 to 1.
    pub target: f64,
}

/// How a number of the list is taken: `(number - mean) * scale`, times its weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weighed {
    /// Of the labels it was trained on.
    pub mean: f64,
    /// One by the standard deviation; 0 for a number that was always the same.
    pub scale: f64,
    /// What was learned.
    pub weight: f64,
}

/// A trained model: plain numbers, from which it can be made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The version of the signals it understands.
    pub version: u16,
    /// How many labels it was trained on.
    pub labels: u32,
    /// What it says where nothing is known.
    pub intercept: f64,
    /// One for each number of the list.
    pub numbers: Vec<Weighed>,
    /// The weights of buckets of words, ascending by bucket; buckets that no label had are left out.
    pub words: Vec<(u16, f64)>,
}

/// Names a model by its content: the same numbers have the same name everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(pub u64);

impl std::fmt::Display for ModelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A number that is far outside of what the labels had says no more than one that is just outside.
const MOST_DEVIATION: f64 = 4.0;
/// The penalty on weights of numbers. Each number then needs a few labels before it counts.
const PENALTY_NUMBERS: f64 = 1.0;
/// The penalty on weights of words, which are many and say little each.
const PENALTY_WORDS: f64 = 1.0;

impl Model {
    /// Trains on labels in their order. Without labels it says 0.5 of everything.
    pub fn train(examples: &[Example<'_>]) -> Self {
        let numbers = scales(examples);
        let mut buckets: Vec<u16> =
            examples.iter().flat_map(|example| example.signals.words()).copied().collect();
        buckets.sort_unstable();
        buckets.dedup();
        let problem = Problem::new(examples, &numbers, &buckets);
        let solution = problem.solve();
        let mut weights = solution.into_iter();
        let intercept = weights.next().unwrap_or(0.0);
        let numbers = numbers
            .into_iter()
            .map(|number| Weighed { weight: weights.next().unwrap_or(0.0), ..number })
            .collect();
        Self {
            version: VERSION,
            labels: u32::try_from(examples.len()).unwrap_or(u32::MAX),
            intercept,
            numbers,
            words: buckets.into_iter().zip(weights).collect(),
        }
    }

    /// What the model says of signals, from 0 to 1: the mean of the targets that labels like these had.
    pub fn score(&self, signals: &Signals) -> f64 {
        let numbers = self.numbers.iter().zip(signals.numbers());
        let of_numbers: f64 =
            numbers.map(|(weighed, &number)| weighed.weight * weighed.standard(number)).sum();
        let weight = |word: &u16| {
            let at = self.words.binary_search_by_key(word, |&(bucket, _)| bucket).ok()?;
            self.words.get(at).map(|&(_, weight)| weight)
        };
        let of_words: f64 = signals.words().iter().filter_map(weight).sum();
        logistic(self.intercept + of_numbers + of_words * length(signals))
    }

    /// The name of its content (FNV-1a over the bits of its numbers).
    pub fn id(&self) -> ModelId {
        let of_numbers = self.numbers.iter().flat_map(|number| [number.mean, number.scale, number.weight]);
        let of_words = self.words.iter().flat_map(|&(bucket, weight)| [f64::from(bucket), weight]);
        let head = [f64::from(self.version), f64::from(self.labels), self.intercept];
        let bytes = head
            .into_iter()
            .chain(of_numbers)
            .chain(of_words)
            .flat_map(|number| number.to_bits().to_le_bytes());
        ModelId(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

impl Weighed {
    fn standard(&self, number: f32) -> f64 {
        ((f64::from(number) - self.mean) * self.scale).clamp(-MOST_DEVIATION, MOST_DEVIATION)
    }
}

/// What each word counts, so that long requests do not shout.
fn length(signals: &Signals) -> f64 {
    WORDS / (signals.words().len().max(1) as f64).sqrt()
}

/// The length of the words of a request taken together, beside numbers of which each deviates by about one.
const WORDS: f64 = 1.0;

fn scales(examples: &[Example<'_>]) -> Vec<Weighed> {
    let count = examples.len().max(1) as f64;
    let mut sums = vec![(0.0, 0.0); NUMBERS];
    for example in examples {
        for ((sum, squares), &number) in sums.iter_mut().zip(example.signals.numbers()) {
            let number = f64::from(number);
            *sum += number;
            *squares += number * number;
        }
    }
    let scale = |(sum, squares): (f64, f64)| {
        let mean = sum / count;
        let deviation = (squares / count - mean * mean).max(0.0).sqrt();
        // A number that hardly ever differs would be blown up.
        let scale = if deviation < 1e-3 { 0.0 } else { 1.0 / deviation };
        Weighed { mean, scale, weight: 0.0 }
    };
    sums.into_iter().map(scale).collect()
}

/// What is minimised: the sum of the logarithmic losses and of half the penalty times each squared weight. Weights are in one list: intercept,
/// numbers, words.
struct Problem {
    rows: Vec<Row>,
    /// Numbers of each row, the intercept's 1 included.
    width: usize,
    words: usize,
}

struct Row {
    numbers: Vec<f64>,
    /// Positions among the weights of words.
    words: Vec<u32>,
    length: f64,
    target: f64,
}

/// Corrections that are kept: more do not help convex problems of this kind.
const MEMORY: usize = 8;
/// Steps at most. Twenty to forty are usual; what is left of the gradient then changes no ranking.
const MOST_STEPS: usize = 60;
/// The part of the first gradient at which nothing more is gained.
const SLOPE_LEFT: f64 = 1e-4;

impl Problem {
    fn new(examples: &[Example<'_>], numbers: &[Weighed], buckets: &[u16]) -> Self {
        let row = |example: &Example<'_>| {
            let of = numbers.iter().zip(example.signals.numbers());
            let position =
                |word: &u16| buckets.binary_search(word).ok().and_then(|at| u32::try_from(at).ok());
            Row {
                numbers: std::iter::once(1.0)
                    .chain(of.map(|(scale, &number)| scale.standard(number)))
                    .collect(),
                words: example.signals.words().iter().filter_map(position).collect(),
                length: length(example.signals),
                target: example.target.clamp(0.0, 1.0),
            }
        };
        Self { rows: examples.iter().map(row).collect(), width: numbers.len() + 1, words: buckets.len() }
    }

    fn penalty(&self, position: usize) -> f64 {
        match position {
            0 => 0.0,
            at if at < self.width => PENALTY_NUMBERS,
            _ => PENALTY_WORDS,
        }
    }

    /// The loss at these weights, and its gradient.
    fn at(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let penalties = || (0..weights.len()).map(|position| self.penalty(position));
        let mut gradient: Vec<f64> = weights.iter().zip(penalties()).map(|(w, p)| w * p).collect();
        let mut loss: f64 = weights.iter().zip(&gradient).map(|(w, g)| w * g / 2.0).sum();
        let (of_numbers, of_words) = weights.split_at(self.width.min(weights.len()));
        let (to_numbers, to_words) = gradient.split_at_mut(self.width.min(weights.len()));
        for row in &self.rows {
            let words: f64 =
                row.words.iter().filter_map(|&at| of_words.get(at as usize)).sum::<f64>() * row.length;
            let z = dot(of_numbers, &row.numbers) + words;
            // ln(1 + e^z) - target * z, without overflow.
            loss += z.max(0.0) + ln(1.0 + exp(-z.abs())) - row.target * z;
            let residual = logistic(z) - row.target;
            for (to, number) in to_numbers.iter_mut().zip(&row.numbers) {
                *to += residual * number;
            }
            for &at in &row.words {
                if let Some(to) = to_words.get_mut(at as usize) {
                    *to += residual * row.length;
                }
            }
        }
        (loss, gradient)
    }

    fn solve(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.width + self.words];
        let (mut loss, mut gradient) = self.at(&weights);
        let mut memory = VecDeque::with_capacity(MEMORY);
        let enough = SLOPE_LEFT * dot(&gradient, &gradient).sqrt();
        for _ in 0..MOST_STEPS {
            if dot(&gradient, &gradient).sqrt() <= enough {
                break;
            }
            let direction = direction(&gradient, &memory);
            let Some(next) = self.search(&weights, loss, &gradient, &direction) else { break };
            let change = difference(&next.weights, &weights);
            let turn = difference(&next.gradient, &gradient);
            let curvature = dot(&change, &turn);
            if curvature > 0.0 {
                if memory.len() == MEMORY {
                    memory.pop_front();
                }
                memory.push_back(Correction { change, turn, curvature });
            }
            (weights, loss, gradient) = (next.weights, next.loss, next.gradient);
        }
        weights
    }

    /// Halves the step until the loss falls enough (Armijo's rule). `None`: it does not fall any more.
    fn search(&self, weights: &[f64], loss: f64, gradient: &[f64], direction: &[f64]) -> Option<Point> {
        let slope = dot(gradient, direction);
        let mut step = 1.0;
        for _ in 0..30 {
            let tried: Vec<f64> = weights.iter().zip(direction).map(|(w, d)| w + step * d).collect();
            let (found, gradient) = self.at(&tried);
            if found <= loss + 1e-4 * step * slope {
                return Some(Point { weights: tried, loss: found, gradient });
            }
            step /= 2.0;
        }
        None
    }
}

struct Point {
    weights: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
}

/// How weights and gradient changed in a step.
struct Correction {
    change: Vec<f64>,
    turn: Vec<f64>,
    curvature: f64,
}

/// Downhill, bent by what the last steps told about the curvature.
fn direction(gradient: &[f64], memory: &VecDeque<Correction>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(memory.len());
    for correction in memory.iter().rev() {
        let factor = dot(&correction.change, &direction) / correction.curvature;
        add(&mut direction, -factor, &correction.turn);
        factors.push(factor);
    }
    let scale = match memory.back() {
        Some(last) => last.curvature / dot(&last.turn, &last.turn),
        None => 1.0 / dot(gradient, gradient).sqrt().max(1.0),
    };
    direction.iter_mut().for_each(|d| *d *= scale);
    for (correction, factor) in memory.iter().zip(factors.into_iter().rev()) {
        let back = dot(&correction.turn, &direction) / correction.curvature;
        add(&mut direction, factor - back, &correction.change);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
#[path = "logistic/tests.rs"]
mod tests;
