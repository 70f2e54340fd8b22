//! Who runs the transactions.
//!
//! A caller who finds the writer free runs the transaction on its own thread: handing it to another thread and being
//! woken again costs as much as the commit itself. A caller who finds the writer at work leaves its receipt in the
//! queue for the writer's thread, which takes all that has gathered. So one connection gets the shortest wait, and
//! many get the largest batches.
//!
//! A caller's thread is lent for one short transaction only: it never waits for another program, never copies the log
//! back, and is left alone while commits are slow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::writer::{BATCH, Patience, Turn, Writer};

/// A commit longer than this (the median is under a twentieth) tells of a disk that makes writers wait. From then until
/// a shorter one, all commits run on the writer's thread, so that callers' threads go on serving others.
const SLOW: Duration = Duration::from_millis(1);
/// Most receipts that a caller's thread commits, its own included: some 200 µs.
const LENT: usize = 16;

/// The writer, and the right to use it.
pub(crate) struct Desk {
    /// `None` after the end.
    writer: Mutex<Option<Writer>>,
    slow: AtomicBool,
}

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer: Mutex::new(Some(writer)), slow: AtomicBool::new(false) }
    }

    /// Commits what is queued on this thread if nobody else is at it. `true`: the writer's thread must be woken.
    pub(crate) fn lend_thread(&self) -> bool {
        if self.slow.load(Ordering::Relaxed) {
            return true;
        }
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is at work and may have looked into the queue before our order was in it.
            Err(TryLockError::WouldBlock) => return true,
        };
        writer.as_mut().is_some_and(|writer| self.timed(writer, LENT, Patience::None) != Turn::Idle)
    }

    /// The life of the writer's thread: works when woken, until nothing can come any more.
    pub(crate) fn work(&self) {
        loop {
            match self.turn() {
                Turn::More => {}
                // Being woken before this line counts: it then returns at once.
                Turn::Idle => thread::park(),
                Turn::Ended => break,
            }
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.finish();
        }
    }

    fn turn(&self) -> Turn {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.as_mut().map_or(Turn::Ended, |writer| self.timed(writer, BATCH, Patience::Some))
    }

    fn timed(&self, writer: &mut Writer, most: usize, patience: Patience) -> Turn {
        let started = Instant::now();
        let turn = writer.turn(most, patience);
        self.slow.store(started.elapsed() > SLOW, Ordering::Relaxed);
        turn
    }
}
