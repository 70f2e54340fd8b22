//! Connections: kept alive, half open, slow, too many, and shut down.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use inshore_api::{ApiOptions, Limits, Observer};
use inshore_domain::event::Delta;
use inshore_domain::{BackendError, Event, FinishReason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::scripted::{Script, finished, text};
use crate::server::{Running, options, parse, start, start_with};

fn greeting() -> Script {
    Box::new(|_| Ok(vec![text(0, "Hello."), finished(FinishReason::Stop)]))
}

fn limited(limits: Limits) -> ApiOptions {
    ApiOptions { limits, ..options() }
}

const STREAMED: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;

fn request(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads until `what` has come.
async fn read_until(socket: &mut TcpStream, what: &str) -> String {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen);
        if text.contains(what) {
            return text.into_owned();
        }
        let read = socket.read(&mut piece).await.expect("the connection holds");
        assert!(read > 0, "closed before `{what}`: {text}");
        seen.extend_from_slice(&piece[..read]);
    }
}

#[derive(Default)]
struct NoDelay(Mutex<Vec<bool>>);

impl Observer for NoDelay {
    fn accepted(&self, socket: &TcpStream) {
        self.0.lock().unwrap().push(socket.nodelay().expect("a socket option"));
    }
}

/// The trap is an accepted socket without `TCP_NODELAY`: the second answer on a kept-alive connection then waits for the
/// client's delayed acknowledgement. The option is checked itself, not the time.
#[tokio::test]
async fn a_stream_on_a_kept_alive_connection_is_not_held_back() {
    let observer = Arc::new(NoDelay::default());
    let options = ApiOptions { observer: Some(observer.clone()), ..options() };
    let (events, feed) = mpsc::unbounded_channel();
    let server = start_with(greeting(), options).await;
    server.backend.set_stream(feed);
    let mut socket = server.connect().await;
    for round in ["first", "second"] {
        socket.write_all(&request(STREAMED)).await.expect("written");
        events.send(text(0, round)).expect("the backend listens");
        // The answer is not finished, and yet what there is of it arrives.
        let head = read_until(&mut socket, round).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        events.send(finished(FinishReason::Stop)).expect("the backend listens");
        events.send(Err(end())).expect("the backend listens");
        read_until(&mut socket, "0\r\n\r\n").await;
    }
    assert_eq!(*observer.0.lock().unwrap(), [true]);
    drop(socket);
    server.stop().await;
}

/// Marks the end of one answer in a channel that serves several.
fn end() -> BackendError {
    BackendError::new(inshore_domain::BackendErrorKind::Failed, "END")
}

impl crate::scripted::ScriptedBackend {
    /// Answers from now on with what comes through the channel, each answer up to [`end`].
    fn set_stream(&self, feed: mpsc::UnboundedReceiver<Result<Event, BackendError>>) {
        *self.feed.lock().unwrap() = Some(Arc::new(tokio::sync::Mutex::new(feed)));
    }
}

#[tokio::test]
async fn half_open_connections_are_bounded_and_keep_nobody_out() {
    let limits = Limits { connections: 8, ..Limits::default() };
    let server = start_with(greeting(), limited(limits)).await;
    // Some say nothing, some stop in the middle of a head. More than twelve times the limit.
    let mut half_open = Vec::new();
    for number in 0..100 {
        let mut socket = server.connect().await;
        if number % 2 == 0 {
            socket.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc").await.expect("written");
        }
        half_open.push(socket);
    }
    // A client with something to say is served at once.
    let reply = server.post("/v1/chat/completions", STREAMED).await;
    assert_eq!(reply.status, 200);
    // All but the limit have been closed.
    let mut open = 0;
    for mut socket in half_open {
        let mut rest = [0; 1];
        if poll_once(socket.read(&mut rest)).await.is_none() {
            open += 1;
        }
    }
    assert!(open <= 8, "{open} half-open connections are still there");
    server.stop().await;
}

/// What the future has after the server had its turn: `None` when it still waits.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    for _ in 0..50 {
        tokio::task::yield_now().await;
        let ready = std::future::poll_fn(|context: &mut Context<'_>| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if ready.is_some() {
            return ready;
        }
    }
    None
}

/// Time stands still until everybody waits, and then jumps to the next deadline.
async fn paused(limits: Limits) -> Running {
    let server = start_with(greeting(), limited(limits)).await;
    tokio::time::pause();
    server
}

