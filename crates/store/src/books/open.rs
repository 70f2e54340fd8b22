//! Reservations that are open or in doubt.

use std::collections::{HashMap, HashSet};

use inshore_domain::{Amounts, ReceiptId, ReservationId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::ledger::{self, Entry, Kind, Postings, amount, day_of, signed};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) receipt: ReceiptId,
    pub(crate) account: i64,
    pub(crate) at: Timestamp,
    pub(crate) amounts: Amounts,
    pub(crate) counters: Vec<i64>,
    pub(crate) doubted: bool,
}

impl Open {
    /// As a row of the ledger made it.
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            receipt: entry.receipt,
            account: entry.account,
            at: entry.at,
            amounts: entry.amounts,
            counters: entry.counters.clone(),
            doubted: false,
        }
    }

    /// The row that closes it, or puts it in doubt.
    pub(crate) fn closing(&self, id: ReservationId, kind: Kind, used: Amounts, at: Timestamp) -> Entry {
        Entry {
            kind,
            reservation: id,
            receipt: self.receipt,
            account: self.account,
            at,
            day: day_of(self.at),
            postings: Postings::new(kind, self.doubted, signed(self.amounts.money), signed(used.money)),
            amounts: used,
            counters: Vec::new(),
        }
    }
}

/// All of them, and what their table does not know yet.
#[derive(Debug, Default)]
pub(crate) struct OpenReservations {
    all: HashMap<ReservationId, Open>,
    /// Those whose row, or lack of one, is not as it should be.
    unwritten: Vec<ReservationId>,
    /// Those that have a row, once all changes that were taken are in the table.
    rows: HashSet<ReservationId>,
}

/// What has changed of open reservations, for their table: each as it is now, or gone.
pub(crate) type OpenChanges = Vec<(ReservationId, Option<Open>)>;

impl OpenReservations {
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut all = HashMap::new();
        read(connection, |id, open| {
            all.insert(id, open);
            Ok(())
        })?;
        let rows = all.keys().copied().collect();
        Ok(Self { all, unwritten: Vec::new(), rows })
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, id: ReservationId) -> Option<&Open> {
        self.all.get(&id)
    }

    pub(crate) fn doubted(&self) -> impl Iterator<Item = (ReservationId, &Open)> {
        self.all.iter().filter(|(_, open)| open.doubted).map(|(id, open)| (*id, open))
    }

    pub(crate) fn undoubted(&self) -> impl Iterator<Item = (ReservationId, &Open)> {
        self.all.iter().filter(|(_, open)| !open.doubted).map(|(id, open)| (*id, open))
    }

    pub(crate) fn insert(&mut self, id: ReservationId, open: Open) {
        self.all.insert(id, open);
        self.unwritten.push(id);
    }

    /// Puts one in doubt, and gives it as it was before.
    pub(crate) fn doubt(&mut self, id: ReservationId) -> Option<Open> {
        let open = self.all.get_mut(&id).filter(|open| !open.doubted)?;
        let before = open.clone();
        open.doubted = true;
        self.unwritten.push(id);
        Some(before)
    }

    pub(crate) fn remove(&mut self, id: ReservationId) -> Option<Open> {
        let open = self.all.remove(&id)?;
        self.unwritten.push(id);
        Some(open)
    }

    /// What has changed since the last call. Most reservations are closed by then and never get a row.
    pub(crate) fn take_changes(&mut self) -> OpenChanges {
        self.unwritten.sort_unstable();
        self.unwritten.dedup();
        let mut changes = Vec::new();
        for id in self.unwritten.drain(..) {
            match self.all.get(&id) {
                Some(open) => {
                    self.rows.insert(id);
                    changes.push((id, Some(open.clone())));
                }
                None if self.rows.remove(&id) => changes.push((id, None)),
                None => {}
            }
        }
        changes
    }
}

/// Brings the table up to date.
pub(crate) fn write_changes(connection: &Connection, changes: &OpenChanges) -> rusqlite::Result<()> {
    for (id, change) in changes {
        match change {
            Some(open) => write(connection, *id, open)?,
            None => {
                let sql = "DELETE FROM reservations WHERE reservation = ?1";
                connection.prepare_cached(sql)?.execute([id.to_bits().to_be_bytes()])?;
            }
        }
    }
    Ok(())
}

fn write(connection: &Connection, id: ReservationId, open: &Open) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO reservations (reservation, receipt, account, at, doubted, money, tokens, calls, \
        bytes_out, counters) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    connection.prepare_cached(sql)?.execute(params![
        id.to_bits().to_be_bytes(),
        open.receipt.to_bits().to_be_bytes(),
        open.account,
        signed(open.at.unix_millis()),
        open.doubted,
        signed(open.amounts.money),
        signed(open.amounts.tokens),
        signed(open.amounts.calls),
        signed(open.amounts.bytes_out),
        ledger::encode(&open.counters),
    ])?;
    Ok(())
}

/// Gives every row of the table to `each`.
pub(crate) fn read(
    connection: &Connection,
    mut each: impl FnMut(ReservationId, Open) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = "SELECT reservation, receipt, account, at, doubted, money, tokens, calls, bytes_out, counters FROM reservations";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(ReservationId::from_bits(u128::from_be_bytes(row.get(0)?)), open(row)?)?;
    }
    Ok(())
}

fn open(row: &Row<'_>) -> rusqlite::Result<Open> {
    Ok(Open {
        receipt: ReceiptId::from_bits(u128::from_be_bytes(row.get("receipt")?)),
        account: row.get("account")?,
        at: Timestamp::from_unix_millis(amount(row, "at")?),
        doubted: row.get("doubted")?,
        amounts: Amounts {
            money: amount(row, "money")?,
            tokens: amount(row, "tokens")?,
            calls: amount(row, "calls")?,
            bytes_out: amount(row, "bytes_out")?,
        },
        counters: ledger::decode(row.get_ref("counters")?.as_blob()?)?,
    })
}
