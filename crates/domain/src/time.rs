//! Time, which is always handed in.

use std::fmt;
use std::time::{Duration, Instant};

/// A moment in milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }
    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0
    }
    /// Whole seconds since the Unix epoch.
    pub const fn unix_secs(self) -> u64 {
        self.0 / 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Where time and randomness come from. The binary hands in the real one; tests hand in one that they steer.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock: for records that people read. May jump.
    fn now(&self) -> Timestamp;
    /// The monotonic clock: for durations and deadlines. Never goes back.
    fn monotonic(&self) -> Instant;
    /// 128 bits, unpredictable in production.
    fn random(&self) -> u128;
}

/// Microseconds of a duration, saturating at `u64::MAX` (584,000 years).
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
