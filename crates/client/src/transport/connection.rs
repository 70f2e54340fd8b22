//! One request on one connection.

use std::future::poll_fn;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::Error;
use crate::event::Problem;

/// The longest refusal that is read; its message has two thousand characters at most.
const MAX_REFUSAL: usize = 64 << 10;

/// A place on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection, which makes progress while something is waited for.
struct Link(Option<Driver>);

impl Link {
    /// Waits for what the connection brings.
    async fn wait<T>(&mut self, mut ready: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>) -> T {
        poll_fn(|context| {
            // What went wrong is seen by whoever waits for the response or its body.
            if self.0.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
                self.0 = None;
            }
            ready(context)
        })
        .await
    }
}

/// The head of a response.
pub(super) struct Head {
    link: Link,
    response: Response<Incoming>,
}

/// The body of a response that is an answer.
pub(super) struct Stream {
    link: Link,
    body: Incoming,
    /// The id of the answer's receipt, where a header tells it.
    pub(super) receipt: Option<String>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}

/// Sends a request; the head of the response is there when this returns.
pub(super) async fn send(place: &Place, request: Request<Full<Bytes>>) -> Result<Head, Error> {
    match place {
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(Error::Unreachable)?;
            stream.set_nodelay(true).map_err(Error::Unreachable)?;
            exchange(stream, request).await
        }
        #[cfg(unix)]
        Place::Unix(path) => {
            let stream = tokio::net::UnixStream::connect(path).await.map_err(Error::Unreachable)?;
            exchange(stream, request).await
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Head, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Error::Silent)?;
    let mut link = Link(Some(Box::pin(connection)));
    let mut sending = Box::pin(sender.send_request(request));
    let response = link.wait(|context| sending.as_mut().poll(context)).await.map_err(Error::Silent)?;
    Ok(Head { link, response })
}

impl Head {
    /// The answer's bytes, or what the daemon says when it refuses.
    pub(super) async fn accept(mut self) -> Result<Stream, Error> {
        if !self.response.status().is_success() {
            return Err(Error::Refused(self.refusal().await));
        }
        let receipt = self.response.headers().get("x-inshore-receipt");
        let receipt = receipt.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Stream { link: self.link, body: self.response.into_body(), receipt })
    }

    async fn refusal(&mut self) -> Problem {
        let status = self.response.status().as_u16();
        let mut body = Box::pin(Limited::new(self.response.body_mut(), MAX_REFUSAL).collect());
        let body = self.link.wait(|context| body.as_mut().poll(context)).await;
        let problem = body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
        problem.unwrap_or(Problem {
            status,
            code: String::new(),
            detail: String::new(),
            hint: None,
            param: None,
            request_id: None,
        })
    }
}

impl Stream {
    /// The next bytes; `None` when none follow, for whatever reason. Nothing is lost when this is dropped before it returns.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let Self { link, body, .. } = self;
        loop {
            let frame = link.wait(|context| Pin::new(&mut *body).poll_frame(context)).await?.ok()?;
            if let Ok(bytes) = frame.into_data() {
                return Some(bytes);
            }
        }
    }
}
