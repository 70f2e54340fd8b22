//! The log of an answer that may be revised: written while the answer is made, read by whoever asks for it, again after a
//! connection broke.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inshore_domain::{ReceiptId, Revision};
use tokio::sync::watch;

use crate::error::{RunError, RunErrorKind};

/// How long an answer goes on when nobody reads it any more: a connection that broke is back within seconds, and what the answer
/// costs meanwhile is nobody's wish.
const ABANDONED: Duration = Duration::from_secs(15);
/// How long a log can be read after its answer has ended: long enough for a laptop that was closed for a moment.
const KEPT: Duration = Duration::from_secs(300);
/// Logs at a time. More answers than this within five minutes come from programs, which do not resume.
const MOST_LOGS: usize = 256;
/// Bytes of one log: as many as a whole answer may have elsewhere. An answer that sends more does not end.
const LOG_BYTES: usize = 16 << 20;
/// Bytes of all logs whose answers have ended.
const ALL_BYTES: usize = 64 << 20;
/// What an entry takes in memory beside its text.
const ENTRY_BYTES: usize = 96;

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The answer changes.
    Revision(Revision),
    /// The answer has ended and its receipt is written; nothing follows. With an error it is not complete.
    Ended(Option<RunError>),
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    bytes: usize,
    ended: Option<Instant>,
}

/// The log of one answer.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) receipt: ReceiptId,
    /// Whose it is: the app that asked.
    app: String,
    entries: Mutex<Entries>,
    /// How many entries there are.
    length: watch::Sender<usize>,
    readers: watch::Sender<usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    pub(crate) fn new(receipt: ReceiptId, app: String) -> Self {
        let (length, readers) = (watch::Sender::new(0), watch::Sender::new(0));
        Self { receipt, app, entries: Mutex::default(), length, readers }
    }

    /// Adds a revision.
    ///
    /// # Errors
    /// When the answer has grown beyond every measure.
    pub(crate) fn push(&self, revision: Revision) -> Result<(), RunError> {
        let bytes = revision.text_bytes() + ENTRY_BYTES;
        let length = {
            let mut entries = locked(&self.entries);
            if entries.bytes + bytes > LOG_BYTES {
                let message = format!("the answer is longer than {LOG_BYTES} bytes");
                return Err(RunError::new(RunErrorKind::AnswerTooLong, message));
            }
            entries.bytes += bytes;
            entries.list.push(Entry::Revision(revision));
            entries.list.len()
        };
        self.length.send_replace(length);
        Ok(())
    }

    /// Says that nothing follows.
    pub(crate) fn end(&self, error: Option<RunError>, now: Instant) {
        let length = {
            let mut entries = locked(&self.entries);
            entries.ended = Some(now);
            entries.list.push(Entry::Ended(error));
            entries.list.len()
        };
        self.length.send_replace(length);
    }

    /// When the answer ended.
    fn ended(&self) -> Option<Instant> {
        locked(&self.entries).ended
    }

    /// Returns when nobody has read for a while.
    pub(crate) async fn abandoned(&self) {
        let mut readers = self.readers.subscribe();
        loop {
            // The sender is in `self`, so neither wait can fail.
            let _ = readers.wait_for(|readers| *readers == 0).await;
            if tokio::time::timeout(ABANDONED, readers.wait_for(|readers| *readers > 0)).await.is_err() {
                return;
            }
        }
    }

    /// A reader that begins after `passed` entries.
    pub(crate) fn read(self: &Arc<Self>, passed: usize) -> LogReader {
        self.readers.send_modify(|readers| *readers += 1);
        LogReader { log: self.clone(), length: self.length.subscribe(), next: passed }
    }
}

/// Reads a log from some entry on. Any number may read one log; when all have gone for a while, the answer is cancelled.
#[derive(Debug)]
pub struct LogReader {
    log: Arc<Log>,
    length: watch::Receiver<usize>,
    next: usize,
}

impl LogReader {
    /// The next entry and its number, counted from 1; `None` after the last one. Waits for what is not there yet.
    pub async fn next(&mut self) -> Option<(usize, Entry)> {
        loop {
            self.length.borrow_and_update();
            if let Some(found) = self.ready() {
                return Some(found);
            }
            if self.log.ended().is_some() {
                return None;
            }
            self.length.changed().await.ok()?;
        }
    }

    /// The next entry, if it is there.
    pub fn ready(&mut self) -> Option<(usize, Entry)> {
        let entry = locked(&self.log.entries).list.get(self.next).cloned()?;
        self.next += 1;
        Some((self.next, entry))
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.log.readers.send_modify(|readers| *readers = readers.saturating_sub(1));
    }
}

