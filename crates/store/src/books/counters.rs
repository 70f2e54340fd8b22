//! How much of each cap is used, window by window.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inshore_domain::{Claim, Currency, Measure, Timestamp, Window};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::ledger::{amount, signed};
use super::mirror::Mirror;
use super::names::CounterParts;
use crate::rows::{unreadable, word_of};
use crate::written::{Pen, Written};

/// Most counters whose window is not over. A cap that counts each user or feature by itself has as many as there are names;
/// at about 200 bytes each these are 13 MiB, and beyond them a new name is refused.
const MOST: usize = 65_536;
/// Rows of windows that are over, for a clock that was set back: the newest ones stay. A few hundred KiB, and more than a
/// year of a daily and a monthly cap for ten users.
const KEPT: i64 = 4096;

/// What is used of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Used {
    pub(crate) settled: u64,
    pub(crate) reserved: u64,
    pub(crate) in_doubt: u64,
}

impl Used {
    /// What is set aside.
    pub(crate) fn held(&self) -> u64 {
        self.reserved.saturating_add(self.in_doubt)
    }

    /// All of it.
    pub(crate) fn all(&self) -> u64 {
        self.held().saturating_add(self.settled)
    }

    /// Takes `held` from what is reserved or in doubt, and settles `used` of it. `None`: there is not so much.
    pub(crate) fn close(&mut self, doubted: bool, held: u64, used: u64) -> Option<()> {
        let from = if doubted { &mut self.in_doubt } else { &mut self.reserved };
        *from = from.checked_sub(held)?;
        self.settled = self.settled.checked_add(used)?;
        Some(())
    }

    /// Sets aside.
    pub(crate) fn reserve(&mut self, wanted: u64) -> Option<()> {
        self.reserved = self.reserved.checked_add(wanted)?;
        Some(())
    }

    /// Moves from reserved to in doubt.
    pub(crate) fn doubt(&mut self, held: u64) -> Option<()> {
        self.reserved = self.reserved.checked_sub(held)?;
        self.in_doubt = self.in_doubt.checked_add(held)?;
        Some(())
    }
}

#[derive(Debug)]
struct Counter {
    key: Box<[u8]>,
    measure: Measure,
    ends: Timestamp,
    used: Used,
    /// What [`Mirror`] shows of it.
    shown: Arc<AtomicU64>,
    /// Changed since the last fold was made.
    unwritten: bool,
    /// Its row is about to be changed by a fold that is not committed yet.
    folding: bool,
}

/// A counter that nothing was taken from yet, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CounterRow<'r> {
    counter: i64,
    cap: &'r str,
    subject: &'r str,
    measure: &'r str,
    window: &'r str,
    currency: &'r str,
    since: i64,
    ends: i64,
}

impl<'r> CounterRow<'r> {
    fn of(counter: i64, parts: &'r CounterParts<'r>) -> Self {
        Self {
            counter,
            cap: parts.cap,
            subject: parts.subject,
            measure: parts.measure.as_str(),
            window: parts.window.as_str(),
            currency: parts.currency.as_ref().map_or("", Currency::code),
            since: signed(parts.since),
            ends: signed(parts.ends().unix_millis()),
        }
    }

    /// Adds it to the table.
    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.put(connection, Used::default())
    }

    /// Adds it to the table, or changes what is used of it there.
    fn put(&self, connection: &Connection, used: Used) -> rusqlite::Result<()> {
        let sql = "INSERT INTO counters (counter, cap, subject, measure, window, currency, since, ends, settled, reserved, \
                in_doubt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
            ON CONFLICT (counter) DO UPDATE SET settled = ?9, reserved = ?10, in_doubt = ?11";
        connection.prepare_cached(sql)?.execute(params![
            self.counter,
            self.cap,
            self.subject,
            self.measure,
            self.window,
            self.currency,
            self.since,
            self.ends,
            signed(used.settled),
            signed(used.reserved),
            signed(used.in_doubt),
        ])?;
        Ok(())
    }
}

