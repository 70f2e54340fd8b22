//! What may be spent and what was: the state that reservations are checked against.
//!
//! The ledger is the truth. Every change is a row of it first, and [`Books::apply`] is all that a row does, whether it was
//! just added or is read again when the store is opened. Rows are written down (`Pen`), and so are committed with the journal's
//! next record; with what follows from them (counters, open reservations, daily sums), which is kept in memory, they come to
//! their tables now and then ([`Changes`]).
//!
//! Layout: `ledger` its rows; `counters` how much of each cap is used; `requests` the same for caps of one request;
//! `sums` what each account used on each day; `accounts` and `names` how names become numbers; `mirror` what callers see
//! without waiting; `audit` the check that all of it agrees; `words` what callers get to hear.

mod accounts;
mod audit;
mod counters;
mod ledger;
mod mirror;
mod names;
mod open;
mod requests;
mod spend;
mod sums;
mod words;

use inshore_domain::{
    Amounts, Closing, Currency, Measure, OverCap, Receipt, Reservation, ReservationId, Timestamp, Window,
};
use rusqlite::Connection;

pub(crate) use audit::{audit, balances};
pub(crate) use mirror::Mirror;
pub(crate) use names::AccountName;
pub(crate) use spend::spend;
pub use spend::{SpendBy, SpendKey, SpendQuery, SpendRow, TokenSums};
pub use words::{Balance, CloseError, Dispute, Doubt, Expired, ReserveError, Reserved, Settled, Use};

pub(crate) use accounts::AccountRow;
pub(crate) use counters::CounterRow;
pub(crate) use ledger::LedgerRow;

use accounts::Accounts;
use counters::{CounterChanges, Counters, Used};
use ledger::{Entry, Kind, Postings, day_of, signed};
use open::{Open, OpenChanges, OpenReservations};
use requests::Requests;
use sums::{SumChanges, Sums};

use crate::rows::unreadable;
use crate::written::Pen;

/// Most reservations that are open or in doubt at once. A call is open for as long as it takes, so these are sixteen times
/// the calls that one process can have open files for; beyond them nothing is reserved until the doubts are resolved.
/// At about 250 bytes each these are 4 MiB.
pub(crate) const MOST_OPEN: usize = 16_384;
/// Most caps that one call may be claimed from. Each is checked within the transaction; an organisation has a handful.
pub(crate) const MOST_CLAIMS: usize = 64;
/// The most of a measure that one call may set aside: 281 million units of a currency, 281 TB. All that can be open at once
/// still adds up to less than a column holds.
const MOST_AMOUNT: u64 = 1 << 48;
/// The most that a counter holds, whatever its limit: what a column does.
const MOST_USED: u64 = i64::MAX as u64;

/// What follows from the ledger, in memory.
#[derive(Debug)]
pub(crate) struct Books {
    accounts: Accounts,
    counters: Counters,
    open: OpenReservations,
    requests: Requests,
    sums: Sums,
    /// The time of the last reservation; the store has no clock of its own.
    now: Timestamp,
    /// The last row of the ledger.
    last: i64,
}

/// A reservation that was written down: for each claim how much of the limit is used now, and how much was before.
pub(crate) type Taken = Vec<(u64, u64)>;

/// What became of a closing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It is as asked, but for these.
    Done(Vec<Dispute>),
    /// There is nothing to close, and nothing has changed.
    Unknown,
}

impl Books {
    /// Reads what was folded up to row `folded` of the ledger, and adds the rows after it. `earlier` are books of the same
    /// process whose last transaction failed: what only memory knows is taken from them.
    pub(crate) fn load(
        connection: &Connection,
        currency: Currency,
        folded: i64,
        earlier: Option<&Books>,
    ) -> rusqlite::Result<Self> {
        let last = connection.query_row("SELECT coalesce(max(seq), 0) FROM ledger", [], |row| row.get(0))?;
        let now = ledger::last_reservation(connection)?;
        let mut books = Self {
            accounts: Accounts::load(connection, currency)?,
            counters: Counters::load(connection, currency, now)?,
            open: OpenReservations::load(connection)?,
            requests: Requests::default(),
            sums: Sums::default(),
            now,
            last: folded,
        };
        ledger::read(connection, folded, last, |seq, entry| {
            for counter in &entry.counters {
                books.counters.fetch(connection, *counter)?;
            }
            books.apply(&entry)?;
            books.last = seq;
            Ok(())
        })?;
        books.last = last;
        if let Some(earlier) = earlier {
            books.requests.take_over(&earlier.requests, &books.open);
        }
        Ok(books)
    }

