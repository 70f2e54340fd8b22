//! The server over sockets in memory, so that time, buffers and numbers are the test's: slow clients, and very many.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use inshore_domain::event::Delta;
use inshore_domain::{Event, FinishReason, Outcome};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::{Instant, advance, pause, resume};
use tokio_util::sync::CancellationToken;

use super::{Server, Via};
use crate::{ApiOptions, AppToken, Limits};

#[allow(dead_code, reason = "written for more users than this one")]
#[path = "../../tests/it/scripted.rs"]
mod scripted;

use scripted::{Daemon, Script, daemon, finished, text};

/// What the system holds of a connection; small, so that what the server holds shows.
const SOCKET: usize = 4096;
const STREAMED: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;

struct Bench {
    server: Server,
    daemon: Daemon,
    shutdown: CancellationToken,
}

impl Bench {
    fn new(script: Script, limits: Limits) -> Self {
        let daemon = daemon(script);
        let tokens = vec![AppToken::new("test", "secret")].into();
        let options = ApiOptions { tokens, limits, ..ApiOptions::default() };
        Self {
            server: Server::new(daemon.parts.clone(), options),
            daemon,
            shutdown: CancellationToken::new(),
        }
    }

    /// A connection as the accept loop begins it.
    async fn accept<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, socket: S) {
        assert!(self.server.begin(socket, Via::Tcp, &self.shutdown).await);
    }

    async fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(SOCKET);
        self.accept(theirs).await;
        ours
    }

    /// The whole answer to a client that reads as fast as it can.
    async fn ask(&self, mut socket: DuplexStream) -> String {
        socket.write_all(&request("connection: close\r\n")).await.expect("taken");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// How the last request ended, once its receipt is there; the store works in real time.
    async fn outcome(&self) -> Outcome {
        loop {
            let receipts = self.daemon.parts.store.receipts(1).await.expect("a store");
            if let Some(receipt) = receipts.first() {
                return receipt.outcome.clone();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Lets an answer of a thousand texts of a thousand letters go its way; counts what is taken of it.
    fn answer_of_a_megabyte(&self) -> Arc<AtomicUsize> {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        *self.daemon.backend.endless.lock().unwrap() = Some(Box::new(move || {
            let counted = counted.clone();
            let texts = std::iter::repeat_with(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(Event::Delta {
                    index: 0,
                    delta: Delta::Text { text: "x".repeat(1000), logprobs: Vec::new() },
                })
            });
            Box::pin(futures_util::stream::iter(texts.take(1000).chain([finished(FinishReason::Stop)])))
        }));
        taken
    }
}

fn greeting() -> Script {
    Box::new(|_| Ok(vec![text(0, "Hello."), finished(FinishReason::Stop)]))
}

fn request(headers: &str) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer secret\r\n{headers}content-length: {}\r\n\r\n{STREAMED}",
        STREAMED.len()
    )
    .into_bytes()
}

