//! A response that is being read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use http_body::Body;
use hyper::body::Incoming;
use inshore_domain::{EgressLog, EgressRecord};
use tokio::time::{Instant, Sleep, sleep};

use super::Route;
use super::error::{GateError, GateErrorKind};
use super::link::{Counters, Link};

/// Carries the bytes of one call from the connection's counters to the egress record.
pub(super) struct Meter {
    log: EgressLog,
    record: usize,
    counters: Option<Arc<Counters>>,
    /// What the connection had sent before this call.
    before: u64,
    noted_out: u64,
    noted_in: u64,
}

impl Meter {
    pub(super) fn open(log: EgressLog, record: EgressRecord) -> Self {
        let record = log.open(record);
        Self { log, record, counters: None, before: 0, noted_out: 0, noted_in: 0 }
    }

    /// From now on the bytes of this connection are this call's.
    pub(super) fn attach(&mut self, link: &Link) {
        self.note();
        let counters = link.counters().clone();
        self.noted_out = counters.bytes_out.load(Ordering::Relaxed);
        self.noted_in = counters.bytes_in.load(Ordering::Relaxed);
        self.before = self.noted_out;
        self.counters = Some(counters);
    }

    /// Whether a byte of the request has been written.
    pub(super) fn wrote(&self) -> bool {
        let sent = self.counters.as_ref().map(|counters| counters.bytes_out.load(Ordering::Relaxed));
        sent.is_some_and(|sent| sent > self.before)
    }

    pub(super) fn note(&mut self) {
        let Some(counters) = &self.counters else { return };
        let bytes_out = counters.bytes_out.load(Ordering::Relaxed);
        let bytes_in = counters.bytes_in.load(Ordering::Relaxed);
        if (bytes_out, bytes_in) != (self.noted_out, self.noted_in) {
            self.log.add(self.record, bytes_out - self.noted_out, bytes_in - self.noted_in);
            (self.noted_out, self.noted_in) = (bytes_out, bytes_in);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.note();
    }
}

/// The body of a response, and the connection it comes by. Dropping it before the end closes the connection at once;
/// at the end the connection goes back to be used again.
pub(crate) struct Exchange {
    route: Arc<Route>,
    // Fields are dropped in this order: the meter still counts what the link has written.
    meter: Meter,
    body: Incoming,
    link: Option<Link>,
    idle: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Exchange {
    pub(super) fn new(route: Arc<Route>, link: Link, body: Incoming, meter: Meter, idle: Duration) -> Self {
        let timer = Box::pin(sleep(idle));
        Self { route, meter, body, link: Some(link), idle, last: Instant::now(), timer }
    }

    /// Names the other side's receipt in the egress record.
    pub(crate) fn name_remote_receipt(&self, receipt: String) {
        self.meter.log.name_remote_receipt(self.meter.record, receipt);
    }

    /// From now on no piece may take longer than this.
    pub(crate) fn shorten_idle(&mut self, idle: Duration) {
        self.idle = self.idle.min(idle);
        self.last = Instant::now();
        self.timer.as_mut().reset(self.last + self.idle);
    }

    /// The next piece; `None` at the end.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, GateError>>> {
        loop {
            let Some(link) = &mut self.link else { return Poll::Ready(None) };
            let mut frame = Pin::new(&mut self.body).poll_frame(cx);
            if frame.is_pending() {
                link.drive(cx);
                frame = Pin::new(&mut self.body).poll_frame(cx);
            }
            match frame {
                Poll::Ready(Some(Ok(frame))) => {
                    self.meter.note();
                    self.last = Instant::now();
                    // Trailers carry nothing that either API uses.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.link = None;
                    self.meter.note();
                    let error = GateError::from_http(&error).with_written(true);
                    return Poll::Ready(Some(Err(error.at(&self.route.destination))));
                }
                Poll::Ready(None) => {
                    self.finish(cx);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(self.poll_idle(cx));
                    self.link = None;
                    self.meter.note();
                    let message = format!("nothing came for {} s", self.idle.as_secs_f32());
                    let error = GateError::new(GateErrorKind::Timeout, message);
                    return Poll::Ready(Some(Err(error.at(&self.route.destination))));
                }
            }
        }
    }

    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, GateError>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The whole body; an error when it is longer than `limit`.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes, GateError> {
        let Some(first) = self.chunk().await.transpose()? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk().await.transpose()? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity((first.len() + second.len()) * 2);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(chunk) = self.chunk().await.transpose()? {
            if whole.len() + chunk.len() > limit {
                let message = format!("the answer is longer than {limit} bytes");
                return Err(GateError::new(GateErrorKind::Protocol, message).at(&self.route.destination));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// At most `limit` bytes of the body, those that come in time; the rest is not waited for, nor is a body that breaks off
    /// an error.
    pub(crate) async fn collect_some(mut self, limit: usize, within: Duration) -> Bytes {
        let deadline = Instant::now() + within;
        let mut some = BytesMut::new();
        while some.len() < limit
            && let Ok(Some(Ok(chunk))) = tokio::time::timeout_at(deadline, self.chunk()).await
        {
            some.extend_from_slice(&chunk);
        }
        some.truncate(limit);
        some.freeze()
    }

    /// Ready when the idle time is over. The timer is set anew only when it fires, not at every chunk.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let deadline = self.last + self.idle;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.meter.note();
        let Some(mut link) = self.link.take() else { return };
        if !link.is_ready() {
            link.drive(cx);
        }
        if link.is_ready() {
            self.route.give_back(link);
        }
    }
}

use std::future::Future;
