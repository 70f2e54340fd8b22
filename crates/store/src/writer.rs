//! The one connection that changes the database, and what waits for it.
//!
//! Whatever has queued up while the last transaction was being committed goes into the next one, so that many callers
//! share the price of one commit and a single caller waits for nobody. Who runs the transaction is `desk`'s business.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use inshore_domain::Currency;
use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::books::Mirror;
use crate::error::StoreError;
use crate::lock::Lock;
use crate::reader::Read;
use crate::state::State;
use crate::transaction::{ATTEMPTS, is_transient, transact};
use crate::work::{Lost, Work};

/// Orders that may wait for the writer. At 12,000 a second this is a third of a second of work and, at about 1 KiB
/// each, 4 MiB; beyond it callers wait for room.
pub(crate) const QUEUE: usize = 4096;
/// How long SQLite waits for another program that is writing. Only a second process that ignores the lock file could
/// be one; a caller's thread does not wait for it at all.
const BUSY: Duration = Duration::from_secs(2);
/// Most orders in one transaction. The price of a commit is spread thin enough at a few dozen, and the first caller
/// of a batch waits for the last.
pub(crate) const BATCH: usize = 256;
/// Pages in the write-ahead log (4 MiB) after which the reader's thread is asked to copy them into the database file.
/// As many bytes as SQLite's own default, which would do it inside a commit.
const LOG_PAGES: u32 = 4000;
/// Pages in the log (64 MiB) after which the writer copies them itself and lets its callers wait: only under a load
/// that never pauses, where the other thread cannot catch up.
const LOG_PAGES_MOST: u32 = 64_000;

/// What the writer is told.
pub(crate) enum Order {
    Work(Work),
    /// Finish what is queued, close the database, then answer.
    Close(oneshot::Sender<()>),
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

/// What the writer shares with those who give it orders.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The installation's, in which money is counted.
    pub(crate) currency: Currency,
    /// What callers see of the counters.
    pub(crate) mirror: Arc<Mirror>,
    /// Reservations of which nobody heard.
    pub(crate) lost: Arc<Lost>,
}

pub(crate) struct Writer {
    connection: Connection,
    path: PathBuf,
    orders: mpsc::Receiver<Order>,
    common: Common,
    /// A batch that found the database busy.
    held: Vec<Work>,
    /// Those who wait for the end.
    closing: Vec<oneshot::Sender<()>>,
    busy: Duration,
    reader: mpsc::Sender<Read>,
    /// What is known without asking the database.
    state: Known,
    retained: i64,
    log_pages: Arc<AtomicU32>,
    /// How long the log was when the reader was last asked to copy it.
    copied_at: u32,
    _lock: Arc<Lock>,
}

/// The state, and whether it is what the database holds.
enum Known {
    Good(State),
    /// A transaction failed after it had changed this, or panicked and took it along: to be read again.
    Stale(Option<State>),
}