    /// Sets an amount aside in every counter that is claimed, or in none: then it says which has no room.
    pub(crate) fn reserve(
        &mut self,
        pen: &mut Pen<'_>,
        reservation: &Reservation,
        account: &AccountName,
    ) -> rusqlite::Result<Result<Taken, ReserveError>> {
        if let Some(refused) = self.limits(reservation) {
            return Ok(Err(refused));
        }
        let mut found = Vec::with_capacity(reservation.claims.len());
        for claim in &reservation.claims {
            let wanted = reservation.amounts.of(claim.measure);
            let (counter, used) = if claim.window == Window::Request {
                (None, self.requests.used(reservation.receipt, claim))
            } else {
                let counter = self.counters.find(pen.connection, claim)?;
                (counter, counter.map(|counter| self.counters.used(counter)).unwrap_or_default())
            };
            // Who wants nothing takes nothing, also from a cap whose limit was lowered below what is used.
            if wanted > 0 && used.all().saturating_add(wanted) > claim.limit.min(MOST_USED) {
                let (settled, reserved) = (used.settled, used.held());
                let over = OverCap { claim: claim.clone(), settled, reserved, wanted };
                return Ok(Err(ReserveError::OverCap(Box::new(over))));
            }
            found.push((counter, used));
        }
        let too_much = |measure: &Measure| reservation.amounts.of(*measure) > MOST_AMOUNT;
        if let Some(measure) = Measure::ALL.into_iter().find(too_much) {
            return Ok(Err(ReserveError::TooMuch { measure, wanted: reservation.amounts.of(measure) }));
        }
        let mut counters = Vec::with_capacity(found.len());
        for (claim, (counter, _)) in reservation.claims.iter().zip(&found) {
            // Nothing is taken from a counter that nothing is wanted of: one that holds nothing may leave.
            if claim.window == Window::Request || reservation.amounts.of(claim.measure) == 0 {
                continue;
            }
            let counter = match counter {
                Some(counter) => Some(*counter),
                // Claimed twice, it may be there by now.
                None => match self.counters.find(pen.connection, claim)? {
                    None => self.counters.create(pen, claim, reservation.at)?,
                    found => found,
                },
            };
            let Some(counter) = counter else { return Ok(Err(ReserveError::TooManyCounters)) };
            if !counters.contains(&counter) {
                counters.push(counter);
            }
        }
        self.enter(pen, reservation, account, counters)?;
        let taken = reservation.claims.iter().zip(&found).map(|(claim, (_, used))| {
            let before = used.all();
            (before, before.saturating_add(reservation.amounts.of(claim.measure)))
        });
        Ok(Ok(taken.collect()))
    }

    /// What is refused whatever the caps say.
    fn limits(&self, reservation: &Reservation) -> Option<ReserveError> {
        if self.open.get(reservation.id).is_some() {
            return Some(ReserveError::Known { id: reservation.id });
        }
        if self.open.len() >= MOST_OPEN {
            return Some(ReserveError::TooManyOpen);
        }
        if reservation.claims.len() > MOST_CLAIMS {
            return Some(ReserveError::TooManyClaims { claims: reservation.claims.len() });
        }
        None
    }

    fn enter(
        &mut self,
        pen: &mut Pen<'_>,
        reservation: &Reservation,
        account: &AccountName,
        counters: Vec<i64>,
    ) -> rusqlite::Result<()> {
        let account = self.accounts.number(pen, account)?;
        self.post(
            pen,
            &Entry {
                kind: Kind::Reserved,
                reservation: reservation.id,
                receipt: reservation.receipt,
                account,
                at: reservation.at,
                day: day_of(reservation.at),
                postings: Postings::new(Kind::Reserved, false, signed(reservation.amounts.money), 0),
                amounts: reservation.amounts,
                counters,
            },
        )?;
        self.requests.reserve(reservation);
        Ok(())
    }

    /// Closes a reservation, or changes nothing.
    pub(crate) fn close(
        &mut self,
        pen: &mut Pen<'_>,
        id: ReservationId,
        closing: Closing,
        at: Timestamp,
    ) -> rusqlite::Result<Closed> {
        let Some(open) = self.open.get(id) else { return Ok(Closed::Unknown) };
        let (kind, asked) = match closing {
            Closing::Settled(actual) => (Kind::Settled, actual),
            Closing::Released => (Kind::Released, Amounts::default()),
            Closing::InDoubt if open.doubted => return Ok(Closed::Done(Vec::new())),
            Closing::InDoubt => (Kind::Doubted, Amounts::default()),
        };
        let mut disputes = Vec::new();
        for measure in Measure::ALL {
            let (reserved, asked) = (open.amounts.of(measure), asked.of(measure));
            if asked > reserved {
                disputes.push(Dispute::Beyond { reservation: id, measure, reserved, asked });
            }
        }
        let entry = open.closing(id, kind, least(asked, open.amounts), at);
        self.post(pen, &entry)?;
        Ok(Closed::Done(disputes))
    }

    /// Releases a reservation of which nobody ever heard.
    pub(crate) fn forget(&mut self, pen: &mut Pen<'_>, id: ReservationId) -> rusqlite::Result<()> {
        let Some(open) = self.open.get(id) else { return Ok(()) };
        let entry = open.closing(id, Kind::Released, Amounts::default(), open.at);
        self.post(pen, &entry)
    }

