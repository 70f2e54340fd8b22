//! Answers that are revised while they are made, in each form.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use inshore_domain::event::Delta;
use inshore_domain::{BackendError, BackendErrorKind, Capability, Event, FinishReason, Tier};
use inshore_runtime::Registered;
use insta::assert_snapshot;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use crate::scripted::{ScriptedBackend, delta, finished, target, text, usage};
use crate::server::{Reply, Running, settings, start};

const DRAFT: [(&str, &str); 1] = [("x-inshore-strategy", "draft")];
const CHAT: &[u8] = br#"{"model":"auto","messages":[{"role":"user","content":"When do we meet?"}]}"#;

type Item = Result<Event, BackendError>;

/// A device that answers at once, and a cloud that answers when the draft is there.
async fn two(device: Vec<Item>, cloud: Vec<Item>) -> Running {
    let server = start(Box::new(move |_| Ok(device.clone()))).await;
    let slow = ScriptedBackend::new(Box::new(|_| Ok(Vec::new())));
    *slow.endless.lock().unwrap() = Some(Box::new(move || {
        let later = stream::once(async {
            for _ in 0..400 {
                tokio::task::yield_now().await;
            }
        });
        let items = cloud.clone();
        Box::pin(later.flat_map(move |()| stream::iter(items.clone())))
    }));
    let all = Capability::ALL.into_iter().collect();
    let entry = |id, tier, backend: &Arc<ScriptedBackend>| Registered {
        target: Arc::new(inshore_domain::Target {
            price: (tier == Tier::Cloud).then_some(inshore_domain::Price::FREE),
            ..target(id, tier, all)
        }),
        backend: backend.clone(),
        embedder: None,
    };
    server.runtime().set_targets(vec![
        entry("device/tiny", Tier::Device, &server.backend),
        entry("cloud/big", Tier::Cloud, &slow),
    ]);
    server
}

fn whole(pieces: &[&str]) -> Vec<Item> {
    let mut items: Vec<Item> = pieces.iter().map(|piece| text(0, piece)).collect();
    items.extend([finished(FinishReason::Stop), usage()]);
    items
}

async fn generate(server: &Running, query: &str) -> Reply {
    server.send("POST", &format!("/inshore/v1/generate{query}"), &DRAFT, CHAT).await
}

#[tokio::test]
async fn a_draft_and_its_replacement_in_each_form() {
    let better = whole(&["We meet on Wednesday at ten ", "o'clock in the usual room."]);
    let server = two(whole(&["We meet on Tuesday", " at ten o'clock in the usual room."]), better).await;
    let native = generate(&server, "").await;
    let ai_sdk = generate(&server, "?format=ai-sdk").await;
    assert_eq!(ai_sdk.header("x-vercel-ai-ui-message-stream"), Some("v1"));
    let body = br#"{"model":"auto","input":"When do we meet?","stream":true}"#;
    let headers = [DRAFT[0], ("x-inshore-revisions", "true")];
    let responses = server.send("POST", "/v1/responses", &headers, body).await;
    let plain = server.send("POST", "/v1/responses", &DRAFT, body).await;
    assert!(!plain.body.contains("Tuesday") && plain.body.contains("Wednesday"), "{}", plain.body);
    settings().bind(|| {
        assert_snapshot!("native_draft", native.body);
        assert_snapshot!("ai_sdk_draft", ai_sdk.body);
        assert_snapshot!("responses_draft", responses.body);
    });
    server.stop().await;
}

