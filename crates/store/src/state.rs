//! What the writer knows without asking the database: the books, and the newest receipts.

use std::collections::HashMap;

use inshore_domain::{Currency, Receipt, ReceiptId};
use rusqlite::Connection;

use crate::books::Books;
use crate::rows;
use crate::writer::{BATCH, Patience};

/// Rows of the ledger and receipts after which the tables that follow from them are brought up to date. So many of them
/// share the dozen pages that this takes, and adding them up again when the store is opened takes a millisecond.
const FOLD: i64 = 128;
/// How many receipts beyond the limit may gather before they are removed, so that not every commit also touches the
/// far end of the tree; also the most that one transaction removes, about a millisecond of work.
const PIECE: i64 = 128;
/// How many times as many may gather while only callers' threads work, which leave this to the writer's own: it is a hundred
/// microseconds of work for which one caller would wait.
const PUT_OFF: i64 = 4;

/// Up to which rows the tables are.
#[derive(Debug, Clone, Copy)]
struct Folded {
    ledger: i64,
    receipts: i64,
}

/// All of it. Changed within a transaction; when that fails, it is read again.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) books: Books,
    pub(crate) receipts: Receipts,
    folded: Folded,
}

impl State {
    /// Reads it. `earlier` is the state of the same process whose last transaction failed.
    pub(crate) fn load(
        connection: &Connection,
        currency: Currency,
        earlier: Option<&State>,
    ) -> rusqlite::Result<Self> {
        let folded = connection.query_row("SELECT ledger, receipts FROM folded", [], |row| {
            Ok(Folded { ledger: row.get(0)?, receipts: row.get(1)? })
        })?;
        let earlier = earlier.map(|earlier| &earlier.books);
        let mut books = Books::load(connection, currency, folded.ledger, earlier)?;
        books.count_again(connection, folded.receipts)?;
        let receipts = Receipts::load(connection, folded.receipts)?;
        Ok(Self { books, receipts, folded })
    }

    fn rows(&self) -> i64 {
        self.books.rows_after(self.folded.ledger) + self.receipts.tail.len() as i64
    }

    fn excess(&self, retained: i64) -> i64 {
        self.receipts.last - self.receipts.first + 1 - retained
    }

    /// Whether [`Self::tend`] has something to do.
    pub(crate) fn is_due(&self, retained: i64) -> bool {
        self.rows() >= FOLD || self.excess(retained) >= PIECE
    }

    /// What is done at the end of a transaction, from time to time: the tables are brought up to date, and receipts beyond
    /// `retained` are removed. Without `patience` only when it cannot be put off.
    pub(crate) fn tend(
        &mut self,
        connection: &Connection,
        retained: i64,
        patience: Patience,
    ) -> rusqlite::Result<()> {
        let times = if patience == Patience::Some { 1 } else { PUT_OFF };
        let excess = self.excess(retained);
        if self.rows() >= times * FOLD || excess >= times * PIECE {
            self.fold(connection)?;
        }
        if excess >= times * PIECE {
            // A batch adds at most BATCH, so twice as much removed at a time catches up with any load.
            self.receipts.first += excess.min(2 * BATCH as i64);
            rows::remove_before(connection, self.receipts.first)?;
        }
        Ok(())
    }

    /// Brings the tables up to date.
    pub(crate) fn fold(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.books.rows_after(self.folded.ledger) == 0 && self.receipts.tail.is_empty() {
            return Ok(());
        }
        self.folded =
            Folded { ledger: self.books.fold(connection)?, receipts: self.receipts.fold(connection)? };
        let Folded { ledger, receipts } = self.folded;
        connection
            .prepare_cached("UPDATE folded SET ledger = ?1, receipts = ?2")?
            .execute([ledger, receipts])?;
        Ok(())
    }
}

/// Which receipts there are.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// The first and last `seq` of the table, to know its size without counting.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// Those that `receipt_ids` does not know yet.
    tail: HashMap<ReceiptId, i64>,
}

impl Receipts {
    fn load(connection: &Connection, folded: i64) -> rusqlite::Result<Self> {
        // Numbers go on where they were also when all receipts are gone.
        let (first, last) = rows::span(connection)?.unwrap_or((folded + 1, folded));
        let tail = rows::ids_after(connection, folded)?.into_iter().collect();
        Ok(Self { first, last, tail })
    }

    /// Whether there is one with this id.
    pub(crate) fn has(&self, connection: &Connection, id: ReceiptId) -> rusqlite::Result<bool> {
        Ok(self.tail.contains_key(&id) || rows::is_known(connection, id)?)
    }

    /// Adds one that is not there yet.
    pub(crate) fn add(
        &mut self,
        connection: &Connection,
        receipt: &Receipt,
        account: i64,
        detail: &[u8],
    ) -> rusqlite::Result<()> {
        self.last += 1;
        rows::insert(connection, self.last, receipt, account, detail)?;
        self.tail.insert(receipt.id, self.last);
        Ok(())
    }

    /// Lets `receipt_ids` know all, and gives the last.
    fn fold(&mut self, connection: &Connection) -> rusqlite::Result<i64> {
        let mut tail: Vec<_> = self.tail.drain().collect();
        // In the order of the tree, so that neighbours share a page.
        tail.sort_unstable();
        for (id, seq) in tail {
            rows::make_known(connection, id, seq)?;
        }
        Ok(self.last)
    }
}
