//! How much risk labels allow: Clopper-Pearson bounds, and the loosest threshold that keeps under a declared risk.
//!
//! The guarantee holds for the threshold that is *chosen*, not only for one that was fixed beforehand: it is learn-then-test with
//! a fixed sequence (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test", arXiv:2110.01052, section 4). The thresholds, their order
//! and the first one to be tested come from labels (the pilot) that are not tested on. From there each looser one is tested
//! at the full confidence, until one fails. So only the first threshold whose risk is too high can be passed wrongly, and that
//! happens in at most one of twenty installations at 95 % confidence, whatever the scores are worth. What it assumes is that the
//! pilot, the tested labels and later requests come from the same traffic.

/// A declared risk: at most this share of the answers that are kept on the device is worse than the cloud's, with this confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Risk {
    error: f64,
    confidence: f64,
}

impl Risk {
    /// One in fifty, with 95 % confidence: what people forgive a colleague.
    pub const USUAL: Risk = Risk { error: 0.02, confidence: 0.95 };

    /// `None` unless both lie between 0 and 1, ends excluded: no number of labels shows that nothing is ever wrong.
    pub fn new(error: f64, confidence: f64) -> Option<Self> {
        let open = |share: f64| share > 0.0 && share < 1.0;
        (open(error) && open(confidence)).then_some(Self { error, confidence })
    }

    /// The share of kept answers that may be worse than the cloud's.
    pub fn error(self) -> f64 {
        self.error
    }

    /// How sure that must be.
    pub fn confidence(self) -> f64 {
        self.confidence
    }

    /// Whether so many errors among so many labels show that the risk is kept: the Clopper-Pearson upper bound is at most the risk.
    pub fn holds(self, errors: u32, labels: u32) -> bool {
        errors < labels && tail(f64::from(errors), f64::from(labels), self.error) <= 1.0 - self.confidence
    }

    /// The fewest labels that can show it, all of them without error: 149 for the usual risk.
    pub fn fewest_labels(self) -> u32 {
        let labels = ((1.0 - self.confidence).ln() / (1.0 - self.error).ln()).ceil();
        // A float that is no `u32` becomes the nearest one.
        labels as u32
    }
}

/// Up to which score an answer is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// Answers whose score is at most this.
    Accept(f64),
    /// None: the labels do not show that any of them may be kept.
    Escalate {
        /// How many labels there are.
        labels: u32,
        /// How many there must be at least before any answer can be kept. Where there are as many, the errors among them are too many.
        needed: u32,
    },
}

impl Threshold {
    /// Whether an answer with this score is kept.
    pub fn keeps(self, score: f64) -> bool {
        match self {
            Self::Accept(most) => score <= most,
            Self::Escalate { .. } => false,
        }
    }
}

/// The score of an answer, and whether the answer was worse than the cloud's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Higher is more likely to be an error.
    pub score: f64,
    /// Whether it was one.
    pub error: bool,
}

/// Thresholds that are looked at. More would be tested at the same risk and gain less than a fiftieth of the traffic.
const GRID: u32 = 50;

/// The loosest threshold of the fixed sequence that `calibration` shows to be under the risk. Adding errors to `calibration` never loosens it.
///
/// `pilot` must be other labels than `calibration`; their scores may not be better than those of unseen requests, or a poor
/// first threshold is picked (which costs traffic, never the guarantee). `None`: no threshold could be shown.
pub fn choose(pilot: &[Scored], calibration: &[Scored], risk: Risk) -> Option<f64> {
    let grid = grid(pilot);
    let share = f64::from(count(calibration)) / f64::from(count(pilot).max(1));
    // What the pilot lets expect of each threshold: how likely so few errors are if the risk were just not kept.
    let promise = |most: f64| {
        let (errors, kept) = kept(pilot, most);
        let (errors, kept) = (f64::from(errors), f64::from(kept));
        // Half an error more than were seen: none among three shows nothing.
        let rate = (errors + 0.5) / (kept + 1.0);
        tail(rate * kept * share, kept * share, risk.error)
    };
    let first = grid.iter().map(|&most| promise(most)).enumerate().min_by(|a, b| a.1.total_cmp(&b.1))?.0;
    let passed = grid.iter().skip(first).take_while(|&&most| {
        let (errors, kept) = kept(calibration, most);
        risk.holds(errors, kept)
    });
    passed.last().copied()
}

/// Distinct scores of the pilot, from strict to loose, that keep about equally more of it each.
fn grid(pilot: &[Scored]) -> Vec<f64> {
    let mut scores: Vec<f64> =
        pilot.iter().map(|label| label.score).filter(|score| score.is_finite()).collect();
    scores.sort_by(f64::total_cmp);
    let last = scores.len().saturating_sub(1);
    let at = |step: u32| scores.get(last * step as usize / GRID as usize).copied();
    let mut grid: Vec<f64> = (1..=GRID).filter_map(at).collect();
    grid.dedup();
    grid
}

/// How many labels a threshold keeps, and the errors among them.
fn kept(labels: &[Scored], most: f64) -> (u32, u32) {
    let kept = labels.iter().filter(|label| label.score <= most);
    kept.fold((0, 0), |(errors, kept), label| (errors + u32::from(label.error), kept + 1))
}

fn count(labels: &[Scored]) -> u32 {
    u32::try_from(labels.len()).unwrap_or(u32::MAX)
}

/// Halvings of an interval: more do not change a double.
const HALVINGS: u32 = 60;

/// The Clopper-Pearson upper bound: with `confidence`, the share of errors is at most this (Clopper and Pearson 1934, Biometrika 26).
/// One-sided. 1 where there are no labels.
pub fn upper_bound(errors: u32, labels: u32, confidence: f64) -> f64 {
    if errors >= labels {
        return 1.0;
    }
    let (errors, labels) = (f64::from(errors), f64::from(labels));
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if tail(errors, labels, middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    // The outer end: a bound that is off by rounding is off to the safe side.
    high
}

/// The Clopper-Pearson interval of a share, two-sided: both ends at half of what `confidence` leaves.
pub fn interval(hits: u32, of: u32, confidence: f64) -> (f64, f64) {
    let each = f64::midpoint(1.0, confidence);
    (1.0 - upper_bound(of.saturating_sub(hits), of, each), upper_bound(hits, of, each))
}

/// The probability of at most `errors` among `labels` when each is one with probability `rate`; for numbers that are not
/// whole, its continuation by the incomplete beta function (DLMF 8.17.5).
fn tail(errors: f64, labels: f64, rate: f64) -> f64 {
    if errors >= labels { 1.0 } else { beta(1.0 - rate, labels - errors, errors + 1.0) }
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22) where that converges fast.
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

/// Steps of the continued fraction. It needs some square root of the larger parameter: 300 for the most labels that are kept.
const STEPS: u32 = 1_000;

/// The continued fraction of DLMF 8.17.22, by Lentz's method as modified by Thompson and Barnett (Numerical Recipes, section 6.4).
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    // Stands for zero where something is divided by it.
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for step in 1..=STEPS {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        value *= d * c;
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        value *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function of a positive number, after Lanczos (1964) with the nine coefficients of Godfrey (g = 7).
fn ln_gamma(x: f64) -> f64 {
    const FIRST: f64 = 0.999_999_999_999_809_9;
    const OTHERS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum = OTHERS.iter().zip(1u32..).fold(FIRST, |sum, (c, i)| sum + c / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
#[path = "risk/tests.rs"]
mod tests;
