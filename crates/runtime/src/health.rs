//! What this installation has seen of each target: failures in a row, and the time to the first token.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inshore_domain::TargetId;

/// Failures in a row after which a target is left alone. One or two happen to any network.
const FAILURES_TO_GO_DOWN: u32 = 3;
/// How long a target is left alone the first time; doubled each time that it fails again right after.
const FIRST_REST: Duration = Duration::from_secs(5);
/// A target that has come back is noticed within this time.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How many of the last latencies the median is taken over: enough to ignore an outlier, few enough to follow a change.
const LATENCIES_KEPT: usize = 31;

#[derive(Debug, Default)]
struct Seen {
    failures: u32,
    rests: u32,
    down_until: Option<Instant>,
    first_token: VecDeque<Duration>,
}

/// Health and latency of all targets.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<HashMap<TargetId, Seen>>);

impl Health {
    fn with<T>(&self, target: &TargetId, change: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = seen.get_mut(target) {
            return change(entry);
        }
        change(seen.entry(target.clone()).or_default())
    }

    /// The target gave a first token.
    pub(crate) fn answered(&self, target: &TargetId, first_token: Duration) {
        self.with(target, |seen| {
            (seen.failures, seen.rests, seen.down_until) = (0, 0, None);
            if seen.first_token.len() == LATENCIES_KEPT {
                seen.first_token.pop_front();
            }
            seen.first_token.push_back(first_token);
        });
    }

    /// The target failed in a way that says something about it and not about the request. After a rest one failure is
    /// enough to rest again (the half-open trial of a circuit breaker).
    pub(crate) fn failed(&self, target: &TargetId, now: Instant, retry_after: Option<Duration>) {
        self.with(target, |seen| {
            seen.failures += 1;
            if seen.failures < FAILURES_TO_GO_DOWN && seen.rests == 0 && retry_after.is_none() {
                return;
            }
            let rest = FIRST_REST.saturating_mul(1 << seen.rests.min(10)).min(LONGEST_REST);
            seen.rests += 1;
            seen.down_until = Some(now + rest.max(retry_after.unwrap_or_default().min(LONGEST_REST)));
        });
    }

    /// The target was reached by a probe. It need rest no longer; but as nothing has been worked on yet, its next failure
    /// makes it rest as long as if it had rested to the end.
    pub(crate) fn reached(&self, target: &TargetId) {
        self.with(target, |seen| seen.down_until = None);
    }

    /// Targets that are resting at this moment.
    pub(crate) fn down(&self, now: Instant) -> Vec<TargetId> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = |seen: &Seen| seen.down_until.is_some_and(|until| until > now);
        seen.iter().filter(|(_, seen)| resting(seen)).map(|(id, _)| id.clone()).collect()
    }

    /// Median time to first token of each target that has answered.
    pub(crate) fn first_token(&self) -> Vec<(TargetId, Duration)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter_map(|(id, seen)| Some((id.clone(), median(&seen.first_token)?))).collect()
    }
}

fn median(latencies: &VecDeque<Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = latencies.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_rest_a_target_and_a_failed_trial_rests_it_longer() {
        let (health, target, start) = (Health::default(), TargetId("cloud/x".into()), Instant::now());
        health.failed(&target, start, None);
        health.failed(&target, start, None);
        assert!(health.down(start).is_empty());
        health.answered(&target, Duration::from_millis(5));
        for _ in 0..3 {
            health.failed(&target, start, None);
        }
        assert_eq!(health.down(start), std::slice::from_ref(&target));
        let after_rest = start + FIRST_REST;
        assert!(health.down(after_rest).is_empty());
        health.failed(&target, after_rest, None);
        assert!(!health.down(after_rest + FIRST_REST).is_empty());
        assert!(health.down(after_rest + FIRST_REST * 2).is_empty());
        health.answered(&target, Duration::from_millis(5));
        health.failed(&target, after_rest, None);
        assert!(health.down(after_rest).is_empty());
    }

    #[test]
    fn a_target_that_is_reached_is_tried_again_and_rests_longer_if_it_fails() {
        let (health, target, start) = (Health::default(), TargetId("cloud/x".into()), Instant::now());
        for _ in 0..3 {
            health.failed(&target, start, None);
        }
        health.reached(&target);
        assert!(health.down(start).is_empty());
        health.failed(&target, start, None);
        assert!(!health.down(start + FIRST_REST).is_empty());
    }

    #[test]
    fn a_target_that_names_a_time_is_left_alone_until_then() {
        let (health, target, start) = (Health::default(), TargetId("cloud/x".into()), Instant::now());
        health.failed(&target, start, Some(Duration::from_secs(20)));
        assert!(!health.down(start + Duration::from_secs(19)).is_empty());
        assert!(health.down(start + Duration::from_secs(20)).is_empty());
    }

    #[test]
    fn the_median_ignores_an_outlier_and_forgets_the_old() {
        let (health, target) = (Health::default(), TargetId("device/x".into()));
        for millis in [10, 10, 5_000] {
            health.answered(&target, Duration::from_millis(millis));
        }
        assert_eq!(health.first_token(), [(target.clone(), Duration::from_millis(10))]);
        for _ in 0..LATENCIES_KEPT {
            health.answered(&target, Duration::from_millis(70));
        }
        assert_eq!(health.first_token(), [(target, Duration::from_millis(70))]);
    }
}