/// The logs that can be read now.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    logs: HashMap<ReceiptId, Arc<Log>>,
    /// In the order in which they were begun.
    order: VecDeque<ReceiptId>,
}

impl Logs {
    /// Keeps a log. Those that have ended some time ago leave, and when there is no room the oldest of them.
    pub(crate) fn keep(&self, log: &Arc<Log>, now: Instant) {
        let mut shelf = locked(&self.0);
        shelf.logs.insert(log.receipt, log.clone());
        shelf.order.push_back(log.receipt);
        shelf.tidy(now);
    }

    /// The log of this receipt, if this app asked for it.
    pub(crate) fn find(&self, receipt: ReceiptId, app: &str) -> Option<Arc<Log>> {
        locked(&self.0).logs.get(&receipt).filter(|log| log.app == app).cloned()
    }
}

impl Shelf {
    fn tidy(&mut self, now: Instant) {
        let size = |log: &Arc<Log>| if log.ended().is_some() { locked(&log.entries).bytes } else { 0 };
        let mut bytes: usize = self.logs.values().map(size).sum();
        let Self { logs, order } = self;
        order.retain(|receipt| {
            let Some(log) = logs.get(receipt) else { return false };
            let Some(ended) = log.ended() else { return true };
            let crowded = logs.len() > MOST_LOGS || bytes > ALL_BYTES;
            let stays = !crowded && now.saturating_duration_since(ended) <= KEPT;
            if !stays {
                bytes = bytes.saturating_sub(size(log));
                logs.remove(receipt);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(number: u128) -> Arc<Log> {
        Arc::new(Log::new(ReceiptId::from_bits(number), "app".into()))
    }

    fn text(text: &str) -> Revision {
        Revision::Appended { block: 0, text: text.into() }
    }

    #[tokio::test]
    async fn whoever_comes_back_reads_on_where_it_stopped() {
        let log = log(1);
        let mut first = log.read(0);
        log.push(text("one")).unwrap();
        assert_eq!(first.next().await, Some((1, Entry::Revision(text("one")))));
        drop(first);
        log.push(text("two")).unwrap();
        log.end(None, Instant::now());
        let mut second = log.read(1);
        assert_eq!(second.next().await, Some((2, Entry::Revision(text("two")))));
        assert_eq!(second.next().await, Some((3, Entry::Ended(None))));
        assert_eq!(second.next().await, None);
        assert_eq!(log.read(99).next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_abandoned_when_nobody_comes_back() {
        let log = log(1);
        let reader = log.read(0);
        let abandoned = log.abandoned();
        tokio::pin!(abandoned);
        let later = |time| tokio::time::timeout(time, std::future::pending::<()>());
        tokio::select! { () = &mut abandoned => panic!("somebody reads"), _ = later(ABANDONED * 3) => {} }
        drop(reader);
        tokio::select! { () = &mut abandoned => panic!("too soon"), _ = later(ABANDONED / 2) => {} }
        let reader = log.read(0);
        tokio::select! { () = &mut abandoned => panic!("it came back"), _ = later(ABANDONED * 3) => {} }
        drop(reader);
        abandoned.await;
    }

    #[test]
    fn logs_leave_when_they_are_old_or_too_many_and_never_while_they_are_written() {
        let (logs, start) = (Logs::default(), Instant::now());
        let (live, ended) = (log(1), log(2));
        ended.end(None, start);
        logs.keep(&live, start);
        logs.keep(&ended, start);
        assert!(logs.find(ended.receipt, "other").is_none());
        logs.keep(&log(3), start + KEPT * 2);
        assert!(logs.find(ended.receipt, "app").is_none() && logs.find(live.receipt, "app").is_some());
        for number in 10..10 + MOST_LOGS as u128 * 2 {
            let log = log(number);
            log.end(None, start + KEPT * 2);
            logs.keep(&log, start + KEPT * 2);
        }
        assert!(locked(&logs.0).logs.len() <= MOST_LOGS);
        assert!(logs.find(live.receipt, "app").is_some());
    }

    #[test]
    fn an_answer_without_end_is_cut() {
        let log = log(1);
        let piece = "x".repeat(LOG_BYTES / 4);
        let pushed = (0..4).map(|_| log.push(text(&piece)));
        assert_eq!(pushed.filter(Result::is_err).count(), 1);
    }
}
