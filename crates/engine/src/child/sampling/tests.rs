use proptest::prelude::*;

use super::*;

fn settings() -> Sampling {
    Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repetition_window: 64,
        seed: 1,
        logit_bias: Vec::new(),
    }
}

fn draws(settings: &Sampling, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(settings.clone(), 0);
    let mut scratch = Scratch::default();
    (0..count).map(|_| sampler.draw(logits, &[], None, &mut scratch).unwrap()).collect()
}

#[test]
fn zero_temperature_takes_the_first_of_the_likeliest() {
    let greedy = Sampling { temperature: 0.0, ..settings() };
    assert_eq!(draws(&greedy, &[0.0, 3.0, f32::NAN, 3.0, -1.0], 1), [1]);
}

#[test]
fn frequencies_follow_the_probabilities() {
    let logits = [0.0, 1.0f32.ln() + 2.0f32.ln(), 5.0f32.ln()];
    let drawn = draws(&settings(), &logits, 80_000);
    let share = |token| drawn.iter().filter(|other| **other == token).count() as f64 / 80_000.0;
    for (token, expected) in [(0, 0.125), (1, 0.25), (2, 0.625)] {
        assert!((share(token) - expected).abs() < 0.01, "token {token}: {}", share(token));
    }
}

#[test]
fn seeds_repeat_and_answers_differ() {
    let logits: Vec<f32> = (0..50).map(|index| (index as f32 * 0.37).sin()).collect();
    assert_eq!(draws(&settings(), &logits, 40), draws(&settings(), &logits, 40));
    assert_ne!(draws(&settings(), &logits, 40), draws(&Sampling { seed: 2, ..settings() }, &logits, 40));
}

#[test]
fn a_bias_of_minus_100_forbids() {
    let biased = Sampling { logit_bias: vec![(1, -100.0)], ..settings() };
    assert!(!draws(&biased, &[0.0, 150.0, 0.0], 200).contains(&1));
    let wanted = Sampling { logit_bias: vec![(2, 100.0)], ..settings() };
    assert!(draws(&wanted, &[0.0, 5.0, 0.0], 50).iter().all(|token| *token == 2));
}

#[test]
fn penalties_are_those_of_their_definitions() {
    let mut sampler = Sampler::new(
        Sampling {
            repetition_penalty: 2.0,
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            repetition_window: 2,
            ..settings()
        },
        0,
    );
    sampler.accept(3);
    sampler.accept(3);
    let mut logits = [1.0, 1.0, -1.0, 1.0];
    sampler.adjust(&mut logits, &[0, 1, 2]);
    assert_eq!(logits, [1.0, 0.5, -2.0, 0.0]);
}

#[test]
fn a_mask_that_allows_nothing_draws_nothing() {
    let mut sampler = Sampler::new(settings(), 0);
    let mut scratch = Scratch::default();
    assert_eq!(sampler.draw(&[1.0, 2.0, 3.0], &[], Some(&[0]), &mut scratch), None);
    assert_eq!(sampler.draw(&[1.0, 2.0, 3.0], &[], Some(&[0b010]), &mut scratch), Some(1));
    assert_eq!(sampler.draw(&[f32::NAN; 3], &[], None, &mut scratch), None);
}

#[test]
fn filters_leave_the_least_likely_out() {
    let logits = [4.0, 3.0, 2.0, 1.0, 0.0];
    let only = |settings: Sampling, most: u32| {
        assert!(draws(&settings, &logits, 500).iter().all(|token| *token <= most))
    };
    only(Sampling { top_k: 2, ..settings() }, 1);
    only(Sampling { top_p: 0.7, ..settings() }, 1);
    only(Sampling { min_p: 0.2, ..settings() }, 1);
    only(Sampling { top_p: 0.0, ..settings() }, 0);
}

fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(
        prop_oneof![8 => -40.0f32..40.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(f32::NAN)],
        1..200,
    )
}

proptest! {
    /// Whatever the settings: a drawn token is one that may be drawn.
    #[test]
    fn only_allowed_tokens_are_drawn(
        logits in any_logits(), temperature in 0.0f32..4.0, top_k in 0u32..50, top_p in 0.0f32..1.0, min_p in 0.0f32..1.0,
        penalty in 0.5f32..2.0, mask in proptest::collection::vec(any::<u32>(), 7), seed: u64,
    ) {
        let settings = Sampling { temperature, top_k, top_p, min_p, repetition_penalty: penalty, seed, ..settings() };
        let mut sampler = Sampler::new(settings, 0);
        let drawn = sampler.draw(&logits, &[0, 1, 2], Some(&mask), &mut Scratch::default());
        let allowed = |index: usize| mask[index / 32] >> (index % 32) & 1 == 1 && logits[index].is_finite();
        match drawn {
            Some(token) => prop_assert!(allowed(token as usize)),
            None => prop_assert!(!(0..logits.len()).any(allowed)),
        }
    }

    /// Partial selection gives what a full sort would.
    #[test]
    fn top_k_is_the_head_of_a_sort(logits in proptest::collection::vec(-10.0f32..10.0, 1..200), top_k in 1u32..50) {
        let mut candidates = Vec::new();
        gather(&logits, &Sampling { top_k, ..settings() }, &mut candidates).unwrap();
        let mut sorted: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
        sorted.sort_by(by_likelihood);
        sorted.truncate(top_k as usize);
        sorted.sort_by_key(|(token, _)| *token);
        prop_assert_eq!(candidates, sorted);
    }

    /// Log-probabilities sum to 1, and the alternatives are sorted and hold the likeliest.
    #[test]
    fn logprobs_are_a_distribution(logits in proptest::collection::vec(-40.0f32..40.0, 1..200)) {
        let mut scratch = Scratch::default();
        let (_, all) = logprobs(&logits, 0, logits.len(), &mut scratch);
        let sum: f64 = all.iter().map(|(_, logprob)| f64::from(*logprob).exp()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-4, "{}", sum);
        prop_assert!(all.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        let (own, top) = logprobs(&logits, all[0].0, 1, &mut scratch);
        prop_assert_eq!(top, vec![(all[0].0, own)]);
    }

    /// The vectorised maximum is the maximum.
    #[test]
    fn highest_is_the_maximum(logits in any_logits()) {
        let expected = logits.iter().copied().filter(|logit| !logit.is_nan()).fold(f32::NEG_INFINITY, f32::max);
        prop_assert_eq!(highest(&logits), expected);
    }
}
