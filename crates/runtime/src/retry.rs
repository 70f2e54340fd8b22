//! Whether a call that failed is tried again at the same target, and when: exponential backoff with full jitter.
//!
//! Pure: whoever makes the calls waits, and reserves money for each anew. Only for failures before the first token.

use std::time::Duration;

use inshore_domain::{BackendError, BackendErrorKind, Billed};

/// What is tried again, as the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// Calls of one target for one request, the first included; 1 never tries again. Default 3: what two more tries do not
    /// mend, another target does sooner.
    pub attempts: u32,
    /// Longest wait before the first new try; doubled for each after it. Default 250 ms.
    pub base: Duration,
    /// Longest wait before any. Default 5 s: somebody waits.
    pub cap: Duration,
    /// A target that asks to be left alone for longer than this is not tried again. Default 5 s.
    pub longest_asked: Duration,
    /// Try again also where the failed call may have cost something, so that the request may be paid twice. Default no.
    pub even_if_billed: bool,
    /// Call the next step too when the first is about to miss the deadline. Both are set aside and counted. Default no.
    pub hedge: bool,
}

impl Default for RetryRules {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(250),
            cap: Duration::from_secs(5),
            longest_asked: Duration::from_secs(5),
            even_if_billed: false,
            hedge: false,
        }
    }
}

/// The tries of one request at one target.
#[derive(Debug)]
pub struct RetryPolicy {
    rules: RetryRules,
    /// Calls that have failed.
    failed: u32,
}

impl RetryPolicy {
    /// No call has been made yet.
    pub fn new(rules: RetryRules) -> Self {
        Self { rules, failed: 0 }
    }

