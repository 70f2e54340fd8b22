use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use inshore_domain::*;
use inshore_policy::{Feature, Features, Rules, Settings};
use inshore_runtime::{Feedback, Heard};
use inshore_store::{Label, LabelSource, Statistics, Verdict};

use crate::scripted::{Script, World, answer, request, world};

const FEATURE: &str = "triage";
/// The fewest labels that can show a risk of 20 %: 14 without an error, and one of five is not tested on.
const NEEDED: usize = 18;

fn risky(device: &[Script], cloud: &[Script], strategy: Strategy) -> World {
    let world = world(device, cloud);
    let mut features = Features::default();
    let feature = Feature {
        checks: Some(vec!["finished".parse().unwrap()]),
        risk: Some("20%".parse().unwrap()),
        strategy: Some(strategy),
        ..Feature::default()
    };
    features.set(FEATURE, feature);
    world.runtime.set_rules(Rules::shipped(Settings { features, ..Settings::default() }));
    world
}

async fn run(world: &World, change: impl FnOnce(&mut Request)) -> (String, Receipt) {
    let mut request = request(world, "auto");
    request.hints.feature = Some(FEATURE.into());
    change(&mut request);
    let mut given = world.runtime.run(request).await.unwrap();
    let mut said = String::new();
    while let Some(event) = given.events.next().await {
        if let Event::Delta { delta: Delta::Text { text, .. }, .. } = event.unwrap() {
            said.push_str(&text);
        }
    }
    (said, world.store.receipt(given.receipt).await.unwrap().unwrap())
}

/// Labels of answers like the one that these statistics are of.
async fn teach(world: &World, statistics: &Statistics, verdicts: impl IntoIterator<Item = Verdict>) {
    for (number, verdict) in (1u128..).zip(verdicts) {
        let (receipt, at) = (ReceiptId::from_bits(number), world.clock.now());
        let source = LabelSource::Feedback;
        let label = Label { receipt, at, statistics: statistics.clone(), verdict, source };
        world.store.add_label(label).await.unwrap();
    }
    world.runtime.learn().await.unwrap();
}

/// What is stored of the answer "The answer is 42." to the usual request.
async fn statistics() -> Statistics {
    let right = [answer(&["The answer is 42."])];
    let world = risky(&right, &right, Strategy::Cascade);
    run(&world, |_| {}).await;
    world.runtime.shutdown().await;
    world.store.labels().await.unwrap().remove(0).statistics
}

#[tokio::test]
async fn without_labels_an_answer_is_not_kept_and_the_comparison_is_the_first_label() {
    for (cloud, verdict) in
        [("6 * 7 is 42, so the answer is 42.", Verdict::Same), ("The answer is 43.", Verdict::Different)]
    {
        let world = risky(&[answer(&["The answer is 42."])], &[answer(&[cloud])], Strategy::Cascade);
        let (said, receipt) = run(&world, |_| {}).await;
        assert_eq!(said, cloud);
        let why = format!("its answer was not kept: there are too few labels: 0 of {NEEDED}");
        assert_eq!(receipt.failed_steps, [(TargetId("device/small".into()), why)]);
        world.runtime.shutdown().await;
        let labels = world.store.labels().await.unwrap();
        assert_eq!(
            (labels.len(), labels[0].verdict, labels[0].source),
            (1, verdict, LabelSource::Escalation)
        );
        let Statistics { family, device, cloud, spared, .. } = &labels[0].statistics;
        assert_eq!(
            (family.as_str(), device.0.as_str(), cloud.0.as_str()),
            ("chat", "device/small", "cloud/big")
        );
        assert_eq!(*spared, Some(receipt.cost));
        let feedback = world.runtime.feedback("test", receipt.id, Feedback::Good).await;
        assert_eq!(feedback, Ok(Heard::Noted), "it is the cloud's answer that was good");
    }
}

