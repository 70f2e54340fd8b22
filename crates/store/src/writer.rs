//! The one connection that changes the database, and what waits for it.
//!
//! Whatever has queued up while the last transaction was being committed goes into the next one, so that many callers
//! share the price of one commit and a single caller waits for nobody. Who runs the transaction is `desk`'s business.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use inshore_domain::{Receipt, ReceiptId};
use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::detail;
use crate::error::StoreError;
use crate::lock::Lock;
use crate::reader::Read;
use crate::rows;
use crate::transaction::{ATTEMPTS, is_transient, transact};

/// Receipts that may wait for the writer. At 12,000 a second this is a third of a second of work and, at about 1 KiB
/// each, 4 MiB; beyond it callers wait for room.
pub(crate) const QUEUE: usize = 4096;
/// How long SQLite waits for another program that is writing. Only a second process that ignores the lock file could
/// be one; a caller's thread does not wait for it at all.
const BUSY: Duration = Duration::from_secs(2);
/// Most receipts in one transaction. The price of a commit is spread thin enough at a few dozen, and the first caller
/// of a batch waits for the last.
pub(crate) const BATCH: usize = 256;
/// How many receipts beyond the limit may gather before they are removed, so that not every commit also touches the
/// far end of the tree; also the most that one transaction removes, about a millisecond of work.
const PIECE: i64 = 128;
/// Pages in the write-ahead log (4 MiB) after which the reader's thread is asked to copy them into the database file.
/// As many bytes as SQLite's own default, which would do it inside a commit.
const LOG_PAGES: u32 = 4000;
/// Pages in the log (64 MiB) after which the writer copies them itself and lets its callers wait: only under a load
/// that never pauses, where the other thread cannot catch up.
const LOG_PAGES_MOST: u32 = 64_000;

/// What the writer is told to do.
pub(crate) enum Order {
    Settle(Settlement),
    /// Finish what is queued, close the database, then answer.
    Close(oneshot::Sender<()>),
}

/// A receipt on its way into the database.
pub(crate) struct Settlement {
    receipt: Box<Receipt>,
    detail: Vec<u8>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Settlement {
    /// Encodes what can be encoded on the caller's thread.
    pub(crate) fn new(receipt: Receipt, done: oneshot::Sender<Result<(), StoreError>>) -> Self {
        let detail = detail::encode(&receipt);
        Self { receipt: Box::new(receipt), detail, done }
    }
}

/// The first and last `seq` of the table, to know its size without counting.
#[derive(Clone, Copy)]
struct Span {
    first: i64,
    last: i64,
}

/// Whether a turn may wait for another program that holds the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// On a caller's thread.
    None,
    /// On the writer's own.
    Some,
}

/// What a turn has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing.
    Idle,
    /// Work, or something that only a patient turn may do.
    More,
    /// Nothing, and nothing can come any more.
    Ended,
}

pub(crate) struct Writer {
    connection: Connection,
    path: PathBuf,
    orders: mpsc::Receiver<Order>,
    /// A batch that found the database busy.
    held: Vec<Settlement>,
    /// Those who wait for the end.
    closing: Vec<oneshot::Sender<()>>,
    busy: Duration,
    reader: mpsc::Sender<Read>,
    span: Span,
    retained: i64,
    log_pages: Arc<AtomicU32>,
    /// How long the log was when the reader was last asked to copy it.
    copied_at: u32,
    _lock: Arc<Lock>,
}

