//! The replies of one piece of work, between the one who reads the socket and the one who reads the answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Death;
use crate::frames::FromChild;

/// Frames that may wait for a slow reader. A frame is about a token, so whole answers of any ordinary length wait here, some ten
/// megabytes at most, and the child never waits for a client. Only an answer longer than this, to a client slower than this, is given up.
const MAX_FRAMES: usize = 65_536;
/// Bytes that may wait: a misbehaving child could send few but large frames. Vectors of an embedding request fit.
const MAX_BYTES: usize = 64 << 20;

/// What came of a piece of work.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A frame for it.
    Frame(FromChild),
    /// The child died.
    Gone(Arc<Death>),
    /// It was not read fast enough, and was given up.
    Overflow,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<(FromChild, usize)>,
    bytes: usize,
    overflown: bool,
    end: Option<Arc<Death>>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a frame of so many bytes. Never waits.
    pub(super) fn push(&self, frame: FromChild, bytes: usize) {
        self.with(|state| {
            state.overflown |=
                state.frames.len() >= MAX_FRAMES || state.bytes.saturating_add(bytes) > MAX_BYTES;
            if !state.overflown {
                state.bytes += bytes;
                state.frames.push_back((frame, bytes));
            }
        });
        self.changed.notify_one();
    }

    /// Says that nothing follows.
    pub(super) fn end(&self, death: Arc<Death>) {
        self.with(|state| state.end.get_or_insert(death).clone());
        self.changed.notify_one();
    }

    /// Takes the next reply; only one may wait. What came before the end is delivered first.
    pub(super) async fn next(&self) -> Reply {
        loop {
            let reply = self.with(|state| {
                if let Some((frame, bytes)) = state.frames.pop_front() {
                    state.bytes -= bytes;
                    return Some(Reply::Frame(frame));
                }
                if state.overflown {
                    return Some(Reply::Overflow);
                }
                state.end.clone().map(Reply::Gone)
            });
            match reply {
                Some(reply) => return reply,
                None => self.changed.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: usize) -> FromChild {
        FromChild::Text { id: 1, answer: 0, text: n.to_string(), tokens: Vec::new() }
    }

    #[tokio::test]
    async fn a_reader_that_never_reads_is_given_up_and_the_rest_is_kept_in_order() {
        let queue = Queue::default();
        for n in 0..MAX_FRAMES + 10 {
            queue.push(text(n), 50);
        }
        for n in 0..MAX_FRAMES {
            assert!(matches!(queue.next().await, Reply::Frame(frame) if frame == text(n)));
        }
        assert!(matches!(queue.next().await, Reply::Overflow));
    }

    #[tokio::test]
    async fn a_few_enormous_frames_are_too_many_as_well() {
        let queue = Queue::default();
        queue.push(text(0), MAX_BYTES);
        queue.push(text(1), 1);
        assert!(matches!(queue.next().await, Reply::Frame(_)));
        assert!(matches!(queue.next().await, Reply::Overflow));
    }
}