#[tokio::test]
async fn a_draft_that_stays_and_a_tool_call() {
    let broken = vec![Err(BackendError::new(BackendErrorKind::Failed, "the model failed"))];
    let server = two(whole(&["A draft."]), broken).await;
    let kept = generate(&server, "").await;
    server.stop().await;
    let call = vec![
        delta(Delta::ToolCall { call: 0, id: "c1".into(), name: "send".into() }),
        delta(Delta::ToolArguments { call: 0, fragment: "{\"to\":\"ann\"}".into() }),
        finished(FinishReason::ToolCalls),
        usage(),
    ];
    let server = two(whole(&["A draft."]), call).await;
    let native = generate(&server, "").await;
    let ai_sdk = generate(&server, "?format=ai-sdk").await;
    settings().bind(|| {
        assert_snapshot!("native_kept_and_call", format!("{}\n{}", kept.body, native.body));
        assert_snapshot!("ai_sdk_call", ai_sdk.body);
    });
    server.stop().await;
}

#[tokio::test]
async fn an_answer_is_read_on_after_the_event_that_came_last() {
    let server = two(whole(&["one"]), whole(&["two three"])).await;
    let all = generate(&server, "").await;
    let path = format!("/inshore/v1/generate/{}", all.header("x-inshore-receipt").expect("a receipt"));
    let events: Vec<&str> = all.body.split_inclusive("\n\n").skip(1).collect();
    assert!(events.len() > 5);
    for passed in [0, 2, events.len(), events.len() + 5] {
        let id = passed.to_string();
        let rest = server.send("GET", &path, &[("last-event-id", &id)], b"").await;
        // A problem names the request that reads it; there is none here.
        assert_eq!(rest.body, events.get(passed..).unwrap_or_default().concat());
    }
    let mut shown = String::new();
    for (path, id) in [(path.as_str(), "x"), ("/inshore/v1/generate/rcpt_00000000000000000000000000", "1")] {
        shown.push_str(&server.send("GET", path, &[("last-event-id", id)], b"").await.body);
        shown.push('\n');
    }
    for (query, body) in [
        ("?format=xml", CHAT),
        ("", br#"{"model":"auto","input":"x","encoding_format":"float"}"#.as_slice()),
        ("?api=embeddings", br#"{"model":"auto","input":"x"}"#),
        ("", br#"{"model":"auto","n":2,"messages":[{"role":"user","content":"x"}]}"#),
    ] {
        let path = format!("/inshore/v1/generate{query}");
        shown.push_str(&server.send("POST", &path, &[], body).await.body);
        shown.push('\n');
    }
    let bad = server.send("POST", "/inshore/v1/generate", &[("x-inshore-strategy", "best")], CHAT).await;
    shown.push_str(&bad.body);
    settings().bind(|| assert_snapshot!("generate_refusals", shown));
    server.stop().await;
}

/// The text that a client has after these native events.
fn applied(body: &str) -> String {
    let mut text: Vec<char> = Vec::new();
    for event in body.split("\n\n") {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let data: serde_json::Value = serde_json::from_str(field("data").unwrap_or("null")).expect("JSON");
        let new = || data["text"].as_str().unwrap_or_default().chars();
        let place = |name: &str| data[name].as_u64().expect("a number") as usize;
        match field("event") {
            Some("appended") => text.extend(new()),
            Some("replaced") => drop(text.splice(place("start")..place("end"), new())),
            _ => {}
        }
    }
    text.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_events_make_one_of_the_two_answers(
        draft in prop::collection::vec("[a-c ü\u{1f600}\n]{1,5}", 1..5),
        better in prop::collection::vec("[a-c ü\u{1f600}\n]{1,5}", 1..5),
        fails in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pieces = |texts: &[String]| texts.iter().map(|piece| text(0, piece)).collect::<Vec<_>>();
        let mut items = pieces(&better);
        if fails {
            items.push(Err(BackendError::new(BackendErrorKind::Failed, "broke")));
        } else {
            items.push(finished(FinishReason::Stop));
        }
        let mut device = pieces(&draft);
        device.push(finished(FinishReason::Stop));
        let reply = runtime.block_on(async {
            let server = two(device, items).await;
            let reply = generate(&server, "").await;
            server.stop().await;
            reply
        });
        let expected = if fails { draft.concat() } else { better.concat() };
        prop_assert!(applied(&reply.body) == expected, "{}", reply.body);
    }
}
