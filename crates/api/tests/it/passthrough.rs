//! Bytes that a target sent in the caller's own dialect go out unchanged.

use bytes::Bytes;
use inshore_domain::{Event, FinishReason};

use crate::scripted::{finished, text, usage};
use crate::server::start;

const CHAT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]"#;

fn wire(bytes: &'static str) -> Result<Event, inshore_domain::BackendError> {
    Ok(Event::Wire(Bytes::from_static(bytes.as_bytes())))
}

#[tokio::test]
async fn a_stream_is_forwarded_byte_for_byte() {
    let server = start(Box::new(|_| {
        Ok(vec![
            wire(": odd  spacing\ndata: {\"x\" : 1}\n\n"),
            text(0, "Good "),
            wire("data: {\"y\":2}\n\n"),
            text(0, "morning."),
            wire(""),
            finished(FinishReason::Stop),
            usage(),
            wire("data: [DONE]\n\n"),
        ])
    }))
    .await;
    let reply = server.post("/v1/chat/completions", &format!("{CHAT},\"stream\":true}}")).await;
    assert_eq!(reply.body, ": odd  spacing\ndata: {\"x\" : 1}\n\ndata: {\"y\":2}\n\ndata: [DONE]\n\n");
    assert!(reply.header("x-inshore-receipt").is_some());
    server.stop().await;
}

#[tokio::test]
async fn an_empty_piece_announces_that_wire_bytes_follow() {
    let server = start(Box::new(|_| {
        Ok(vec![wire(""), text(0, "Good"), wire("data: 1\n\n"), finished(FinishReason::Stop)])
    }))
    .await;
    let reply = server.post("/v1/chat/completions", &format!("{CHAT},\"stream\":true}}")).await;
    assert_eq!(reply.body, "data: 1\n\n");
    server.stop().await;
}

#[tokio::test]
async fn wire_bytes_that_come_too_late_do_not_mix() {
    let server = start(Box::new(|_| {
        Ok(vec![text(0, "Good"), wire("data: 1\n\n"), finished(FinishReason::Stop), usage()])
    }))
    .await;
    let reply = server.post("/v1/chat/completions", &format!("{CHAT},\"stream\":true}}")).await;
    assert!(
        !reply.body.contains("data: 1")
            && reply.body.contains("Good")
            && reply.body.ends_with("data: [DONE]\n\n")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_whole_body_is_forwarded_byte_for_byte() {
    let body = "{\"id\" : \"theirs\",\n \"choices\":[]}";
    let server = start(Box::new(move |_| {
        Ok(vec![wire(body), text(0, "Good"), finished(FinishReason::Stop), usage()])
    }))
    .await;
    let reply = server.post("/v1/chat/completions", &format!("{CHAT}}}")).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, body));
    server.stop().await;
}
