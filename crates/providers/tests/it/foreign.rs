//! Foreign answers that lie or break: each ends in a clear error or in the right answer, in every protocol.

use std::time::Duration;

use bytes::Bytes;
use inshore_domain::request::{Embedding, PromptText, Task};
use inshore_domain::{BackendErrorKind, Capability, Embedder, Usage};
use inshore_sim::{Fault, Reply, Turn};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::*;

const TEXT: &str = "one two three";

fn exact(kind: &str, body: impl Into<Bytes>) -> Turn {
    let headers = vec![("content-type".into(), kind.into())];
    Turn::of(Reply::Exact { status: 200, headers, body: body.into() })
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Runs a request to its end, which must come in time.
async fn end(spoken: Spoken, provider: &inshore_providers::Provider, stream: bool) -> Heard {
    let made = call(provider, spoken.ask(stream));
    let heard = tokio::time::timeout(Duration::from_secs(60), hear(provider, made)).await;
    match heard.unwrap() {
        Ok(heard) => heard,
        Err(error) => Heard { error: Some(error), ..Heard::default() },
    }
}

#[tokio::test]
async fn a_success_that_is_none_is_named_for_what_it_is() {
    let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe".as_slice(), &utf16].concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        (
            "an HTML page",
            b"<!DOCTYPE html><html><title>Log in to the network</title></html>".to_vec(),
            "an HTML page",
        ),
        ("nothing", Vec::new(), "an empty body"),
        ("white space", b"  \r\n ".to_vec(), "an empty body"),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(), "compressed"),
        ("UTF-16 with a mark", marked, "UTF-16"),
        ("UTF-16", utf16, "not text"),
        ("no UTF-8", b"\xc3\x28".to_vec(), "not UTF-8"),
        ("JSON that is cut off", b"{\"model\":\"m\",\"choices\":[{".to_vec(), "cut off"),
        ("plain words", b"upstream connect error".to_vec(), "not JSON"),
    ];
    for spoken in Spoken::ALL {
        let (server, provider) = spoken.start(Turn::text(""), |_| {}).await;
        for (name, body, expected) in &cases {
            for (stream, kind) in [(false, JSON), (true, JSON), (true, EVENTS), (false, "text/html")] {
                server.script().then(exact(kind, body.clone()));
                let error = end(spoken, &provider, stream).await.error.unwrap();
                // A stream that ends before it begins is simply cut off.
                if body.is_empty() && kind == EVENTS {
                    assert_eq!(error.kind, BackendErrorKind::Unreachable, "{spoken:?} {name}");
                    continue;
                }
                assert_eq!(error.kind, BackendErrorKind::Protocol, "{spoken:?} {name} {kind}: {error}");
                assert!(error.message.contains(expected), "{spoken:?} {name} {kind}: {error}");
            }
        }
        for stream in [false, true] {
            server.script().then(exact(JSON, r#"{"unheard":["of"]}"#));
            let error = end(spoken, &provider, stream).await.error.unwrap();
            assert_eq!(error.kind, BackendErrorKind::Protocol, "{spoken:?}: {error}");
            let turn = exact(JSON, "{}").with_header("content-encoding", "gzip");
            server.script().then(turn);
            let error = end(spoken, &provider, stream).await.error.unwrap();
            assert!(error.message.contains("compressed"), "{spoken:?}: {error}");
        }
    }
}

#[tokio::test]
async fn an_error_in_a_success_is_that_error() {
    let body = r#"{"type":"error","error":{"message":"busy","type":"overloaded_error","code":503,"status":"UNAVAILABLE"}}"#;
    for spoken in Spoken::ALL {
        let (server, provider) = spoken.start(Turn::text(""), |_| {}).await;
        for (stream, kind) in [(false, JSON), (true, JSON), (true, EVENTS)] {
            for body in [body.to_owned(), format!("[{body}]"), format!("\u{feff}{body}")] {
                // A mark in front of JSON is only taken off where JSON was to be expected.
                if kind == EVENTS && body.starts_with('\u{feff}') {
                    continue;
                }
                server.script().then(exact(kind, body).with_header("retry-after", "2"));
                let error = end(spoken, &provider, stream).await.error.unwrap();
                assert_eq!(error.kind, BackendErrorKind::Overloaded, "{spoken:?} {stream} {kind}: {error}");
                assert!(error.hint.unwrap().contains("busy"));
                assert_eq!(error.retry_after.is_some(), kind == JSON);
            }
        }
        server.script().then(exact(JSON, r#"{"error":"out of memory"}"#));
        let error = end(spoken, &provider, false).await.error.unwrap();
        assert_eq!(
            (error.kind, error.hint.unwrap().as_str()),
            (BackendErrorKind::Failed, "it says: out of memory")
        );
    }
}

#[tokio::test]
async fn a_server_that_cannot_stream_is_heard_all_the_same() {
    for (spoken, body) in whole_answers("") {
        let (_server, provider) = spoken.start(exact(JSON, body), |_| {}).await;
        let heard = end(spoken, &provider, true).await;
        assert_eq!((heard.text(), &heard.error), ("a", &None), "{spoken:?}");
        assert!(heard.wire.is_empty(), "these are not the events that the caller expects");
    }
}

/// The smallest whole answers, with something put in beside the rest.
fn whole_answers(more: &str) -> [(Spoken, String); 5] {
    [
        (
            Spoken::Chat,
            format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}]{more}}}"#),
        ),
        (Spoken::Completions, format!(r#"{{"choices":[{{"text":"a","finish_reason":"stop"}}]{more}}}"#)),
        (
            Spoken::Responses,
            format!(
                r#"{{"status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":"a"}}]}}]{more}}}"#
            ),
        ),
        (
            Spoken::Messages,
            format!(r#"{{"content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn"{more}}}"#),
        ),
        (
            Spoken::Gemini,
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}]{more}}}"#
            ),
        ),
    ]
}