/// What has changed of counters, for their table.
#[derive(Debug)]
pub(crate) struct CounterChanges {
    /// With the whole key: a row may have been removed as one of an old window while its counter was asked for again.
    all: Vec<(i64, Box<[u8]>, Used)>,
    /// Rows of windows that were over at this time may leave.
    old: Option<Timestamp>,
}

impl CounterChanges {
    /// Brings the table up to date.
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (number, key, used) in &self.all {
            let parts = CounterParts::unpack(key).ok_or_else(|| missing(*number))?;
            CounterRow::of(*number, &parts).put(connection, *used)?;
        }
        let Some(old) = self.old else { return Ok(()) };
        let sql = "DELETE FROM counters WHERE counter <= (SELECT max(counter) FROM counters) - ?1 AND ends <= ?2 \
            AND reserved = 0 AND in_doubt = 0";
        connection.prepare_cached(sql)?.execute([KEPT, signed(old.unix_millis())])?;
        Ok(())
    }
}

/// The counters whose window is not over, and those that something is still set aside in.
#[derive(Debug)]
pub(crate) struct Counters {
    currency: Currency,
    all: HashMap<i64, Counter>,
    numbers: HashMap<Box<[u8]>, i64>,
    buffer: Vec<u8>,
    unwritten: Vec<i64>,
    /// In folds that are not committed yet.
    folding: Vec<i64>,
    /// The greatest number there is.
    last: i64,
    /// Changed since the mirror saw them; some may have left.
    touched: Vec<i64>,
    gone: Vec<Box<[u8]>>,
    /// A row was added since old ones were removed.
    grown: bool,
    /// When a fold that removes old rows is committed, the counters of windows that were over at this time may leave.
    leaving: Option<Timestamp>,
    /// When the next window is over; before that there is nothing to let go of.
    next_end: Timestamp,
    /// Windows that ended by then may have rows and not be in memory; all others are.
    let_go: Timestamp,
    most: usize,
}

const COLUMNS: &str = "counter, cap, subject, measure, window, currency, since, settled, reserved, in_doubt";

impl Counters {
    /// Reads those whose window ends after `now` and those that hold something.
    pub(crate) fn load(
        connection: &Connection,
        currency: Currency,
        now: Timestamp,
    ) -> rusqlite::Result<Self> {
        let mut counters = Self {
            currency,
            all: HashMap::new(),
            numbers: HashMap::new(),
            buffer: Vec::new(),
            unwritten: Vec::new(),
            folding: Vec::new(),
            last: connection
                .query_row("SELECT coalesce(max(counter), 0) FROM counters", [], |row| row.get(0))?,
            touched: Vec::new(),
            gone: Vec::new(),
            grown: false,
            leaving: None,
            next_end: now,
            let_go: now,
            most: MOST,
        };
        let sql = format!("SELECT {COLUMNS} FROM counters WHERE ends > ?1 OR reserved > 0 OR in_doubt > 0");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([signed(now.unix_millis())])?;
        while let Some(row) = rows.next()? {
            counters.take(row)?;
        }
        Ok(counters)
    }

