//! What this installation has seen of each target: failures in a row, and how fast its answers were.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inshore_domain::{Facts, Target, TargetId};

use crate::pace::{FRESH, Pace, Paces};

/// Failures in a row after which a target is left alone. One or two happen to any network.
const FAILURES_TO_GO_DOWN: u32 = 3;
/// How long a target is left alone the first time; doubled each time that it fails again right after.
const FIRST_REST: Duration = Duration::from_secs(5);
/// A target that has come back is noticed within this time.
const LONGEST_REST: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct Seen {
    failures: u32,
    rests: u32,
    down_until: Option<Instant>,
    failed_at: Option<Instant>,
    paces: Paces,
}

/// How fast a target was, see [`Pace`].
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Which.
    pub target: TargetId,
    /// In all its answers.
    pub all: Pace,
    /// In those of each feature, by its name.
    pub features: Vec<(String, Pace)>,
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

    /// The target gave a first token, for this feature.
    pub(crate) fn answered(
        &self,
        target: &TargetId,
        feature: Option<&str>,
        first_token: Duration,
        now: Instant,
    ) {
        self.with(target, |seen| {
            (seen.failures, seen.rests, seen.down_until) = (0, 0, None);
            seen.paces.began(feature, first_token, now);
        });
    }

    /// The target's answer is whole, and took so long and so many tokens; 0: it has not said how many.
    pub(crate) fn ended(
        &self,
        target: &TargetId,
        feature: Option<&str>,
        total: Duration,
        tokens: u32,
        now: Instant,
    ) {
        self.with(target, |seen| seen.paces.ended(feature, total, tokens, now));
    }

    /// The target failed in a way that says something about it and not about the request. After a rest one failure is
    /// enough to rest again (the half-open trial of a circuit breaker).
    pub(crate) fn failed(&self, target: &TargetId, now: Instant, retry_after: Option<Duration>) {
        self.with(target, |seen| {
            seen.failures += 1;
            seen.failed_at = Some(now);
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
        seen.iter().filter(|(_, seen)| seen.rests_at(now)).map(|(id, _)| id.clone()).collect()
    }

    /// Adds to the facts of a request which targets rest, and what is expected of the others for its feature.
    pub(crate) fn complete(&self, facts: &mut Facts, now: Instant) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, seen) in seen.iter() {
            if seen.rests_at(now) {
                facts.down.push(id.clone());
            }
            if seen.fails_at(now) {
                facts.failing.push(id.clone());
            }
            if let Some(median) = seen.paces.first_token(facts.feature.as_deref(), now) {
                facts.first_token.push((id.clone(), median));
            }
        }
    }

    /// How fast each target was that has answered, in the order of their names.
    pub(crate) fn measured(&self, now: Instant) -> Vec<Measured> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(id, seen): (&TargetId, &Seen)| {
            let (all, features) = seen.paces.pace(now);
            (all.answers > 0).then(|| Measured { target: id.clone(), all, features })
        };
        let mut measured: Vec<Measured> = seen.iter().filter_map(of).collect();
        measured.sort_by(|a, b| a.target.cmp(&b.target));
        measured
    }

    /// Forgets targets that are no more.
    pub(crate) fn keep_only(&self, targets: &[Arc<Target>]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|id, _| targets.iter().any(|target| target.id == *id));
    }
}

impl Seen {
    fn rests_at(&self, now: Instant) -> bool {
        self.down_until.is_some_and(|until| until > now)
    }

    /// Whether the last call failed; what happened longer ago than measurements count says nothing any more.
    fn fails_at(&self, now: Instant) -> bool {
        let fresh = |at: Instant| now.saturating_duration_since(at) <= FRESH;
        self.failures > 0 && self.failed_at.is_some_and(fresh)
    }
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
        health.answered(&target, None, Duration::from_millis(5), start);
        for _ in 0..3 {
            health.failed(&target, start, None);
        }
        assert_eq!(health.down(start), std::slice::from_ref(&target));
        let after_rest = start + FIRST_REST;
        assert!(health.down(after_rest).is_empty());
        health.failed(&target, after_rest, None);
        assert!(!health.down(after_rest + FIRST_REST).is_empty());
        assert!(health.down(after_rest + FIRST_REST * 2).is_empty());
        health.answered(&target, None, Duration::from_millis(5), start);
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
    fn targets_that_are_no_more_are_forgotten() {
        let (health, target, now) = (Health::default(), TargetId("cloud/x".into()), Instant::now());
        health.answered(&target, Some("chat"), Duration::from_millis(5), now);
        assert_eq!(health.measured(now).len(), 1);
        health.keep_only(&[]);
        assert_eq!(health.measured(now), []);
    }
}