/// The same as streams, with something put in where the protocol reports tokens.
fn streamed_answers(more: &str) -> [(Spoken, String); 5] {
    [
        (
            Spoken::Chat,
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"a\"}},\"finish_reason\":\"stop\"}}]}}\n\ndata: {{\"choices\":[]{more}}}\n\ndata: [DONE]\n\n"
            ),
        ),
        (
            Spoken::Completions,
            format!(
                "data: {{\"choices\":[{{\"text\":\"a\",\"finish_reason\":\"stop\"}}]{more}}}\n\ndata: [DONE]\n\n"
            ),
        ),
        (
            Spoken::Responses,
            format!(
                "data: {{\"type\":\"response.output_text.delta\",\"delta\":\"a\"}}\n\ndata: {{\"type\":\"response.completed\",\"response\":{{\"status\":\"completed\"{more}}}}}\n\n"
            ),
        ),
        (
            Spoken::Messages,
            format!(
                "data: {{\"type\":\"message_start\",\"message\":{{\"usage\":{{\"input_tokens\":9,\"output_tokens\":1}}}}}}\n\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"a\"}}}}\n\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}}{more}}}\n\ndata: {{\"type\":\"message_stop\"}}\n\n"
            ),
        ),
        (
            Spoken::Gemini,
            format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"a\"}}]}}}}],\"usageMetadata\":{{\"promptTokenCount\":9}}}}\n\ndata: {{\"candidates\":[{{\"finishReason\":\"STOP\"}}]{more}}}\n\n"
            ),
        ),
    ]
}

