//! What one transaction brings to the tables: the rows that were written down since the one before, and what follows from them.

use inshore_domain::ReceiptId;
use rusqlite::Connection;

use crate::books::Changes;
use crate::rows;
use crate::written::insert_all;

/// Up to which rows, and up to which record of the journal, the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) ledger: i64,
    pub(crate) receipts: i64,
    pub(crate) journal: u64,
}

impl Marks {
    /// As the database has them.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let sql = "SELECT ledger, receipts, journal.folded FROM folded, journal";
        connection.query_row(sql, [], |row| {
            let journal = row.get::<_, i64>(2)?.unsigned_abs();
            Ok(Self { ledger: row.get(0)?, receipts: row.get(1)?, journal })
        })
    }

    fn save(self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("UPDATE folded SET ledger = ?1, receipts = ?2")?
            .execute([self.ledger, self.receipts])?;
        // A record a nanosecond fills the column in 292 years.
        let journal = i64::try_from(self.journal).unwrap_or(i64::MAX);
        connection.prepare_cached("UPDATE journal SET folded = ?1")?.execute([journal])?;
        Ok(())
    }
}

/// All of it. Folds are written in the order in which they were made; one that failed can be written again.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) written: Vec<Vec<u8>>,
    pub(crate) changes: Changes,
    /// For `receipt_ids`.
    pub(crate) receipts: Vec<(ReceiptId, i64)>,
    /// Receipts before this row leave.
    pub(crate) remove_before: Option<i64>,
    pub(crate) marks: Marks,
}

impl Fold {
    /// Bytes that are written down in it.
    pub(crate) fn bytes(&self) -> usize {
        self.written.iter().map(Vec::len).sum()
    }

    /// Brings it to the tables, within a transaction.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for rows in &self.written {
            insert_all(connection, rows)?;
        }
        self.changes.write(connection)?;
        for (id, seq) in &self.receipts {
            rows::make_known(connection, *id, *seq)?;
        }
        if let Some(seq) = self.remove_before {
            rows::remove_before(connection, seq)?;
        }
        self.marks.save(connection)
    }
}
