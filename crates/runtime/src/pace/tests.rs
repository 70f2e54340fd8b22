use super::*;
use proptest::prelude::*;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn an_outlier_moves_no_median_and_the_old_is_forgotten() {
    let (mut paces, now) = (Paces::default(), Instant::now());
    for count in [10, 10, 5_000] {
        paces.began(None, millis(count), now);
    }
    assert_eq!(paces.first_token(None, now), Some(millis(10)));
    for _ in 0..KEPT {
        paces.began(None, millis(70), now);
    }
    let first_token = paces.pace(now).0.first_token.unwrap();
    assert_eq!((first_token.p50, first_token.p90), (millis(70), millis(70)));
}

#[test]
fn a_change_shows_after_half_of_what_is_kept() {
    let (mut paces, now) = (Paces::default(), Instant::now());
    for _ in 0..KEPT * 3 {
        paces.began(None, millis(10), now);
    }
    for _ in 0..KEPT / 2 {
        assert_eq!(paces.first_token(None, now), Some(millis(10)));
        paces.began(None, millis(900), now);
    }
    paces.began(None, millis(900), now);
    assert_eq!(paces.first_token(None, now), Some(millis(900)));
}

#[test]
fn a_feature_is_told_by_its_own_answers_once_there_are_a_handful() {
    let (mut paces, now) = (Paces::default(), Instant::now());
    for _ in 0..20 {
        paces.began(Some("file-scan"), millis(800), now);
    }
    for seen in 0..HANDFUL {
        assert_eq!(paces.first_token(Some("subject-line"), now), Some(millis(800)), "{seen}");
        paces.began(Some("subject-line"), millis(30), now);
    }
    assert_eq!(paces.first_token(Some("subject-line"), now), Some(millis(30)));
    assert_eq!(paces.first_token(Some("file-scan"), now), Some(millis(800)));
    assert_eq!(paces.first_token(Some("never"), now), Some(millis(800)));
    assert_eq!(paces.first_token(None, now), Some(millis(800)));
}

#[test]
fn the_feature_not_used_for_the_longest_time_makes_room() {
    let (mut paces, now) = (Paces::default(), Instant::now());
    let name = |index: usize| format!("feature-{index:02}");
    for index in 0..FEATURES {
        paces.began(Some(&name(index)), millis(1), now);
    }
    paces.began(Some(&name(0)), millis(1), now);
    paces.began(Some("new"), millis(1), now);
    let names: Vec<String> = paces.pace(now).1.into_iter().map(|(name, _)| name).collect();
    let stayed = (0..FEATURES).filter(|index| *index != 1).map(name).chain(["new".to_owned()]);
    assert_eq!(names, stayed.collect::<Vec<_>>());
}

#[test]
fn what_was_measured_long_ago_says_nothing_and_does_not_come_back() {
    let (mut paces, now) = (Paces::default(), Instant::now());
    for _ in 0..KEPT {
        paces.began(Some("chat"), millis(4_000), now);
    }
    assert_eq!(paces.first_token(Some("chat"), now + FRESH), Some(millis(4_000)));
    let later = now + FRESH + millis(1);
    assert_eq!(paces.first_token(Some("chat"), later), None);
    assert_eq!(paces.pace(later), (Pace::default(), Vec::new()));
    paces.began(Some("chat"), millis(5), later);
    assert_eq!(paces.first_token(None, later), Some(millis(5)));
    assert_eq!(paces.pace(later).0.answers, 1);
}

#[test]
fn the_speed_is_of_the_whole_answer_and_its_tail_is_the_slow_one() {
    let (mut paces, now) = (Paces::default(), Instant::now());
    // Eight answers of 100 tokens take a second, two take ten.
    for seconds in [1, 1, 1, 1, 10, 1, 1, 1, 1, 10] {
        paces.ended(None, Duration::from_secs(seconds), 100, now);
    }
    // An answer whose tokens nobody counted has no speed.
    paces.ended(None, Duration::from_secs(1), 0, now);
    let pace = paces.pace(now).0;
    let (total, speed) = (pace.total.unwrap(), pace.tokens_per_second.unwrap());
    assert_eq!((total.p50.as_secs(), total.p90.as_secs()), (1, 10));
    assert!((speed.p50 - 100.0).abs() < 0.01 && (speed.p90 - 10.0).abs() < 0.01, "{speed:?}");
    assert_eq!((pace.answers, pace.first_token), (0, None));
}

proptest! {
    #[test]
    fn quantiles_are_those_of_the_last_values(values in prop::collection::vec(0_u32..5_000_000, 1..200)) {
        let mut ring = Ring::default();
        values.iter().for_each(|value| ring.push(*value));
        let mut last = values[values.len().saturating_sub(KEPT)..].to_vec();
        last.sort_unstable();
        let found = ring.quantiles.unwrap();
        for (percent, value) in [(50, found.p50), (90, found.p90)] {
            let not_above = last.iter().filter(|other| **other <= value).count();
            let below = last.iter().filter(|other| **other < value).count();
            prop_assert!(last.contains(&value));
            prop_assert!(not_above * 100 >= last.len() * percent && below * 100 < last.len() * percent);
        }
    }
}
