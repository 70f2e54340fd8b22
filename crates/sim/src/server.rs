//! The HTTP server below all scripted providers.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The exact body.
    pub body: Bytes,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that have ended, by whichever side.
    pub closed: u64,
    /// Requests that came whole.
    pub requests: u64,
    /// Requests that were carried out: what a real provider would have billed.
    pub carried_out: u64,
}

/// What a provider does with a request.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one call, and almost always is the large variant"
)]
pub(crate) enum Deed {
    /// Answers.
    Answer(Response<ReplyBody>),
    /// Breaks the connection off.
    Break,
}

/// A provider.
pub(crate) trait Site: Send + Sync + 'static {
    fn answer(&self, seen: Seen, notes: &Notes) -> BoxFuture<'_, Deed>;

    /// An answer that needs neither record nor script: for benches. The body has been read.
    fn fast(&self, _path: &str, _body: &[u8]) -> Option<Response<ReplyBody>> {
        None
    }
}

/// Where a server notes what it sees.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    seen: Arc<Mutex<Vec<Seen>>>,
    stats: watch::Sender<Stats>,
}

impl Notes {
    pub(crate) fn carried_out(&self) {
        self.stats.send_modify(|stats| stats.carried_out += 1);
    }
}

/// A running server. Dropping it closes the listener and all connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    notes: Notes,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(crate) async fn start(site: Arc<dyn Site>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let notes = Notes { seen: Arc::default(), stats: watch::Sender::default() };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, site, notes.clone(), stop.clone(), tasks.clone()));
        Ok(Self { address, notes, stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        *self.notes.stats.borrow()
    }

    /// Waits until the counts are as wished.
    pub async fn wait(&self, wished: impl FnMut(&Stats) -> bool) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.notes.stats.subscribe().wait_for(wished).await;
    }

    /// Stops, and waits until all connections are closed.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    site: Arc<dyn Site>,
    notes: Notes,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let (site, notes, stop) = (site.clone(), notes.clone(), stop.clone());
        tasks.spawn(async move {
            notes.stats.send_modify(|stats| stats.accepted += 1);
            stop.run_until_cancelled(serve(stream, site, &notes)).await;
            notes.stats.send_modify(|stats| stats.closed += 1);
        });
    }
}

async fn serve(stream: TcpStream, site: Arc<dyn Site>, notes: &Notes) {
    // Without this each streamed event would wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let site = &site;
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
            if let Some(answer) = site.fast(head.uri.path(), &body) {
                return Ok(answer);
            }
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            let seen = Seen { method: head.method, path, headers: head.headers, body };
            notes.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
            notes.stats.send_modify(|stats| stats.requests += 1);
            match site.answer(seen, notes).await {
                Deed::Answer(response) => Ok(response),
                Deed::Break => Err(Broken),
            }
        }
    });
    // An error here is a connection that broke, which is what some scripts are for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The script says that the connection breaks here.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off by script")
    }
}

impl std::error::Error for Broken {}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    Cut,
    Stall,
}

/// A body: pieces, each after a pause.
pub(crate) struct ReplyBody {
    pieces: std::vec::IntoIter<(Duration, Bytes)>,
    waiting: Option<(Pin<Box<Sleep>>, Bytes)>,
    end: End,
    /// The pieces so far have been flushed: each goes out in a packet of its own, as from a model that makes tokens, and
    /// all before the connection is cut.
    flushed: bool,
    /// Said in `content-length`; `None` is sent in chunks.
    length: Option<u64>,
}

impl ReplyBody {
    /// All of it at once, with its length.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        Self {
            pieces: vec![(Duration::ZERO, bytes)].into_iter(),
            waiting: None,
            end: End::Whole,
            flushed: true,
            length,
        }
    }

    /// Pieces in chunks.
    pub(crate) fn pieces(pieces: Vec<(Duration, Bytes)>, end: End) -> Self {
        Self { pieces: pieces.into_iter(), waiting: None, end, flushed: true, length: None }
    }

    /// Part of a body whose whole length is said.
    pub(crate) fn part_of(bytes: Bytes, length: u64, end: End) -> Self {
        Self {
            pieces: vec![(Duration::ZERO, bytes)].into_iter(),
            waiting: None,
            end,
            flushed: true,
            length: Some(length),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some((sleep, _)) = &mut self.waiting {
                ready!(sleep.as_mut().poll(cx));
                self.flushed = false;
                let piece = self.waiting.take().map(|(_, piece)| Ok(Frame::data(piece)));
                return Poll::Ready(piece);
            }
            let more = self.pieces.len() > 0;
            if !self.flushed && (more || self.end == End::Cut) {
                self.flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.pieces.next() {
                Some((pause, piece)) if pause.is_zero() => {
                    self.flushed = false;
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Some((pause, piece)) => self.waiting = Some((Box::pin(tokio::time::sleep(pause)), piece)),
                None => match self.end {
                    End::Whole => return Poll::Ready(None),
                    End::Stall => return Poll::Pending,
                    End::Cut => return Poll::Ready(Some(Err(Broken))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Whole && self.waiting.is_none() && self.pieces.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
