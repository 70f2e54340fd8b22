//! The ledger's rows.

use inshore_domain::{Amounts, ReceiptId, ReservationId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::rows::unreadable;
use crate::written::{Pen, Written};

/// Milliseconds in a day of UTC, which has no leap seconds in Unix time.
pub(crate) const DAY: u64 = 86_400_000;

/// The day in which a moment lies, counted from the epoch.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    // At most 2^64 / 86,400,000.
    (at.unix_millis() / DAY) as i64
}

/// What a row of the ledger says. The numbers are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An amount was set aside.
    Reserved = 1,
    /// It was replaced by what was used.
    Settled = 2,
    /// It is free again.
    Released = 3,
    /// Nobody knows what was used.
    Doubted = 4,
    /// It was in doubt for too long, and counts as used.
    Charged = 5,
}

impl Kind {
    const ALL: [Kind; 5] = [Self::Reserved, Self::Settled, Self::Released, Self::Doubted, Self::Charged];
}

/// The postings of one transaction to the parts of its account, in micro-units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Postings {
    pub(crate) available: i64,
    pub(crate) reserved: i64,
    pub(crate) in_doubt: i64,
    pub(crate) spent: i64,
}

impl Postings {
    /// Of `kind`, for a reservation of `held` that was in doubt or not, of which `used` was used.
    pub(crate) fn new(kind: Kind, doubted: bool, held: i64, used: i64) -> Self {
        let mut postings = Self::default();
        let from = if doubted { &mut postings.in_doubt } else { &mut postings.reserved };
        match kind {
            Kind::Reserved => (postings.reserved, postings.available) = (held, -held),
            Kind::Doubted => (postings.in_doubt, postings.reserved) = (held, -held),
            Kind::Settled | Kind::Charged | Kind::Released => {
                *from = -held;
                postings.spent = used;
                postings.available = held - used;
            }
        }
        postings
    }

    pub(crate) fn all(self) -> [i64; 4] {
        [self.available, self.reserved, self.in_doubt, self.spent]
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) reservation: ReservationId,
    pub(crate) receipt: ReceiptId,
    pub(crate) account: i64,
    /// When it was posted.
    pub(crate) at: Timestamp,
    /// When the reservation was made: [`Kind::Reserved`] is posted at this time, of others only the day is kept.
    pub(crate) day: i64,
    pub(crate) postings: Postings,
    /// Set aside by [`Kind::Reserved`], used by [`Kind::Settled`] and [`Kind::Charged`], else nothing.
    pub(crate) amounts: Amounts,
    /// What [`Kind::Reserved`] was claimed from, else nothing.
    pub(crate) counters: Vec<i64>,
}

const COLUMNS: &str = "entry, reservation, receipt, account, at, day, available, reserved, in_doubt, spent, tokens, calls, \
    bytes_out, counters";

/// Amounts in a row are never negative and fit: reservations of more are refused.
pub(crate) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

pub(crate) fn encode(counters: &[i64]) -> Vec<u8> {
    let numbers: Vec<u64> = counters.iter().map(|counter| counter.unsigned_abs()).collect();
    // Into a Vec, postcard does not fail for numbers.
    postcard::to_extend(&numbers, Vec::with_capacity(16)).unwrap_or_default()
}

pub(crate) fn decode(bytes: &[u8]) -> rusqlite::Result<Vec<i64>> {
    let numbers: Vec<u64> = postcard::from_bytes(bytes).map_err(|error| unreadable("counters", error))?;
    Ok(numbers.into_iter().map(signed).collect())
}

/// A row as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LedgerRow<'r> {
    seq: i64,
    entry: i64,
    reservation: [u8; 16],
    receipt: [u8; 16],
    account: i64,
    at: i64,
    day: i64,
    /// Available, reserved, in doubt and spent.
    postings: [i64; 4],
    /// Tokens, calls and bytes.
    used: [i64; 3],
    counters: &'r [u8],
}

impl LedgerRow<'_> {
    /// Adds it to the table.
    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let [available, reserved, in_doubt, spent] = self.postings;
        let [tokens, calls, bytes_out] = self.used;
        connection
            .prepare_cached(
                "INSERT INTO ledger (seq, entry, reservation, receipt, account, at, day, available, reserved, in_doubt, \
                    spent, tokens, calls, bytes_out, counters) \
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?
            .execute(params![
                self.seq,
                self.entry,
                self.reservation,
                self.receipt,
                self.account,
                self.at,
                self.day,
                available,
                reserved,
                in_doubt,
                spent,
                tokens,
                calls,
                bytes_out,
                self.counters,
            ])?;
        Ok(())
    }
}