#[tokio::test]
async fn enough_labels_keep_answers_and_errors_among_them_do_not() {
    let statistics = statistics().await;
    let right = [answer(&["The answer is 42."])];
    let world = risky(&right, &[], Strategy::Cascade);
    teach(&world, &statistics, [Verdict::Good; 2 * NEEDED]).await;
    let (said, receipt) = run(&world, |_| {}).await;
    assert_eq!((said.as_str(), receipt.bytes_out()), ("The answer is 42.", 0));
    assert!(
        receipt.notes[0].starts_with("the answer of `device/small` was kept: its score "),
        "{:?}",
        receipt.notes
    );

    let world = risky(&right, &[answer(&["43"])], Strategy::Cascade);
    teach(
        &world,
        &statistics,
        [Verdict::Good, Verdict::Good, Verdict::Bad].into_iter().cycle().take(2 * NEEDED),
    )
    .await;
    let (said, receipt) = run(&world, |_| {}).await;
    assert_eq!(said, "43");
    assert!(
        receipt.failed_steps[0].1.contains("too many of 36 labels are errors"),
        "{:?}",
        receipt.failed_steps
    );
    // What was learned is of this family and this pair, and of no other.
    let learned = world.runtime.learned();
    assert_eq!((learned.len(), learned[0].report.labels, learned[0].report.kept.hits), (1, 36, 0));
}

#[tokio::test]
async fn where_nobody_else_may_be_asked_the_answer_is_given_and_says_so() {
    let world = risky(&[answer(&["The answer is 42."])], &[], Strategy::Cascade);
    let (said, receipt) =
        run(&world, |request| request.hints.sensitivity = Some(Sensitivity::Restricted)).await;
    assert_eq!(said, "The answer is 42.");
    let note = format!(
        "no other target may be asked, so the answer of `device/small` is given without being held to a risk of 20%; \
         there are too few labels: 0 of {NEEDED}"
    );
    assert_eq!(receipt.notes, [note]);
}

#[tokio::test]
async fn what_an_app_says_of_its_answer_becomes_a_label_and_what_others_say_does_not() {
    let statistics = statistics().await;
    let world = risky(&[answer(&["The answer is 42."])], &[], Strategy::Cascade);
    teach(&world, &statistics, [Verdict::Good; 2 * NEEDED]).await;
    let (_, receipt) = run(&world, |_| {}).await;
    let say = |app, id, said| world.runtime.feedback(app, id, said);
    assert_eq!(say("test", ReceiptId::from_bits(77), Feedback::Bad).await, Ok(Heard::Unknown));
    assert_eq!(say("other", receipt.id, Feedback::Bad).await, Ok(Heard::Unknown));
    assert_eq!(say("test", receipt.id, Feedback::Good).await, Ok(Heard::Learned));
    assert_eq!(say("test", receipt.id, Feedback::Retried).await, Ok(Heard::Learned));
    let labels = world.store.labels().await.unwrap();
    let last = labels.last().unwrap();
    assert_eq!((labels.len(), last.receipt, last.verdict), (2 * NEEDED + 1, receipt.id, Verdict::Retried));
    assert_eq!(
        (&last.statistics.signals, &last.statistics.family),
        (&statistics.signals, &statistics.family)
    );
}

#[tokio::test]
async fn a_draft_that_is_within_the_risk_does_not_wait_for_a_better_answer_that_has_not_begun() {
    let statistics = statistics().await;
    let world = risky(&[answer(&["The answer is 42."])], &[Script::Silent], Strategy::Draft);
    teach(&world, &statistics, [Verdict::Good; 2 * NEEDED]).await;
    let (said, receipt) = run(&world, |_| {}).await;
    assert_eq!((said.as_str(), receipt.outcome.clone()), ("The answer is 42.", Outcome::Answered));
    let kept = "the draft of `device/small` is the answer: it was there first, and its score ";
    assert!(receipt.notes.iter().any(|note| note.starts_with(kept)), "{:?}", receipt.notes);
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 1);
}