    /// Takes a row into memory.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<i64> {
        let number: i64 = row.get("counter")?;
        let measure = word_of(row, "measure", &Measure::ALL, |measure| measure.as_str())?;
        let parts = CounterParts {
            cap: row.get_ref("cap")?.as_str()?,
            subject: row.get_ref("subject")?.as_str()?,
            measure,
            window: word_of(row, "window", &Window::ALL, |window| window.as_str())?,
            since: amount(row, "since")?,
            currency: Currency::new(row.get_ref("currency")?.as_str()?),
        };
        let used = Used {
            settled: amount(row, "settled")?,
            reserved: amount(row, "reserved")?,
            in_doubt: amount(row, "in_doubt")?,
        };
        self.enter(number, &parts, used);
        Ok(number)
    }

    fn enter(&mut self, number: i64, parts: &CounterParts<'_>, used: Used) {
        parts.pack_into(&mut self.buffer);
        let key: Box<[u8]> = self.buffer.as_slice().into();
        self.numbers.insert(key.clone(), number);
        self.touched.push(number);
        let shown = Arc::new(AtomicU64::new(used.all()));
        let (measure, ends) = (parts.measure, parts.ends());
        self.all
            .insert(number, Counter { key, measure, ends, used, shown, unwritten: false, folding: false });
    }

    /// The number of the counter that a claim names; `None` where nothing was ever counted.
    pub(crate) fn find(&mut self, connection: &Connection, claim: &Claim) -> rusqlite::Result<Option<i64>> {
        let parts = CounterParts::of(claim, self.currency);
        parts.pack_into(&mut self.buffer);
        if let Some(number) = self.numbers.get(self.buffer.as_slice()) {
            return Ok(Some(*number));
        }
        if parts.ends() > self.let_go {
            return Ok(None);
        }
        // Of a window that is over, after the clock was set back; or there is none.
        let sql = "SELECT counter, cap, subject, measure, window, currency, since, settled, reserved, in_doubt \
            FROM counters WHERE cap = ?1 AND subject = ?2 AND measure = ?3 AND window = ?4 AND currency = ?5 AND since = ?6";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![
            parts.cap,
            parts.subject,
            parts.measure.as_str(),
            parts.window.as_str(),
            parts.currency.as_ref().map_or("", Currency::code),
            signed(parts.since),
        ])?;
        rows.next()?.map(|row| self.take(row)).transpose()
    }

    /// Makes the counter that a claim names, and gives its number; `None` when there are too many.
    pub(crate) fn create(
        &mut self,
        pen: &mut Pen<'_>,
        claim: &Claim,
        now: Timestamp,
    ) -> rusqlite::Result<Option<i64>> {
        if self.all.len() >= self.most && now >= self.next_end {
            self.let_go(now);
        }
        if self.all.len() >= self.most {
            return Ok(None);
        }
        let parts = CounterParts::of(claim, self.currency);
        self.last += 1;
        let number = self.last;
        pen.write(&Written::Counter(CounterRow::of(number, &parts)))?;
        self.enter(number, &parts, Used::default());
        // Not let go of before its row is in the table, where it would be looked for.
        self.mark(number);
        self.grown = true;
        Ok(Some(number))
    }

    /// Its row is to be written.
    fn mark(&mut self, number: i64) {
        if let Some(counter) = self.all.get_mut(&number)
            && !std::mem::replace(&mut counter.unwritten, true)
        {
            self.unwritten.push(number);
        }
    }

    /// Makes sure that a counter is in memory.
    pub(crate) fn fetch(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        if self.all.contains_key(&number) {
            return Ok(());
        }
        let sql = format!("SELECT {COLUMNS} FROM counters WHERE counter = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([number])?;
        let row = rows.next()?.ok_or_else(|| missing(number))?;
        self.take(row).map(|_| ())
    }

    /// What is used of a counter.
    pub(crate) fn used(&self, number: i64) -> Used {
        self.all.get(&number).map(|counter| counter.used).unwrap_or_default()
    }

    /// Changes a counter. `change` gets its measure, and says `None` where that would take more than there is.
    pub(crate) fn change(
        &mut self,
        number: i64,
        change: impl FnOnce(Measure, &mut Used) -> Option<()>,
    ) -> rusqlite::Result<()> {
        let counter = self.all.get_mut(&number).ok_or_else(|| missing(number))?;
        change(counter.measure, &mut counter.used).ok_or_else(|| {
            unreadable("counters", format!("counter {number} does not hold what is taken from it"))
        })?;
        self.touched.push(number);
        self.mark(number);
        Ok(())
    }

    /// What has changed since the last call, for the table. `now` is when the last reservation was made.
    pub(crate) fn take_changes(&mut self, now: Timestamp) -> CounterChanges {
        let mut all = Vec::with_capacity(self.unwritten.len());
        for number in self.unwritten.drain(..) {
            if let Some(counter) = self.all.get_mut(&number) {
                (counter.unwritten, counter.folding) = (false, true);
                self.folding.push(number);
                all.push((number, counter.key.clone(), counter.used));
            }
        }
        let old = std::mem::take(&mut self.grown).then_some(now);
        self.leaving = old.or(self.leaving);
        CounterChanges { all, old }
    }

    /// All changes that were taken are in the table.
    pub(crate) fn folded(&mut self) {
        for number in self.folding.drain(..) {
            if let Some(counter) = self.all.get_mut(&number) {
                counter.folding = false;
            }
        }
        if let Some(now) = self.leaving.take() {
            self.let_go(now);
        }
    }

    /// Forgets the counters of windows that are over, but for those that hold something and those whose row is behind.
    fn let_go(&mut self, now: Timestamp) {
        let (numbers, gone) = (&mut self.numbers, &mut self.gone);
        let mut next_end = Timestamp::from_unix_millis(u64::MAX);
        self.all.retain(|_, counter| {
            let over = counter.ends <= now;
            let stays = !over || counter.used.held() > 0 || counter.unwritten || counter.folding;
            if !stays {
                numbers.remove(&counter.key);
                gone.push(counter.key.clone());
            } else if !over {
                next_end = next_end.min(counter.ends);
            }
            stays
        });
        self.next_end = next_end;
        self.let_go = self.let_go.max(now);
    }

    /// Shows what has changed since the last call; to be called after the commit.
    pub(crate) fn publish(&mut self, mirror: &Mirror) {
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            mirror.remove(&gone);
        }
        for number in self.touched.drain(..) {
            let Some(counter) = self.all.get(&number) else { continue };
            counter.shown.store(counter.used.all(), Ordering::Relaxed);
            // Two: the map of the mirror has the other.
            if Arc::strong_count(&counter.shown) < 2 {
                mirror.insert(counter.key.clone(), Arc::clone(&counter.shown));
            }
        }
    }
}

