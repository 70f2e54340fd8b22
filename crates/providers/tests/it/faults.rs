//! What happens when providers fail, in both forms: the request lost, and the response lost.

use bytes::Bytes;
use futures_util::StreamExt;
use inshore_domain::request::{Chat, Dialect, Message, Role, Task};
use inshore_domain::{Backend, BackendErrorKind, Billed, Event};
use inshore_sim::{Fault, Reply, Turn};

use crate::rig::*;

const BODY: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#;
const STREAMED: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

fn chat(stream: bool) -> inshore_domain::Request {
    let task = Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
    request(task, stream, Some((Dialect::OpenAiChat, if stream { STREAMED } else { BODY })))
}

/// Runs one call against a fault; gives back the kind of the error, wherever it came, and what was heard before.
async fn failure(fault: Fault, stream: bool) -> (BackendErrorKind, String, u64) {
    // Only what never ends by itself is given up early: on a busy machine 600 ms are soon over.
    let endless = matches!(fault, Fault::NeverAnswer | Fault::StallAfter(_));
    let (server, provider) =
        openai_with(Default::default(), Turn::text("one two three").with_fault(fault), |options| {
            options.timeouts = if endless { hasty() } else { options.timeouts };
        })
        .await;
    let made = call(&provider, chat(stream));
    let egress = made.egress.clone();
    let (kind, text) = match hear(&provider, made).await {
        Err(error) => (error.kind, String::new()),
        Ok(heard) => (heard.error.clone().unwrap().kind, heard.text().to_owned()),
    };
    assert!(egress.snapshot()[0].bytes_out > 0, "what was sent counts also when the call fails");
    (kind, text, server.stats().carried_out)
}

#[tokio::test]
async fn lost_requests_and_lost_responses_are_errors_and_are_not_repeated() {
    use BackendErrorKind::{Protocol, Timeout, Unreachable};
    for stream in [false, true] {
        assert_eq!(failure(Fault::RequestLost, stream).await, (Unreachable, String::new(), 0));
        assert_eq!(failure(Fault::ResponseLost, stream).await, (Unreachable, String::new(), 1));
        assert_eq!(failure(Fault::NeverAnswer, stream).await, (Timeout, String::new(), 1));
        assert_eq!(failure(Fault::CutAfter(40), stream).await, (Unreachable, String::new(), 1));
        let garbage = Fault::Garbage { before_event: 0, bytes: Bytes::from_static(b"data: {nonsense\n\n") };
        assert_eq!(failure(garbage, stream).await, (Protocol, String::new(), 1));
    }
}

