//! Refusals and failures, in each API's own words.

use std::sync::Arc;
use std::time::Duration;

use inshore_api::{ApiOptions, Limits};
use inshore_domain::{BackendError, BackendErrorKind, Capabilities, Capability, FinishReason, Tier};
use inshore_runtime::Registered;
use insta::assert_snapshot;

use crate::scripted::{Script, ScriptedBackend, finished, target, text};
use crate::server::{options, settings, start, start_with};

fn greeting() -> Script {
    Box::new(|_| Ok(vec![text(0, "Hello."), finished(FinishReason::Stop)]))
}

fn failing(kind: BackendErrorKind, retry_after: Option<Duration>) -> Script {
    Box::new(move |_| {
        let mut error = BackendError::new(kind.clone(), "it did not work").with_hint("try another");
        error.retry_after = retry_after;
        Err(error)
    })
}

const CHAT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#;
const MESSAGES: &str = r#"{"model":"tiny","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}"#;

#[tokio::test]
async fn failures_of_targets_have_their_status() {
    use BackendErrorKind as Kind;
    let server = start(greeting()).await;
    let kinds = [
        (Kind::InvalidRequest { field: Some("grammar".to_owned()) }, 400),
        (Kind::ContextExceeded { prompt: 5000, window: 4096 }, 400),
        (Kind::Unsupported, 400),
        (Kind::ModelNotFound, 404),
        (Kind::ModelUnusable, 500),
        (Kind::Unauthorised, 502),
        (Kind::Overloaded, 503),
        (Kind::RateLimited, 429),
        (Kind::Unreachable, 502),
        (Kind::Timeout, 504),
        (Kind::Failed, 502),
        (Kind::Protocol, 502),
    ];
    let mut shown = String::new();
    for (kind, status) in kinds {
        // A new server each time: failures count against the health of a target.
        let server = start(failing(kind.clone(), None)).await;
        let openai = server.post("/v1/chat/completions", CHAT).await;
        assert_eq!(openai.status, status, "{kind:?}: {}", openai.body);
        let anthropic = server.post("/v1/messages", MESSAGES).await;
        shown.push_str(&format!(
            "{kind:?} retry={}\n{}\n{} {}\n",
            openai.header("x-should-retry").unwrap_or("-"),
            openai.body,
            anthropic.status,
            anthropic.body
        ));
        server.stop().await;
    }
    settings().bind(|| assert_snapshot!("failures", shown));
    server.backend.set(failing(Kind::RateLimited, Some(Duration::from_millis(1500))));
    let limited = server.post("/v1/chat/completions", CHAT).await;
    assert_eq!(
        (limited.status, limited.header("retry-after")),
        (429, Some("2")),
        "whole seconds, rounded up"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_error_half_way_ends_the_stream_in_its_own_words() {
    let broken = || {
        let error = BackendError::new(BackendErrorKind::Failed, "the engine process ended");
        Ok(vec![text(0, "Good "), Err(error)])
    };
    let server = start(Box::new(move |_| broken())).await;
    let mut shown = String::new();
    for (path, body) in [
        (
            "/v1/chat/completions",
            r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":true}"#,
        ),
        ("/v1/completions", r#"{"model":"tiny","prompt":"Hi","stream":true}"#),
        ("/v1/responses", r#"{"model":"tiny","input":"Hi","stream":true}"#),
        (
            "/v1/messages",
            r#"{"model":"tiny","max_tokens":5,"messages":[{"role":"user","content":"Hi"}],"stream":true}"#,
        ),
    ] {
        let server = start(Box::new(move |_| broken())).await;
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 200, "the head had gone out");
        assert!(!reply.body.contains("[DONE]"), "{}", reply.body);
        shown.push_str(&format!("{path}\n{}\n", reply.body));
        let whole = server.post(path, &body.replace(",\"stream\":true", "")).await;
        assert_eq!(whole.status, 502, "{}", whole.body);
        assert!(whole.header("x-inshore-receipt").is_some());
        server.stop().await;
    }
    settings().bind(|| assert_snapshot!("broken_streams", shown));
    server.stop().await;
}

#[tokio::test]
async fn unknown_models_and_missing_targets_are_explained() {
    let server = start(greeting()).await;
    let unknown = server.post("/v1/chat/completions", &CHAT.replace("tiny", "gpt-9")).await;
    assert_eq!((unknown.status, unknown.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert_eq!(unknown.json()["error"]["param"], "model");
    let unknown = server.post("/v1/messages", &MESSAGES.replace("tiny", "claude-9")).await;
    assert_eq!((unknown.status, unknown.json()["error"]["type"].as_str()), (404, Some("not_found_error")));

    let backend = ScriptedBackend::new(greeting());
    let register = |entries: Vec<inshore_domain::Target>| {
        let entry =
            |target| Registered { target: Arc::new(target), backend: backend.clone(), embedder: None };
        server.runtime().set_targets(entries.into_iter().map(entry).collect());
    };
    let chat = Capabilities::NONE.with(Capability::Chat);
    let completes = Capabilities::NONE.with(Capability::Completion);
    let forbidden =
        inshore_domain::Target { permitted_up_to: None, ..target("cloud/big", Tier::Cloud, chat) };
    register(vec![target("device/tiny", Tier::Device, completes), forbidden]);
    let incapable = server.post("/v1/chat/completions", CHAT).await;
    assert_eq!((incapable.status, incapable.json()["error"]["code"].as_str()), (400, Some("incapable")));
    let auto = server.post("/v1/chat/completions", &CHAT.replace("tiny", "auto")).await;
    assert_eq!((auto.status, auto.json()["error"]["code"].as_str()), (403, Some("no_permitted_target")));
    let message = auto.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("cannot do `chat`") && message.contains("does not permit"), "{message}");
    server.stop().await;
}

/// Bodies that must be refused: what is wrong, where it is sent, and which field is named.
const REFUSED: [(&str, &str, &str); 47] = [
    ("chat", r#"{"messages":[]}"#, "model"),
    ("chat", r#"{"model":"tiny","messages":[]}"#, "messages"),
    ("chat", r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#, "model"),
    ("chat", r#"{"model":"tiny","messages":[{"role":"user"}]}"#, "messages[0].content"),
    ("chat", r#"{"model":"tiny","messages":[{"role":"tool","content":"x"}]}"#, "messages[0].tool_call_id"),
    ("chat", r#"{"model":"tiny","messages":[{"role":"god","content":"x"}]}"#, "messages[0].role"),
    (
        "chat",
        r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]}"#,
        "messages[0].content[0]",
    ),
    (
        "chat",
        r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}"#,
        "messages[0].content[0].image_url.url",
    ),
    ("chat", r#"{"model":"tiny","messages":"x"}"#, "messages"),
    ("chat+", r#""temperature":2.5"#, "temperature"),
    ("chat+", r#""temperature":"hot""#, "temperature"),
    ("chat+", r#""top_p":-0.1"#, "top_p"),
    ("chat+", r#""n":0"#, "n"),
    ("chat+", r#""n":17"#, "n"),
    ("chat+", r#""max_tokens":0"#, "max_tokens"),
    ("chat+", r#""max_tokens":-1"#, "max_tokens"),
    ("chat+", r#""max_tokens":5,"max_completion_tokens":6"#, "max_tokens"),
    ("chat+", r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
    ("chat+", r#""top_logprobs":2"#, "top_logprobs"),
    ("chat+", r#""presence_penalty":3"#, "presence_penalty"),
    ("chat+", r#""frequency_penalty":-3"#, "frequency_penalty"),
    ("chat+", r#""min_p":2"#, "min_p"),
    ("chat+", r#""top_k":-2"#, "top_k"),
    ("chat+", r#""repetition_penalty":0"#, "repetition_penalty"),
    ("chat+", r#""logit_bias":{"x":1}"#, "logit_bias"),
    ("chat+", r#""logit_bias":{"1":101}"#, "logit_bias"),
    ("chat+", r#""stop":["a",""]"#, "stop"),
    ("chat+", r#""stream_options":{"include_usage":true}"#, "stream_options"),
    ("chat+", r#""modalities":["text","audio"]"#, "modalities"),
    ("chat+", r#""audio":{"voice":"x"}"#, "audio"),
    ("chat+", r#""functions":[]"#, "functions"),
    ("chat+", r#""web_search_options":{}"#, "web_search_options"),
    ("chat+", r#""tool_choice":"required""#, "tool_choice"),
    ("chat+", r#""tools":[{"type":"function","function":{"name":"a b"}}]"#, "tools[0].function.name"),
    ("chat+", r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
    ("chat+", r#""grammar":"root ::= \"a\"","response_format":{"type":"json_object"}"#, "grammar"),
    ("chat+", r#""temperatur":1"#, "temperatur"),
    ("chat+", r#""pin":9"#, "pin"),
    ("chat+", r#""metadata":{"inshore_profile":"now"}"#, "metadata.inshore_profile"),
    ("completions", r#"{"model":"tiny","prompt":"x","best_of":3}"#, "best_of"),
    ("completions", r#"{"model":"tiny","prompt":["a",1]}"#, "prompt"),
    ("embeddings", r#"{"model":"tiny","input":[]}"#, "input"),
    ("embeddings", r#"{"model":"tiny","input":"x","dimensions":0}"#, "dimensions"),
    ("responses", r#"{"model":"tiny","input":"x","previous_response_id":"resp_1"}"#, "previous_response_id"),
    ("responses", r#"{"model":"tiny","input":"x","background":true}"#, "background"),
    ("responses", r#"{"model":"tiny","input":[{"type":"item_reference","id":"x"}]}"#, "input[0]"),
    ("responses", r#"{"model":"tiny","input":"x","tools":[{"type":"web_search"}]}"#, "tools[0]"),
];

#[tokio::test]
async fn the_field_at_fault_is_named() {
    let server = start(greeting()).await;
    let mut shown = String::new();
    for (kind, body, param) in REFUSED {
        let (path, body) = match kind {
            "chat+" => ("/v1/chat/completions", format!("{},{body}}}", &CHAT[..CHAT.len() - 1])),
            "chat" => ("/v1/chat/completions", body.to_owned()),
            other => (
                ["/v1/completions", "/v1/embeddings", "/v1/responses"]
                    .into_iter()
                    .find(|path| path.ends_with(other))
                    .expect("a path"),
                body.to_owned(),
            ),
        };
        let reply = server.post(path, &body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.body);
        let error = &reply.json()["error"];
        let named = error["param"].as_str().unwrap_or_default();
        assert!(named == param || named.starts_with(&format!("{param}.")), "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        shown.push_str(&format!(
            "{}: {}\n",
            error["code"].as_str().expect("a code"),
            error["message"].as_str().expect("a message")
        ));
    }
    assert!(server.backend.seen.lock().unwrap().is_empty(), "nothing that was refused reached a target");
    settings().bind(|| assert_snapshot!("refusals", shown));
    server.stop().await;
}

#[tokio::test]
async fn anthropic_refusals_name_the_field() {
    let server = start(greeting()).await;
    let mut shown = String::new();
    for body in [
        r#"{"model":"tiny","messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"tiny","max_tokens":0,"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"tiny","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}"#,
        r#"{"model":"tiny","max_tokens":9,"temperature":1.5,"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"tiny","max_tokens":9,"mcp_servers":[{}],"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"tiny","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{}}]}]}"#,
        r#"{"model":"tiny","max_tokens":9,"messages":[{"role":"user","content":[{"type":"tool_use","id":"a","name":"b","input":{}}]}]}"#,
        r#"{"model":"tiny","max_tokens":9,"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"tiny","max_tokens":9,"thinking":{"type":"enabled","budget_tokens":9},"messages":[{"role":"user","content":"x"}]}"#,
        r#"{"model":"tiny","max_tokens":9,"presence_penalty":1,"messages":[{"role":"user","content":"x"}]}"#,
    ] {
        let reply = server.post("/v1/messages", body).await;
        assert_eq!(
            (reply.status, reply.json()["error"]["type"].as_str()),
            (400, Some("invalid_request_error")),
            "{body}"
        );
        shown.push_str(reply.json()["error"]["message"].as_str().expect("a message"));
        shown.push('\n');
    }
    settings().bind(|| assert_snapshot!("anthropic_refusals", shown));
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_json_or_too_large() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let server = start_with(greeting(), ApiOptions { limits, ..options() }).await;
    for (body, code) in [
        (b"".as_slice(), "invalid_json"),
        (b"{", "invalid_json"),
        (b"{\"model\":\"\xff\"}", "invalid_utf8"),
        (b"\x00\x01\x02", "invalid_json"),
        (&[b'['; 900], "invalid_json"),
    ] {
        let reply = server.send("POST", "/v1/chat/completions", &[], body).await;
        let error = reply.json()["error"].clone();
        assert!(
            reply.status == 400 && (error["code"] == code || error["code"] == "invalid_type"),
            "{body:?}: {error}"
        );
    }
    let large = format!("{{\"model\":\"{}\"}}", "x".repeat(2000));
    let reply = server.post("/v1/chat/completions", &large).await;
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (413, Some("request_too_large")));
    // Without a declared length the same limit holds while reading.
    let chunked = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: secret\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    let reply = server.raw(chunked.as_bytes()).await;
    assert_eq!((reply.status, reply.json()["error"]["type"].as_str()), (413, Some("request_too_large")));
    let packed =
        server.send("POST", "/v1/chat/completions", &[("content-encoding", "gzip")], CHAT.as_bytes()).await;
    assert_eq!((packed.status, packed.json()["error"]["code"].as_str()), (415, Some("unsupported_encoding")));
    server.stop().await;
}

#[tokio::test]
async fn all_bodies_together_have_a_limit_too() {
    let limits = Limits { bodies_bytes: 50, ..Limits::default() };
    let server = start_with(greeting(), ApiOptions { limits, ..options() }).await;
    let reply = server.post("/v1/chat/completions", CHAT).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    // What was refused gave its share back.
    let small = server.post("/v1/embeddings", r#"{"model":"tiny","input":"x"}"#).await;
    assert_eq!(small.status, 200, "{}", small.body);
    server.stop().await;
}
