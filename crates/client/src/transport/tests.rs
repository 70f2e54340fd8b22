use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::event::Event;
use crate::page::State;

const AT_ONCE: Retries = Retries { tries: 3, wait: Duration::ZERO };
const RESUME: &str = "/inshore/v1/generate/rcpt_1";

/// The events of a draft that is replaced, each with its number from 1.
fn events() -> Vec<String> {
    let events = [
        ("begun", r#"{"target":"device/tiny","tier":"device","model":"tiny","part":"draft"}"#),
        ("opened", r#"{"block":0,"kind":"text"}"#),
        ("appended", r#"{"block":0,"text":"😀 on Tuesday"}"#),
        ("begun", r#"{"target":"cloud/big","tier":"cloud","model":"big","part":"final"}"#),
        ("replaced", r#"{"block":0,"start":5,"end":7,"text":"Wedn"}"#),
        ("finalised", r#"{"reason":"stop","kept_draft":null,"usage":null}"#),
        ("ended", r#"{"receipt":"rcpt_1"}"#),
    ];
    let written = events.iter().zip(1..);
    written.map(|((name, data), id)| format!("id: {id}\nevent: {name}\ndata: {data}\n\n")).collect()
}

fn accepted() -> String {
    format!(
        "event: accepted\ndata: {{\"receipt\":\"rcpt_1\",\"strategy\":\"draft\",\"resume\":\"{RESUME}\"}}\n\n"
    )
}

/// A response that ends where the connection does, or one that is cut within.
fn reply(status: u16, body: &[u8], cut: bool) -> Vec<u8> {
    let framing = if cut { format!("content-length: {}\r\n", body.len() + 1) } else { String::new() };
    let head = format!("HTTP/1.1 {status} X\r\n{framing}connection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn refusal(status: u16, code: &str) -> Vec<u8> {
    let body = format!(r#"{{"status":{status},"code":"{code}","detail":"it is {code}","hint":"wait"}}"#);
    reply(status, body.as_bytes(), false)
}

/// A daemon that gives one reply to each connection and then is gone; what it was asked.
async fn serve(listener: TcpListener, replies: Vec<Vec<u8>>) -> Vec<String> {
    let mut asked = Vec::new();
    for reply in replies {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(&reply).await.unwrap();
        stream.shutdown().await.unwrap();
        asked.push(String::from_utf8(request).unwrap());
    }
    asked
}

/// Asks a daemon of this script, and reads to the end; what it was asked, and all events.
async fn ask(replies: Vec<Vec<u8>>) -> (Vec<String>, Vec<Event>, Result<String, Error>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::tcp(listener.local_addr().unwrap(), "secret").unwrap().with_retries(AT_ONCE);
    let mut events = Vec::new();
    let reading = async {
        let hints = [("strategy", "draft")];
        let mut answer = client.generate(&serde_json::json!({"model": "auto"}), &hints).await?;
        assert_eq!(answer.receipt(), None);
        while let Some(event) = answer.next().await? {
            events.push(event);
        }
        assert_eq!((answer.page().state(), answer.receipt()), (State::Ended, Some("rcpt_1")));
        assert!(answer.next().await?.is_none());
        Ok(answer.page().text().to_owned())
    };
    let (asked, outcome) = tokio::join!(serve(listener, replies), reading);
    (asked, events, outcome)
}

#[tokio::test]
async fn an_answer_is_read_on_where_the_connection_broke() {
    let all = events();
    let begin = accepted() + &all[..3].concat() + "id: 4\nevent: beg";
    // A daemon that repeats what it sent already does no harm.
    let rest = all[1..].concat();
    let replies = vec![
        reply(200, begin.as_bytes(), true),
        refusal(503, "shutting_down"),
        reply(200, b"", false),
        reply(200, rest.as_bytes(), false),
    ];
    let (asked, events, outcome) = ask(replies).await;
    assert_eq!(outcome.unwrap(), "😀 on Wednesday");
    assert_eq!(events.len(), 8, "{events:?}");
    let first = asked[0].to_lowercase();
    assert!(first.starts_with("post /inshore/v1/generate http/1.1"), "{first}");
    assert!(first.contains("authorization: bearer secret") && first.contains("x-inshore-strategy: draft"));
    for again in &asked[1..] {
        assert!(again.starts_with(&format!("GET {RESUME} HTTP/1.1")), "{again}");
        assert!(again.contains("last-event-id: 3\r\n"), "{again}");
    }
}

#[tokio::test]
async fn reading_on_ends_when_it_brings_nothing_or_is_refused() {
    let begin = reply(200, (accepted() + &events()[0]).as_bytes(), false);
    let (_, seen, outcome) = ask(vec![begin.clone()]).await;
    assert!(matches!(outcome, Err(Error::Broken { tries: 3, .. })), "{outcome:?}");
    assert_eq!(seen.len(), 2);
    let (asked, _, outcome) = ask(vec![begin, refusal(404, "unknown_answer")]).await;
    assert_eq!((outcome.unwrap_err().problem().unwrap().code.as_str(), asked.len()), ("unknown_answer", 2));
    // Of a request that was not answered nobody knows whether it was taken: it is not sent again.
    let (_, _, outcome) = ask(vec![Vec::new()]).await;
    assert!(matches!(outcome, Err(Error::Silent(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_the_daemon_says_is_the_error() {
    let (_, _, outcome) = ask(vec![refusal(429, "over_cap")]).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (error.to_string(), error.problem().unwrap().hint.as_deref()),
        ("it is over_cap".into(), Some("wait"))
    );
    let (_, _, outcome) = ask(vec![reply(500, b"no JSON", false)]).await;
    assert_eq!(outcome.unwrap_err().to_string(), "the daemon answered 500");
    let failed = accepted() + "id: 1\nevent: error\ndata: {\"status\":502,\"detail\":\"it broke\"}\n\n";
    let (asked, _, outcome) = ask(vec![reply(200, failed.as_bytes(), false)]).await;
    assert!(matches!(outcome, Err(Error::Failed(_))), "{outcome:?}");
    assert_eq!(asked.len(), 1);
    let gap = accepted() + &events()[1];
    let (_, _, outcome) = ask(vec![reply(200, gap.as_bytes(), false)]).await;
    assert!(matches!(outcome, Err(Error::Misfit(_))), "{outcome:?}");
}

#[test]
fn only_this_machine_is_asked_and_nothing_shows_the_token() {
    for elsewhere in ["192.168.1.1:1", "0.0.0.0:1", "[2001:db8::1]:1"] {
        assert!(
            matches!(Client::tcp(elsewhere.parse().unwrap(), "t"), Err(Error::NotLocal(_))),
            "{elsewhere}"
        );
    }
    assert!(matches!(Client::tcp("127.0.0.1:1".parse().unwrap(), "a\nb"), Err(Error::Token)));
    let client = Client::tcp("[::1]:1".parse().unwrap(), "secret").unwrap();
    assert!(!format!("{client:?}").contains("secret"));
}

#[test]
fn waits_double() {
    let retries = Retries::default();
    let waits: Vec<u128> = (0..retries.tries).map(|tried| retries.before(tried).as_millis()).collect();
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn wherever_it_breaks_the_answer_is_the_same(breaks in prop::collection::vec((any::<Index>(), any::<bool>()), 0..4)) {
        let all = events();
        let (mut passed, mut replies) = (0, Vec::new());
        let head = accepted();
        for (at, cut) in breaks {
            let from = if replies.is_empty() { head.clone() } else { String::new() };
            let stream = from + &all[passed..].concat();
            // Without its first event nobody knows where the first answer is read on.
            let least = if replies.is_empty() { head.len() } else { 0 };
            let length = least + at.index(stream.len() - least);
            let sent = &stream.as_bytes()[..length];
            replies.push(reply(200, sent, cut));
            // Only whole events count.
            let whole = String::from_utf8_lossy(sent).matches("\n\n").count();
            passed += whole - usize::from(replies.len() == 1);
        }
        let first = if replies.is_empty() { head } else { String::new() };
        replies.push(reply(200, (first + &all[passed..].concat()).as_bytes(), false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (asked, events, outcome) = runtime.block_on(ask(replies));
        prop_assert_eq!(outcome.unwrap(), "😀 on Wednesday");
        prop_assert_eq!(events.len(), all.len() + 1);
        let last = format!("last-event-id: {passed}\r\n");
        prop_assert!(asked.len() == 1 || asked[asked.len() - 1].contains(&last));
    }
}