#[tokio::test]
async fn what_may_have_cost_something_is_told_from_what_cannot() {
    // The request was written: whether it was carried out, nobody knows.
    let faults = [
        Fault::RequestLost,
        Fault::ResponseLost,
        Fault::NeverAnswer,
        Fault::CutAfter(3),
        Fault::CutAfter(200),
        Fault::StallAfter(200),
    ];
    let fail = |spoken: Spoken, stream: bool, fault: Fault| async move {
        let turn = Turn::text("one two three").with_fault(fault.clone());
        let (_server, provider) = spoken.start(turn, |options| options.timeouts = hasty()).await;
        let error = match hear(&provider, call(&provider, spoken.ask(stream))).await {
            Ok(heard) => heard.error.unwrap(),
            Err(error) => error,
        };
        assert_eq!(error.billed, Billed::Maybe, "{spoken:?} {stream} {fault:?}: {error}");
    };
    // Together, because some of them wait.
    let all = Spoken::ALL.into_iter().flat_map(|spoken| [(spoken, false), (spoken, true)]);
    let each =
        all.flat_map(|(spoken, stream)| faults.iter().map(move |fault| fail(spoken, stream, fault.clone())));
    futures_util::future::join_all(each).await;
    for spoken in Spoken::ALL {
        for stream in [false, true] {
            // Refused before any work, and failed inside.
            let kind = if spoken == Spoken::Gemini { "UNAVAILABLE" } else { "server_error" };
            for (status, expected) in
                [(400, Billed::No), (429, Billed::No), (503, Billed::No), (500, Billed::Maybe)]
            {
                let (_server, provider) = spoken.start(Turn::refusal(status, kind, "no"), |_| {}).await;
                let error = hear(&provider, call(&provider, spoken.ask(stream))).await.unwrap_err();
                assert_eq!(error.billed, expected, "{spoken:?} {status}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_event_costs_nothing_only_before_the_answer_starts() {
    for (at_event, expected) in [(0, Billed::No), (1, Billed::Maybe), (5, Billed::Maybe)] {
        let fault = Fault::ErrorEvent { at_event, kind: "overloaded_error".into() };
        let (_server, provider) = anthropic(Turn::text("one two three").with_fault(fault)).await;
        let error = match hear(&provider, call(&provider, Spoken::Messages.ask(true))).await {
            Ok(heard) => heard.error.unwrap(),
            Err(error) => error,
        };
        assert_eq!((error.kind, error.billed), (BackendErrorKind::Overloaded, expected), "{at_event}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_later_gives_what_came_and_then_the_error() {
    use BackendErrorKind::{Failed, Protocol, Timeout, Unreachable};
    let (_server, provider) = openai(Turn::text("one two three")).await;
    let whole = hear(&provider, call(&provider, chat(true))).await.unwrap();
    // In the middle of the event with the third word: the first event has the role only.
    let first_two = whole.wire_text().match_indices("data: ").nth(3).unwrap().0 + 20;
    let (kind, text, _) = failure(Fault::CutAfter(first_two), true).await;
    assert_eq!((kind, text.as_str()), (Unreachable, "one two"));
    let (kind, text, _) = failure(Fault::StallAfter(first_two), true).await;
    assert_eq!((kind, text.as_str()), (Timeout, "one two"));
    let garbage = Fault::Garbage { before_event: 3, bytes: Bytes::from_static(b"data: [1,2\n\n") };
    let (kind, text, _) = failure(garbage, true).await;
    assert_eq!((kind, text.as_str()), (Protocol, "one two"));
    let error = Fault::ErrorEvent { at_event: 3, kind: "server_error".into() };
    let (kind, text, _) = failure(error, true).await;
    assert_eq!((kind, text.as_str()), (Failed, "one two"));
}

#[tokio::test]
async fn a_stream_that_ends_without_an_end_is_not_taken_for_an_answer() {
    let sse = |body: &'static [u8]| {
        let headers = vec![("content-type".into(), "text/event-stream".into())];
        Turn::of(Reply::Exact { status: 200, headers, body: Bytes::from_static(body) })
    };
    let (server, provider) =
        openai(sse(b"data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n")).await;
    let heard = hear(&provider, call(&provider, chat(true))).await.unwrap();
    assert_eq!(
        (heard.text(), heard.error.as_ref().unwrap().kind.clone()),
        ("half", BackendErrorKind::Unreachable)
    );

    // Some imitators leave `[DONE]` out; the reason of the end is enough.
    server.script().otherwise(sse(
        b": hello\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"all\"},\"finish_reason\":\"stop\"}]}\n\n",
    ));
    let heard = hear(&provider, call(&provider, chat(true))).await.unwrap();
    assert_eq!((heard.text(), &heard.error), ("all", &None));

    // An error in place of a stream.
    let headers = vec![("content-type".into(), "application/json".into())];
    let body = Bytes::from_static(br#"{"error":{"message":"no","type":"rate_limit_error"}}"#);
    server.script().otherwise(Turn::of(Reply::Exact { status: 200, headers, body }));
    let error = hear(&provider, call(&provider, chat(true))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::RateLimited);
}

#[tokio::test]
async fn a_dropped_answer_closes_the_connection_at_once() {
    let turn = Turn::text("word ".repeat(1000))
        .paced(std::time::Duration::ZERO, std::time::Duration::from_millis(20));
    let (server, provider) = openai(turn).await;
    let mut events = provider.generate(call(&provider, chat(true))).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(Event::Started { .. }))));
    assert_eq!(server.stats().closed, 0);
    drop(events);
    server.http().wait(|stats| stats.closed == 1).await;

    // And so does one that is dropped while it is waited for.
    server.script().otherwise(Turn::text("").with_fault(Fault::NeverAnswer));
    let before = server.stats().carried_out;
    {
        let waiting = provider.generate(call(&provider, chat(false)));
        tokio::select! {
            _ = waiting => panic!("nothing answers"),
            () = server.http().wait(|stats| stats.carried_out > before) => {}
        }
    }
    server.http().wait(|stats| stats.closed == 2).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_without_notice() {
    let (server, provider) = openai(Turn::text("ok")).await;
    hear(&provider, call(&provider, chat(false))).await.unwrap();
    let address = server.http().address();
    server.http().shutdown().await;
    drop(server);
    let options = inshore_sim::openai::Options { port: address.port(), ..Default::default() };
    let server = inshore_sim::openai::Server::start(options, Turn::text("again")).await.unwrap();
    for _ in 0..3 {
        assert_eq!(hear(&provider, call(&provider, chat(false))).await.unwrap().text(), "again");
    }
    assert_eq!(server.stats().accepted, 1);
}

#[tokio::test]
async fn refusals_carry_the_wait_and_never_the_key() {
    let (server, provider) = openai(Turn::text("")).await;
    let said = format!("slow down, {OPENAI_KEY}");
    server.script().then(Turn::refusal(429, "rate_limit_error", &said).with_header("retry-after-ms", "250"));
    let error = hear(&provider, call(&provider, chat(false))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::RateLimited);
    assert_eq!(error.retry_after.unwrap().as_millis(), 250);
    assert!(!format!("{error:?}").contains(OPENAI_KEY), "{error:?}");
    assert!(error.hint.unwrap().contains("slow down"));
    assert!(!format!("{provider:?}").contains(OPENAI_KEY));
}

#[tokio::test]
async fn a_wrong_key_model_or_length_is_told_apart() {
    let (_server, provider) = openai_with(Default::default(), Turn::text(""), |options| {
        options.key = Some(inshore_providers::Secret::new("sk-wrong-one"));
    })
    .await;
    let error = hear(&provider, call(&provider, chat(false))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Unauthorised);
    assert!(!format!("{error:?} {provider:?}").contains("wrong-one"));

    let (_server, provider) = openai_with(Default::default(), Turn::text(""), |options| {
        options.target = target("no-such-model", &[]).into();
    })
    .await;
    let error = hear(&provider, call(&provider, chat(true))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ModelNotFound);

    let long = Task::Chat(Chat {
        messages: vec![Message::text(Role::User, "word ".repeat(5000))],
        ..Chat::default()
    });
    let (_server, provider) = openai(Turn::text("")).await;
    let error = hear(&provider, call(&provider, request(long.clone(), true, None))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ContextExceeded { prompt: 5001, window: 4096 });
    let (_server, provider) = anthropic(Turn::text("")).await;
    let error = hear(&provider, call(&provider, request(long, true, None))).await.unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ContextExceeded { prompt: 5001, window: 4096 });
}

#[tokio::test]
async fn a_comment_before_the_answer_is_handed_on_but_does_not_start_it() {
    let comment = Bytes::from_static(b": PROCESSING\n\n");
    let turn = Turn::text("ok").with_fault(Fault::Garbage { before_event: 0, bytes: comment });
    let (_server, provider) = openai(turn).await;
    let heard = hear(&provider, call(&provider, chat(true))).await.unwrap();
    assert_eq!((heard.text(), &heard.error), ("ok", &None));
    assert!(heard.wire_text().starts_with(": PROCESSING\n\ndata: {"));
}
