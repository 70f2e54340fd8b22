use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use inshore_domain::request::{Json, OutputFormat};
use inshore_domain::*;
use inshore_policy::verify::Check;
use inshore_policy::{Feature, Features, Rules, Settings};

use crate::scripted::{Script, World, answer, request, text, world};

const FEATURE: &str = "triage";

fn cascading(device: &[Script], cloud: &[Script], checks: &[&str]) -> World {
    let world = world(device, cloud);
    let mut features = Features::default();
    let checks: Vec<Check> = checks.iter().map(|check| check.parse().unwrap()).collect();
    let feature = Feature { checks: Some(checks), strategy: Some(Strategy::Cascade), ..Feature::default() };
    features.set(FEATURE, feature);
    world.runtime.set_rules(Rules::shipped(Settings { features, ..Settings::default() }));
    world
}

fn asked(world: &World) -> Request {
    let mut request = request(world, "auto");
    request.hints.feature = Some(FEATURE.into());
    request
}

async fn run(world: &World, request: Request) -> (String, Receipt) {
    let mut given = world.runtime.run(request).await.unwrap();
    let mut said = String::new();
    while let Some(event) = given.events.next().await {
        match event.unwrap() {
            Event::Delta { delta: Delta::Text { text, logprobs }, .. } => {
                assert!(logprobs.is_empty(), "nobody asked for them");
                said.push_str(&text);
            }
            Event::Delta { .. } | Event::Started { .. } | Event::Finished { .. } => {}
            Event::Usage(_) | Event::Wire(_) => {}
        }
    }
    (said, world.store.receipt(given.receipt).await.unwrap().unwrap())
}

#[tokio::test]
async fn an_answer_that_stands_up_is_kept_and_nothing_leaves() {
    let world = cascading(&[answer(&["It is ", "B."])], &[], &["finished", "length:2-20", "refusal"]);
    let (said, receipt) = run(&world, asked(&world)).await;
    assert_eq!((said.as_str(), receipt.strategy), ("It is B.", Strategy::Cascade));
    assert_eq!((receipt.bytes_out(), receipt.answered_by.unwrap().target.0.as_str()), (0, "device/small"));
    assert_eq!(receipt.usage.output_tokens, 2);
}

#[tokio::test]
async fn an_answer_that_does_not_is_asked_for_one_step_up() {
    let world = cascading(&[answer(&["I cannot help with that."])], &[answer(&["Paris."])], &["refusal"]);
    let (said, receipt) = run(&world, asked(&world)).await;
    assert_eq!((said.as_str(), receipt.answered_by.unwrap().target.0.as_str()), ("Paris.", "cloud/big"));
    let (target, why) = &receipt.failed_steps[0];
    assert_eq!(target.0, "device/small");
    assert_eq!(
        why,
        "its answer was not kept: it failed the check `refusal`: it refuses, or says that it cannot"
    );
    assert!(receipt.cost.micros > 0);
}

#[tokio::test]
async fn a_schema_that_is_followed_says_enough() {
    // A second answer would be asked for if the schema had not decided: there is no script for one.
    let world = cascading(&[answer(&["{\"n\":", "1}"])], &[], &["schema", "agreement"]);
    let mut request = asked(&world);
    let Task::Chat(chat) = &mut request.task else { unreachable!("it is a chat") };
    let schema = Json(r#"{"type":"object","required":["n"]}"#.into());
    chat.output = OutputFormat::JsonSchema { name: "n".into(), schema };
    assert_eq!(run(&world, request).await.0, "{\"n\":1}");
    assert_eq!(world.backends[0].calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_second_answer_must_agree_where_nothing_else_is_known() {
    let world = cascading(
        &[answer(&["The answer is 42."]), answer(&["Let me see. The answer is 42."])],
        &[],
        &["agreement"],
    );
    assert_eq!(run(&world, asked(&world)).await.0, "The answer is 42.");
    let again = world.backends[0].last.lock().unwrap().clone().unwrap();
    let sampling = again.task.sampling().unwrap();
    assert!(sampling.temperature.is_some_and(|free| free >= 0.7) && sampling.seed.is_some());

    let device = [answer(&["The answer is 42."]), answer(&["The answer is 41."])];
    let world = cascading(&device, &[answer(&["43"])], &["agreement"]);
    let (said, receipt) = run(&world, asked(&world)).await;
    assert_eq!(said, "43");
    assert!(receipt.failed_steps[0].1.contains("`agreement`"), "{:?}", receipt.failed_steps);
}

fn likely(word: &str, logprob: f32) -> Result<Event, BackendError> {
    let token = TokenLogprob { bytes: word.as_bytes().to_vec(), id: None, logprob, top: Vec::new() };
    Ok(Event::Delta { index: 0, delta: Delta::Text { text: word.into(), logprobs: vec![token] } })
}

fn drawn(word: &str, logprob: f32) -> Script {
    Script::Play(vec![likely(word, logprob), Ok(Event::Finished { index: 0, reason: FinishReason::Stop })])
}

#[tokio::test]
async fn log_probabilities_are_asked_for_where_they_are_read_and_kept_from_the_caller() {
    let world = cascading(&[drawn("sure", -0.01)], &[], &["likely:10:-1.0"]);
    assert_eq!(run(&world, asked(&world)).await.0, "sure");
    let last = world.backends[0].last.lock().unwrap().clone().unwrap();
    assert_eq!(last.task.sampling().unwrap().logprobs, Some(0));
    let world = cascading(&[drawn("guess", -3.0)], &[answer(&["known"])], &["likely:10:-1.0"]);
    assert_eq!(run(&world, asked(&world)).await.0, "known");
}

#[tokio::test]
async fn a_model_that_doubts_its_own_answer_is_not_believed() {
    let world = cascading(&[answer(&["Rome"]), drawn("yes", -0.1)], &[], &["self-judged:70"]);
    assert_eq!(run(&world, asked(&world)).await.0, "Rome");
    let world =
        cascading(&[answer(&["Rome"]), drawn("No", -0.1)], &[answer(&["Paris"])], &["self-judged:70"]);
    let (said, receipt) = run(&world, asked(&world)).await;
    assert_eq!(said, "Paris");
    assert!(receipt.failed_steps[0].1.ends_with("the model finds its answer right with 0 %"));
}

#[tokio::test]
async fn a_doubtful_answer_that_says_so_is_more_than_none() {
    let refused = Script::Refuse(BackendErrorKind::Failed, 0);
    let world = cascading(&[answer(&["I do not know."])], std::slice::from_ref(&refused), &["refusal"]);
    let (said, receipt) = run(&world, asked(&world)).await;
    assert_eq!((said.as_str(), receipt.outcome), ("I do not know.", Outcome::Answered));
    assert!(receipt.notes[0].starts_with("no other target answered, so this answer is given although "));
    // A device that breaks off is a failed step like any other.
    let broken = Script::Play(vec![text("Go"), Err(BackendError::new(BackendErrorKind::Failed, "crashed"))]);
    let world = cascading(&[broken], &[answer(&["whole"])], &["refusal"]);
    assert_eq!(run(&world, asked(&world)).await.0, "whole");
}
