//! Answers that were given before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::*;
use inshore_runtime::CacheSettings;

use crate::scripted::{Script, World, answer, request, world};

fn cached(settings: CacheSettings, cloud: &[Script]) -> World {
    let world = world(&[], cloud);
    let features = ["faq".to_owned()].into();
    world.runtime.set_cache(CacheSettings { features, ..settings });
    world
}

fn asked(world: &World, feature: &str, user: &str) -> Request {
    let mut request = request(world, "cloud");
    request.hints.feature = Some(feature.into());
    request.principal.user = Some(user.into());
    request
}

/// Runs it to its end: the words, and the receipt.
async fn run(world: &World, request: Request) -> (String, Receipt) {
    let answer = world.runtime.run(request).await.unwrap();
    let id = answer.receipt;
    let events: Vec<_> = answer.events.collect().await;
    let text = |event: &Result<Event, _>| match event {
        Ok(Event::Delta { delta: Delta::Text { text, .. }, .. }) => text.clone(),
        Ok(_) => String::new(),
        Err(error) => format!("{error}"),
    };
    (events.iter().map(text).collect(), world.store.receipt(id).await.unwrap().unwrap())
}

fn calls(world: &World) -> usize {
    world.backends[1].calls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn the_same_request_is_answered_once_and_replayed_for_nothing() {
    let world = cached(CacheSettings::default(), &[answer(&["four", " words", " as", " answer"])]);
    let (first, paid) = run(&world, asked(&world, "faq", "ada")).await;
    let (again, replayed) = run(&world, asked(&world, "faq", "ada")).await;
    assert_eq!((first.as_str(), calls(&world)), ("four words as answer", 1));
    assert_eq!(first, again);
    assert!(paid.cost.micros > 0 && paid.replay.is_none());
    assert_eq!(replayed.replay, Some(Replay { of: paid.id, saved: paid.cost }));
    assert_eq!((replayed.cost.micros, replayed.bytes_out(), replayed.usage), (0, 0, Usage::default()));
    assert_eq!(replayed.outcome, Outcome::Answered);
    let counts = world.runtime.cache_counts();
    assert_eq!((counts.hits, counts.misses, counts.answers), (1, 1, 1));
}

#[tokio::test]
async fn what_differs_is_answered_anew() {
    let one = || answer(&["x"]);
    let world = cached(CacheSettings::default(), &[one(), one(), one(), one(), one(), one()]);
    run(&world, asked(&world, "faq", "ada")).await;
    run(&world, asked(&world, "faq", "bob")).await;
    run(&world, asked(&world, "chat", "ada")).await;
    let mut warmer = asked(&world, "faq", "ada");
    let Task::Chat(chat) = &mut warmer.task else { unreachable!("it is a chat") };
    chat.sampling.temperature = Some(0.5);
    run(&world, warmer).await;
    world.clock.advance(3_600_001);
    run(&world, asked(&world, "faq", "ada")).await;
    let mut secret = asked(&world, "faq", "ada");
    secret.hints.sensitivity = Some(Sensitivity::Confidential);
    assert!(world.runtime.run(secret).await.is_err(), "the cache is no way around the rules");
    assert_eq!(calls(&world), 5);
}

#[tokio::test]
async fn shared_answers_serve_other_users_and_the_oldest_leaves_when_there_is_no_room() {
    let settings = CacheSettings { shared: true, max_bytes: 500, ..CacheSettings::default() };
    let world = cached(settings, &[answer(&["x"]), answer(&["y"]), answer(&["x"])]);
    run(&world, asked(&world, "faq", "ada")).await;
    assert_eq!(run(&world, asked(&world, "faq", "bob")).await.0, "x");
    assert_eq!(calls(&world), 1);
    let mut other = asked(&world, "faq", "ada");
    let Task::Chat(chat) = &mut other.task else { unreachable!("it is a chat") };
    chat.messages.push(inshore_domain::request::Message::text(inshore_domain::request::Role::User, "more"));
    assert_eq!(run(&world, other).await.0, "y");
    assert_eq!(world.runtime.cache_counts().answers, 1);
    run(&world, asked(&world, "faq", "ada")).await;
    assert_eq!(calls(&world), 3);
}

#[tokio::test]
async fn identical_requests_at_once_share_one_call_and_a_failure_passes_the_lead_on() {
    let refused = Script::Refuse(BackendErrorKind::Failed, 9);
    let world = cached(CacheSettings::default(), &[refused, answer(&["late"])]);
    let runs = (0..8).map(|_| world.runtime.run(asked(&world, "faq", "ada")));
    let answers = futures_util::future::join_all(runs.map(|run| async {
        match run.await {
            Ok(answer) => answer.events.count().await,
            Err(_) => 0,
        }
    }))
    .await;
    assert_eq!(calls(&world), 2, "one that failed, and one for the seven others");
    assert_eq!(answers.iter().filter(|events| **events == 0).count(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_passes_the_lead_on() {
    let world = cached(CacheSettings::default(), &[Script::Hang, answer(&["whole"])]);
    let first = world.runtime.run(asked(&world, "faq", "ada")).await.unwrap();
    let second = run(&world, asked(&world, "faq", "ada"));
    let leave = async {
        tokio::task::yield_now().await;
        drop(first);
    };
    let (second, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), second), leave);
    assert_eq!(second.expect("it does not wait for ever").0, "whole");
}

#[tokio::test]
async fn new_rules_and_targets_forget_what_was_kept() {
    let world = cached(CacheSettings::default(), &[answer(&["x"]), answer(&["x"])]);
    run(&world, asked(&world, "faq", "ada")).await;
    world.runtime.set_rules(Default::default());
    assert_eq!(world.runtime.cache_counts().answers, 0);
    run(&world, asked(&world, "faq", "ada")).await;
    assert_eq!(calls(&world), 2);
}
