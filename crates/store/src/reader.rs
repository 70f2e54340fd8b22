//! The thread that reads, so that a long list never delays a commit.

use std::path::PathBuf;
use std::sync::Arc;

use inshore_domain::{Receipt, ReceiptId, Timestamp};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{mpsc, oneshot};

use crate::books::{self, Balance, SpendQuery, SpendRow};
use crate::error::StoreError;
use crate::labels::{self, Label, Statistics};
use crate::lock::Lock;
use crate::rows;

/// Queries that may wait. People and dashboards ask, a few at a time; beyond it callers wait for room.
pub(crate) const QUEUE: usize = 64;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the reader is asked.
pub(crate) enum Read {
    Receipt(ReceiptId, Reply<Option<Receipt>>),
    Newest(u32, Reply<Vec<Receipt>>),
    Spend(SpendQuery, Reply<Vec<SpendRow>>),
    Labels(Reply<Vec<Label>>),
    Remembered(ReceiptId, Timestamp, Reply<Option<Statistics>>),
    /// Check the books and sum them up.
    Books(Reply<Vec<Balance>>),
    /// Check the whole file, the books too.
    Verify(Reply<()>),
    /// Answer what is queued, close the connection, then answer this.
    Close(oneshot::Sender<()>),
}

pub(crate) struct Reader {
    connection: Connection,
    path: PathBuf,
    _lock: Arc<Lock>,
}

impl Reader {
    pub(crate) fn new(connection: Connection, path: PathBuf, lock: Arc<Lock>) -> Result<Self, StoreError> {
        // A slip in a query cannot change anything.
        let guarded = connection.pragma_update(None, "query_only", true);
        guarded.map_err(|error| StoreError::from_sqlite(&path, &error))?;
        Ok(Self { connection, path, _lock: lock })
    }

    /// Works until told to close, or until nobody is left who could ask.
    pub(crate) fn run(self, mut reads: mpsc::Receiver<Read>) {
        let mut closing = Vec::new();
        while let Some(read) = reads.blocking_recv() {
            match read {
                Read::Receipt(id, reply) => drop(reply.send(self.answer(rows::get(&self.connection, id)))),
                Read::Newest(limit, reply) => {
                    drop(reply.send(self.answer(rows::newest(&self.connection, limit))))
                }
                Read::Spend(query, reply) => {
                    drop(reply.send(self.answer(books::spend(&self.connection, &query))))
                }
                Read::Labels(reply) => drop(reply.send(self.answer(labels::all(&self.connection)))),
                Read::Remembered(id, now, reply) => {
                    drop(reply.send(self.answer(labels::remembered(&self.connection, id, now))))
                }
                Read::Books(reply) => drop(reply.send(self.books())),
                Read::Verify(reply) => drop(reply.send(self.verify())),
                Read::Close(done) => {
                    reads.close();
                    closing.push(done);
                }
            }
        }
        let Self { connection, _lock, .. } = self;
        if let Err((_, error)) = connection.close() {
            tracing::warn!(%error, "the reading connection did not close cleanly");
        }
        // Before the answer: whoever has it may open the database again at once.
        drop(_lock);
        for done in closing {
            let _ = done.send(());
        }
    }

    fn answer<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| StoreError::from_sqlite(&self.path, &error))
    }

    fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), detail }
    }

    fn audit(&self) -> Result<(), StoreError> {
        match self.answer(books::audit(&self.connection))? {
            Some(problem) => Err(self.damaged(problem)),
            None => Ok(()),
        }
    }

    fn books(&self) -> Result<Vec<Balance>, StoreError> {
        self.audit()?;
        self.answer(books::balances(&self.connection))
    }

    fn verify(&self) -> Result<(), StoreError> {
        // The first gives a row for each page whose checksum is wrong, the second one row, `ok`, or the problems.
        let page = self.answer(first_text(&self.connection, "PRAGMA cipher_integrity_check"))?;
        if let Some(problem) = page {
            return Err(self.damaged(problem));
        }
        match self.answer(first_text(&self.connection, "PRAGMA integrity_check(1)"))? {
            Some(problem) if problem != "ok" => Err(self.damaged(problem)),
            _ => self.audit(),
        }
    }
}

fn first_text(connection: &Connection, sql: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row(sql, [], |row| row.get(0)).optional()
}
