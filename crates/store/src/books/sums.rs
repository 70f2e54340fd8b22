//! What each account used on each day: the table that reports are made of. It outlives the receipts.

use std::collections::HashMap;

use inshore_domain::{Tier, Timestamp, Usage};
use rusqlite::{Connection, OptionalExtension, params};

use super::ledger::{Entry, day_of};
use crate::rows;

/// Columns of a row of the table, but for day and account.
const COLUMNS: usize = 9;

/// One row, or what is to be added to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    pub(crate) requests: i64,
    pub(crate) prompt: i64,
    pub(crate) cached: i64,
    pub(crate) output: i64,
    pub(crate) device_prompt: i64,
    pub(crate) device_cached: i64,
    pub(crate) device_output: i64,
    pub(crate) settled: i64,
    pub(crate) in_doubt: i64,
}

impl Sum {
    fn columns(&mut self) -> [&mut i64; COLUMNS] {
        [
            &mut self.requests,
            &mut self.prompt,
            &mut self.cached,
            &mut self.output,
            &mut self.device_prompt,
            &mut self.device_cached,
            &mut self.device_output,
            &mut self.settled,
            &mut self.in_doubt,
        ]
    }

    /// Adds to each column; what leaves 64 bits stays at their end.
    pub(crate) fn add(&mut self, mut other: Sum) {
        for (to, from) in self.columns().into_iter().zip(other.columns()) {
            *to = to.saturating_add(*from);
        }
    }
}

/// What is to be added to the table, by day and account.
pub(crate) type SumChanges = Vec<((i64, i64), Sum)>;

/// What is to be added to the table.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    new: HashMap<(i64, i64), Sum>,
}

impl Sums {
    fn at(&mut self, day: i64, account: i64) -> &mut Sum {
        self.new.entry((day, account)).or_default()
    }

    /// Counts a receipt.
    pub(crate) fn count(&mut self, account: i64, at: Timestamp, tier: Option<Tier>, usage: &Usage) {
        let tokens = [usage.prompt_tokens, usage.cached_tokens, usage.output_tokens].map(i64::from);
        let [prompt, cached, output] = tokens;
        let [device_prompt, device_cached, device_output] =
            if tier == Some(Tier::Device) { tokens } else { [0; 3] };
        self.at(day_of(at), account).add(Sum {
            requests: 1,
            prompt,
            cached,
            output,
            device_prompt,
            device_cached,
            device_output,
            ..Sum::default()
        });
    }

    /// Counts the receipts after row `folded`.
    pub(crate) fn count_again(&mut self, connection: &Connection, folded: i64) -> rusqlite::Result<()> {
        rows::counted(connection, folded, |account, at, tier, usage| self.count(account, at, tier, usage))
    }

    /// Does what a row of the ledger says.
    pub(crate) fn post(&mut self, entry: &Entry) {
        let (settled, in_doubt) = (entry.postings.spent, entry.postings.in_doubt);
        if settled != 0 || in_doubt != 0 {
            self.at(entry.day, entry.account).add(Sum { settled, in_doubt, ..Sum::default() });
        }
    }

    /// What is to be added to the table since the last call.
    pub(crate) fn take_changes(&mut self) -> SumChanges {
        self.new.drain().collect()
    }
}

/// Adds everything to the table.
pub(crate) fn write_changes(connection: &Connection, changes: &SumChanges) -> rusqlite::Result<()> {
    for ((day, account), new) in changes {
        let mut sum = get(connection, *day, *account)?;
        sum.add(*new);
        put(connection, *day, *account, &sum)?;
    }
    Ok(())
}

fn get(connection: &Connection, day: i64, account: i64) -> rusqlite::Result<Sum> {
    let sql = "SELECT requests, prompt, cached, output, device_prompt, device_cached, device_output, settled, in_doubt \
        FROM sums WHERE day = ?1 AND account = ?2";
    let found = connection.prepare_cached(sql)?.query_row([day, account], |row| {
        let mut sum = Sum::default();
        for (place, column) in sum.columns().into_iter().enumerate() {
            *column = row.get(place)?;
        }
        Ok(sum)
    });
    found.optional().map(Option::unwrap_or_default)
}

fn put(connection: &Connection, day: i64, account: i64, sum: &Sum) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO sums (day, account, requests, prompt, cached, output, device_prompt, device_cached, \
        device_output, settled, in_doubt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    connection.prepare_cached(sql)?.execute(params![
        day,
        account,
        sum.requests,
        sum.prompt,
        sum.cached,
        sum.output,
        sum.device_prompt,
        sum.device_cached,
        sum.device_output,
        sum.settled,
        sum.in_doubt,
    ])?;
    Ok(())
}
