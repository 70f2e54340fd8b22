//! Who does the work.
//!
//! A caller who finds the writer free does its work on its own thread: handing it to another thread and being woken again
//! costs several times as much as the work. A caller who finds the writer at work leaves its order in the queue, and
//! whoever is at work looks into the queue once more before it leaves. So one connection gets the shortest wait, and many get
//! the largest batches.
//!
//! A caller's thread is lent for a few orders only, and is left alone while writes are slow. It never waits for the database:
//! what brings records to the tables (`folder`) has a thread of its own, and while it works the writer is free.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::folder::{Done, Failed, Task};
use crate::writer::{BATCH, Patience, Turn, Writer};

/// A turn longer than this (the median is under a hundredth) tells of a disk that makes writers wait. From then until
/// a shorter one, all turns run on the writer's thread, so that callers' threads go on serving others.
const SLOW: Duration = Duration::from_millis(1);
/// Most orders that a caller's thread carries out in one turn, its own included: some 100 µs.
const LENT: usize = 16;
/// Most turns that a caller's thread takes because others have left their orders meanwhile.
const TURNS: usize = 4;

/// The writer, and the right to use it.
pub(crate) struct Desk {
    /// `None` after the end.
    writer: Mutex<Option<Writer>>,
    /// Somebody has left an order since the last turn began.
    knocked: AtomicBool,
    slow: AtomicBool,
}

impl Desk {
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            writer: Mutex::new(Some(writer)),
            knocked: AtomicBool::new(false),
            slow: AtomicBool::new(false),
        }
    }

    /// Carries out what is queued on this thread, unless somebody else is at it, who then does. `true`: the writer's thread must
    /// be woken.
    pub(crate) fn lend_thread(&self) -> bool {
        self.knocked.store(true, Ordering::Release);
        if self.slow.load(Ordering::Relaxed) {
            return true;
        }
        for _ in 0..TURNS {
            // Between knocking and trying the door, as between leaving and listening: one of two sees the other.
            fence(Ordering::SeqCst);
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            let turn = self.timed(&mut writer, LENT, Patience::None);
            drop(writer);
            if turn != Turn::Idle {
                return true;
            }
            if !self.is_knocked() {
                return false;
            }
        }
        true
    }

    /// Whether an order was left after the last turn began. To be asked after the writer was let go of.
    fn is_knocked(&self) -> bool {
        fence(Ordering::SeqCst);
        self.knocked.load(Ordering::Acquire)
    }

    /// The life of the writer's thread: works when woken, until nothing can come any more. What brings records to the tables is
    /// handed to the folder's, which wakes this one when it has a result.
    pub(crate) fn work(&self, tasks: &Sender<Task>, results: &Receiver<Result<Done, Failed>>) {
        let _end = End(self);
        loop {
            let turn = self.timed(&mut self.writer(), BATCH, Patience::Some);
            match results.try_recv() {
                Ok(done) => {
                    if let Some(writer) = self.writer().as_mut() {
                        writer.end_job(done);
                    }
                    continue;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return,
            }
            let job = self.writer().as_mut().and_then(Writer::job);
            if let Some(job) = job {
                if tasks.send(Task::Job(job)).is_err() {
                    return;
                }
                continue;
            }
            match turn {
                Turn::More => {}
                // Being woken before this line counts: it then returns at once.
                Turn::Idle if !self.is_knocked() => thread::park(),
                Turn::Idle => {}
                Turn::Ended => break,
            }
        }
        let writer = self.writer().take();
        if let Some(writer) = writer {
            let _ = tasks.send(Task::End(Box::new(writer)));
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed(&self, writer: &mut Option<Writer>, most: usize, patience: Patience) -> Turn {
        self.knocked.swap(false, Ordering::AcqRel);
        let Some(writer) = writer else { return Turn::Ended };
        let started = Instant::now();
        let turn = writer.turn(most, patience);
        self.slow.store(started.elapsed() > SLOW, Ordering::Relaxed);
        turn
    }
}

/// Without these threads the writer cannot go on: whoever waits for it hears that it is closed.
struct End<'d>(&'d Desk);

impl Drop for End<'_> {
    fn drop(&mut self) {
        drop(self.0.writer().take());
    }
}
