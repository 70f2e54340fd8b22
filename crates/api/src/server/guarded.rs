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
    /// A deadline for writing is running.
    stalled: Option<Stall>,
}

/// A client that reads slowly.
#[derive(Debug, Clone, Copy, Default)]
struct Stall {
    /// Bytes that have gone out since the deadline was set.
    written: usize,
    /// When the last of them went out. Until more waits to be written, the client is not the one who is slow.
    rests_since: Option<Instant>,
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
        let allowed = self.limits.write_stall;
        let sleep = self.write.get_or_insert_with(|| deadline(allowed));
        match &mut self.stalled {
            None => {
                self.stalled = Some(Stall::default());
                sleep.as_mut().reset(Instant::now() + allowed);
            }
            Some(stall) => {
                if let Some(since) = stall.rests_since.take() {
                    let later = sleep.deadline() + since.elapsed();
                    sleep.as_mut().reset(later);
                }
            }
        }
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(timed_out("the client reads too slowly")))
    }

    /// `written` bytes went out. A client that takes a byte now and then stays under its deadline.
    fn progress(&mut self, written: usize) {
        if let Some(stall) = self.stalled {
            let written = stall.written.saturating_add(written);
            let goes_on = written < self.limits.write_progress;
            self.stalled = goes_on.then(|| Stall { written, rests_since: Some(Instant::now()) });
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
        // The server flushes when it has nothing left to write.
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        // Perhaps nobody reads again before something comes, so the deadline for silence is set here.
        if self.slot.written()
            && let Poll::Ready(outcome) = self.waiting_to_read(context)
        {
            outcome?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::advance;

    use super::*;
    use crate::server::connections::Connections;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_was_slow_is_not_blamed_for_the_silence_of_the_target() {
        let limits =
            Limits { write_stall: Duration::from_secs(30), write_progress: 1024, ..Limits::default() };
        let slot = Arc::new(Arc::new(Connections::new(1)).enter().await);
        let (mut client, socket) = duplex(100);
        let mut guarded = Guarded::new(socket, slot, limits);
        guarded.write_all(&[1; 100]).await.expect("there is room");
        assert!(guarded.write(&[1; 10]).now_or_never().is_none(), "the client has to read");
        advance(Duration::from_secs(1)).await;
        client.read_exact(&mut [0; 10]).await.expect("there is something");
        assert!(guarded.write(&[1; 10]).now_or_never().is_some());
        // The client owes nothing while the target thinks.
        advance(Duration::from_secs(60)).await;
        assert!(guarded.write(&[1; 10]).now_or_never().is_none());
        // Of its 30 seconds it has used one.
        advance(Duration::from_secs(28)).await;
        assert!(guarded.write(&[1; 10]).now_or_never().is_none());
        advance(Duration::from_secs(2)).await;
        let outcome = guarded.write(&[1; 10]).now_or_never().expect("its time is up");
        assert_eq!(outcome.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
    }
}