/// Writes a row down as the one with this number.
pub(crate) fn append(pen: &mut Pen<'_>, seq: i64, entry: &Entry) -> rusqlite::Result<()> {
    let counters = if entry.kind == Kind::Reserved { encode(&entry.counters) } else { Vec::new() };
    let Amounts { tokens, calls, bytes_out, .. } = entry.amounts;
    pen.write(&Written::Ledger(LedgerRow {
        seq,
        entry: entry.kind as i64,
        reservation: entry.reservation.to_bits().to_be_bytes(),
        receipt: entry.receipt.to_bits().to_be_bytes(),
        account: entry.account,
        at: signed(entry.at.unix_millis()),
        day: entry.day,
        postings: entry.postings.all(),
        used: [tokens, calls, bytes_out].map(signed),
        counters: &counters,
    }))
}

/// When the last reservation was made; the epoch where there is none.
pub(crate) fn last_reservation(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let sql = "SELECT at FROM ledger WHERE entry = ?1 ORDER BY seq DESC LIMIT 1";
    let at = connection.query_row(sql, [Kind::Reserved as i64], |row| amount(row, "at")).optional()?;
    Ok(Timestamp::from_unix_millis(at.unwrap_or_default()))
}

/// Gives every row from the one after `seq` to `last` to `each`, in order.
pub(crate) fn read(
    connection: &Connection,
    after: i64,
    last: i64,
    mut each: impl FnMut(i64, Entry) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = format!("SELECT seq, {COLUMNS} FROM ledger WHERE seq > ?1 AND seq <= ?2 ORDER BY seq");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([after, last])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, entry(row)?)?;
    }
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let number: i64 = row.get("entry")?;
    let kind = Kind::ALL.into_iter().find(|kind| *kind as i64 == number);
    let kind = kind.ok_or_else(|| unreadable("entry", format!("`{number}` is no kind of entry")))?;
    let postings = Postings {
        available: row.get("available")?,
        reserved: row.get("reserved")?,
        in_doubt: row.get("in_doubt")?,
        spent: row.get("spent")?,
    };
    let money = if kind == Kind::Reserved { postings.reserved } else { postings.spent };
    let amounts = Amounts {
        money: money.unsigned_abs(),
        tokens: amount(row, "tokens")?,
        calls: amount(row, "calls")?,
        bytes_out: amount(row, "bytes_out")?,
    };
    let counters =
        if kind == Kind::Reserved { decode(row.get_ref("counters")?.as_blob()?)? } else { Vec::new() };
    Ok(Entry {
        kind,
        reservation: ReservationId::from_bits(u128::from_be_bytes(row.get("reservation")?)),
        receipt: ReceiptId::from_bits(u128::from_be_bytes(row.get("receipt")?)),
        account: row.get("account")?,
        at: Timestamp::from_unix_millis(amount(row, "at")?),
        day: row.get("day")?,
        postings,
        amounts,
        counters,
    })
}

/// A column that is never negative.
pub(crate) fn amount(row: &Row<'_>, column: &'static str) -> rusqlite::Result<u64> {
    let stored: i64 = row.get(column)?;
    u64::try_from(stored)
        .map_err(|_| unreadable(column, format!("column `{column}` has the amount {stored}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind() -> impl Strategy<Value = Kind> {
        prop::sample::select(&Kind::ALL[..])
    }

    proptest! {
        #[test]
        fn postings_sum_to_nothing(kind in kind(), doubted: bool, held in 0..=i64::MAX, share in 0..=i64::MAX) {
            let sum: i128 = Postings::new(kind, doubted, held, share.min(held)).all().map(i128::from).iter().sum();
            prop_assert_eq!(sum, 0);
        }

        #[test]
        fn counters_come_back_as_they_were(counters in prop::collection::vec(0..=i64::MAX, 0..70)) {
            prop_assert_eq!(decode(&encode(&counters)).unwrap(), counters);
        }

        #[test]
        fn any_bytes_are_counters_or_an_error(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
