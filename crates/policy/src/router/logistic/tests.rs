use super::*;
use crate::router::family::Prompt;
use crate::router::signals::Answer;

fn read(prompt: &str, answer: &str) -> Signals {
    Signals::read(Prompt { text: prompt, ..Prompt::default() }, Some(Answer::text(answer)))
}

/// Requests whose answers are errors when they say `bad`, and now and then otherwise.
fn labels() -> Vec<(Signals, f64)> {
    let label = |i: u32| {
        let bad = i.is_multiple_of(3);
        let error = bad != (i % 10 == 7);
        let word = if bad { "bad" } else { "good" };
        (read(&format!("number {i} is {word}"), &format!("{i}")), f64::from(u8::from(error)))
    };
    (0..200).map(label).collect()
}

fn examples(labels: &[(Signals, f64)]) -> Vec<Example<'_>> {
    labels.iter().map(|(signals, target)| Example { signals, target: *target }).collect()
}

#[test]
fn it_learns_what_the_labels_say() {
    let labels = labels();
    let model = Model::train(&examples(&labels));
    let [bad, good] = ["bad", "good"].map(|word| model.score(&read(&format!("number 999 is {word}"), "999")));
    assert!(bad > 0.6 && good < 0.4, "{bad} {good}");
    let mean = labels.iter().map(|(signals, _)| model.score(signals)).sum::<f64>() / 200.0;
    let rate = labels.iter().map(|(_, target)| target).sum::<f64>() / 200.0;
    assert!(
        (mean - rate).abs() < 1e-3,
        "the intercept has no penalty, so it is calibrated at large: {mean} {rate}"
    );
}

#[test]
fn the_same_labels_in_the_same_order_give_the_same_bits() {
    let labels = labels();
    let (first, second) = (Model::train(&examples(&labels)), Model::train(&examples(&labels)));
    assert_eq!(first, second);
    assert_eq!(first.id(), second.id());
    let fewer = Model::train(&examples(&labels[1..]));
    assert_ne!(first.id(), fewer.id());
    // On every machine: nothing of the platform is used. Changes with the signals, whose version is then raised.
    assert_eq!(first.id().to_string(), "49277fbb121fbf93");
}

#[test]
fn the_gradient_is_that_of_the_loss_and_is_gone_at_the_end() {
    let labels = labels();
    let examples = examples(&labels[..40]);
    let numbers = scales(&examples);
    let mut buckets: Vec<u16> =
        labels[..40].iter().flat_map(|(signals, _)| signals.words()).copied().collect();
    buckets.sort_unstable();
    buckets.dedup();
    let problem = Problem::new(&examples, &numbers, &buckets);
    let mut weights: Vec<f64> =
        (0..problem.width + problem.words).map(|i| (i % 7) as f64 / 10.0 - 0.3).collect();
    let (_, gradient) = problem.at(&weights);
    for at in [0, 1, 5, 20, problem.width, problem.width + 9] {
        let mut loss = |by: f64| {
            weights[at] += by;
            let loss = problem.at(&weights).0;
            weights[at] -= by;
            loss
        };
        let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        assert!((slope - gradient[at]).abs() < 1e-5, "{slope} {}", gradient[at]);
    }
    let (_, left) = problem.at(&problem.solve());
    assert!(dot(&left, &left).sqrt() <= 1e-2);
}

#[test]
fn without_labels_or_with_one_kind_of_them_it_is_a_number() {
    let signals = read("a", "b");
    assert_eq!(Model::train(&[]).score(&signals), 0.5);
    let good = Model::train(&[Example { signals: &signals, target: 0.0 }; 20]);
    assert!(good.score(&signals) < 0.1);
}
