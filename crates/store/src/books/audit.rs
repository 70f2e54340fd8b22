//! Whether the books agree: every row of the ledger is read and done again, apart from the code that did it first, and what
//! comes out is held against the tables. The ids of receipts, the other table that follows from rows, are checked too.

use std::collections::{BTreeMap, HashMap, HashSet};

use inshore_domain::{Amounts, Currency, Measure, Money, ReservationId, TargetId};
use rusqlite::{Connection, OptionalExtension};

use super::ledger::{self, Entry, Kind};
use super::open;
use super::words::Balance;
use crate::rows::{unreadable, word_of};

/// What the ledger says about a reservation that it does not say is closed.
struct Held {
    amounts: Amounts,
    counters: Vec<i64>,
    doubted: bool,
    account: i64,
}

/// What a counter holds of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Parts {
    settled: i128,
    reserved: i128,
    in_doubt: i128,
}

/// What comes out of the ledger.
#[derive(Default)]
struct Recount {
    held: HashMap<ReservationId, Held>,
    /// In the order of [`Measure::ALL`]; which of the four it counts, a counter's row says.
    counters: HashMap<i64, [Parts; 4]>,
    /// Spent and in doubt, by day and account.
    days: HashMap<(i64, i64), (i128, i128)>,
    /// Available, reserved, in doubt and spent.
    accounts: HashMap<i64, [i128; 4]>,
}

/// The first thing that does not agree; `None` when all does. Takes about a second for a million rows of the ledger.
pub(crate) fn audit(connection: &Connection) -> rusqlite::Result<Option<String>> {
    // One snapshot for all of it; it ends when the guard is dropped.
    let snapshot = connection.unchecked_transaction()?;
    let (recount, found) = recount(&snapshot)?;
    if found.is_some() {
        return Ok(found);
    }
    let checks = [counters, reservations, days, accounts, receipts];
    for check in checks {
        if let Some(found) = check(&snapshot, &recount)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The money of each target in each currency, by name.
pub(crate) fn balances(connection: &Connection) -> rusqlite::Result<Vec<Balance>> {
    let snapshot = connection.unchecked_transaction()?;
    let (recount, _) = recount(&snapshot)?;
    let mut statement = snapshot.prepare("SELECT account, target, currency FROM accounts")?;
    let mut rows = statement.query([])?;
    let mut sums: BTreeMap<(TargetId, Currency), [i128; 4]> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let account: i64 = row.get(0)?;
        let currency = Currency::new(row.get_ref(2)?.as_str()?)
            .ok_or_else(|| unreadable("currency", "it is no currency"))?;
        if let Some(balance) = recount.accounts.get(&account) {
            let sum = sums.entry((TargetId(row.get(1)?), currency)).or_default();
            sum.iter_mut().zip(balance).for_each(|(to, from)| *to += from);
        }
    }
    let balance =
        |((target, currency), [_, reserved, in_doubt, spent]): ((TargetId, Currency), [i128; 4])| {
            let money = |micros: i128| Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency };
            Balance { target, reserved: money(reserved), in_doubt: money(in_doubt), spent: money(spent) }
        };
    Ok(sums.into_iter().map(balance).collect())
}

/// Does again what the rows say up to the one that the tables know of.
fn recount(connection: &Connection) -> rusqlite::Result<(Recount, Option<String>)> {
    let folded: i64 = connection.query_row("SELECT ledger FROM folded", [], |row| row.get(0))?;
    let (mut recount, mut found, mut before) = (Recount::default(), None, 0);
    ledger::read(connection, 0, folded, |seq, entry| {
        if found.is_none() {
            let gap = (seq != before + 1).then(|| format!("row {} of the ledger is missing", before + 1));
            found = gap.or_else(|| recount.post(seq, &entry));
            before = seq;
        }
        Ok(())
    })?;
    if found.is_none() && before != folded {
        found = Some(format!("row {} of the ledger is missing", before + 1));
    }
    Ok((recount, found))
}

impl Recount {
    fn post(&mut self, seq: i64, entry: &Entry) -> Option<String> {
        let postings = entry.postings.all().map(i128::from);
        if postings.iter().sum::<i128>() != 0 {
            return Some(format!("row {seq} of the ledger does not balance"));
        }
        let account = self.accounts.entry(entry.account).or_default();
        account.iter_mut().zip(postings).for_each(|(to, posting)| *to += posting);
        let day = self.days.entry((entry.day, entry.account)).or_default();
        *day = (day.0 + i128::from(entry.postings.spent), day.1 + i128::from(entry.postings.in_doubt));
        if entry.kind == Kind::Reserved {
            return self.reserve(seq, entry);
        }
        let Some(mut held) = self.held.remove(&entry.reservation) else {
            return Some(format!(
                "row {seq} of the ledger closes `{}`, which is not open",
                entry.reservation
            ));
        };
        let was_doubted = std::mem::replace(&mut held.doubted, true);
        let money = |part: bool| if part { i128::from(held.amounts.money) } else { 0 };
        let doubted = entry.kind == Kind::Doubted;
        let expected = [
            money(true) - money(doubted) - i128::from(entry.amounts.money),
            -money(!was_doubted),
            money(doubted) - money(was_doubted),
            i128::from(entry.amounts.money),
        ];
        if expected != postings || held.account != entry.account || was_doubted && doubted {
            return Some(format!(
                "row {seq} of the ledger does not fit the reservation `{}`",
                entry.reservation
            ));
        }
        if Measure::ALL.into_iter().any(|measure| entry.amounts.of(measure) > held.amounts.of(measure)) {
            return Some(format!("row {seq} of the ledger settles more than was reserved"));
        }
        for counter in &held.counters {
            let parts = self.counters.entry(*counter).or_default();
            for (measure, parts) in Measure::ALL.into_iter().zip(parts) {
                let worst = i128::from(held.amounts.of(measure));
                *(if was_doubted { &mut parts.in_doubt } else { &mut parts.reserved }) -= worst;
                parts.in_doubt += if doubted { worst } else { 0 };
                parts.settled += i128::from(entry.amounts.of(measure));
            }
        }
        if doubted {
            self.held.insert(entry.reservation, held);
        }
        None
    }

