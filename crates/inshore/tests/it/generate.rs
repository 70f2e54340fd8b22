//! Answers that are revised while they are made, read by our own clients from a real daemon: the model in the box makes the draft, and
//! a provider that says nothing until it is told to makes the better answer.

use std::net::SocketAddr;
use std::process::Stdio;

use inshore_client::transport::{Answer, Client, Error};
use inshore_client::{Event, Part, State};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::home::{Home, INSHORE, Served};

const BETTER: &str = "We meet on Wednesday, \u{1f600} at ten o'clock.";
const DRAFT: [(&str, &str); 1] = [("strategy", "draft")];

/// A provider whose answers are given by hand.
struct Provider(TcpListener);

impl Provider {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Answers the next call.
    async fn answer(&self, status: u16, kind: &str, body: &str) {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).await.unwrap() > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
        stream.write_all((head + body).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    async fn say(&self, text: &str) {
        let chunk = |delta: Value, reason: Option<&str>| {
            let choices = json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "big", "choices": choices});
            format!("data: {chunk}\n\n")
        };
        let words = text.split_inclusive(' ').map(|word| chunk(json!({"content": word}), None));
        let body = words.collect::<String>() + &chunk(json!({}), Some("stop")) + "data: [DONE]\n\n";
        self.answer(200, "text/event-stream", &body).await;
    }
}

/// A daemon with a target at the provider.
fn serve(provider: &Provider) -> (Home, Served) {
    let home = Home::new();
    home.config(&format!(
        "[[targets]]\nid = \"cloud/big\"\ntier = \"cloud\"\nbase_url = \"http://{}/v1\"\nmodel = \"big\"\nfree = true\npermit = true\n\
         [features.mail]\nstrategy = \"draft\"\npatience = \"5m\"\n",
        provider.0.local_addr().unwrap()
    ));
    let daemon = home.serve();
    (home, daemon)
}

fn address(home: &Home) -> SocketAddr {
    home.address()["tcp"].as_str().unwrap().parse().unwrap()
}

fn question() -> Value {
    let message = json!({"role": "user", "content": "Dear Sir, we have received your"});
    json!({"model": "auto", "max_tokens": 12, "temperature": 0, "messages": [message]})
}

/// Reads until the draft has text.
async fn until_drafted(answer: &mut Answer) -> Vec<Event> {
    let mut events = Vec::new();
    while answer.page().text().is_empty() {
        events.push(answer.next().await.unwrap().expect("a draft"));
    }
    assert_eq!(answer.page().state(), State::Draft);
    assert_eq!(answer.page().target().unwrap().tier, "device");
    events
}