fn missing(number: i64) -> rusqlite::Error {
    unreadable("counters", format!("there is no counter {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::written::write_down;

    fn memory() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, std::path::Path::new("memory")).unwrap();
        connection
    }

    #[test]
    fn names_beyond_the_limit_wait_for_the_next_window() {
        let (connection, time) = (memory(), Timestamp::from_unix_millis);
        let mut counters = Counters::load(&connection, Currency::USD, time(0)).unwrap();
        counters.most = 2;
        const HOUR: u64 = 3_600_000;
        let claim = |subject: &str, since| Claim {
            cap: "hourly".into(),
            subject: subject.into(),
            measure: Measure::Calls,
            window: Window::Hour,
            since: time(since),
            renews: Some(time(since + HOUR)),
            limit: 5,
            warn_at: None,
        };
        let create = |counters: &mut Counters, subject, at| {
            write_down(&connection, |pen| counters.create(pen, &claim(subject, at), time(at))).unwrap()
        };
        let ann = create(&mut counters, "ann", 0).unwrap();
        assert!(create(&mut counters, "bob", 0).is_some());
        assert_eq!(create(&mut counters, "cid", 0), None);
        counters.take_changes(time(0)).write(&connection).unwrap();
        counters.folded();
        // Of two windows that are over, one still holds something.
        counters.change(ann, |_, used| used.reserve(1)).unwrap();
        assert!(create(&mut counters, "cid", HOUR).is_some());
        assert_eq!(create(&mut counters, "ann", HOUR), None);
        assert_eq!(counters.used(ann).reserved, 1);
        // And what was let go of is found when it is asked for.
        assert!(counters.find(&connection, &claim("bob", 0)).unwrap().is_some());
    }
}