#[tokio::test]
async fn silence_and_endless_heads_have_deadlines() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(90),
        head_timeout: Duration::from_secs(10),
        ..Limits::default()
    };
    let server = paused(limits).await;
    for (sent, deadline) in [(b"".as_slice(), 90), (b"GET / HT", 10)] {
        let mut socket = server.connect().await;
        socket.write_all(sent).await.expect("written");
        let begun = tokio::time::Instant::now();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.expect("closed in order");
        let waited = begun.elapsed().as_secs();
        assert!(waited == deadline && rest.is_empty(), "{sent:?}: {waited} s, {rest:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_has_a_deadline() {
    let server = paused(Limits { body_timeout: Duration::from_secs(60), ..Limits::default() }).await;
    let mut socket = server.connect().await;
    let head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\ncontent-length: 100\r\n\r\n{";
    socket.write_all(head).await.expect("written");
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await.expect("an answer");
    let reply = parse(&response);
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (408, Some("body_timeout")));
    server.stop().await;
}

/// A target that never ends, and counts what is taken from it.
fn endless(
    taken: Arc<std::sync::atomic::AtomicUsize>,
) -> Pin<Box<dyn futures_util::Stream<Item = Result<Event, BackendError>> + Send>> {
    Box::pin(stream::repeat_with(move || {
        taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Event::Delta { index: 0, delta: Delta::Text { text: "x".repeat(1000), logprobs: Vec::new() } })
    }))
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_back_the_target_and_is_let_go() {
    let limits = Limits { write_stall: Duration::from_secs(30), ..Limits::default() };
    let server = start_with(greeting(), limited(limits)).await;
    let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    *server.backend.endless.lock().unwrap() = Some(Box::new({
        let taken = taken.clone();
        move || endless(taken.clone())
    }));
    let mut socket = server.connect().await;
    socket.write_all(&request(STREAMED)).await.expect("written");
    read_until(&mut socket, "HTTP/1.1 200").await;
    // Let the socket's buffers fill; then the target must rest.
    let mut before = usize::MAX;
    while before != taken.load(std::sync::atomic::Ordering::Relaxed) {
        before = taken.load(std::sync::atomic::Ordering::Relaxed);
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
    // Loopback's buffers hold some megabytes, and no more than that was taken.
    assert!(before < 40_000, "{before} KB taken for a client that reads nothing");
    tokio::time::pause();
    // Nobody does anything but wait: time jumps to the deadline, and the connection is let go.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let mut rest = vec![0; 1 << 20];
    while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    tokio::time::resume();
    // The work was cancelled, and says so.
    let receipts = loop {
        let receipts = server.store().receipts(1).await.expect("a store");
        if !receipts.is_empty() {
            break receipts;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(receipts[0].outcome, inshore_domain::Outcome::Cancelled);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_work() {
    let (events, feed) = mpsc::unbounded_channel();
    let server = start(greeting()).await;
    server.backend.set_stream(feed);
    for body in [STREAMED.to_owned(), STREAMED.replace("true", "false")] {
        let mut socket = server.connect().await;
        socket.write_all(&request(&body)).await.expect("written");
        events.send(text(0, "first")).expect("the backend listens");
        if body == STREAMED {
            read_until(&mut socket, "first").await;
        } else {
            server.backend.wait_for_calls(2).await;
        }
        drop(socket);
        let receipts = loop {
            let receipts = server.store().receipts(5).await.expect("a store");
            if receipts.len() == if body == STREAMED { 1 } else { 2 } {
                break receipts;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(receipts[0].outcome, inshore_domain::Outcome::Cancelled, "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn shutdown_lets_running_answers_finish() {
    let (events, feed) = mpsc::unbounded_channel();
    let server = start(greeting()).await;
    server.backend.set_stream(feed);
    let mut idle = server.connect().await;
    let mut socket = server.connect().await;
    socket.write_all(&request(STREAMED)).await.expect("written");
    events.send(text(0, "first")).expect("the backend listens");
    read_until(&mut socket, "first").await;
    server.shutdown.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("idle connections are closed in order");
    events.send(text(0, "last")).expect("the backend listens");
    events.send(finished(FinishReason::Stop)).expect("the backend listens");
    events.send(Err(end())).expect("the backend listens");
    let answer = read_until(&mut socket, "[DONE]").await;
    assert!(answer.contains("last"));
    server.tasks.wait().await;
    assert!(TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn shutdown_cuts_off_what_does_not_finish() {
    let (events, feed) = mpsc::unbounded_channel();
    let server =
        start_with(greeting(), limited(Limits { grace: Duration::from_secs(5), ..Limits::default() })).await;
    server.backend.set_stream(feed);
    let mut socket = server.connect().await;
    socket.write_all(&request(STREAMED)).await.expect("written");
    events.send(text(0, "first")).expect("the backend listens");
    read_until(&mut socket, "first").await;
    tokio::time::pause();
    server.shutdown.cancel();
    server.tasks.wait().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_file_serves_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inshore.sock");
    let listener = inshore_api::Listeners::bind_unix(&path).await.expect("a socket file");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(inshore_api::Listeners::bind_unix(&path).await.is_err(), "somebody listens on it");

    let daemon = crate::scripted::daemon(greeting());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let listeners = inshore_api::Listeners { unix: Some(listener), ..inshore_api::Listeners::default() };
    let serving = inshore_api::serve(listeners, daemon.parts.clone(), options(), shutdown.clone());
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(serving);
    let mut socket = tokio::net::UnixStream::connect(&path).await.expect("a connection");
    // No web page can open a socket file, so any host name will do.
    let request = String::from_utf8(request(STREAMED)).expect("text");
    let request = request.replace("host: localhost", "host: anything\r\nconnection: close");
    socket.write_all(request.as_bytes()).await.expect("written");
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await.expect("an answer");
    assert_eq!(parse(&response).status, 200);
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    // A file that nobody listens on any more is replaced; one that is no socket is left alone.
    assert!(inshore_api::Listeners::bind_unix(&path).await.is_ok());
    let other = folder.path().join("notes.txt");
    std::fs::write(&other, "mine").expect("written");
    assert!(inshore_api::Listeners::bind_unix(&other).await.is_err());
    assert_eq!(std::fs::read_to_string(&other).expect("still there"), "mine");
}