impl Writer {
    /// Takes over a connection whose schema is up to date. Reservations that are open in it are of a process that has
    /// died (its lock is ours), and nobody knows any more what their calls have cost.
    pub(crate) fn new(
        mut connection: Connection,
        path: PathBuf,
        retained: u32,
        common: Common,
        orders: mpsc::Receiver<Order>,
        reader: mpsc::Sender<Read>,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(&path, &error);
        let (mut state, doubted) = transact(&mut connection, "open", ATTEMPTS, |tx| {
            let mut state = State::load(tx, common.currency, None)?;
            let doubted = state.books.doubt_all(tx)?;
            state.fold(tx)?;
            Ok((state, doubted))
        })
        .map_err(failed)?;
        if doubted > 0 {
            tracing::warn!(
                reservations = doubted,
                "calls were under way when the last process ended; their cost is in doubt"
            );
        }
        state.books.publish(&common.mirror);
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
            common,
            held: Vec::new(),
            closing: Vec::new(),
            busy: BUSY,
            reader,
            state: Known::Good(state),
            retained: i64::from(retained.max(1)),
            log_pages,
            copied_at: 0,
            _lock: lock,
        })
    }

    /// Commits what is queued, `most` orders at a time at most.
    pub(crate) fn turn(&mut self, most: usize, patience: Patience) -> Turn {
        let mut batch = std::mem::take(&mut self.held);
        if !self.common.lost.is_empty() {
            batch.push(Work::Forget(self.common.lost.take()));
        }
        let mut ended = false;
        while batch.len() < most {
            match self.orders.try_recv() {
                Ok(Order::Work(work)) => batch.push(work),
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
        // Left over by impatient turns.
        let overdue = patience == Patience::Some && (self.is_due() || self.log_is_long());
        match (batch.is_empty(), ended) {
            // What is due is also done at the end.
            (true, true) => return Turn::Ended,
            (true, false) if !overdue => return Turn::Idle,
            _ => {}
        }
        let full = batch.len() >= most;
        let done = self.carry_out(batch, patience);
        self.tend_log(patience);
        let left = full
            || ended
            || !self.closing.is_empty()
            || !self.held.is_empty()
            || !self.common.lost.is_empty()
            || done && self.is_due()
            || patience == Patience::None && self.log_is_long();
        if left { Turn::More } else { Turn::Idle }
    }

    /// Whether there is more to do in a transaction than orders.
    fn is_due(&self) -> bool {
        matches!(&self.state, Known::Good(state) if state.is_due(self.retained))
    }

    /// Commits a batch and answers each caller. Says whether it could.
    fn carry_out(&mut self, mut batch: Vec<Work>, patience: Patience) -> bool {
        let done = self.commit(&mut batch, patience);
        let could = done.is_ok();
        match done {
            Ok(()) => batch.into_iter().for_each(Work::answer),
            // Not now, and this thread must not wait: the next patient turn begins with it.
            Err(failed) if failed.busy && patience == Patience::None => self.held = batch,
            Err(Failed { error, .. }) => {
                tracing::error!(%error, orders = batch.len(), "orders could not be carried out");
                batch.into_iter().for_each(|work| work.fail(&error));
            }
        }
        could
    }

    /// One transaction: all orders of the batch, and what is due from time to time.
    fn commit(&mut self, batch: &mut [Work], patience: Patience) -> Result<(), Failed> {
        let (wait, attempts) = match patience {
            Patience::None => (Duration::ZERO, 1),
            Patience::Some => (self.busy, ATTEMPTS),
        };
        let Self { connection, path, common, state, retained, .. } = self;
        let failed = |error: rusqlite::Error| Failed {
            busy: is_transient(&error),
            error: StoreError::from_sqlite(path, &error),
        };
        connection.busy_timeout(wait).map_err(failed)?;
        // Taken out, so that a panic leaves none behind that is half changed.
        let mut known = std::mem::replace(state, Known::Stale(None));
        let mut read_again = false;
        let done = transact(connection, "orders", attempts, |tx| {
            let mut state = match std::mem::replace(&mut known, Known::Stale(None)) {
                Known::Good(state) => state,
                Known::Stale(earlier) => {
                    read_again = true;
                    State::load(tx, common.currency, earlier.as_ref())?
                }
            };
            let mut work = batch.iter_mut().try_for_each(|work| work.carry_out(tx, &mut state));
            work = work.and_then(|()| state.tend(tx, *retained, patience));
            known = Known::Stale(Some(state));
            work
        });
        *state = match (&done, known) {
            (Ok(()), Known::Stale(Some(mut state))) => {
                if read_again {
                    common.mirror.clear();
                }
                state.books.publish(&common.mirror);
                Known::Good(state)
            }
            (_, known) => known,
        };
        done.map_err(failed)
    }

    /// Brings the tables up to date, so that there is nothing to do when the store is opened again.
    fn fold(&mut self) {
        if let Known::Good(state) = &mut self.state
            && let Err(error) = transact(&mut self.connection, "fold", ATTEMPTS, |tx| state.fold(tx))
        {
            // Nothing is lost: what was not folded is added up when the store is opened.
            tracing::warn!(%error, "the tables could not be brought up to date");
        }
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
    pub(crate) fn finish(mut self) {
        self.fold();
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

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::{
        Amounts, Claim, Measure, Money, Outcome, Principal, Profile, Receipt, ReceiptId, RequestId,
        Reservation, ReservationId, Sensitivity, Strategy, TargetId, Timestamp, Timings, TraceId, Usage,
        Window,
    };

    use crate::books::{AccountName, Settled};
    use crate::connection::{connect, prepare};
    use crate::key::Key;
    use crate::migrations::migrate;
    use crate::rows;
    use crate::work::{Handover, Reserve, Settle};

    type Answer = oneshot::Receiver<Result<Settled, StoreError>>;

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

    fn settle(number: u128) -> (Work, Answer) {
        let (done, answer) = oneshot::channel();
        (Work::Settle(Settle::new(receipt(number), Vec::new(), done)), answer)
    }

    /// Commits receipts as one batch, and says which were new.
    fn commit(writer: &mut Writer, numbers: std::ops::Range<u128>) -> Result<Vec<bool>, StoreError> {
        let (mut batch, answers): (Vec<_>, Vec<_>) = numbers.map(settle).unzip();
        writer.commit(&mut batch, Patience::Some).map_err(|failed| failed.error)?;
        batch.into_iter().for_each(Work::answer);
        Ok(answers.into_iter().map(|mut answer| answer.try_recv().unwrap().is_ok()).collect())
    }

    fn span(writer: &Writer) -> (i64, i64) {
        let Known::Good(state) = &writer.state else { panic!("the state is stale") };
        (state.receipts.first, state.receipts.last)
    }

    fn writer(folder: &std::path::Path) -> Writer {
        let (path, key) = (folder.join("db"), Key::from_bytes([7; 32]));
        prepare(&path, &key).unwrap();
        let mut connection = connect(&path, &key).unwrap();
        migrate(&mut connection, &path).unwrap();
        let lock = Arc::new(Lock::take(&path).unwrap());
        let orders = mpsc::channel(1).1;
        let mirror = Arc::new(Mirror::new(Currency::USD));
        let common = Common { currency: Currency::USD, mirror, lost: Arc::default() };
        Writer::new(connection, path, 1_000_000, common, orders, mpsc::channel(1).0, lock).unwrap()
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
    fn a_reservation_that_could_not_be_written_is_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let claim = Claim {
            cap: "daily".into(),
            subject: String::new(),
            measure: Measure::Money,
            window: Window::Day,
            since: Timestamp::from_unix_millis(0),
            renews: Some(Timestamp::from_unix_millis(100)),
            limit: 1_000,
            warn_at: None,
        };
        let reserve = |number: u128| {
            let (done, answer) = oneshot::channel();
            let reservation = Reservation {
                id: ReservationId::from_bits(number),
                receipt: ReceiptId::from_bits(number),
                target: TargetId("cloud".into()),
                at: Timestamp::from_unix_millis(5),
                amounts: Amounts { money: 100, ..Amounts::default() },
                claims: vec![claim.clone()],
            };
            let account = AccountName::of("cloud", &Principal::default(), None);
            (Work::Reserve(Reserve::new(reservation, account, Arc::default(), done)), answer)
        };
        let left = |writer: &Writer| writer.common.mirror.headroom(std::slice::from_ref(&claim))[0];
        let run = |writer: &mut Writer, numbers: std::ops::Range<u128>| -> Result<usize, StoreError> {
            let (mut batch, answers): (Vec<_>, Vec<_>) = numbers.map(reserve).unzip();
            writer.commit(&mut batch, Patience::Some).map_err(|failed| failed.error)?;
            batch.into_iter().for_each(Work::answer);
            let taken = |mut answer: oneshot::Receiver<Result<Handover, _>>| {
                answer.try_recv().unwrap().ok().and_then(Handover::take)
            };
            Ok(answers.into_iter().filter_map(taken).count())
        };
        assert_eq!(run(&mut writer, 0..2), Ok(2));
        let pages: i64 = writer.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let limit = |writer: &Writer, pages: i64| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            writer.connection.query_row(&sql, [], |_| Ok(())).unwrap();
        };
        limit(&writer, pages);
        // Receipts that find no room take the reservations of their batch along.
        let (mut batch, _answers): (Vec<_>, Vec<_>) = (2..9).map(reserve).unzip();
        batch.extend((0..9).map(|number| settle(number).0));
        let failed = writer.commit(&mut batch, Patience::Some).map_err(|failed| failed.error);
        assert!(matches!(failed, Err(StoreError::DiskFull { .. })));
        assert!(matches!(writer.state, Known::Stale(Some(_))));
        assert_eq!(left(&writer), 800);
        limit(&writer, 1_000_000);
        assert_eq!(run(&mut writer, 2..12), Ok(8), "as many as there was room for");
        assert_eq!(left(&writer), 0);
        writer.fold();
        assert_eq!(crate::books::audit(&writer.connection).unwrap(), None);
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
        assert_eq!(span(&writer), (1, 4));
    }

    #[test]
    fn an_impatient_turn_leaves_a_busy_database_to_a_patient_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let (orders, queue) = mpsc::channel(8);
        writer.orders = queue;
        let (work, mut answer) = settle(1);
        assert!(orders.try_send(Order::Work(work)).is_ok());
        let other = connect(&folder.path().join("db"), &Key::from_bytes([7; 32])).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(writer.turn(8, Patience::None), Turn::More);
        assert!(answer.try_recv().is_err(), "not answered yet, and not failed");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(writer.turn(8, Patience::Some), Turn::Idle);
        assert_eq!(answer.try_recv().unwrap(), Ok(Settled::default()));
        drop(orders);
        assert_eq!(writer.turn(8, Patience::None), Turn::Ended);
    }

    #[test]
    fn a_long_log_is_copied_back_by_a_patient_turn() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let (orders, queue) = mpsc::channel(8);
        writer.orders = queue;
        let turn = |writer: &mut Writer, number, patience| {
            assert!(orders.try_send(Order::Work(settle(number).0)).is_ok());
            writer.turn(8, patience)
        };
        assert_eq!(turn(&mut writer, 1, Patience::None), Turn::Idle);
        // The hook reports what SQLite says, so a long log is pretended between commits.
        let hook: Option<fn(&mut rusqlite::hooks::Wal, std::ffi::c_int) -> rusqlite::Result<()>> = None;
        writer.connection.wal_hook(hook).unwrap();
        writer.log_pages.store(LOG_PAGES_MOST, Ordering::Relaxed);
        assert_eq!(turn(&mut writer, 2, Patience::None), Turn::More);
        assert_eq!(writer.turn(8, Patience::Some), Turn::Idle);
        let in_log = "PRAGMA wal_checkpoint(PASSIVE)";
        let (log, copied): (i64, i64) =
            writer.connection.query_row(in_log, [], |row| Ok((row.get(1)?, row.get(2)?))).unwrap();
        assert_eq!(log, copied);
        assert_eq!(rows::newest(&writer.connection, 10).unwrap().len(), 2);
        assert!(!writer.log_is_long());
    }
}
