//! One connection.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::poll_fn;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::error::{GateError, GateErrorKind};
use super::pieces::Pieces;

/// Largest response head taken. The heads of all known providers are below 8 KiB.
const MAX_HEAD: usize = 64 << 10;

/// Bytes that passed a connection, as HTTP sees them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes_out: AtomicU64,
    pub(super) bytes_in: AtomicU64,
}

/// A socket, with or without TLS, that counts what passes above TLS.
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

struct Counted {
    socket: Socket,
    counters: Arc<Counters>,
}

type Driver = http1::Connection<TokioIo<Counted>, Pieces>;

/// A connection and the means to drive it. Dropping it closes the socket.
pub(crate) struct Link {
    sender: http1::SendRequest<Pieces>,
    /// Boxed, so that a link is cheap to move; `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
    counters: Arc<Counters>,
}

impl Link {
    pub(super) async fn over(socket: Socket) -> Result<Self, GateError> {
        let counters = Arc::new(Counters::default());
        let io = TokioIo::new(Counted { socket, counters: counters.clone() });
        let mut builder = http1::Builder::new();
        builder.max_header_size(MAX_HEAD);
        let (sender, driver) = builder.handshake(io).await.map_err(|error| GateError::from_http(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), counters })
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Moves bytes between the socket and the HTTP layer as far as it goes now.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Whether another request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Looks whether the peer has closed it in the meantime.
    pub(super) async fn is_alive(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.is_ready())
        })
        .await
    }

    /// Sends a request and waits for the head of its response. An error comes with the request where no byte of it was
    /// written.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
        first_byte: Duration,
    ) -> Result<Response<Incoming>, (GateError, Option<Request<Pieces>>)> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        let exchange = poll_fn(|cx| {
            if let Some(running) = driver
                && running.as_mut().poll(cx).is_ready()
            {
                *driver = None;
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if driver.is_none() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match tokio::time::timeout(first_byte, exchange).await {
            Ok(Some(Ok(response))) => Ok(response),
            Ok(Some(Err(mut error))) => Err((GateError::from_http(error.error()), error.take_message())),
            Ok(None) => Err((
                GateError::new(GateErrorKind::Broken, "the connection closed before the answer began"),
                None,
            )),
            Err(_) => {
                let message = format!("no answer within {} s", first_byte.as_secs_f32());
                Err((GateError::new(GateErrorKind::Timeout, message), None))
            }
        }
    }
}

impl Counted {
    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = result {
            self.counters.bytes_out.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        };
        let read = buf.filled().len() - before;
        if read > 0 {
            self.counters.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Socket::Tls(socket) => Pin::new(socket).poll_write(cx, buf),
        };
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Socket::Tls(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        };
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}
