use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use inshore_domain::request::{Chat, Message, Part, Role};
use inshore_domain::*;
use inshore_policy::{Feature, Features, Rules, Settings};

use crate::scripted::{Script, World, answer, embedding, request, text, world};

const FEATURE: &str = "mail";
const SECRET: &str =
    "Please write to ada.quimby@mailhost.example about her account GB82 WEST 1234 5698 7654 32 today.";

fn masking(device: &[Script], cloud: &[Script], more: Feature) -> World {
    let world = world(device, cloud);
    let mut features = Features::default();
    features.set(FEATURE, Feature { mask: true, ..more });
    world.runtime.set_rules(Rules::shipped(Settings { features, ..Settings::default() }));
    world
}

fn asked(world: &World, model: &str, said: &str) -> Request {
    let mut request = request(world, model);
    let messages = vec![Message::text(Role::User, said)];
    request.task = Task::Chat(Chat { messages, ..Chat::default() });
    request.hints.feature = Some(FEATURE.into());
    request
}

async fn run(world: &World, request: Request) -> (String, Receipt) {
    let mut given = world.runtime.run(request).await.unwrap();
    let mut said = String::new();
    while let Some(event) = given.events.next().await {
        if let Event::Delta { delta: Delta::Text { text, .. }, .. } = event.unwrap() {
            said.push_str(&text);
        }
    }
    (said, world.store.receipt(given.receipt).await.unwrap().unwrap())
}

/// What a backend got.
fn sent(world: &World, place: usize) -> String {
    let request = world.backends[place].last.lock().unwrap().clone().expect("it was called");
    format!("{:?} {:?}", request.task, request.original)
}

/// An answer that says again what it was told, cut anywhere.
fn echo(world: &World, cut: usize) -> Script {
    let request = asked(world, "cloud", SECRET);
    let mut copy = request;
    let mut mask = inshore_policy::masking::Mask::new();
    mask.apply(&inshore_policy::sensitivity::Detector::default(), &mut copy).unwrap();
    let Task::Chat(chat) = &copy.task else { unreachable!("it is a chat") };
    let said = chat.messages[0].joined_text();
    let letters: Vec<char> = said.chars().collect();
    let mut items: Vec<_> =
        letters.chunks(cut).map(|piece| text(&piece.iter().collect::<String>())).collect();
    items.push(Ok(Event::Finished { index: 0, reason: FinishReason::Stop }));
    items.push(Ok(Event::Usage(Usage { prompt_tokens: 9, output_tokens: 9, ..Usage::default() })));
    Script::Play(items)
}

#[tokio::test]
async fn what_leaves_has_placeholders_and_the_answer_has_the_values() {
    for cut in [1, 3, 1000] {
        let script = echo(&world(&[], &[]), cut);
        let world = masking(&[], &[script], Feature::default());
        let (said, receipt) = run(&world, asked(&world, "cloud", SECRET)).await;
        assert_eq!(said, SECRET);
        let sent = sent(&world, 1);
        for part in ["ada.quimby", "mailhost", "GB82", "7654"] {
            assert!(!sent.contains(part), "{part} in {sent}");
        }
        assert!(receipt.notes[0].starts_with("masked before the call: "), "{:?}", receipt.notes);
    }
}

#[tokio::test]
async fn the_device_gets_the_text_itself() {
    let world = masking(&[answer(&["done"])], &[], Feature::default());
    let (said, receipt) = run(&world, asked(&world, "device", SECRET)).await;
    assert_eq!((said.as_str(), receipt.notes.len()), ("done", 0));
    assert!(sent(&world, 0).contains("ada.quimby@mailhost.example"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_loses_nothing_that_came() {
    let broken = BackendError::new(BackendErrorKind::Failed, "broke");
    let world = masking(&[], &[Script::Play(vec![text("Ask [EMAI"), Err(broken)])], Feature::default());
    let mut events = world.runtime.run(asked(&world, "cloud", SECRET)).await.unwrap().events;
    let mut said = String::new();
    let error = loop {
        match events.next().await.expect("an error comes before the end") {
            Ok(Event::Delta { delta: Delta::Text { text, .. }, .. }) => said.push_str(&text),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!((said.as_str(), error.message.as_str()), ("Ask [EMAI", "broke"));
}

#[tokio::test]
async fn a_placeholder_that_the_model_made_up_stays_and_is_said() {
    let world = masking(&[], &[answer(&["Ask [EMAIL_", "9] instead."])], Feature::default());
    let (said, receipt) = run(&world, asked(&world, "cloud", SECRET)).await;
    assert_eq!(said, "Ask [EMAIL_9] instead.");
    assert!(
        receipt.notes.iter().any(|note| note.starts_with("restoration is not certain")),
        "{:?}",
        receipt.notes
    );
}

#[tokio::test]
async fn what_cannot_be_masked_or_may_not_leave_stays() {
    let refused = |world: &World, request: Request| {
        let runtime = world.runtime.clone();
        async move { runtime.run(request).await.unwrap_err().message }
    };
    // A picture cannot be looked at.
    let world = masking(&[], &[], Feature::default());
    let mut picture = asked(&world, "cloud", "What is this?");
    let Task::Chat(chat) = &mut picture.task else { unreachable!("it is a chat") };
    chat.messages[0].content.push(Part::Image { url: "data:image/png;base64,AAAA".into() });
    refused(&world, picture).await;
    // What the caller or the feature calls confidential is not less so for being masked.
    for (hint, feature) in [
        (Some(Sensitivity::Confidential), None),
        (Some(Sensitivity::Restricted), None),
        (None, Some(Sensitivity::Confidential)),
    ] {
        let world = masking(&[], &[], Feature { sensitivity: feature, ..Feature::default() });
        let mut request = asked(&world, "cloud", SECRET);
        request.hints.sensitivity = hint;
        refused(&world, request).await;
        assert_eq!(world.backends[1].calls.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn vectors_of_masked_text_are_of_the_placeholders() {
    let world = masking(&[], &[], Feature::default());
    let mut request = embedding(&world, "cloud");
    request.hints.feature = Some(FEATURE.into());
    let Task::Embedding(asked) = &mut request.task else { unreachable!("it is an embedding") };
    asked.inputs = vec![request::PromptText::Text(SECRET.into())];
    let embedded = world.runtime.embed(request).await.unwrap();
    let receipt = world.store.receipt(embedded.receipt).await.unwrap().unwrap();
    assert!(receipt.notes.iter().any(|note| note.starts_with("masked")), "{:?}", receipt.notes);
}

#[tokio::test]
async fn a_draft_of_the_text_gives_way_to_an_answer_without_a_trace_of_the_mask() {
    let script = echo(&world(&[], &[]), 7);
    let strategy = Some(Strategy::Draft);
    let world = masking(&[answer(&["a draft"])], &[script], Feature { strategy, ..Feature::default() });
    let (said, receipt) = run(&world, asked(&world, "auto", SECRET)).await;
    assert_eq!((said.as_str(), receipt.strategy), (SECRET, Strategy::Draft));
    assert!(!sent(&world, 1).contains("ada.quimby"));
}
