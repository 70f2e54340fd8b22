//! How fast the last answers of a target were.
//!
//! Quantiles are taken over a ring of the last answers. A sketch of everything since the start (t-digest, P²) does not follow a
//! change, one that decays has a rate that nobody can explain, and two windows that take turns have seen little right after each
//! turn. A ring is exact, is through with the old after a known number of answers, and is smaller than any of these.

use std::time::{Duration, Instant};

use inshore_domain::time::micros;

/// Answers that quantiles are taken over. Enough for an outlier to move no median and one in ten to show, few enough that half
/// of them, 16 answers, bring a change to light.
const KEPT: usize = 32;
/// What was measured this long ago says nothing any more. A target that was found slow gets no work and so no new measurement:
/// after this time it is given another chance.
pub(crate) const FRESH: Duration = Duration::from_secs(3600);
/// Fewer answers than this are no median of their own.
const HANDFUL: usize = 5;
/// Features that a target is measured for, each by itself; the one that was not used for the longest time makes room.
/// Nine are built in, and an app with more than a few of its own at one target is rare.
const FEATURES: usize = 16;

/// A median, and what nine of ten answers do at least as well as.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles<T> {
    /// The median.
    pub p50: T,
    /// Nine of ten were at least as fast.
    pub p90: T,
}

impl<T> Quantiles<T> {
    fn map<U>(self, change: impl Fn(T) -> U) -> Quantiles<U> {
        Quantiles { p50: change(self.p50), p90: change(self.p90) }
    }
}

/// How fast the last answers were: at most 32, none of them when the last is more than an hour old.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pace {
    /// Answers that were measured.
    pub answers: usize,
    /// From the call to the first piece of the answer.
    pub first_token: Option<Quantiles<Duration>>,
    /// From the call to the end of the answer; of answers that came to their end.
    pub total: Option<Quantiles<Duration>>,
    /// Tokens of answer for each second of the whole time, of answers that came to their end and whose tokens were counted.
    pub tokens_per_second: Option<Quantiles<f64>>,
}

/// The last values of something, in microseconds, with their quantiles, which are asked for more often than values come.
#[derive(Debug, Clone, Copy, Default)]
struct Ring {
    values: [u32; KEPT],
    filled: usize,
    next: usize,
    quantiles: Option<Quantiles<u32>>,
}

impl Ring {
    fn push(&mut self, value: u32) {
        if let Some(place) = self.values.get_mut(self.next) {
            *place = value;
        }
        self.next = (self.next + 1) % KEPT;
        self.filled = (self.filled + 1).min(KEPT);
        let mut values = self.values;
        let Some(sorted) = values.get_mut(..self.filled) else { return };
        sorted.sort_unstable();
        // The smallest value that so many percent are not above.
        let rank =
            |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        self.quantiles = rank(50).zip(rank(90)).map(|(p50, p90)| Quantiles { p50, p90 });
    }

    fn durations(&self) -> Option<Quantiles<Duration>> {
        self.quantiles.map(|quantiles| quantiles.map(|micros| Duration::from_micros(micros.into())))
    }
}

/// What is measured, of a target or of a feature at it.
#[derive(Debug, Clone, Copy, Default)]
struct Rings {
    first_token: Ring,
    total: Ring,
    /// For each token of an answer.
    token: Ring,
    last: Option<Instant>,
}

impl Rings {
    fn fresh(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) <= FRESH)
    }

    /// Ready for a measurement of this moment.
    fn at(&mut self, now: Instant) -> &mut Self {
        if !self.fresh(now) {
            *self = Self::default();
        }
        self.last = Some(now);
        self
    }

    fn pace(&self, now: Instant) -> Pace {
        if !self.fresh(now) {
            return Pace::default();
        }
        let per_second = |micros: u32| 1_000_000.0 / f64::from(micros.max(1));
        Pace {
            answers: self.first_token.filled,
            first_token: self.first_token.durations(),
            total: self.total.durations(),
            tokens_per_second: self.token.quantiles.map(|quantiles| quantiles.map(per_second)),
        }
    }
}

#[derive(Debug)]
struct Featured {
    name: Box<str>,
    /// The higher, the later.
    used: u64,
    rings: Rings,
}

/// The measurements of one target.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    all: Rings,
    features: Vec<Featured>,
    uses: u64,
}

impl Paces {
    /// Notes the time to the first token.
    pub(crate) fn began(&mut self, feature: Option<&str>, first_token: Duration, now: Instant) {
        let value = whole(first_token);
        self.each(feature, now, |rings| rings.first_token.push(value));
    }

    /// Notes the time of a whole answer, and its tokens where they are known.
    pub(crate) fn ended(&mut self, feature: Option<&str>, total: Duration, tokens: u32, now: Instant) {
        let token = total.checked_div(tokens).map(whole);
        self.each(feature, now, |rings| {
            rings.total.push(whole(total));
            if let Some(token) = token {
                rings.token.push(token);
            }
        });
    }

    /// The median time to the first token: the feature's own where it has been measured a handful of times, else that of all.
    pub(crate) fn first_token(&self, feature: Option<&str>, now: Instant) -> Option<Duration> {
        let own = feature.and_then(|name| self.features.iter().find(|featured| *featured.name == *name));
        let own = own.map(|featured| &featured.rings);
        let rings = own.filter(|rings| rings.first_token.filled >= HANDFUL && rings.fresh(now));
        let rings = rings.or_else(|| self.all.fresh(now).then_some(&self.all))?;
        Some(Duration::from_micros(rings.first_token.quantiles?.p50.into()))
    }

    /// The pace of all answers, and that of each feature, in the order of their names.
    pub(crate) fn pace(&self, now: Instant) -> (Pace, Vec<(String, Pace)>) {
        let fresh = self.features.iter().filter(|featured| featured.rings.fresh(now));
        let mut features: Vec<_> =
            fresh.map(|featured| (featured.name.to_string(), featured.rings.pace(now))).collect();
        features.sort_by(|(a, _), (b, _)| a.cmp(b));
        (self.all.pace(now), features)
    }

    fn each(&mut self, feature: Option<&str>, now: Instant, note: impl Fn(&mut Rings)) {
        note(self.all.at(now));
        if let Some(name) = feature {
            note(self.feature(name).at(now));
        }
    }

    fn feature(&mut self, name: &str) -> &mut Rings {
        self.uses += 1;
        let known = self.features.iter().position(|featured| *featured.name == *name);
        let place = known.unwrap_or_else(|| {
            if self.features.len() >= FEATURES {
                let idlest = self.features.iter().enumerate().min_by_key(|(_, featured)| featured.used);
                let idlest = idlest.map_or(0, |(place, _)| place);
                self.features.swap_remove(idlest);
            }
            self.features.push(Featured { name: name.into(), used: 0, rings: Rings::default() });
            self.features.len() - 1
        });
        match self.features.get_mut(place) {
            Some(featured) => {
                featured.used = self.uses;
                &mut featured.rings
            }
            // The place was found or made just now.
            None => &mut self.all,
        }
    }
}

/// In whole microseconds; beyond 71 minutes as much as that.
fn whole(time: Duration) -> u32 {
    u32::try_from(micros(time)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