    /// Turns reservations that have been in doubt since before a moment into charges, `most` at a time.
    pub(crate) fn expire(
        &mut self,
        pen: &mut Pen<'_>,
        before: Timestamp,
        at: Timestamp,
        most: usize,
    ) -> rusqlite::Result<Expired> {
        let mut expired = Expired::default();
        let old = self.open.doubted().filter(|(_, open)| open.at < before).take(most);
        let entries: Vec<Entry> =
            old.map(|(id, open)| open.closing(id, Kind::Charged, open.amounts, at)).collect();
        for entry in entries {
            self.post(pen, &entry)?;
            expired.add(&entry.amounts);
        }
        Ok(expired)
    }

    /// Puts everything that is open in doubt: of a process that has died.
    pub(crate) fn doubt_all(&mut self, pen: &mut Pen<'_>) -> rusqlite::Result<usize> {
        let entries: Vec<Entry> = self
            .open
            .undoubted()
            .map(|(id, open)| open.closing(id, Kind::Doubted, Amounts::default(), open.at))
            .collect();
        for entry in &entries {
            self.post(pen, entry)?;
        }
        Ok(entries.len())
    }

    /// The reservations in doubt, oldest first.
    pub(crate) fn doubts(&self, limit: usize) -> Vec<Doubt> {
        let mut doubts: Vec<Doubt> = self
            .open
            .doubted()
            .map(|(id, open)| Doubt {
                id,
                receipt: open.receipt,
                target: self.accounts.target(open.account),
                amounts: open.amounts,
                since: open.at,
            })
            .collect();
        doubts.sort_unstable_by_key(|doubt| (doubt.since, doubt.id));
        doubts.truncate(limit);
        doubts
    }

    /// Counts a receipt to its account, and gives the account's number. Its request takes nothing from caps any more.
    pub(crate) fn count(
        &mut self,
        pen: &mut Pen<'_>,
        receipt: &Receipt,
        account: &AccountName,
    ) -> rusqlite::Result<i64> {
        let account = self.accounts.number(pen, account)?;
        self.sums.count(account, receipt.at, receipt.answered_by.as_ref().map(|by| by.tier), &receipt.usage);
        self.requests.end(receipt.id);
        Ok(account)
    }

    /// Counts the receipts after row `folded` again.
    pub(crate) fn count_again(&mut self, connection: &Connection, folded: i64) -> rusqlite::Result<()> {
        self.sums.count_again(connection, folded)
    }

    /// Adds a row to the ledger and does what it says.
    fn post(&mut self, pen: &mut Pen<'_>, entry: &Entry) -> rusqlite::Result<()> {
        self.last += 1;
        ledger::append(pen, self.last, entry)?;
        if entry.kind == Kind::Reserved {
            self.now = entry.at;
        }
        self.apply(entry)
    }

    /// Does what a row of the ledger says.
    fn apply(&mut self, entry: &Entry) -> rusqlite::Result<()> {
        if entry.kind == Kind::Reserved {
            for counter in &entry.counters {
                self.counters.change(*counter, |measure, used| used.reserve(entry.amounts.of(measure)))?;
            }
            self.open.insert(entry.reservation, Open::of(entry));
            return Ok(());
        }
        let nothing = || unreadable("reservation", format!("`{}` is not open", entry.reservation));
        let open = if entry.kind == Kind::Doubted {
            self.open.doubt(entry.reservation).ok_or_else(nothing)?
        } else {
            self.open.remove(entry.reservation).ok_or_else(nothing)?
        };
        let change = |measure, used: &mut Used| {
            let held = open.amounts.of(measure);
            if entry.kind == Kind::Doubted {
                used.doubt(held)
            } else {
                used.close(open.doubted, held, entry.amounts.of(measure))
            }
        };
        for counter in &open.counters {
            self.counters.change(*counter, change)?;
        }
        self.requests.post(entry);
        self.sums.post(entry);
        Ok(())
    }

    /// The last row of the ledger.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    /// What has changed since the last call, for the tables that follow from the ledger.
    pub(crate) fn take_changes(&mut self) -> Changes {
        Changes {
            counters: self.counters.take_changes(self.now),
            open: self.open.take_changes(),
            sums: self.sums.take_changes(),
        }
    }

    /// All changes that were taken are in the tables.
    pub(crate) fn folded(&mut self) {
        self.counters.folded();
    }

    /// Lets callers see the counters as they are; to be called after the commit.
    pub(crate) fn publish(&mut self, mirror: &Mirror) {
        self.counters.publish(mirror);
    }
}

/// What has changed in the tables that follow from the ledger.
#[derive(Debug)]
pub(crate) struct Changes {
    counters: CounterChanges,
    open: OpenChanges,
    sums: SumChanges,
}

impl Changes {
    /// Brings the tables up to date. Changes that were taken earlier must be in them.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.counters.write(connection)?;
        open::write_changes(connection, &self.open)?;
        sums::write_changes(connection, &self.sums)
    }
}

/// The lesser of each measure.
fn least(a: Amounts, b: Amounts) -> Amounts {
    Amounts {
        money: a.money.min(b.money),
        tokens: a.tokens.min(b.tokens),
        calls: a.calls.min(b.calls),
        bytes_out: a.bytes_out.min(b.bytes_out),
    }
}

#[cfg(test)]
mod tests;
