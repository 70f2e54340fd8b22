//! The daemon's own endpoints.

use std::sync::atomic::Ordering;

use inshore_domain::FinishReason;
use insta::assert_snapshot;

use crate::scripted::{finished, text, usage};
use crate::server::{settings, start};

const CHAT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"user":"ann"}"#;

#[tokio::test]
async fn status_and_receipts() {
    let script = || Ok(vec![text(0, "Hello."), finished(FinishReason::Stop), usage()]);
    let server = start(Box::new(move |_| script())).await;
    let answer = server.post("/v1/chat/completions", CHAT).await;
    let id = answer.header("x-inshore-receipt").expect("a receipt").to_owned();

    let status = server.get("/inshore/v1/status").await;
    let one = server.get(&format!("/inshore/v1/receipts/{id}")).await;
    let last = server.get("/inshore/v1/receipts?limit=1").await;
    assert_eq!(last.json()["receipts"][0], one.json());
    let pretty = |reply: &crate::server::Reply| serde_json::to_string_pretty(&reply.json()).expect("JSON");
    settings().bind(|| assert_snapshot!("native", format!("{}\n{}", pretty(&status), pretty(&one))));

    let refreshed = server.post("/inshore/v1/models/refresh", "").await;
    assert_eq!(refreshed.body, r#"{"added":["device/new"],"removed":[]}"#);
    let stopping = server.post("/inshore/v1/shutdown", "").await;
    assert_eq!((stopping.status, server.control.shutdowns.load(Ordering::Relaxed)), (202, 1));
    server.stop().await;
}

#[tokio::test]
async fn errors_are_problem_details() {
    let server = start(Box::new(|_| Ok(Vec::new()))).await;
    let mut shown = String::new();
    for path in [
        "/inshore/v1/receipts/rcpt_00000000000000000000000000",
        "/inshore/v1/receipts/nonsense",
        "/inshore/v1/receipts?limit=0",
        "/inshore/v1/receipts?last=1",
        "/inshore/v1/nothing",
        "/nothing",
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        shown.push_str(&format!("{path}\n{}\n", reply.body));
    }
    let wrong_method = server.get("/inshore/v1/shutdown").await;
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, Some("POST")));
    shown.push_str(&wrong_method.body);
    settings().bind(|| assert_snapshot!("problems", shown));
    server.stop().await;
}

#[tokio::test]
async fn a_decision_is_shown_without_running_anything() {
    let server = start(Box::new(|_| panic!("nothing is run"))).await;
    let mut shown = String::new();
    for (path, body) in [
        ("/inshore/v1/decide", CHAT),
        ("/inshore/v1/decide", r#"{"model":"none","prompt":"Dear"}"#),
        (
            "/inshore/v1/decide?api=messages",
            r#"{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#,
        ),
        ("/inshore/v1/decide?api=smtp", CHAT),
        ("/inshore/v1/decide", r#"{"model":"tiny","messages":7}"#),
    ] {
        let reply = server.post(path, body).await;
        let pretty = serde_json::to_string_pretty(&reply.json()).expect("JSON");
        shown.push_str(&format!("{path} {body}\n{} {pretty}\n", reply.status));
    }
    settings().bind(|| assert_snapshot!("decide", shown));
    assert!(server.store().receipts(1).await.expect("the store is open").is_empty());
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_was_given_before_says_so() {
    let script = || Ok(vec![text(0, "Hello."), finished(FinishReason::Stop), usage()]);
    let server = start(Box::new(move |_| script())).await;
    let features = ["faq".to_owned()].into();
    server.runtime().set_cache(inshore_runtime::CacheSettings { features, ..Default::default() });
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"metadata":{"inshore_feature":"faq"}}"#;
    let streamed = body.replacen('{', r#"{"stream":true,"#, 1);
    let first = server.post("/v1/chat/completions", body).await;
    assert_eq!(first.header("x-inshore-cache"), None);
    for again in [body, &streamed] {
        let replayed = server.post("/v1/chat/completions", again).await;
        assert_eq!((replayed.status, replayed.header("x-inshore-cache")), (200, Some("hit")));
        assert_ne!(replayed.header("x-inshore-receipt"), first.header("x-inshore-receipt"));
        assert!(replayed.body.contains("Hello."), "{}", replayed.body);
    }
    server.stop().await;
}

#[tokio::test]
async fn feedback_is_taken_for_receipts_that_there_are() {
    let script = || Ok(vec![text(0, "Hello."), finished(FinishReason::Stop), usage()]);
    let server = start(Box::new(move |_| script())).await;
    let answer = server.post("/v1/chat/completions", CHAT).await;
    let id = answer.header("x-inshore-receipt").expect("a receipt").to_owned();
    let mut shown = String::new();
    let unknown = "rcpt_00000000000000000000000000";
    for (receipt, said) in [
        (id.as_str(), r#""rating":"good""#),
        (&id, r#""retried":true"#),
        (unknown, r#""rating":"bad""#),
        ("nonsense", r#""rating":"bad""#),
        (&id, r#""rating":"fine""#),
        (&id, r#""rating":"bad","retried":true"#),
        (&id, r#""retried":false"#),
        (&id, r#""stars":5"#),
    ] {
        let reply =
            server.post("/inshore/v1/feedback", &format!(r#"{{"receipt":"{receipt}",{said}}}"#)).await;
        let receipt = if receipt == id { "the receipt" } else { receipt };
        shown.push_str(&format!("{receipt} {said}\n{} {}\n", reply.status, reply.body));
    }
    let router = server.get("/inshore/v1/router").await;
    shown.push_str(&format!("{} {}\n", router.status, router.body));
    settings().bind(|| assert_snapshot!("feedback", shown));
    server.stop().await;
}
