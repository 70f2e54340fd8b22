use proptest::prelude::*;

use super::*;

fn near(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found} and not {expected}");
}

#[test]
fn gamma_and_beta_are_those_of_the_tables() {
    for (x, factorial) in [(1.0, 1.0f64), (2.0, 1.0), (5.0, 24.0), (11.0, 3_628_800.0)] {
        near(ln_gamma(x), factorial.ln(), 1e-12);
    }
    near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-12);
    // I_x(1, b) = 1 - (1 - x)^b, I_x(a, 1) = x^a, and the middle of a symmetric one (DLMF 8.17.4).
    near(beta(0.3, 1.0, 7.0), 1.0 - 0.7f64.powi(7), 1e-13);
    near(beta(0.3, 7.0, 1.0), 0.3f64.powi(7), 1e-13);
    near(beta(0.5, 400.0, 400.0), 0.5, 1e-11);
}

/// The sum that the incomplete beta function stands for.
fn summed(errors: u32, labels: u32, rate: f64) -> f64 {
    let mut term = (1.0 - rate).powi(i32::try_from(labels).unwrap());
    let mut sum = term;
    for k in 0..errors {
        term *= f64::from(labels - k) / f64::from(k + 1) * rate / (1.0 - rate);
        sum += term;
    }
    sum
}

#[test]
fn bounds_are_those_of_the_tables() {
    // None wrong: 1 - 0.05^(1/n), the rule of three.
    near(upper_bound(0, 149, 0.95), 1.0 - 0.05f64.powf(1.0 / 149.0), 1e-12);
    // Two-sided 95 % limits as printed in tables of exact binomial limits (Documenta Geigy).
    for (hits, of, low, high) in
        [(0, 10, 0.0, 0.3085), (1, 10, 0.0025, 0.4450), (5, 10, 0.1871, 0.8129), (10, 100, 0.0490, 0.1762)]
    {
        let found = interval(hits, of, 0.95);
        near(found.0, low, 5e-5);
        near(found.1, high, 5e-5);
    }
    assert_eq!(upper_bound(0, 0, 0.95), 1.0);
    assert_eq!(upper_bound(7, 7, 0.95), 1.0);
    assert_eq!(interval(0, 0, 0.95), (0.0, 1.0));
}

#[test]
fn the_fewest_labels_are_the_fewest() {
    for error in [0.01, 0.02, 0.05, 0.1] {
        let risk = Risk::new(error, 0.95).unwrap();
        let fewest = risk.fewest_labels();
        assert!(risk.holds(0, fewest), "{fewest} are enough for {error}");
        assert!(!risk.holds(0, fewest - 1), "{fewest} is one too many for {error}");
    }
    assert_eq!(Risk::USUAL.fewest_labels(), 149);
    assert_eq!(Risk::new(0.0, 0.95), None);
    assert_eq!(Risk::new(0.02, 1.0), None);
    assert_eq!(Risk::new(f64::NAN, 0.95), None);
}

#[test]
fn scores_that_say_nothing_keep_nothing_and_good_ones_keep_the_right_answers() {
    // Every tenth is an error.
    let labels = |score: fn(u32) -> f64| -> Vec<Scored> {
        (0..2_000).map(|i| Scored { score: score(i), error: i % 10 == 0 }).collect()
    };
    let risk = Risk::new(0.05, 0.95).unwrap();
    let blind = labels(|i| f64::from(i * 7 % 100));
    assert_eq!(choose(&blind, &blind, risk), None);
    let sharp = labels(|i| if i % 10 == 0 { 0.9 } else { f64::from(i % 7) / 10.0 });
    assert_eq!(choose(&sharp, &sharp, risk), Some(0.6));
    assert_eq!(choose(&[], &sharp, risk), None);
    assert_eq!(choose(&sharp, &[], risk), None);
}

#[test]
fn numbers_that_are_none_choose_nothing() {
    let labels = [Scored { score: f64::NAN, error: false }; 400];
    assert_eq!(choose(&labels, &labels, Risk::USUAL), None);
    assert!(!Threshold::Accept(1.0).keeps(f64::NAN));
}

/// A generator of numbers for tests: SplitMix64.
fn draw(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn the_risk_of_the_chosen_threshold_is_kept_in_nineteen_of_twenty_draws() {
    // The probability of an error is 0.2 times the score, which is uniform: what a threshold keeps errs by 0.1 of it.
    let risk = Risk::new(0.05, 0.95).unwrap();
    let (mut seed, mut broken, mut chosen) = (1, 0, 0);
    for _ in 0..300 {
        let mut labels = |count: u32| -> Vec<Scored> {
            let label = |_| {
                let score = draw(&mut seed);
                Scored { score, error: draw(&mut seed) < 0.2 * score }
            };
            (0..count).map(label).collect()
        };
        let (pilot, calibration) = (labels(500), labels(3_000));
        if let Some(most) = choose(&pilot, &calibration, risk) {
            chosen += 1;
            broken += u32::from(0.1 * most > risk.error());
        }
    }
    assert!(broken <= 15, "broken in {broken} of 300 draws");
    assert!(chosen >= 270, "and something is kept in {chosen}");
}

fn labels() -> impl Strategy<Value = Vec<Scored>> {
    let label = (0..40_u8, proptest::bool::weighted(0.04))
        .prop_map(|(score, error)| Scored { score: f64::from(score) / 40.0, error });
    proptest::collection::vec(label, 0..400)
}

proptest! {
    #[test]
    fn the_tail_is_the_sum_of_the_binomial(labels in 1..300_u32, part in 0.0..1.0_f64, rate in 0.001..0.999_f64) {
        let errors = (f64::from(labels) * part) as u32;
        let (found, expected) = (tail(f64::from(errors), f64::from(labels), rate), summed(errors, labels, rate));
        prop_assert!((found - expected).abs() < 1e-9, "{found} and not {expected}");
    }

    #[test]
    fn a_bound_lies_above_the_share_and_grows_with_errors(labels in 1..2_000_u32, part in 0.0..1.0_f64) {
        let errors = (f64::from(labels) * part) as u32;
        let bound = upper_bound(errors, labels, 0.95);
        prop_assert!(bound > f64::from(errors) / f64::from(labels));
        prop_assert!(upper_bound(errors + 1, labels, 0.95) >= bound);
        prop_assert!(upper_bound(errors, labels + 1, 0.95) <= bound);
        let risk = Risk::new(0.1, 0.95).unwrap();
        prop_assert_eq!(risk.holds(errors, labels), bound <= 0.1);
    }

    #[test]
    fn another_error_never_keeps_more(pilot in labels(), mut calibration in labels(), which: prop::sample::Index, score in 0..40_u8) {
        let risk = Risk::new(0.1, 0.9).unwrap();
        let before = choose(&pilot, &calibration, risk).unwrap_or(f64::NEG_INFINITY);
        let mut longer = calibration.clone();
        longer.push(Scored { score: f64::from(score) / 40.0, error: true });
        prop_assert!(choose(&pilot, &longer, risk).unwrap_or(f64::NEG_INFINITY) <= before);
        if !calibration.is_empty() {
            let at = which.index(calibration.len());
            calibration[at].error = true;
            prop_assert!(choose(&pilot, &calibration, risk).unwrap_or(f64::NEG_INFINITY) <= before);
        }
    }
}
