use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::*;
use inshore_runtime::{RetryRules, Spending};

use crate::scripted::{Script, World, answer, request, text, world};

fn hedged(device: &[Script], cloud: &[Script]) -> World {
    let world = world(device, cloud);
    world.runtime.set_retry(RetryRules { hedge: true, ..RetryRules::default() });
    world
}

fn hurried(world: &World) -> Request {
    let mut request = request(world, "auto");
    request.hints.latency_budget = Some(Duration::from_millis(400));
    request
}

/// Who answered, with what, and the receipt.
async fn run(world: &World, request: Request) -> (String, String, Receipt) {
    let mut given = world.runtime.run(request).await.unwrap();
    let mut said = String::new();
    while let Some(event) = given.events.next().await {
        if let Ok(Event::Delta { delta: Delta::Text { text, .. }, .. }) = event {
            said.push_str(&text);
        }
    }
    (given.target.id.0.clone(), said, world.store.receipt(given.receipt).await.unwrap().unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_second_target_is_called_when_the_first_is_about_to_be_late() {
    for slow in [Script::NeverAccept, Script::Silent] {
        let world = hedged(&[slow], &[answer(&["in time"])]);
        let begun = tokio::time::Instant::now();
        let (target, said, receipt) = run(&world, hurried(&world)).await;
        assert_eq!((target.as_str(), said.as_str()), ("cloud/big", "in time"));
        assert!(begun.elapsed() < Duration::from_millis(400));
        assert!(receipt.notes[0].starts_with("`device/small` had not begun after "), "{:?}", receipt.notes);
        assert!(receipt.cost.micros > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_target_answers_alone_when_it_is_in_time_or_nobody_asked() {
    let world = hedged(&[answer(&["here"])], &[]);
    assert_eq!(run(&world, hurried(&world)).await.1, "here");
    // Without a deadline there is none to miss.
    let world = hedged(&[Script::Play(vec![text("slow"), answer_end()])], &[]);
    let patient = request(&world, "auto");
    assert_eq!(run(&world, patient).await.1, "slow");
    // Off unless it is asked for.
    let world = crate::scripted::world(&[Script::Silent], &[]);
    let asked = hurried(&world);
    let given = tokio::time::timeout(Duration::from_secs(60), world.runtime.run(asked)).await;
    assert_eq!(given.unwrap().unwrap().target.id.0, "device/small");
    assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
}

fn answer_end() -> Result<Event, BackendError> {
    Ok(Event::Finished { index: 0, reason: FinishReason::Stop })
}

#[tokio::test(start_paused = true)]
async fn both_calls_are_set_aside_and_the_one_that_loses_is_in_doubt() {
    let cap = |limit| {
        let caps = vec![crate::spend::cap(Measure::Calls, Window::Day, limit)];
        Spending { caps, ..Spending::default() }
    };
    for (limit, answered) in [(2, "second"), (1, "first")] {
        // Two clouds: the same backend, which never answers the first call and answers the second.
        let scripts =
            if limit == 2 { vec![Script::NeverAccept, answer(&["second"])] } else { vec![Script::Silent] };
        let world = hedged(&[], &scripts);
        let backend = world.backends[1].clone();
        let entries = ["cloud/a", "cloud/b"].map(|id| inshore_runtime::Registered {
            target: std::sync::Arc::new(crate::scripted::target(id, Tier::Cloud)),
            backend: backend.clone(),
            embedder: None,
        });
        world.runtime.set_targets(entries.to_vec());
        world.runtime.set_spending(cap(limit));
        let given = world.runtime.run(hurried(&world));
        let given = tokio::time::timeout(Duration::from_secs(10), given).await;
        if answered == "first" {
            // The cap has no room for two: the first goes on alone, as if nobody had hedged.
            assert!(given.is_err(), "it is still waited for");
            assert_eq!(backend.calls.load(Ordering::SeqCst), 1);
            continue;
        }
        let mut events = given.unwrap().unwrap().events;
        while events.next().await.is_some() {}
        let receipt = world.store.receipts(1).await.unwrap().remove(0);
        assert_eq!(receipt.answered_by.unwrap().target.0, "cloud/b");
        assert_eq!(backend.calls.load(Ordering::SeqCst), 2);
        assert!(receipt.cost.micros > 0 && receipt.in_doubt.micros > 0);
    }
}