    /// A call has failed before its first token: how long to wait before it is made again, or `None` when it is not.
    ///
    /// `random` is uniform over all 64-bit numbers. `budget_left` is the time to first token that the caller can still live
    /// with; a wait that would use it up is not begun.
    pub fn next(
        &mut self,
        error: &BackendError,
        random: u64,
        budget_left: Option<Duration>,
    ) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        if self.failed >= self.rules.attempts || !self.is_worth_it(error) {
            return None;
        }
        // Jitter also on top of what the target asks for: it asks everybody for the same.
        let wait = error.retry_after.unwrap_or_default().saturating_add(self.jitter(random));
        budget_left.is_none_or(|left| wait < left).then_some(wait)
    }

    fn is_worth_it(&self, error: &BackendError) -> bool {
        if error.billed == Billed::Maybe && !self.rules.even_if_billed {
            return false;
        }
        if error.retry_after.is_some_and(|asked| asked > self.rules.longest_asked) {
            return false;
        }
        match error.kind {
            BackendErrorKind::Overloaded | BackendErrorKind::Unreachable => true,
            // A limit that does not say when it ends is a quota, and ends tomorrow.
            BackendErrorKind::RateLimited => error.retry_after.is_some(),
            BackendErrorKind::Failed => self.rules.even_if_billed,
            // What is wrong with the request, the key or the protocol stays wrong, and what has taken too long once would
            // take as long again.
            _ => false,
        }
    }

    /// `random(0, min(cap, base * 2 ^ attempt))` ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    fn jitter(&self, random: u64) -> Duration {
        let doublings = self.failed.saturating_sub(1).min(31);
        let ceiling = self.rules.base.saturating_mul(1 << doublings).min(self.rules.cap);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        // The upper half of the product is uniform below the ceiling.
        Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALMOST_ONE: u64 = u64::MAX;

    fn rules() -> RetryRules {
        RetryRules { attempts: 10, base: Duration::from_millis(100), ..RetryRules::default() }
    }

    fn error(kind: BackendErrorKind) -> BackendError {
        BackendError::new(kind, "no")
    }

    fn asking(kind: BackendErrorKind, millis: u64) -> BackendError {
        BackendError { retry_after: Some(Duration::from_millis(millis)), ..error(kind) }
    }

    #[test]
    fn waits_double_up_to_the_cap_and_are_drawn_from_all_below() {
        let overloaded = error(BackendErrorKind::Overloaded);
        let mut longest = RetryPolicy::new(rules());
        let waits: Vec<u128> = (0..9)
            .map(|_| longest.next(&overloaded, ALMOST_ONE, None).unwrap().as_micros().div_ceil(1000))
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(longest.next(&overloaded, ALMOST_ONE, None), None, "ten calls are enough");

        // Full jitter: a tenth of all draws lies in each tenth of the range.
        let mut tenths = [0u32; 10];
        for draw in 0..10_000u64 {
            // Odd multiples of a large odd number are spread evenly (Weyl's sequence).
            let random = draw.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let wait = RetryPolicy::new(rules()).next(&overloaded, random, None).unwrap();
            tenths[wait.as_millis() as usize / 10] += 1;
        }
        assert!(tenths.iter().all(|count| (950..=1050).contains(count)), "{tenths:?}");
    }

    #[test]
    fn only_what_is_safe_and_useful_is_tried_again() {
        let billed = |kind, billed| error(kind).with_billed(billed);
        for (error, by_default, if_billed) in [
            (error(BackendErrorKind::Overloaded), true, true),
            (billed(BackendErrorKind::Overloaded, Billed::Maybe), false, true),
            (asking(BackendErrorKind::RateLimited, 300), true, true),
            (error(BackendErrorKind::RateLimited), false, false),
            (asking(BackendErrorKind::RateLimited, 60_000), false, false),
            (asking(BackendErrorKind::Overloaded, 60_000), false, false),
            (billed(BackendErrorKind::Unreachable, Billed::No), true, true),
            (error(BackendErrorKind::Unreachable), false, true),
            (error(BackendErrorKind::Failed), false, true),
            (error(BackendErrorKind::Timeout), false, false),
            (billed(BackendErrorKind::Timeout, Billed::No), false, false),
            (error(BackendErrorKind::Protocol), false, false),
            (error(BackendErrorKind::Unauthorised), false, false),
            (error(BackendErrorKind::InvalidRequest { field: None }), false, false),
            (error(BackendErrorKind::ShuttingDown), false, false),
        ] {
            for (even_if_billed, expected) in [(false, by_default), (true, if_billed)] {
                let mut policy = RetryPolicy::new(RetryRules { even_if_billed, ..rules() });
                assert_eq!(policy.next(&error, 0, None).is_some(), expected, "{error:?} {even_if_billed}");
            }
        }
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_and_spread() {
        let asked = asking(BackendErrorKind::RateLimited, 1500);
        let wait = |random| RetryPolicy::new(rules()).next(&asked, random, None).unwrap();
        assert_eq!(wait(0), Duration::from_millis(1500));
        assert_eq!(wait(1 << 63), Duration::from_millis(1550));
    }

    #[test]
    fn the_callers_time_is_not_waited_away() {
        let asked = asking(BackendErrorKind::Overloaded, 400);
        let within = |millis| RetryPolicy::new(rules()).next(&asked, 0, Some(Duration::from_millis(millis)));
        assert_eq!(within(401), Some(Duration::from_millis(400)));
        assert_eq!(within(400), None);
        assert_eq!(within(0), None);
    }

    #[test]
    fn one_attempt_is_never_repeated_and_extremes_do_not_overflow() {
        let overloaded = error(BackendErrorKind::Overloaded);
        let mut once = RetryPolicy::new(RetryRules { attempts: 1, ..rules() });
        assert_eq!(once.next(&overloaded, 0, None), None);
        let endless = RetryRules {
            attempts: u32::MAX,
            base: Duration::MAX,
            cap: Duration::MAX,
            longest_asked: Duration::MAX,
            even_if_billed: true,
            hedge: false,
        };
        let mut policy = RetryPolicy::new(endless);
        let asked = BackendError { retry_after: Some(Duration::MAX), ..overloaded };
        for _ in 0..100 {
            assert_eq!(policy.next(&asked, ALMOST_ONE, None), Some(Duration::MAX));
        }
    }
}
