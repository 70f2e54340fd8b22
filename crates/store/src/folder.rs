//! The one connection that changes the database, and its thread. It brings what is in the journal to the tables, so that neither
//! a commit nor the copying of the write-ahead log makes anybody wait but those who read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::Thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::connection::connect;
use crate::error::StoreError;
use crate::fold::{Fold, Marks};
use crate::journal::{self, Id, Journal, Replay};
use crate::key::Key;
use crate::labels::Kept;
use crate::lock::Lock;
use crate::migrations::migrate;
use crate::state::State;
use crate::transaction::{ATTEMPTS, transact};
use crate::writer::{Common, Writer};
use crate::written::{Pen, insert_all};

/// How long SQLite waits for another program that is writing. Only a second process that ignores the lock file could
/// be one.
const BUSY: Duration = Duration::from_secs(2);
/// Pages in the write-ahead log (4 MiB) after which they are copied into the database file. As many bytes as SQLite's own
/// default.
const LOG_PAGES: u32 = 4000;
/// Pages in the log (64 MiB) after which copying waits for whoever reads, so that the log begins anew.
const LOG_PAGES_MOST: u32 = 64_000;

/// How much the folder's thread stands back (0 to 19). Woken in the midst of a request, it would take the request's processor for
/// a millisecond. With this it takes one that is idle, or a quarter of one that is not: where requests leave it no more,
/// [`crate::writer::MOST_UNFOLDED`] makes them wait for it.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// What the folder's thread is told.
pub(crate) enum Task {
    Job(Job),
    /// Keep a label, or what may become one: nothing that waits in the journal is about it.
    Keep(Kept),
    /// Nothing else will come: bring what is left to the tables and close the files.
    End(Box<Writer>),
}

/// Something to do in one transaction.
#[derive(Debug)]
pub(crate) enum Job {
    /// Write these. With `force`, see to it that they are on the disk.
    Fold { folds: Vec<Fold>, force: bool },
    /// Write these rows, the last of which are of record `last`, and read the state again.
    Recover { written: Vec<Vec<u8>>, last: u64, earlier: Option<Box<State>> },
}

/// A job that was done.
pub(crate) struct Done {
    /// Bytes written down that are in the tables now.
    pub(crate) bytes: usize,
    /// Up to this row of the receipts they are in the table.
    pub(crate) receipts: i64,
    /// Up to this record of the journal the database was forced to the disk.
    pub(crate) forced: Option<u64>,
    /// For the next beginning of a file, where one was asked for.
    pub(crate) salt: Option<Id>,
    /// The state, where it was read again.
    pub(crate) state: Option<Box<State>>,
}

/// A job that was rolled back, and can be tried again.
pub(crate) struct Failed {
    pub(crate) job: Job,
    pub(crate) error: StoreError,
}

pub(crate) struct Folder {
    connection: Connection,
    path: PathBuf,
    common: Common,
    log_pages: Arc<AtomicU32>,
    /// How long the log was when it was last copied.
    copied_at: u32,
    /// Up to where the tables are.
    folded: Marks,
    lock: Arc<Lock>,
}

