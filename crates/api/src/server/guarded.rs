//! A socket with deadlines: for silence, for a head that does not end, for a client that does not read.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connections::{Phase, Slot};
use crate::options::Limits;

/// A phase, and which of the stays in it.
type Stay = (Phase, u64);

/// The socket.
pub(super) struct Guarded<S> {
    socket: S,
    slot: Arc<Slot>,
    limits: Limits,
    /// The deadline for reading and the stay it was set for. Made at the first wait, then re-used.
    read: Option<(Pin<Box<Sleep>>, Stay)>,
    write: Option<Pin<Box<Sleep>>>,
    /// A deadline for writing is running, and this many bytes have gone out since.
    stalled: Option<usize>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, slot: Arc<Slot>, limits: Limits) -> Self {
        Self { socket, slot, limits, read: None, write: None, stalled: None }
    }

    /// Fails when the wait for bytes has taken too long.
    fn waiting_to_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stay = self.slot.phase();
        let allowed = match stay.0 {
            Phase::Idle => self.limits.idle_timeout,
            Phase::Head => self.limits.head_timeout,
            // The body has its own deadline where it is read, and while the answer is made nothing is to be read.
            Phase::Busy => return Poll::Pending,
        };
        let (sleep, since) = self.read.get_or_insert_with(|| (deadline(allowed), stay));
        if *since != stay {
            *since = stay;
            sleep.as_mut().reset(Instant::now() + allowed);
        }
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(timed_out("nothing came for too long")))
    }

    /// Fails when the client has read too little for too long.
    fn waiting_to_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stall = self.limits.write_stall;
        let sleep = self.write.get_or_insert_with(|| deadline(stall));
        if self.stalled.is_none() {
            self.stalled = Some(0);
            sleep.as_mut().reset(Instant::now() + stall);
        }
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(timed_out("the client reads too slowly")))
    }

    /// `written` bytes went out. A client that takes a byte now and then stays under its deadline.
    fn progress(&mut self, written: usize) {
        if let Some(since) = self.stalled {
            let since = since.saturating_add(written);
            self.stalled = (since < self.limits.write_progress).then_some(since);
        }
    }
}

fn deadline(allowed: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(Instant::now() + allowed))
}

fn timed_out(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        match Pin::new(&mut this.socket).poll_read(context, buffer) {
            Poll::Ready(outcome) => {
                if buffer.filled().len() > before {
                    this.slot.head_begun();
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => this.waiting_to_read(context),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.socket).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => {
                this.progress(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.waiting_to_write(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match Pin::new(&mut this.socket).poll_write_vectored(context, pieces) {
            Poll::Ready(Ok(written)) => {
                this.progress(written);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.waiting_to_write(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
