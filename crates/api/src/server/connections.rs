//! How many connections there are, and which makes room when they run out.
//!
//! A flood of connections that say nothing must not keep out clients that have something to say. So the limit is not
//! first come, first served: a new connection takes the place of the one that has been idle longest. An honest
//! client sends its request at once and is safe from then until the answer has gone out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// All connections.
pub(super) struct Connections {
    room: Arc<Semaphore>,
    /// Idle connections by the moment (a counter) since when they are, and how to end each.
    idle: Mutex<BTreeMap<u64, Arc<Notify>>>,
    moments: AtomicU64,
    became_idle: Notify,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(limit)),
            idle: Mutex::default(),
            moments: AtomicU64::new(0),
            became_idle: Notify::new(),
        }
    }

    pub(super) fn idle(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, which it makes when it can.
    pub(super) async fn enter(self: &Arc<Self>) -> Slot {
        loop {
            let became_idle = self.became_idle.notified();
            if let Ok(permit) = self.room.clone().try_acquire_owned() {
                return Slot::new(self.clone(), permit);
            }
            self.evict_longest_idle();
            tokio::select! {
                Ok(permit) = self.room.clone().acquire_owned() => return Slot::new(self.clone(), permit),
                () = became_idle => {}
            }
        }
    }

    /// Ends the connection that has been idle longest, if any is.
    pub(super) fn evict_longest_idle(&self) {
        if let Some((_, evict)) = self.idle().pop_first() {
            evict.notify_one();
        }
    }

    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of the next request has come.
    Idle,
    /// A part of its head has.
    Head,
    /// A request is in work, or its answer is still on its way out.
    Busy,
}

/// One connection's place.
pub(super) struct Slot {
    connections: Arc<Connections>,
    evict: Arc<Notify>,
    /// The moment since when it is idle; stands for the phase it is in, so that deadlines can be told apart.
    since: AtomicU64,
    phase: AtomicU8,
    /// The last of an answer has been made, and not all of it has been written.
    answered: AtomicBool,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    fn new(connections: Arc<Connections>, permit: OwnedSemaphorePermit) -> Self {
        let slot = Self {
            evict: Arc::new(Notify::new()),
            since: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Idle as u8),
            answered: AtomicBool::new(false),
            _permit: permit,
            connections,
        };
        slot.rest();
        slot
    }

    /// The phase, and a number that differs between two stays in the same phase.
    pub(super) fn phase(&self) -> (Phase, u64) {
        let phase = match self.phase.load(Ordering::Acquire) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, self.since.load(Ordering::Acquire))
    }

    /// The first byte of a head has come. The connection can still be evicted: a head that never ends is as good as none.
    pub(super) fn head_begun(&self) {
        let (idle, head) = (Phase::Idle as u8, Phase::Head as u8);
        let _ = self.phase.compare_exchange(idle, head, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// A request is there. `None` when the connection has been evicted.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Work> {
        // One that was sent while the answer before it is still being written finds the connection busy.
        if !self.answered.swap(false, Ordering::AcqRel) {
            self.connections.idle().remove(&self.since.load(Ordering::Acquire))?;
        }
        self.phase.store(Phase::Busy as u8, Ordering::Release);
        Some(Work { slot: self.clone() })
    }

    /// Everything that was to be written is with the system. Whether the connection is idle because of it.
    pub(super) fn written(&self) -> bool {
        let answered = self.answered.swap(false, Ordering::AcqRel);
        if answered {
            self.rest();
        }
        answered
    }

    /// Nothing is in work.
    fn rest(&self) {
        let since = self.connections.moment();
        self.since.store(since, Ordering::Release);
        self.phase.store(Phase::Idle as u8, Ordering::Release);
        self.connections.idle().insert(since, self.evict.clone());
        self.connections.became_idle.notify_waiters();
    }

    /// Ends when the connection has to make room.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.idle().remove(&self.since.load(Ordering::Acquire));
    }
}

/// A request in work, up to the last byte of its answer that is made. A client that reads slowly is safe beyond it, until
/// that byte is written: see [`Slot::written`].
pub(super) struct Work {
    slot: Arc<Slot>,
}

impl Work {
    /// The body, which ends the work when it is dropped.
    pub(super) fn hold(self, body: axum::body::Body) -> Held {
        Held { body, _work: self }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.slot.answered.store(true, Ordering::Release);
    }
}

/// A body whose connection is busy for as long as it lives.
pub(super) struct Held {
    body: axum::body::Body,
    _work: Work,
}

impl Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn the_longest_idle_makes_room_and_the_busy_do_not() {
        let connections = Arc::new(Connections::new(2));
        let busy = Arc::new(connections.enter().await);
        let work = busy.begin().expect("nobody evicted it");
        let idle = connections.enter().await;

        let (entered, mut newcomers) = mpsc::channel(1);
        let tracker = tokio_util::task::TaskTracker::new();
        let also = connections.clone();
        tracker.spawn(async move { entered.send(also.enter().await).await });
        idle.evicted().await;
        drop(idle);
        let third = Arc::new(newcomers.recv().await.expect("room was made"));
        assert_eq!(busy.phase().0, Phase::Busy);

        // Now both are busy: the next waits until one of them is not.
        let third_work = third.begin().expect("nobody evicted it");
        let (entered, mut newcomers) = mpsc::channel(1);
        let also = connections.clone();
        tracker.spawn(async move { entered.send(also.enter().await).await });
        tokio::task::yield_now().await;
        assert!(newcomers.try_recv().is_err());
        drop(work);
        tokio::task::yield_now().await;
        assert_eq!(busy.phase().0, Phase::Busy, "what was made is not written yet");
        assert!(newcomers.try_recv().is_err());
        assert!(busy.written() && !busy.written());
        busy.evicted().await;
        assert!(busy.begin().is_none(), "an evicted connection takes no request");
        drop(busy);
        assert!(newcomers.recv().await.is_some());
        drop(third_work);
    }

    #[tokio::test]
    async fn a_request_that_comes_while_an_answer_is_written_is_taken() {
        let connections = Arc::new(Connections::new(1));
        let slot = Arc::new(connections.enter().await);
        drop(slot.begin());
        let second = slot.begin().expect("the connection was busy and could not be evicted");
        assert!(!slot.written(), "the second is in work");
        drop(second);
        assert!(slot.written());
        assert_eq!(slot.phase().0, Phase::Idle);
    }

    #[tokio::test]
    async fn places_and_idle_entries_are_given_back() {
        let connections = Arc::new(Connections::new(3));
        for _ in 0..10 {
            let slot = Arc::new(connections.enter().await);
            drop(slot.begin());
            slot.written();
            drop(slot.begin());
        }
        assert_eq!(connections.idle().len(), 0);
        assert_eq!(connections.room.available_permits(), 3);
    }
}