/// Passes connections on to the daemon, until they are cut; how many there were.
async fn relay(listener: TcpListener, to: SocketAddr, mut cut: watch::Receiver<u32>, tasks: TaskTracker) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        cut.mark_unchanged();
        let mut cut = cut.clone();
        tasks.spawn(async move {
            tokio::select! { _ = copy_bidirectional(&mut near, &mut far) => {}, _ = cut.changed() => {} }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_replaced_over_a_connection_that_breaks_while_it_is_shown() {
    let provider = Provider::start().await;
    let (home, _daemon) = serve(&provider);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = listener.local_addr().unwrap();
    let (cut, cuts) = watch::channel(0);
    let tasks = TaskTracker::new();
    let relayed = tasks.spawn(relay(listener, address(&home), cuts, tasks.clone()));

    let client = Client::tcp(through, &home.token()).unwrap();
    let mut answer = client.generate(&question(), &[("feature", "mail")]).await.unwrap();
    let mut events = until_drafted(&mut answer).await;
    cut.send_modify(|cuts| *cuts += 1);
    let (rest, ()) = tokio::join!(
        async {
            let mut rest = Vec::new();
            while let Some(event) = answer.next().await.unwrap() {
                rest.push(event);
            }
            rest
        },
        provider.say(BETTER)
    );
    events.extend(rest);
    relayed.abort();
    let page = answer.page();
    assert_eq!((page.text(), page.state(), page.problem()), (BETTER, State::Ended, None));
    let accepted = events.iter().filter(|event| matches!(event, Event::Accepted(_))).count();
    assert_eq!((accepted, events.len()), (1, usize::try_from(page.passed()).unwrap() + 1), "each event once");
    let parts = events.iter().filter_map(|event| match event {
        Event::Begun(begun) => Some((begun.part, begun.target.as_str())),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    assert_eq!(parts, [(Part::Draft, "device/inshore-default"), (Part::Final, "cloud/big")]);
    assert!(events.iter().any(|event| matches!(event, Event::Replaced(_))));

    let receipt = answer.receipt().unwrap().to_owned();
    let direct = Client::tcp(address(&home), &home.token()).unwrap();
    let again = direct.resume(&receipt).await.unwrap().whole().await.unwrap();
    assert_eq!((again.text(), again.passed()), (BETTER, page.passed()));
    let last = home.last_receipt();
    assert_eq!(
        (&last["id"], &last["strategy"], &last["target"]),
        (&json!(receipt), &json!("draft"), &json!("cloud/big"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_stays_where_there_is_no_better_answer_and_refusals_are_told() {
    let provider = Provider::start().await;
    let (home, _daemon) = serve(&provider);
    let client = Client::tcp(address(&home), &home.token()).unwrap();
    let refusal =
        r#"{"error":{"message":"not today","type":"invalid_request_error","param":null,"code":null}}"#;
    let asked = async { client.generate(&question(), &DRAFT).await.unwrap().whole().await.unwrap() };
    let (page, ()) = tokio::join!(asked, provider.answer(400, "application/json", refusal));
    assert!(!page.text().is_empty());
    let kept = page.finalised().unwrap().kept_draft.clone().expect("the draft stayed");
    assert!(kept.contains("`cloud/big` refused"), "{kept}");
    assert_eq!(page.target().unwrap().tier, "device");

    let code = |outcome: Result<Answer, Error>| outcome.unwrap_err().problem().unwrap().code.clone();
    let best = client.generate(&question(), &[("strategy", "best")]).await;
    assert_eq!(code(best), "invalid_value");
    assert_eq!(code(client.resume("rcpt_00000000000000000000000000").await), "unknown_answer");
    let stranger = Client::tcp(address(&home), "wrong").unwrap();
    assert_eq!(code(stranger.generate(&question(), &DRAFT).await), "invalid_api_key");
}

/// Runs a command on a terminal of 40 columns and passes on what it shows.
const TERMINAL: &str = "import pty, sys\n\
    pty.spawn(['sh', '-c', 'stty cols 40 rows 24; exec \"$@\"', 'sh'] + sys.argv[1:])";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_terminal_a_draft_is_dim_and_then_gone() {
    let provider = Provider::start().await;
    let (home, _daemon) = serve(&provider);
    let ask =
        ["-c", TERMINAL, INSHORE, "ask", "--strategy", "draft", "--max-tokens", "12", "--temperature", "0"];
    let mut command = home.command_of("python3", ask);
    command.arg("Dear Sir, we have received your").env("TERM", "xterm").stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command).spawn().unwrap();
    let (mut out, mut shown) = (child.stdout.take().unwrap(), Vec::new());
    while !shown.windows(4).any(|window| window == b"\x1b[2m") {
        assert_ne!(out.read_buf(&mut shown).await.unwrap(), 0, "{}", String::from_utf8_lossy(&shown));
    }
    provider.say(BETTER).await;
    out.read_to_end(&mut shown).await.unwrap();
    assert!(child.wait().await.unwrap().success());
    let shown = String::from_utf8(shown).unwrap();
    let (before, after) = shown.split_once("\x1b[J").expect("the draft is wiped");
    assert!(!before.contains("Wednesday"), "{shown:?}");
    assert!(after.starts_with(BETTER) && after.contains("cloud"), "{shown:?}");

    // Elsewhere only the final text is seen.
    let mut piped = tokio::process::Command::from(home.command(["ask", "--strategy", "draft", "Dear Sir"]));
    let (output, ()) = tokio::join!(piped.output(), provider.say(BETTER));
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap().trim_end(), BETTER);
}
