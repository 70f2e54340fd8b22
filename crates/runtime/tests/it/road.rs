use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::request::{Dialect, Original};
use inshore_domain::*;
use inshore_policy::{Feature, Features, Rules, Settings};
use inshore_runtime::{Answer, RunError, RunErrorKind};

use crate::scripted::{Script, World, answer, embedding, request, text, world};

async fn collect(answer: Answer) -> (String, Option<RunError>) {
    let (mut said, mut error) = (String::new(), None);
    let mut events = answer.events;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Delta { delta: Delta::Text { text, .. }, .. }) => said.push_str(&text),
            Ok(_) => {}
            Err(failure) => error = Some(failure),
        }
    }
    (said, error)
}

async fn receipt(world: &World, id: ReceiptId) -> Receipt {
    world.store.receipt(id).await.unwrap().expect("the receipt is there when the answer ends")
}

/// The newest receipt, once everything under way is settled.
async fn last_after_shutdown(world: &World) -> Receipt {
    world.runtime.shutdown().await;
    world.store.receipts(1).await.unwrap().remove(0)
}

#[tokio::test]
async fn the_device_answers_and_the_receipt_says_so() {
    let world = world(&[answer(&["Good", " day"])], &[]);
    let given = world.runtime.run(request(&world, "auto")).await.unwrap();
    let id = given.receipt;
    assert_eq!(given.model, "small-2026");
    assert_eq!(collect(given).await, ("Good day".into(), None));
    let receipt = receipt(&world, id).await;
    assert_eq!(receipt.answered_by.as_ref().unwrap().tier, Tier::Device);
    assert_eq!(
        (receipt.bytes_out(), receipt.cost, receipt.outcome.clone()),
        (0, Money::ZERO, Outcome::Answered)
    );
    assert_eq!((receipt.usage.prompt_tokens, receipt.usage.output_tokens), (10, 2));
    assert_eq!(receipt.timings.first_token, Some(Duration::from_millis(3)));
    assert_eq!(receipt.verdicts.len(), 2);
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_failure_before_the_first_token_consults_the_next_step() {
    let after_accepting =
        Script::Play(vec![Err(BackendError::new(BackendErrorKind::Failed, "crashed at once"))]);
    for failure in [Script::Refuse(BackendErrorKind::Failed, 0), after_accepting, Script::Play(vec![])] {
        let world = world(&[failure], &[answer(&["hi"])]);
        let given = world.runtime.run(request(&world, "auto")).await.unwrap();
        let id = given.receipt;
        assert_eq!(collect(given).await.0, "hi");
        let receipt = receipt(&world, id).await;
        assert_eq!(receipt.answered_by.as_ref().unwrap().target.0, "cloud/big");
        assert_eq!(receipt.failed_steps[0].0.0, "device/small");
        assert_eq!((receipt.bytes_out(), receipt.cost.micros), (500, 10 + 4));
    }
}

#[tokio::test]
async fn a_failure_after_the_first_token_is_never_tried_elsewhere() {
    let broken = BackendError::new(BackendErrorKind::Failed, "the engine crashed");
    let world = world(&[Script::Play(vec![text("Go"), Err(broken)])], &[answer(&["never"])]);
    let given = world.runtime.run(request(&world, "auto")).await.unwrap();
    let id = given.receipt;
    let (said, error) = collect(given).await;
    assert_eq!((said.as_str(), error.unwrap().kind), ("Go", RunErrorKind::Backend(BackendErrorKind::Failed)));
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
    let code = "failed".to_string();
    assert_eq!(
        receipt(&world, id).await.outcome,
        Outcome::Failed { code, message: "the engine crashed".into() }
    );
}

#[tokio::test]
async fn an_answer_that_ends_without_a_finish_is_an_error() {
    let world = world(&[Script::Play(vec![text("half")])], &[]);
    let given = world.runtime.run(request(&world, "device")).await.unwrap();
    let (said, error) = collect(given).await;
    assert_eq!(said, "half");
    assert_eq!(error.unwrap().kind, RunErrorKind::Backend(BackendErrorKind::Protocol));
}

#[tokio::test]
async fn a_wrong_request_is_not_tried_elsewhere() {
    let wrong = BackendErrorKind::InvalidRequest { field: Some("stop".into()) };
    let world = world(&[Script::Refuse(wrong.clone(), 0)], &[answer(&["never"])]);
    let error = world.runtime.run(request(&world, "auto")).await.unwrap_err();
    assert_eq!(error.kind, RunErrorKind::Backend(wrong));
    assert_eq!(receipt(&world, error.receipt.unwrap()).await.answered_by, None);
}

#[tokio::test]
async fn dropping_the_answer_cancels_the_work_and_leaves_a_receipt() {
    let world = world(&[Script::Hang], &[]);
    let mut given = world.runtime.run(request(&world, "device")).await.unwrap();
    assert!(given.events.next().await.unwrap().is_ok());
    drop(given);
    assert_eq!(world.backends[0].live.load(Ordering::SeqCst), 0);
    assert_eq!(last_after_shutdown(&world).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_first_token_leaves_a_receipt_of_what_was_sent() {
    let world = world(&[], &[Script::NeverAccept]);
    {
        let mut run = Box::pin(world.runtime.run(request(&world, "cloud")));
        assert!(futures_util::poll!(&mut run).is_pending());
    }
    let receipt = last_after_shutdown(&world).await;
    assert_eq!((receipt.outcome.clone(), receipt.bytes_out()), (Outcome::Cancelled, 77));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_thinks_for_long_does_not_hold_back_the_head_of_the_answer() {
    let world = world(&[Script::Silent], &[]);
    let given = world.runtime.run(request(&world, "device")).await.unwrap();
    assert_eq!(given.model, "small-2026");
}

#[tokio::test]
async fn refusals_name_what_is_wrong_and_have_receipts() {
    let world = world(&[], &[]);
    let unknown = world.runtime.run(request(&world, "gpt-9")).await.unwrap_err();
    assert_eq!(
        (unknown.kind, unknown.message.as_str()),
        (RunErrorKind::UnknownModel, "there is no model `gpt-9`")
    );

    let mut secret = request(&world, "cloud");
    secret.hints.sensitivity = Some(Sensitivity::Restricted);
    let refused = world.runtime.run(secret).await.unwrap_err();
    assert_eq!(refused.kind, RunErrorKind::NoTarget);
    assert!(refused.message.contains("the text is restricted"), "{}", refused.message);
    let receipt = receipt(&world, refused.receipt.unwrap()).await;
    assert_eq!((receipt.bytes_out(), receipt.sensitivity), (0, Sensitivity::Restricted));
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_left_alone_and_tried_again_later() {
    let down = Script::Refuse(BackendErrorKind::Unreachable, 0);
    let world = world(&[], &[down.clone(), down.clone(), down, answer(&["back"])]);
    for _ in 0..3 {
        world.runtime.run(request(&world, "cloud")).await.unwrap_err();
    }
    let resting = world.runtime.run(request(&world, "cloud")).await.unwrap_err();
    assert_eq!(resting.kind, RunErrorKind::NoTarget);
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 3);
    world.clock.advance(6_000);
    let given = world.runtime.run(request(&world, "cloud")).await.unwrap();
    assert_eq!(collect(given).await.0, "back");
}

#[tokio::test]
async fn vectors_and_token_counts_come_from_the_same_road() {
    let world = world(&[], &[]);
    let made = world.runtime.embed(embedding(&world, "device")).await.unwrap();
    assert_eq!((made.vectors, made.usage.prompt_tokens), (vec![vec![0.6, 0.8]], 3));
    assert_eq!(receipt(&world, made.receipt).await.outcome, Outcome::Answered);
    assert_eq!(world.runtime.count_tokens(request(&world, "device")).await.unwrap(), 42);
    world.runtime.shutdown().await;
    assert_eq!(
        world.store.receipts(10).await.unwrap().len(),
        1,
        "counting tokens on the device leaves no receipt"
    );
}

#[tokio::test]
async fn nothing_new_is_taken_after_shutdown() {
    let world = world(&[], &[]);
    world.runtime.shutdown().await;
    let error = world.runtime.run(request(&world, "device")).await.unwrap_err();
    assert_eq!(error.kind, RunErrorKind::ShuttingDown);
}

#[tokio::test]
async fn the_limit_of_a_feature_reaches_the_target() {
    let world = world(&[], &[answer(&["hi"]), answer(&["hi"])]);
    let mut features = Features::none();
    features.set("line", Feature { max_output_tokens: Some(7), ..Feature::default() });
    world.runtime.set_rules(Rules::shipped(Settings { features, ..Settings::default() }));
    for (feature, limit, passed_on) in [("line", Some(7), false), ("other", None, true)] {
        let mut asked = request(&world, "cloud");
        asked.hints.feature = Some(feature.into());
        asked.original = Some(Original { dialect: Dialect::OpenAiChat, body: "{}".into() });
        assert_eq!(collect(world.runtime.run(asked).await.unwrap()).await.0, "hi");
        let given = world.backends[1].last.lock().unwrap().take().expect("it was called");
        assert_eq!(given.task.sampling().unwrap().max_tokens, limit);
        assert_eq!(given.original.is_some(), passed_on);
    }
}

#[tokio::test]
async fn policies_hold_from_the_moment_they_are_set_also_for_targets_that_come_later() {
    let world = world(&[answer(&["hi"])], &[]);
    let forbid =
        r#"@id("closed") @reason("closed today") forbid (principal, action, resource in Tier::"device");"#;
    let rules = Rules::parse(forbid, Settings::default()).unwrap();
    world.runtime.set_rules(rules);
    let decided = |world: &World| world.runtime.decide(&request(world, "device")).1;
    let verdict = decided(&world).verdicts.remove(0);
    assert_eq!(verdict.policies, ["closed"]);
    assert_eq!(verdict.outcome.unwrap_err().to_string(), "forbidden: closed today (`closed`)");
    let refused = world.runtime.run(request(&world, "device")).await.unwrap_err();
    assert_eq!(refused.kind, RunErrorKind::NoTarget);

    let target = Target { id: TargetId("device/later".into()), ..(*world.runtime.targets()[0]).clone() };
    world.runtime.set_targets(vec![inshore_runtime::Registered {
        target: target.into(),
        backend: world.backends[0].clone(),
        embedder: None,
    }]);
    assert_eq!(decided(&world).verdicts[0].policies, ["closed"]);
    world.runtime.set_rules(Rules::default());
    assert_eq!(decided(&world).steps.len(), 1);
}

#[tokio::test]
async fn what_is_expected_of_a_target_is_told_by_the_feature_that_asks() {
    let world = world(&vec![answer(&["hi", "there"]); 10], &[]);
    let asked = |feature: Option<&str>| {
        let mut asked = request(&world, "device");
        asked.hints.feature = feature.map(str::to_owned);
        asked
    };
    for (feature, wait) in [("slow", 97), ("quick", 0)] {
        for _ in 0..5 {
            let given = world.runtime.run(asked(Some(feature))).await.unwrap();
            world.clock.advance(wait);
            assert_eq!(collect(given).await.0, "hithere");
        }
    }
    let expected = |feature| {
        let decision = world.runtime.decide(&asked(feature)).1;
        decision.verdicts[0].estimate.unwrap().first_token.unwrap().as_millis()
    };
    assert_eq!((expected(Some("slow")), expected(Some("quick"))), (100, 3));
    assert_eq!((expected(Some("new")), expected(None)), (3, 3));
    let measured = world.runtime.measured().remove(0);
    assert_eq!((measured.target.0.as_str(), measured.all.answers), ("device/small", 10));
    assert_eq!(measured.all.first_token.unwrap().p90, Duration::from_millis(100));
    let slow = &measured.features[1];
    let speed = slow.1.tokens_per_second.unwrap();
    assert!(slow.0 == "slow" && (speed.p50 - 20.0).abs() < 0.1, "two tokens in 100 ms: {slow:?}");
}