/// Lets all tasks do what they can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Takes a piece every second until the connection ends; how many seconds that took, and what came.
async fn sip(socket: &mut DuplexStream, piece: usize, every: Duration) -> (Duration, Vec<u8>) {
    let begun = Instant::now();
    let (mut all, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return (begun.elapsed(), all),
            Ok(read) => all.extend_from_slice(&buffer[..read]),
        }
        settle().await;
        advance(every).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_a_byte_a_second_is_let_go_and_its_work_with_it() {
    let limits = Limits { write_stall: Duration::from_secs(30), write_progress: 1024, ..Limits::default() };
    let bench = Bench::new(greeting(), limits);
    let taken = bench.answer_of_a_megabyte();
    let mut slow = bench.connect().await;
    slow.write_all(&request("")).await.expect("taken");
    let mut first = [0; 1];
    slow.read_exact(&mut first).await.expect("the answer begins");
    settle().await;
    // The server holds a few pieces for it, and the target rests.
    let held = taken.load(Ordering::Relaxed);
    assert!(held < 200, "{held} KB were taken for a client that takes bytes");

    // Somebody else is answered meanwhile.
    *bench.daemon.backend.endless.lock().unwrap() = None;
    assert!(bench.ask(bench.connect().await).await.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
    settle().await;
    assert_eq!(bench.server.tasks.len(), 1, "the slow one is still there");

    pause();
    let (waited, got) = sip(&mut slow, 1, Duration::from_secs(1)).await;
    resume();
    // What was in the socket can still be read.
    assert!(got.len() <= 32 + SOCKET, "{}", got.len());
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    // A piece more fits into the buffer when a byte has left it.
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken < held + 20, "{taken} KB were taken instead of {held} while it dawdled");
    let receipts = loop {
        let receipts = bench.daemon.parts.store.receipts(2).await.expect("a store");
        if receipts.len() == 2 {
            break receipts;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(receipts[0].outcome, Outcome::Cancelled);
    bench.server.tasks.close();
    bench.server.tasks.wait().await;
}

#[tokio::test]
async fn the_time_at_which_such_a_client_is_let_go_is_the_limit() {
    let limits = Limits { write_stall: Duration::from_secs(30), write_progress: 1024, ..Limits::default() };
    let bench = Bench::new(greeting(), limits);
    bench.answer_of_a_megabyte();
    let mut slow = bench.connect().await;
    slow.write_all(&request("")).await.expect("taken");
    slow.read_exact(&mut [0; 1]).await.expect("the answer begins");
    settle().await;
    pause();
    for second in 0..29 {
        slow.read_exact(&mut [0; 1]).await.expect("the connection holds");
        settle().await;
        assert_eq!(bench.server.tasks.len(), 1, "after {second} s");
        advance(Duration::from_secs(1)).await;
    }
    advance(Duration::from_secs(2)).await;
    settle().await;
    assert_eq!(bench.server.tasks.len(), 0);
    resume();
    assert_eq!(bench.outcome().await, Outcome::Cancelled);
}

#[tokio::test]
async fn a_slow_client_that_gets_on_gets_all_of_it() {
    let limits = Limits { write_stall: Duration::from_secs(30), write_progress: 1024, ..Limits::default() };
    let bench = Bench::new(greeting(), limits);
    let taken = bench.answer_of_a_megabyte();
    let mut slow = bench.connect().await;
    slow.write_all(&request("connection: close\r\n")).await.expect("taken");
    slow.read_exact(&mut [0; 1]).await.expect("the answer begins");
    settle().await;
    pause();
    let (mut all, mut piece) = (Vec::new(), [0; SOCKET]);
    while taken.load(Ordering::Relaxed) < 1000 {
        slow.read_exact(&mut piece).await.expect("the connection holds");
        all.extend(piece);
        settle().await;
        advance(Duration::from_secs(29)).await;
    }
    // The target has made the last of it, and the receipt takes real time.
    resume();
    assert_eq!(bench.outcome().await, Outcome::Answered);
    settle().await;
    assert_eq!(bench.server.tasks.len(), 1, "its answer is made, and not read to the end");
    pause();
    let (waited, rest) = sip(&mut slow, 1100, Duration::from_secs(29)).await;
    assert!(waited > Duration::from_secs(300), "longer than a silent client would be kept: {waited:?}");
    all.extend(rest);
    let all = String::from_utf8(all).expect("text");
    assert_eq!(all.matches(&"x".repeat(1000)).count(), 1000);
    assert!(all.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_connection_that_falls_silent_after_an_answer_has_a_deadline() {
    let long = || vec![text(0, &"x".repeat(3 * SOCKET)), finished(FinishReason::Stop)];
    let limits = Limits { idle_timeout: Duration::from_secs(90), ..Limits::default() };
    for script in [greeting(), Box::new(move |_| Ok(long()))] {
        let bench = Bench::new(script, limits);
        let mut client = bench.connect().await;
        for _ in 0..2 {
            client.write_all(&request("")).await.expect("taken");
            // The long answer waits for the client when it has been made.
            bench.outcome().await;
            settle().await;
            let mut seen = Vec::new();
            while !seen.ends_with(b"0\r\n\r\n") {
                seen.push(client.read_u8().await.expect("an answer"));
            }
        }
        settle().await;
        pause();
        advance(Duration::from_secs(89)).await;
        settle().await;
        assert_eq!(bench.server.tasks.len(), 1);
        advance(Duration::from_secs(2)).await;
        settle().await;
        assert_eq!(bench.server.tasks.len(), 0);
        resume();
    }
}

/// A socket that is counted for as long as the server has it.
struct Counted {
    socket: DuplexStream,
    count: Arc<Count>,
}

#[derive(Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Counted {
    fn new(socket: DuplexStream, count: &Arc<Count>) -> Self {
        let now = count.now.fetch_add(1, Ordering::Relaxed) + 1;
        count.most.fetch_max(now, Ordering::Relaxed);
        Self { socket, count: count.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// All of them are open at once as far as the clients are concerned: none closes its end.
#[tokio::test]
async fn a_hundred_thousand_half_open_connections_keep_nobody_out() {
    const FLOOD: usize = 100_000;
    let limits = Limits::default();
    let bench = Bench::new(greeting(), limits);
    let count = Arc::new(Count::default());
    let mut clients = Vec::with_capacity(FLOOD);
    for number in 0..FLOOD {
        let (mut ours, theirs) = duplex(64);
        // Some say nothing, some stop in the middle of a head.
        if number % 2 == 0 {
            ours.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc").await.expect("taken");
        }
        bench.accept(Counted::new(theirs, &count)).await;
        clients.push(ours);
        if number == FLOOD / 2 {
            assert!(bench.ask(bench.connect().await).await.contains("Hello."));
        }
    }
    assert!(bench.ask(bench.connect().await).await.contains("Hello."));
    settle().await;

    // One waits at the door for the place of another. What the server keeps for a half-open connection is its task with
    // deadlines and buffers, some 4 KB in memory, and an entry in the list of the idle.
    let most = count.most.load(Ordering::Relaxed);
    assert!((limits.connections..=limits.connections + 1).contains(&most), "{most} were held at once");
    assert!(count.now.load(Ordering::Relaxed) <= limits.connections);
    assert!(bench.server.tasks.len() <= limits.connections);
    assert!(bench.server.connections.idle().len() <= limits.connections);
    // Those who had to make room were told so: their connections have ended.
    let ended = tokio::task::unconstrained(std::future::poll_fn(move |context| {
        let mut byte = [0; 1];
        let mut ended = |client: &mut DuplexStream| {
            Pin::new(client).poll_read(context, &mut ReadBuf::new(&mut byte)).is_ready()
        };
        Poll::Ready(clients.iter_mut().filter_map(|client| ended(client).then_some(())).count())
    }));
    assert!(ended.await >= FLOOD - limits.connections);
}
