//! What is written down: the rows of the tables that are only added to, as bytes. The journal holds them until they are in
//! their tables.
//!
//! Postcard writes fields by position, so these types and those of the rows are a file format: what is here is never reordered
//! or changed without a new version of the journal, and new kinds go to the end.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::books::{AccountRow, CounterRow, LedgerRow};
use crate::rows::{ReceiptRow, unreadable};

/// One row.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack: it is written or read at once")]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Written<'r> {
    #[serde(borrow)]
    Account(AccountRow<'r>),
    Counter(CounterRow<'r>),
    Ledger(LedgerRow<'r>),
    Receipt(ReceiptRow<'r>),
}

impl Written<'_> {
    fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Account(row) => row.insert(connection),
            Self::Counter(row) => row.insert(connection),
            Self::Ledger(row) => row.insert(connection),
            Self::Receipt(row) => row.insert(connection),
        }
    }
}

/// Adds rows to their tables. Any bytes give rows or an error; the caller rolls back.
pub(crate) fn insert_all(connection: &Connection, mut rows: &[u8]) -> rusqlite::Result<()> {
    while !rows.is_empty() {
        let (row, rest) = postcard::take_from_bytes::<Written<'_>>(rows).map_err(|error| {
            unreadable("journal", format!("a record of the journal is not rows: {error}"))
        })?;
        row.insert(connection)?;
        rows = rest;
    }
    Ok(())
}

/// Writes rows down, and looks up what memory does not know.
pub(crate) struct Pen<'p> {
    /// To ask, never to change: what was written down is not in its tables yet.
    pub(crate) connection: &'p Connection,
    pub(crate) rows: &'p mut Vec<u8>,
}

impl Pen<'_> {
    /// Adds a row to those that are written down.
    pub(crate) fn write(&mut self, row: &Written<'_>) -> rusqlite::Result<()> {
        let rows = postcard::to_extend(row, std::mem::take(self.rows));
        *self.rows = rows.map_err(|error| unreadable("journal", error))?;
        Ok(())
    }
}

/// Puts what is written down into the tables at once.
#[cfg(test)]
pub(crate) fn write_down<T>(
    connection: &Connection,
    work: impl FnOnce(&mut Pen<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut rows = Vec::new();
    let done = work(&mut Pen { connection, rows: &mut rows });
    insert_all(connection, &rows)?;
    done
}