fn usage_member(spoken: Spoken, prompt: &str, output: &str) -> String {
    match spoken {
        Spoken::Chat | Spoken::Completions => {
            format!(r#","usage":{{"prompt_tokens":{prompt},"completion_tokens":{output}}}"#)
        }
        Spoken::Responses | Spoken::Messages => {
            format!(r#","usage":{{"input_tokens":{prompt},"output_tokens":{output}}}"#)
        }
        Spoken::Gemini => {
            format!(r#","usageMetadata":{{"promptTokenCount":{prompt},"candidatesTokenCount":{output}}}"#)
        }
    }
}

#[tokio::test]
async fn only_what_was_really_reported_is_usage() {
    let counted =
        |prompt_tokens, output_tokens| Some(Usage { prompt_tokens, output_tokens, ..Usage::default() });
    let cases = [
        ("7", "3", counted(7, 3)),
        ("0", "0", counted(0, 0)),
        ("7.0", "3.0", counted(7, 3)),
        ("4294967296", "1e300", counted(u32::MAX, u32::MAX)),
        ("99999999999999999999999999", "3", counted(u32::MAX, 3)),
        ("7", "-3", None),
        ("7", "3.5", None),
        ("7", "\"3\"", None),
        ("7", "null", None),
        ("7", "[3]", None),
        ("7", "{\"text\":3}", None),
        ("7", "true", None),
    ];
    for place in 0..Spoken::ALL.len() {
        for stream in [false, true] {
            let answers = |more: &str| {
                if stream {
                    streamed_answers(more)[place].clone()
                } else {
                    whole_answers(more)[place].clone()
                }
            };
            let kind = if stream { EVENTS } else { JSON };
            let (spoken, bare) = answers("");
            let (server, provider) = spoken.start(exact(kind, bare), |_| {}).await;
            let heard = end(spoken, &provider, stream).await;
            assert_eq!((heard.text(), heard.usage, &heard.error), ("a", None, &None), "{spoken:?} {stream}");
            for (prompt, output, expected) in cases {
                // Nothing is how this API writes 0, and a text of no tokens is not believed.
                let expected = expected.filter(|_| spoken != Spoken::Gemini || output != "0");
                server.script().then(exact(kind, answers(&usage_member(spoken, prompt, output)).1));
                let heard = end(spoken, &provider, stream).await;
                assert_eq!(
                    (heard.text(), &heard.error),
                    ("a", &None),
                    "{spoken:?} {stream} {prompt} {output}"
                );
                assert_eq!(heard.usage, expected, "{spoken:?} {stream} {prompt} {output}");
            }
            for nonsense in ["\"much\"", "[1,2]", "7", "null"] {
                let name = if spoken == Spoken::Gemini { "usageMetadata" } else { "usage" };
                server.script().then(exact(kind, answers(&format!(r#","{name}":{nonsense}"#)).1));
                let heard = end(spoken, &provider, stream).await;
                assert_eq!(
                    (heard.text(), heard.usage, &heard.error),
                    ("a", None, &None),
                    "{spoken:?} {nonsense}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_end_that_comes_twice_or_never_is_no_loss() {
    for (spoken, whole) in streamed_answers("") {
        let blocks: Vec<&str> = whole.split_inclusive("\n\n").collect();
        let twice = format!("{whole}{}", blocks.last().unwrap());
        let after = format!("{whole}data: {{\"nonsense\n\n");
        let (server, provider) =
            spoken.start(exact(EVENTS, twice.clone()), |options| options.timeouts = hasty()).await;
        // Whether two ends of Gemini are two: it has no end of its own, and says the reason once more.
        assert_eq!(end(spoken, &provider, true).await.text(), "a", "{spoken:?}");
        if spoken != Spoken::Gemini {
            server.script().then(exact(EVENTS, after));
            let heard = end(spoken, &provider, true).await;
            assert_eq!((heard.text(), &heard.error), ("a", &None), "{spoken:?}");
        }
        // The end of the stream is the last block where it says nothing of the answer.
        if matches!(spoken, Spoken::Chat | Spoken::Completions | Spoken::Messages) {
            let never = blocks[..blocks.len() - 1].concat();
            server.script().then(exact(EVENTS, never));
            let heard = end(spoken, &provider, true).await;
            assert_eq!((heard.text(), &heard.error), ("a", &None), "{spoken:?}");
        }
    }
}

/// The whole text of a stream, number by number of its events.
async fn events_of(spoken: Spoken) -> usize {
    let (_server, provider) = spoken.start(Turn::text(TEXT), |_| {}).await;
    let heard = end(spoken, &provider, true).await;
    assert_eq!(heard.text(), TEXT);
    match spoken {
        Spoken::Gemini => 4,
        _ => heard.wire_text().matches("data: ").count(),
    }
}

#[tokio::test]
async fn a_connection_that_stays_open_after_the_last_answer_is_not_waited_for() {
    for spoken in Spoken::ALL {
        let (server, provider) = spoken.start(Turn::text(TEXT), |options| options.timeouts = hasty()).await;
        server.script().then(Turn::text(TEXT).with_fault(Fault::StallAfter(usize::MAX)));
        let heard = end(spoken, &provider, true).await;
        assert_eq!((heard.text(), &heard.error), (TEXT, &None), "{spoken:?}");
        server.script().then(Turn::text(TEXT).with_fault(Fault::CutAfter(usize::MAX)));
        let heard = end(spoken, &provider, true).await;
        assert_eq!((heard.text(), &heard.error), (TEXT, &None), "{spoken:?}");
    }
}

#[tokio::test]
async fn an_answer_that_goes_on_after_its_end_is_not_trusted() {
    for spoken in [Spoken::Chat, Spoken::Completions, Spoken::Gemini, Spoken::Messages] {
        let events = events_of(spoken).await;
        // The event with the reason of the end, then one with text, then the rest.
        let (reason, text) = match spoken {
            Spoken::Chat => (4, 2),
            Spoken::Messages => (events - 2, 3),
            _ => (3, 1),
        };
        let mut order: Vec<usize> = (0..=reason).collect();
        order.push(text);
        order.extend(reason + 1..events);
        let turn = Turn::text(TEXT).with_fault(Fault::Reordered(order));
        let (_server, provider) = spoken.start(turn, |_| {}).await;
        let heard = end(spoken, &provider, true).await;
        let error = heard.error.as_ref().unwrap();
        assert_eq!(error.kind, BackendErrorKind::Protocol, "{spoken:?}");
        assert!(error.message.contains("after its end; the answer is incomplete"), "{spoken:?}: {error}");
    }
}

#[tokio::test]
async fn an_error_after_the_first_piece_says_that_the_answer_is_incomplete() {
    for spoken in Spoken::ALL {
        let cut = |at| Turn::text(TEXT).with_fault(Fault::CutAfter(at));
        let (server, provider) = spoken.start(cut(3), |_| {}).await;
        let early = end(spoken, &provider, true).await.error.unwrap();
        assert!(!early.message.contains("incomplete"), "{spoken:?}: {early}");
        let kind = if spoken == Spoken::Gemini { "UNAVAILABLE" } else { "server_error" };
        let at_event = if matches!(spoken, Spoken::Responses | Spoken::Messages) { 6 } else { 2 };
        let fault = Fault::ErrorEvent { at_event, kind: kind.into() };
        server.script().then(Turn::text(TEXT).with_fault(fault));
        let heard = end(spoken, &provider, true).await;
        let late = heard.error.as_ref().unwrap();
        assert!(late.message.ends_with("; the answer is incomplete"), "{spoken:?}: {late}");
        assert!(TEXT.starts_with(heard.text()) && !heard.text().is_empty());
    }
}

#[tokio::test]
async fn vectors_that_are_not_what_was_asked_for_are_refused() {
    let openai = |body: &str| (Spoken::Chat, body.to_owned());
    let gemini = |body: &str| (Spoken::Gemini, body.to_owned());
    for ((spoken, body), expected) in [
        (openai(r#"{"data":[{"embedding":[1,0]}]}"#), "fewer vectors"),
        (openai(r#"{"data":[{"embedding":[1,0]},{"embedding":[1]}]}"#), "several lengths"),
        (openai(r#"{"data":[{"index":0,"embedding":[1,0]},{"index":0,"embedding":[1,0]}]}"#), "no input"),
        (openai(r#"{"data":[{"index":5,"embedding":[1,0]}]}"#), "no input"),
        (openai(r#"{"data":[{"embedding":[]},{"embedding":[]}]}"#), "without numbers"),
        (openai(r#"{"data":[{"embedding":[1,1e39]},{"embedding":[1,0]}]}"#), "too large"),
        (openai(r#"{"data":[{"embedding":[1,0,0]},{"embedding":[1,0,0]}]}"#), "3 dimensions where 2"),
        (openai("<html>"), "an HTML page"),
        (gemini(r#"{"embeddings":[{"values":[1,0]}]}"#), "1 vectors for 2 inputs"),
        (gemini(r#"{"embeddings":[{"values":[1,0]},{"values":[1]}]}"#), "several lengths"),
        (gemini(""), "an empty body"),
    ] {
        let (_server, provider) = spoken
            .start(exact(JSON, body), |options| {
                let target = std::sync::Arc::make_mut(&mut options.target);
                target.capabilities = target.capabilities.with(Capability::Embeddings);
            })
            .await;
        let inputs = vec![PromptText::Text("a".into()), PromptText::Text("b".into())];
        let task = Task::Embedding(Embedding { inputs, dimensions: Some(2) });
        let error = provider.embed(call(&provider, request(task, false, None))).await.unwrap_err();
        assert_eq!(error.kind, BackendErrorKind::Protocol);
        assert!(error.message.contains(expected), "{error}");
    }
}

/// A listener, and a backend that calls it.
async fn raw() -> (TcpListener, inshore_providers::Provider) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let mut options = options(inshore_providers::ProviderKind::OpenAiCompatible, &base_url, target("m", &[]));
    options.timeouts = hasty();
    (listener, provider(options))
}

async fn request_read(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !(head.ends_with(b"}]}") || head.ends_with(b"true}}")) {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn a_second_answer_to_one_request_is_nobodys() {
    let (listener, provider) = raw().await;
    let answer = |text: &str| {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let talks = async {
        for said in ["mine", "mine too"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            request_read(&mut stream).await;
            stream.write_all((answer(said) + &answer("somebody else's")).as_bytes()).await.unwrap();
            // Until the other side closes.
            let _ = stream.read_u8().await;
        }
    };
    let asks = async {
        let first = end(Spoken::Chat, &provider, false).await;
        let second = end(Spoken::Chat, &provider, false).await;
        assert_eq!((first.text(), second.text()), ("mine", "mine too"));
    };
    let ((), ()) = tokio::join!(asks, async {
        let _ = tokio::time::timeout(Duration::from_secs(20), talks).await;
    });
}

#[tokio::test]
async fn a_stream_of_comments_without_end_is_given_up() {
    let (listener, provider) = raw().await;
    let talks = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request_read(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await.unwrap();
        let comments = ": still here\n\n".repeat(1000);
        while stream.write_all(comments.as_bytes()).await.is_ok() {}
    };
    let (heard, ()) = tokio::join!(end(Spoken::Chat, &provider, true), talks);
    let error = heard.error.unwrap();
    assert!(
        matches!(error.kind, BackendErrorKind::Timeout | BackendErrorKind::Protocol),
        "neither patience nor the limit on its length is without end: {error}"
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn framing_changes_no_answer(
        place in 0..Spoken::ALL.len(),
        line_end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        size in 1usize..200,
    ) {
        let spoken = Spoken::ALL[place];
        runtime().block_on(async {
            let turn = Turn::text(TEXT).with_fault(Fault::Recut { line_end, size });
            let (_server, provider) = spoken.start(turn, |_| {}).await;
            let heard = end(spoken, &provider, true).await;
            assert_eq!((heard.text(), &heard.error), (TEXT, &None));
        });
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_whole_or_an_error(place in 0..Spoken::ALL.len(), at in 0usize..3000) {
        let spoken = Spoken::ALL[place];
        runtime().block_on(async {
            let turn = Turn::text(TEXT).with_fault(Fault::CutAfter(at));
            let (_server, provider) = spoken.start(turn, |_| {}).await;
            let heard = end(spoken, &provider, true).await;
            match &heard.error {
                None => assert_eq!(heard.text(), TEXT),
                Some(error) => {
                    assert!(TEXT.starts_with(heard.text()));
                    assert_eq!(error.message.contains("incomplete"), !heard.text().is_empty(), "{error}");
                }
            }
        });
    }

    #[test]
    fn events_in_any_order_end(
        place in 0..Spoken::ALL.len(),
        order in proptest::collection::vec(0usize..14, 0..16),
    ) {
        let spoken = Spoken::ALL[place];
        runtime().block_on(async {
            let turn = Turn::text(TEXT).with_fault(Fault::Reordered(order));
            let (_server, provider) = spoken.start(turn, |_| {}).await;
            let heard = end(spoken, &provider, true).await;
            assert!(heard.error.is_some() || !heard.finished.is_empty());
        });
    }

    #[test]
    fn any_bytes_in_place_of_an_answer_end(
        place in 0..Spoken::ALL.len(),
        stream: bool,
        declared: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        lines in "(data: [{\\[\"a-z0-9:,}\\]]{0,30}\r?\n\n?){0,6}",
        binary: bool,
    ) {
        let spoken = Spoken::ALL[place];
        let body = if binary { Bytes::from(bytes) } else { Bytes::from(lines) };
        runtime().block_on(async {
            let turn = exact(if declared { EVENTS } else { JSON }, body);
            let (_server, provider) = spoken.start(turn, |_| {}).await;
            let heard = end(spoken, &provider, stream).await;
            assert!(heard.error.is_some(), "{heard:?}");
        });
    }
}