impl Writer {
    /// Takes over a connection whose schema is up to date.
    pub(crate) fn new(
        mut connection: Connection,
        path: PathBuf,
        retained: u32,
        orders: mpsc::Receiver<Order>,
        reader: mpsc::Sender<Read>,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let span = rows::span(&connection)
            .map_err(failed)?
            .map_or(Span { first: 1, last: 0 }, |(first, last)| Span { first, last });
        let log_pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&log_pages);
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
                seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(failed)?;
        Ok(Self {
            connection,
            path,
            orders,
            held: Vec::new(),
            closing: Vec::new(),
            busy: BUSY,
            reader,
            span,
            retained: i64::from(retained.max(1)),
            log_pages,
            copied_at: 0,
            _lock: lock,
        })
    }

    /// Commits what is queued, `most` receipts at a time at most.
    pub(crate) fn turn(&mut self, most: usize, patience: Patience) -> Turn {
        let mut batch = std::mem::take(&mut self.held);
        let mut ended = false;
        while batch.len() < most {
            match self.orders.try_recv() {
                Ok(Order::Settle(settlement)) => batch.push(settlement),
                Ok(Order::Close(done)) => {
                    // Orders that are queued are still carried out; new ones are refused.
                    self.orders.close();
                    self.closing.push(done);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    ended = true;
                    break;
                }
            }
        }
        if batch.is_empty() {
            // Left over by an impatient turn.
            if self.log_is_long() {
                self.tend_log(patience);
            }
            return if ended { Turn::Ended } else { Turn::Idle };
        }
        let full = batch.len() >= most;
        self.settle(batch, patience);
        self.tend_log(patience);
        let left = full || ended || !self.closing.is_empty() || !self.held.is_empty() || self.log_is_long();
        if left { Turn::More } else { Turn::Idle }
    }

    /// Commits a batch and answers each caller. A caller that has gone away is no reason not to write.
    fn settle(&mut self, batch: Vec<Settlement>, patience: Patience) {
        match self.commit(&batch, patience) {
            // Not now, and this thread must not wait: the next patient turn begins with it.
            Err(failed) if failed.busy && patience == Patience::None => self.held = batch,
            Ok(written) => {
                for (settlement, written) in batch.into_iter().zip(written) {
                    let id = settlement.receipt.id;
                    let _ = settlement.done.send(if written { Ok(()) } else { Err(already(id)) });
                }
            }
            Err(Failed { error, .. }) => {
                tracing::error!(%error, receipts = batch.len(), "receipts could not be settled");
                for settlement in batch {
                    let _ = settlement.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// One transaction: all receipts of the batch, and the oldest ones out. Says which were new.
    fn commit(&mut self, batch: &[Settlement], patience: Patience) -> Result<Vec<bool>, Failed> {
        let failed = |error: rusqlite::Error| Failed {
            busy: is_transient(&error),
            error: StoreError::from_sqlite(&self.path, &error),
        };
        let (before, retained) = (self.span, self.retained);
        let (wait, attempts) = match patience {
            Patience::None => (Duration::ZERO, 1),
            Patience::Some => (self.busy, ATTEMPTS),
        };
        self.connection.busy_timeout(wait).map_err(failed)?;
        let (written, span) = transact(&mut self.connection, "settle", attempts, |tx| {
            let mut span = before;
            let mut written = Vec::with_capacity(batch.len());
            for settlement in batch {
                let new = rows::insert(tx, &settlement.receipt, &settlement.detail)?;
                if new {
                    span.last = tx.last_insert_rowid();
                }
                written.push(new);
            }
            let excess = span.last - span.first + 1 - retained;
            if excess >= PIECE {
                // A batch adds at most BATCH, so twice as much removed at a time catches up with any load.
                span.first += excess.min(2 * BATCH as i64);
                rows::remove_before(tx, span.first)?;
            }
            Ok((written, span))
        })
        .map_err(failed)?;
        self.span = span;
        Ok(written)
    }

    fn log_is_long(&self) -> bool {
        self.log_pages.load(Ordering::Relaxed) >= LOG_PAGES_MOST
    }

    /// Keeps the write-ahead log short.
    fn tend_log(&mut self, patience: Patience) {
        if self.log_is_long() && patience == Patience::Some {
            self.checkpoint("PRAGMA wal_checkpoint(RESTART)");
            // The next commit tells the true number.
            self.log_pages.store(0, Ordering::Relaxed);
        }
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages < self.copied_at {
            // The log was copied back completely and begins anew.
            self.copied_at = 0;
        }
        if pages - self.copied_at >= LOG_PAGES {
            // When the reader's queue is full it has other work; the next commit asks again.
            if self.reader.try_send(Read::Checkpoint).is_ok() {
                self.copied_at = pages;
            }
        }
    }

    fn checkpoint(&self, sql: &str) {
        if let Err(error) = self.connection.query_row(sql, [], |_| Ok(())) {
            // Nothing is lost: what was not copied stays in the log.
            tracing::warn!(%error, "the write-ahead log could not be copied back");
        }
    }

    /// Copies the log back, closes the database and frees the lock, then tells those who asked for it.
    pub(crate) fn finish(self) {
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        let Self { connection, closing, _lock, .. } = self;
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the database did not close cleanly");
        }
        drop(_lock);
        for done in closing {
            let _ = done.send(());
        }
    }
}

/// A transaction that was rolled back.
struct Failed {
    error: StoreError,
    /// Because another program was writing.
    busy: bool,
}

fn already(id: ReceiptId) -> StoreError {
    StoreError::AlreadySettled { id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::{
        Money, Outcome, Principal, Profile, RequestId, Sensitivity, Strategy, Timestamp, Timings, TraceId,
        Usage,
    };

    use crate::connection::{connect, prepare};
    use crate::key::Key;
    use crate::migrations::migrate;

    fn receipt(number: u128) -> Receipt {
        Receipt {
            id: ReceiptId::from_bits(number),
            request: RequestId::from_bits(number),
            trace: TraceId::new(number),
            at: Timestamp::from_unix_millis(1),
            principal: Principal::default(),
            feature: None,
            profile: Profile::Realtime,
            asked: "auto".into(),
            answered_by: None,
            strategy: Strategy::Direct,
            sensitivity: Sensitivity::Internal,
            verdicts: Vec::new(),
            failed_steps: vec![(inshore_domain::TargetId("t".into()), "x".repeat(3000))],
            usage: Usage::default(),
            timings: Timings::default(),
            egress: Vec::new(),
            cost: Money::ZERO,
            in_doubt: Money::ZERO,
            replay: None,
            notes: Vec::new(),
            outcome: Outcome::Answered,
        }
    }

    fn batch(numbers: std::ops::Range<u128>) -> Vec<Settlement> {
        numbers.map(|number| Settlement::new(receipt(number), oneshot::channel().0)).collect()
    }

    fn commit(writer: &mut Writer, numbers: std::ops::Range<u128>) -> Result<Vec<bool>, StoreError> {
        writer.commit(&batch(numbers), Patience::Some).map_err(|failed| failed.error)
    }

    fn writer(folder: &std::path::Path) -> Writer {
        let (path, key) = (folder.join("db"), Key::from_bytes([7; 32]));
        prepare(&path, &key).unwrap();
        let mut connection = connect(&path, &key).unwrap();
        migrate(&mut connection, &path).unwrap();
        let lock = Arc::new(Lock::take(&path).unwrap());
        let orders = mpsc::channel(1).1;
        Writer::new(connection, path, 1_000_000, orders, mpsc::channel(1).0, lock).unwrap()
    }

    #[test]
    fn a_full_disk_is_reported_and_survived() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let pages: i64 = writer.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        writer
            .connection
            .query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(()))
            .unwrap();
        let failed = commit(&mut writer, 1..20).unwrap_err();
        assert_eq!(failed, StoreError::DiskFull { path: folder.path().join("db") });
        writer.connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
        assert_eq!(commit(&mut writer, 1..20).unwrap(), [true; 19]);
        assert_eq!(rows::newest(&writer.connection, 100).unwrap().len(), 19);
    }

    #[test]
    fn a_database_locked_by_another_program_is_reported_and_survived() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer.busy = Duration::ZERO;
        let other = connect(&folder.path().join("db"), &Key::from_bytes([7; 32])).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(matches!(commit(&mut writer, 1..3), Err(StoreError::Unavailable { .. })));
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(commit(&mut writer, 1..3).unwrap(), [true, true]);
    }

    #[test]
    fn a_receipt_settled_twice_does_not_disturb_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        assert_eq!(commit(&mut writer, 1..3).unwrap(), [true, true]);
        assert_eq!(commit(&mut writer, 2..5).unwrap(), [false, true, true]);
        assert_eq!((writer.span.first, writer.span.last), (1, 4));
    }

    #[test]
    fn an_impatient_turn_leaves_a_busy_database_to_a_patient_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let (orders, queue) = mpsc::channel(8);
        writer.orders = queue;
        let (done, mut answer) = oneshot::channel();
        assert!(orders.try_send(Order::Settle(Settlement::new(receipt(1), done))).is_ok());
        let other = connect(&folder.path().join("db"), &Key::from_bytes([7; 32])).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(writer.turn(8, Patience::None), Turn::More);
        assert!(answer.try_recv().is_err(), "not answered yet, and not failed");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(writer.turn(8, Patience::Some), Turn::Idle);
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
        drop(orders);
        assert_eq!(writer.turn(8, Patience::None), Turn::Ended);
    }

    #[test]
    fn a_long_log_is_copied_back_by_a_patient_turn() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let (orders, queue) = mpsc::channel(8);
        writer.orders = queue;
        let settle = |writer: &mut Writer, number, patience| {
            let settlement = Settlement::new(receipt(number), oneshot::channel().0);
            assert!(orders.try_send(Order::Settle(settlement)).is_ok());
            writer.turn(8, patience)
        };
        assert_eq!(settle(&mut writer, 1, Patience::None), Turn::Idle);
        // The hook reports what SQLite says, so a long log is pretended between commits.
        let hook: Option<fn(&mut rusqlite::hooks::Wal, std::ffi::c_int) -> rusqlite::Result<()>> = None;
        writer.connection.wal_hook(hook).unwrap();
        writer.log_pages.store(LOG_PAGES_MOST, Ordering::Relaxed);
        assert_eq!(settle(&mut writer, 2, Patience::None), Turn::More);
        assert_eq!(writer.turn(8, Patience::Some), Turn::Idle);
        let in_log = "PRAGMA wal_checkpoint(PASSIVE)";
        let (log, copied): (i64, i64) =
            writer.connection.query_row(in_log, [], |row| Ok((row.get(1)?, row.get(2)?))).unwrap();
        assert_eq!(log, copied);
        assert_eq!(rows::newest(&writer.connection, 10).unwrap().len(), 2);
        assert!(!writer.log_is_long());
    }
}
