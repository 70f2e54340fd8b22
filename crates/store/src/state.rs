//! What the writer knows without asking the database: the books, and the newest receipts.

use std::collections::HashMap;

use inshore_domain::{Currency, Receipt, ReceiptId};
use rusqlite::Connection;

use crate::books::Books;
use crate::fold::{Fold, Marks};
use crate::rows::{self, ReceiptRow};
use crate::writer::BATCH;
use crate::written::{Pen, Written};

/// Rows of the ledger and receipts after which they are brought to their tables. So many of them share the pages that this
/// takes, and a process that was killed leaves no more than some times as many to the next one, a few milliseconds of work.
const FOLD: i64 = 256;
/// How many receipts beyond the limit may gather before they are removed, so that not every fold also touches the
/// far end of the tree; also the least that one fold removes, about a millisecond of work.
const PIECE: i64 = 128;

/// All of it. What changes it also writes down; when that fails, it is read again.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) books: Books,
    pub(crate) receipts: Receipts,
    /// As of the last fold that was made.
    folded: Marks,
}

impl State {
    /// Reads it. `earlier` is the state of the same process whose last record could not be written.
    pub(crate) fn load(
        connection: &Connection,
        currency: Currency,
        earlier: Option<&State>,
    ) -> rusqlite::Result<Self> {
        let folded = Marks::load(connection)?;
        let earlier = earlier.map(|earlier| &earlier.books);
        let mut books = Books::load(connection, currency, folded.ledger, earlier)?;
        books.count_again(connection, folded.receipts)?;
        let receipts = Receipts::load(connection, folded.receipts)?;
        Ok(Self { books, receipts, folded })
    }

    fn rows(&self) -> i64 {
        self.books.last() - self.folded.ledger + self.receipts.last - self.folded.receipts
    }

    fn excess(&self, retained: i64) -> i64 {
        self.receipts.last - self.receipts.first + 1 - retained
    }

    /// Whether it is time for a [`Self::fold`].
    pub(crate) fn is_due(&self, retained: i64) -> bool {
        self.rows() >= FOLD || self.excess(retained) >= PIECE
    }

    /// All that has changed since the last call. `written` is what was written down since, up to record `journal`. Receipts
    /// beyond `retained` leave.
    pub(crate) fn fold(&mut self, written: Vec<Vec<u8>>, journal: u64, retained: i64) -> Fold {
        let marks = Marks { ledger: self.books.last(), receipts: self.receipts.last, journal };
        let new = self.receipts.after(self.folded.receipts);
        let excess = self.excess(retained);
        // A fold seldom adds more than some batches, so twice as much removed at a time catches up with any load.
        let removed = excess.min(2 * (new.len() as i64).max(BATCH as i64));
        if excess >= PIECE {
            self.receipts.first += removed;
        }
        self.folded = marks;
        Fold {
            written,
            changes: self.books.take_changes(),
            receipts: new,
            remove_before: (excess >= PIECE).then_some(self.receipts.first),
            marks,
        }
    }

    /// Folds are committed up to this row of the receipts: `all` that were made, or some.
    pub(crate) fn folded(&mut self, receipts: i64, all: bool) {
        if all {
            self.books.folded();
        }
        self.receipts.folded(receipts);
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
    /// The greatest id that `receipt_ids` has ever known. Ids begin with the time, so most new ones are greater and need not be
    /// looked up.
    greatest: Option<ReceiptId>,
}

impl Receipts {
    fn load(connection: &Connection, folded: i64) -> rusqlite::Result<Self> {
        // Numbers go on where they were also when all receipts are gone.
        let (first, last) = rows::span(connection)?.unwrap_or((folded + 1, folded));
        let tail = rows::ids_after(connection, folded)?.into_iter().collect();
        Ok(Self { first, last, tail, greatest: rows::greatest_known(connection)? })
    }

    /// Whether there is one with this id.
    pub(crate) fn has(&self, connection: &Connection, id: ReceiptId) -> rusqlite::Result<bool> {
        Ok(self.tail.contains_key(&id) || Some(id) <= self.greatest && rows::is_known(connection, id)?)
    }

    /// Adds one that is not there yet.
    pub(crate) fn add(
        &mut self,
        pen: &mut Pen<'_>,
        receipt: &Receipt,
        account: i64,
        detail: &[u8],
    ) -> rusqlite::Result<()> {
        self.last += 1;
        pen.write(&Written::Receipt(ReceiptRow::of(self.last, receipt, account, detail)))?;
        self.tail.insert(receipt.id, self.last);
        Ok(())
    }

    /// Those after row `seq`, in the order of `receipt_ids`, so that neighbours share a page.
    fn after(&self, seq: i64) -> Vec<(ReceiptId, i64)> {
        let mut new: Vec<_> =
            self.tail.iter().filter(|(_, at)| **at > seq).map(|(id, at)| (*id, *at)).collect();
        new.sort_unstable();
        new
    }

    /// `receipt_ids` knows all up to row `seq`.
    fn folded(&mut self, seq: i64) {
        let known = self.tail.iter().filter(|(_, at)| **at <= seq).map(|(id, _)| *id).max();
        self.greatest = self.greatest.max(known);
        self.tail.retain(|_, at| *at > seq);
    }
}