    fn reserve(&mut self, seq: i64, entry: &Entry) -> Option<String> {
        let worst = i128::from(entry.amounts.money);
        if entry.postings.all().map(i128::from) != [-worst, worst, 0, 0] {
            return Some(format!("row {seq} of the ledger reserves something else than it says"));
        }
        for counter in &entry.counters {
            let parts = self.counters.entry(*counter).or_default();
            for (measure, parts) in Measure::ALL.into_iter().zip(parts) {
                parts.reserved += i128::from(entry.amounts.of(measure));
            }
        }
        let held = Held {
            amounts: entry.amounts,
            counters: entry.counters.clone(),
            doubted: false,
            account: entry.account,
        };
        let before = self.held.insert(entry.reservation, held);
        before.map(|_| format!("row {seq} of the ledger reserves `{}` again", entry.reservation))
    }
}

/// Rows of windows that are over may have been removed, but none that holds something.
fn counters(connection: &Connection, recount: &Recount) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT counter, cap, subject, measure, settled, reserved, in_doubt FROM counters";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut unseen: HashSet<i64> =
        recount.held.values().flat_map(|held| held.counters.iter().copied()).collect();
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        unseen.remove(&number);
        let measure = word_of(row, "measure", &Measure::ALL, |measure| measure.as_str())?;
        let column = |place| row.get::<_, i64>(place).map(i128::from);
        let stored = Parts { settled: column(4)?, reserved: column(5)?, in_doubt: column(6)? };
        let parts = recount.counters.get(&number).copied().unwrap_or_default();
        let counted = Measure::ALL.into_iter().zip(parts).find(|(of, _)| *of == measure);
        let counted = counted.map(|(_, parts)| parts).unwrap_or_default();
        if stored != counted {
            let (cap, subject): (String, String) = (row.get(1)?, row.get(2)?);
            return Ok(Some(format!(
                "counter {number} (cap `{cap}`, subject `{subject}`) has {stored:?}, and the ledger {counted:?}"
            )));
        }
    }
    Ok(unseen
        .iter()
        .min()
        .map(|number| format!("there is no counter {number}, and a reservation holds of it")))
}

fn reservations(connection: &Connection, recount: &Recount) -> rusqlite::Result<Option<String>> {
    let (mut rows, mut found) = (0, None);
    open::read(connection, |id, open| {
        rows += 1;
        let fits = recount.held.get(&id).is_some_and(|held| {
            held.amounts == open.amounts
                && held.counters == open.counters
                && held.doubted == open.doubted
                && held.account == open.account
        });
        if !fits && found.is_none() {
            found = Some(format!("the reservation `{id}` is not as the ledger has it"));
        }
        Ok(())
    })?;
    let missing = recount.held.len() != rows;
    Ok(found.or_else(|| {
        missing.then(|| format!("{rows} reservations are open, and {} in the ledger", recount.held.len()))
    }))
}

fn days(connection: &Connection, recount: &Recount) -> rusqlite::Result<Option<String>> {
    let mut left = recount.days.clone();
    left.retain(|_, sums| *sums != (0, 0));
    let mut statement = connection.prepare("SELECT day, account, settled, in_doubt FROM sums")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key: (i64, i64) = (row.get(0)?, row.get(1)?);
        let stored = (row.get::<_, i64>(2)?, row.get::<_, i64>(3)?);
        let counted = left.remove(&key).unwrap_or_default();
        let held = |amount: i128| i64::try_from(amount).unwrap_or(i64::MAX);
        if stored != (held(counted.0), held(counted.1)) {
            let (day, account) = key;
            return Ok(Some(format!(
                "day {day} of account {account} has spent and in doubt {stored:?}, and the ledger {counted:?}"
            )));
        }
    }
    let missing = left.keys().min();
    Ok(missing.map(|(day, account)| format!("day {day} of account {account} is in the ledger only")))
}

fn accounts(connection: &Connection, recount: &Recount) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare("SELECT 1 FROM accounts WHERE account = ?1")?;
    for account in recount.accounts.keys() {
        if !statement.exists([account])? {
            return Ok(Some(format!("account {account} has postings and no name")));
        }
    }
    Ok(None)
}

/// Every receipt that was folded is where `receipt_ids` says, and nothing else is in it.
fn receipts(connection: &Connection, _: &Recount) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT seq FROM receipts WHERE seq <= (SELECT receipts FROM folded) AND seq IS NOT \
        (SELECT seq FROM receipt_ids WHERE receipt_ids.id = receipts.id) LIMIT 1";
    let lost: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    if let Some(seq) = lost {
        return Ok(Some(format!("row {seq} of the receipts cannot be found by its id")));
    }
    let sql = "SELECT (SELECT count(*) FROM receipts WHERE seq <= (SELECT receipts FROM folded)), \
        (SELECT count(*) FROM receipt_ids)";
    let (rows, ids): (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((rows != ids).then(|| format!("there are {rows} receipts and {ids} ids of receipts")))
}
