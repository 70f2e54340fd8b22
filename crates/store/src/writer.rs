//! The thread that writes.
//!
//! It owns the one connection that changes the database. Whatever has queued up while the last transaction was being
//! committed goes into the next one, so that many callers share the price of one commit and a single caller waits for
//! nobody.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use inshore_domain::{Receipt, ReceiptId};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::detail;
use crate::error::StoreError;
use crate::lock::Lock;
use crate::reader::Read;
use crate::rows;
use crate::transaction::transact;

/// Receipts that may wait for the writer. At 12,000 a second this is a third of a second of work and, at about 1 KiB
/// each, 4 MiB; beyond it callers wait for room.
pub(crate) const QUEUE: usize = 4096;
/// Most receipts in one transaction. The price of a commit is spread thin enough at a few dozen, and the first caller
/// of a batch waits for the last.
const BATCH: usize = 256;
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

pub(crate) struct Writer {
    connection: Connection,
    path: PathBuf,
    reader: mpsc::Sender<Read>,
    span: Span,
    retained: i64,
    log_pages: Arc<AtomicU32>,
    _lock: Arc<Lock>,
}

impl Writer {
    /// Takes over a connection whose schema is up to date.
    pub(crate) fn new(
        mut connection: Connection,
        path: PathBuf,
        retained: u32,
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
            reader,
            span,
            retained: i64::from(retained.max(1)),
            log_pages,
            _lock: lock,
        })
    }

    /// Works until told to close, or until nobody is left who could ask for anything.
    pub(crate) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut closing = Vec::new();
        while let Some(first) = orders.blocking_recv() {
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(order) = next.take() {
                match order {
                    Order::Settle(settlement) => batch.push(settlement),
                    Order::Close(done) => {
                        // Orders that are queued are still carried out; new ones are refused.
                        orders.close();
                        closing.push(done);
                    }
                }
                if batch.len() < BATCH {
                    next = orders.try_recv().ok();
                }
            }
            self.settle(batch);
            self.tend_log();
        }
        self.finish();
        for done in closing {
            let _ = done.send(());
        }
    }

    /// Commits a batch and answers each caller. A caller that has gone away is no reason not to write.
    fn settle(&mut self, batch: Vec<Settlement>) {
        if batch.is_empty() {
            return;
        }
        match self.commit(&batch) {
            Ok(written) => {
                for (settlement, written) in batch.into_iter().zip(written) {
                    let id = settlement.receipt.id;
                    let _ = settlement.done.send(if written { Ok(()) } else { Err(already(id)) });
                }
            }
            Err(error) => {
                tracing::error!(%error, receipts = batch.len(), "receipts could not be settled");
                for settlement in batch {
                    let _ = settlement.done.send(Err(error.clone()));
                }
            }
        }
    }

    /// One transaction: all receipts of the batch, and the oldest ones out. Says which were new.
    fn commit(&mut self, batch: &[Settlement]) -> Result<Vec<bool>, StoreError> {
        let (before, retained) = (self.span, self.retained);
        let (written, span) = transact(&mut self.connection, "settle", |tx| {
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
        .map_err(|error| StoreError::from_sqlite(&self.path, &error))?;
        self.span = span;
        Ok(written)
    }

    /// Keeps the write-ahead log short.
    fn tend_log(&mut self) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages >= LOG_PAGES_MOST {
            self.checkpoint("PRAGMA wal_checkpoint(RESTART)");
        } else if pages >= LOG_PAGES {
            // When the reader's queue is full it has other work; the next commit asks again.
            let _ = self.reader.try_send(Read::Checkpoint);
        }
    }

    fn checkpoint(&self, sql: &str) {
        if let Err(error) = self.connection.query_row(sql, [], |_| Ok(())) {
            // Nothing is lost: what was not copied stays in the log.
            tracing::warn!(%error, "the write-ahead log could not be copied back");
        }
    }

    fn finish(self) {
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }
}

fn already(id: ReceiptId) -> StoreError {
    StoreError::AlreadySettled { id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
            outcome: Outcome::Answered,
        }
    }

    fn batch(numbers: std::ops::Range<u128>) -> Vec<Settlement> {
        numbers.map(|number| Settlement::new(receipt(number), oneshot::channel().0)).collect()
    }

    fn writer(folder: &std::path::Path) -> Writer {
        let (path, key) = (folder.join("db"), Key::from_bytes([7; 32]));
        prepare(&path, &key).unwrap();
        let mut connection = connect(&path, &key).unwrap();
        migrate(&mut connection, &path).unwrap();
        let lock = Arc::new(Lock::take(&path).unwrap());
        Writer::new(connection, path, 1_000_000, mpsc::channel(1).0, lock).unwrap()
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
        let failed = writer.commit(&batch(1..20)).unwrap_err();
        assert_eq!(failed, StoreError::DiskFull { path: folder.path().join("db") });
        writer.connection.query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(())).unwrap();
        assert_eq!(writer.commit(&batch(1..20)).unwrap(), [true; 19]);
        assert_eq!(rows::newest(&writer.connection, 100).unwrap().len(), 19);
    }

    #[test]
    fn a_database_locked_by_another_program_is_reported_and_survived() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer.connection.busy_timeout(Duration::ZERO).unwrap();
        let other = connect(&folder.path().join("db"), &Key::from_bytes([7; 32])).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(matches!(writer.commit(&batch(1..3)), Err(StoreError::Unavailable { .. })));
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(writer.commit(&batch(1..3)).unwrap(), [true, true]);
    }

    #[test]
    fn a_receipt_settled_twice_does_not_disturb_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        assert_eq!(writer.commit(&batch(1..3)).unwrap(), [true, true]);
        assert_eq!(writer.commit(&batch(2..5)).unwrap(), [false, true, true]);
        assert_eq!((writer.span.first, writer.span.last), (1, 4));
    }
}