impl Folder {
    /// Opens the connection, brings the schema up to date and reads what the process before has left in its journal. Changes
    /// nothing else.
    pub(crate) fn open(
        path: &Path,
        key: &Key,
        common: &Common,
        lock: Arc<Lock>,
    ) -> Result<(Self, Replay), StoreError> {
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
        let mut connection = connect(path, key)?;
        migrate(&mut connection, path)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let marks = Marks::load(&connection).map_err(failed)?;
        let ids = connection.query_row("SELECT id, before FROM journal", [], |row| {
            Ok((row.get::<_, Id>(0)?, row.get::<_, Id>(1)?))
        });
        let (id, before) = ids.map_err(failed)?;
        let left = journal::read(path, key, &id, &before, marks.journal)?;
        let log_pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&log_pages);
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
                seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(failed)?;
        let (path, common) = (path.to_path_buf(), common.clone());
        Ok((Self { connection, path, common, log_pages, copied_at: 0, folded: marks, lock }, left))
    }

    /// Brings what is left of the process before to the tables, and begins a journal. Reservations that are open then are of a
    /// process that has died (its lock is ours), and nobody knows any more what their calls have cost.
    pub(crate) fn begin(&mut self, key: Key, left: Replay) -> Result<(Journal, State), StoreError> {
        let Self { connection, path, common, .. } = self;
        let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
        let opened = transact(connection, "open", ATTEMPTS, |tx| {
            for rows in &left.records {
                insert_all(tx, rows)?;
            }
            let mut state = State::load(tx, common.currency, None)?;
            let mut written = Vec::new();
            let doubted = state.books.doubt_all(&mut Pen { connection: tx, rows: &mut written })?;
            let fold = state.fold(vec![written], left.last, common.retained);
            fold.write(tx)?;
            state.folded(state.receipts.last, true);
            // Should this process die before it has begun its own, the files are known to be folded.
            tx.execute("UPDATE journal SET before = ?1, id = randomblob(16)", [left.owner])?;
            let id: Id = tx.query_row("SELECT id FROM journal", [], |row| row.get(0))?;
            Ok((state, id, doubted, fold.marks))
        });
        let (state, id, doubted, marks) = opened.map_err(failed)?;
        if doubted > 0 {
            tracing::warn!(
                reservations = doubted,
                "calls were under way when the last process ended; their cost is in doubt"
            );
        }
        self.folded = marks;
        if !left.records.is_empty() {
            tracing::info!(
                records = left.records.len(),
                "records of the last process were brought to the tables"
            );
            // The files that they are in are about to be written over.
            let forced =
                self.checkpoint("PRAGMA wal_checkpoint(FULL)").map_err(|error| self.failed(&error))?;
            if !forced {
                return Err(StoreError::unavailable(&self.path, "another program reads it"));
            }
        }
        let salt = self.random().map_err(|error| self.failed(&error))?;
        Ok((Journal::begin(&self.path, key, id, salt, left.last)?, state))
    }

    /// The database may grow to so many pages.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: i64) {
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&sql, [], |_| Ok(())).unwrap();
    }

    /// Waits for nobody.
    #[cfg(test)]
    pub(crate) fn hurry(&self) {
        self.connection.busy_timeout(Duration::ZERO).unwrap();
    }

    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, error)
    }

    /// From SQLite's own generator, which the operating system seeds: the crate has no other.
    fn random(&self) -> rusqlite::Result<Id> {
        self.connection.query_row("SELECT randomblob(16)", [], |row| row.get(0))
    }

    /// The life of the folder's thread: does jobs until it is told of the end. The writer's thread is woken for each result.
    pub(crate) fn work(
        mut self,
        tasks: &Receiver<Task>,
        results: &Sender<Result<Done, Failed>>,
        writer: &Thread,
    ) {
        stand_back();
        let _wake = Wake(writer);
        while let Ok(task) = tasks.recv() {
            match task {
                Task::Job(job) => {
                    // Nobody takes it when the writer's thread has panicked, and that has said so.
                    let _ = results.send(self.carry_out(job));
                    writer.unpark();
                }
                Task::Keep(kept) => self.keep(kept),
                Task::End(writer) => return self.finish(*writer),
            }
        }
    }

    fn keep(&mut self, mut kept: Kept) {
        match transact(&mut self.connection, "keep", ATTEMPTS, |tx| kept.carry_out(tx)) {
            Ok(()) => kept.answer(),
            Err(error) => kept.fail(&self.failed(&error)),
        }
    }

    /// Does a job, in one transaction.
    pub(crate) fn carry_out(&mut self, mut job: Job) -> Result<Done, Failed> {
        match self.write(&mut job) {
            Ok(done) => Ok(done),
            Err(error) => Err(Failed { job, error: self.failed(&error) }),
        }
    }

    fn write(&mut self, job: &mut Job) -> rusqlite::Result<Done> {
        let (bytes, marks, state, force) = match job {
            Job::Fold { folds, force } => {
                transact(&mut self.connection, "fold", ATTEMPTS, |tx| {
                    folds.iter().try_for_each(|fold| fold.write(tx))
                })?;
                let marks = folds.last().map_or(self.folded, |fold| fold.marks);
                (folds.iter().map(Fold::bytes).sum(), marks, None, *force)
            }
            Job::Recover { written, last, earlier } => {
                let common = &self.common;
                let (state, marks) = transact(&mut self.connection, "recover", ATTEMPTS, |tx| {
                    written.iter().try_for_each(|rows| insert_all(tx, rows))?;
                    let mut state = State::load(tx, common.currency, earlier.as_deref())?;
                    let fold = state.fold(Vec::new(), *last, common.retained);
                    fold.write(tx)?;
                    state.folded(state.receipts.last, true);
                    Ok((Box::new(state), fold.marks))
                })?;
                (written.iter().map(Vec::len).sum(), marks, Some(state), false)
            }
        };
        self.folded = marks;
        let forced = self.tend_log(force).then_some(marks.journal);
        // Without one the file grows longer.
        let salt = if force { self.random().ok() } else { None };
        Ok(Done { bytes, receipts: marks.receipts, forced, salt, state })
    }

    /// Keeps the write-ahead log short. Says whether all of it is in the database file, and on the disk.
    fn tend_log(&mut self, force: bool) -> bool {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages < self.copied_at {
            // The log was copied back completely and begins anew.
            self.copied_at = 0;
        }
        let sql = match pages {
            LOG_PAGES_MOST.. => "PRAGMA wal_checkpoint(RESTART)",
            _ if force || pages - self.copied_at >= LOG_PAGES => "PRAGMA wal_checkpoint(PASSIVE)",
            _ => return false,
        };
        self.copied_at = pages;
        self.checkpoint(sql).unwrap_or_else(|error| {
            // Nothing is lost: what was not copied stays in the log.
            tracing::warn!(%error, "the write-ahead log could not be copied back");
            false
        })
    }

    /// Copies the log back, and says whether all of it is in the database file. Then both are on the disk.
    fn checkpoint(&self, sql: &str) -> rusqlite::Result<bool> {
        self.connection.query_row(sql, [], |row| {
            let (busy, log, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(busy == 0 && log == copied)
        })
    }

    /// Brings what is left to the tables, copies the log back, closes the files and frees the lock, then tells those who asked
    /// for it.
    pub(crate) fn finish(mut self, mut writer: Writer) {
        let mut whole = true;
        while whole && writer.is_behind() {
            let job = writer.make_job();
            let done = self.carry_out(job);
            whole = done.is_ok();
            writer.end_job(done);
        }
        let copied = self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").unwrap_or_else(|error| {
            // Nothing is lost: what was not copied stays in the log.
            tracing::warn!(%error, "the write-ahead log could not be copied back");
            false
        });
        let closing = std::mem::take(&mut writer.closing);
        drop(writer);
        let Self { connection, path, lock, .. } = self;
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the database did not close cleanly");
        }
        if whole && copied {
            journal::remove(&path);
        }
        drop(lock);
        for done in closing {
            let _ = done.send(());
        }
    }
}

/// Lets the thread that calls go after others that want the same processor. Where that is not possible nothing is lost but
/// a little time.
fn stand_back() {
    #[cfg(target_os = "linux")]
    // On Linux this is of the one thread.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "the thread that keeps the tables cannot stand back");
    }
}

/// Wakes the writer's thread at the end, also after a panic.
struct Wake<'t>(&'t Thread);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.unpark();
    }
}
