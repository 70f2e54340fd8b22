//! The stream of events made from a response.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::future::poll_fn;
use inshore_domain::{BackendError, BackendErrorKind, Event, TargetId};
use tokio::time::Instant;

use crate::gate::Exchange;
use crate::sse::{Block, Framer};

/// How long to wait for the end of the body after the protocol's own end of the stream, so that the connection can be
/// used again. Servers send both at once.
const DRAIN: Duration = Duration::from_millis(50);
/// How long an answer that has begun is held back for its first piece, so that a failure in between can still be turned
/// into another target's answer. Thinking models say nothing for minutes after their first event.
const PEEK: Duration = Duration::from_secs(2);

/// What is done with the bytes of an event that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are the caller's.
    Forward,
    /// The caller did not ask for them.
    Withhold,
    /// They are the caller's, and the stream is complete.
    Last,
}

/// Reads the answers of one protocol.
pub(crate) trait Reader: Send {
    /// Reads one event of a stream.
    fn event(&mut self, data: &[u8], out: &mut VecDeque<Event>) -> Result<Verdict, BackendError>;

    /// Reads a whole answer.
    fn whole(&mut self, body: &[u8], out: &mut VecDeque<Event>) -> Result<(), BackendError>;

    /// Whether everything that an answer must have has been read, so that the stream may end here.
    fn is_complete(&self) -> bool;
}

/// A streamed answer.
pub(crate) struct Answer {
    exchange: Exchange,
    framer: Framer,
    reader: Box<dyn Reader>,
    target: Arc<inshore_domain::Target>,
    /// Give the bytes on besides the events.
    wire: bool,
    ready: VecDeque<Event>,
    failure: Option<BackendError>,
    complete: bool,
    ended: bool,
}

impl Answer {
    pub(crate) fn new(
        exchange: Exchange,
        reader: Box<dyn Reader>,
        target: Arc<inshore_domain::Target>,
        wire: bool,
    ) -> Self {
        let (framer, ready) = (Framer::default(), VecDeque::new());
        Self { exchange, framer, reader, target, wire, ready, failure: None, complete: false, ended: false }
    }

    /// Waits until there is something to give on, so that what fails before is an error here.
    pub(crate) async fn begun(mut self, first_byte: Duration) -> Result<Self, BackendError> {
        let mut deadline = Instant::now() + first_byte;
        let mut started = false;
        loop {
            let more = poll_fn(|cx| self.poll_read(cx));
            let more = match tokio::time::timeout_at(deadline, more).await {
                Ok(more) => more,
                Err(_) if started => return Ok(self),
                Err(_) => {
                    let message =
                        format!("`{}` sent no event within {} s", self.target.id, first_byte.as_secs_f32());
                    return Err(BackendError::new(BackendErrorKind::Timeout, message));
                }
            };
            if self.ready.iter().any(|event| matches!(event, Event::Delta { .. } | Event::Finished { .. })) {
                return Ok(self);
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if !more {
                return Ok(self);
            }
            if !started && !self.ready.is_empty() {
                started = true;
                deadline = deadline.min(Instant::now() + PEEK);
            }
        }
    }

    /// Reads one chunk of the response; `false` at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.ended {
            return Poll::Ready(false);
        }
        match ready!(self.exchange.poll_chunk(cx)) {
            // Whatever comes after the protocol's end is only read to let the connection be used again.
            Some(_) if self.complete => {}
            Some(Ok(chunk)) => {
                self.framer.push(chunk);
                if let Err(error) = self.read_blocks() {
                    self.fail(error);
                }
            }
            Some(Err(error)) => self.fail(error.into()),
            None => {
                self.ended = true;
                if !self.complete && !self.reader.is_complete() {
                    self.failure = Some(cut_short(&self.target.id));
                }
            }
        }
        Poll::Ready(!self.ended)
    }

    fn fail(&mut self, error: BackendError) {
        self.ended = true;
        // After the end of the answer a broken connection is nobody's loss.
        self.failure = (!self.complete).then_some(error);
    }

    fn read_blocks(&mut self) -> Result<(), BackendError> {
        let mut wire = Wire::default();
        let result = loop {
            match self.framer.next_block() {
                Ok(None) => break Ok(()),
                Ok(Some(block)) => match self.read_block(&block) {
                    Ok(Verdict::Withhold) => {}
                    Ok(Verdict::Forward) => wire.add(block.raw),
                    Ok(Verdict::Last) => {
                        wire.add(block.raw);
                        self.complete = true;
                        self.exchange.set_idle(DRAIN);
                        break Ok(());
                    }
                    Err(error) => break Err(error),
                },
                Err(error) => {
                    let message = format!("`{}`: {error}", self.target.id);
                    break Err(BackendError::new(BackendErrorKind::Protocol, message));
                }
            }
        };
        if self.wire
            && let Some(bytes) = wire.joined()
        {
            self.ready.push_back(Event::Wire(bytes));
        }
        result
    }

    fn read_block(&mut self, block: &Block) -> Result<Verdict, BackendError> {
        match &block.data {
            None => Ok(Verdict::Forward),
            Some(data) => self.reader.event(data, &mut self.ready),
        }
    }
}

impl Stream for Answer {
    type Item = Result<Event, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Some(Err(failure)));
            }
            if !ready!(self.poll_read(cx)) && self.ready.is_empty() && self.failure.is_none() {
                return Poll::Ready(None);
            }
        }
    }
}

/// The bytes of the blocks of one chunk, so that what came together goes on together.
#[derive(Default)]
struct Wire {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Wire {
    fn add(&mut self, raw: Bytes) {
        match &self.first {
            None => self.first = Some(raw),
            Some(first) => {
                if self.more.is_empty() {
                    self.more.extend_from_slice(first);
                }
                self.more.extend_from_slice(&raw);
            }
        }
    }

    fn joined(self) -> Option<Bytes> {
        if self.more.is_empty() { self.first } else { Some(self.more.freeze()) }
    }
}

/// The error of an answer that stops before its end.
pub(crate) fn cut_short(target: &TargetId) -> BackendError {
    BackendError::new(
        BackendErrorKind::Unreachable,
        format!("`{target}` ended the answer before it was complete"),
    )
}

/// The error of an answer that cannot be read.
pub(crate) fn unreadable(target: &TargetId) -> BackendError {
    BackendError::new(
        BackendErrorKind::Protocol,
        format!("`{target}` sent an answer that its protocol does not allow"),
    )
}

/// A whole answer as a stream.
pub(crate) fn whole(events: VecDeque<Event>) -> inshore_domain::EventStream {
    Box::pin(futures_util::stream::iter(events.into_iter().map(Ok)))
}
