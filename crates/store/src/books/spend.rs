//! What was spent and used, summed up.

use std::collections::BTreeMap;

use inshore_domain::{Currency, Money, TargetId, Timestamp};
use rusqlite::{Connection, Row};

use super::ledger::{DAY, day_of};
use crate::rows::unreadable;

/// Most rows of one answer: they are held in memory at once. As many as accounts in one currency.
const MOST_ROWS: usize = 16_384;

/// By what a report is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpendBy {
    /// The app's name for what a request was for.
    Feature,
    /// Where the work was done.
    Target,
    /// The end user.
    User,
    /// The app.
    App,
    /// The day, of UTC.
    Day,
    /// The organisation.
    Organisation,
}

/// What a report is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpendQuery {
    /// From this moment on. Days are counted as a whole: the day in which it lies belongs to the report.
    pub from: Timestamp,
    /// Up to this moment, which itself is not part of the report; the day in which the last moment before it lies is.
    pub to: Timestamp,
    /// By what.
    pub by: SpendBy,
}

/// What a row of a report is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpendKey {
    /// A feature, user, app or organisation by its name; `None` for those without one. Of names longer than 128 bytes the
    /// beginning.
    Name(Option<String>),
    /// A target; `None` where nothing answered.
    Target(Option<TargetId>),
    /// A day, by its first moment.
    Day(Timestamp),
}

/// Tokens used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenSums {
    /// Prompt tokens, those from a cache included.
    pub prompt: u64,
    /// Prompt tokens whose computation was re-used.
    pub cached: u64,
    /// Tokens of answers.
    pub output: u64,
}

/// A row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendRow {
    /// What it is about.
    pub key: SpendKey,
    /// Requests that were settled.
    pub requests: u64,
    /// Their tokens.
    pub tokens: TokenSums,
    /// Those of them that were used on the device, to tell what they would have cost elsewhere.
    pub device: TokenSums,
    /// What calls have cost, by the day on which they were reserved. A sum beyond 64 bits stays at their end.
    pub settled: Money,
    /// What calls may have cost of which nobody knows.
    pub in_doubt: Money,
}

/// Sums up, dearest first. There is a row for each currency that was ever the installation's.
pub(crate) fn spend(connection: &Connection, query: &SpendQuery) -> rusqlite::Result<Vec<SpendRow>> {
    let Some(last) = query.to.unix_millis().checked_sub(1) else { return Ok(Vec::new()) };
    let column = match query.by {
        SpendBy::Feature => "feature",
        SpendBy::Target => "target",
        SpendBy::User => "user",
        SpendBy::App => "app",
        SpendBy::Organisation => "organisation",
        SpendBy::Day => "day",
    };
    let sql = format!(
        "SELECT {column} AS about, currency, requests, prompt, cached, output, device_prompt, device_cached, device_output, \
            settled, in_doubt FROM sums JOIN accounts USING (account) WHERE day >= ?1 AND day <= ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([day_of(query.from), day_of(Timestamp::from_unix_millis(last))])?;
    let mut sums: BTreeMap<(SpendKey, Currency), SpendRow> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let key = key(row, query.by)?;
        let currency = Currency::new(row.get_ref("currency")?.as_str()?)
            .ok_or_else(|| unreadable("currency", "it is no currency"))?;
        let nothing = Money { micros: 0, currency };
        let sum = sums.entry((key.clone(), currency)).or_insert_with(|| SpendRow {
            key,
            requests: 0,
            tokens: TokenSums::default(),
            device: TokenSums::default(),
            settled: nothing,
            in_doubt: nothing,
        });
        add(sum, row)?;
    }
    let mut rows: Vec<SpendRow> = sums.into_values().collect();
    if query.by != SpendBy::Day {
        let amount = |row: &SpendRow| (row.settled.micros, row.in_doubt.micros, row.requests);
        rows.sort_by_key(|row| std::cmp::Reverse(amount(row)));
    }
    rows.truncate(MOST_ROWS);
    Ok(rows)
}

fn key(row: &Row<'_>, by: SpendBy) -> rusqlite::Result<SpendKey> {
    Ok(match by {
        SpendBy::Day => {
            let day: i64 = row.get("about")?;
            SpendKey::Day(Timestamp::from_unix_millis(day.unsigned_abs().saturating_mul(DAY)))
        }
        SpendBy::Target => {
            let target: String = row.get("about")?;
            SpendKey::Target(Some(TargetId(target)).filter(|target| !target.0.is_empty()))
        }
        SpendBy::Feature | SpendBy::User | SpendBy::App | SpendBy::Organisation => {
            SpendKey::Name(row.get::<_, Option<String>>("about")?.filter(|name| !name.is_empty()))
        }
    })
}

fn add(sum: &mut SpendRow, row: &Row<'_>) -> rusqlite::Result<()> {
    let columns: [(&str, &mut u64); 7] = [
        ("requests", &mut sum.requests),
        ("prompt", &mut sum.tokens.prompt),
        ("cached", &mut sum.tokens.cached),
        ("output", &mut sum.tokens.output),
        ("device_prompt", &mut sum.device.prompt),
        ("device_cached", &mut sum.device.cached),
        ("device_output", &mut sum.device.output),
    ];
    for (column, to) in columns {
        *to = to.saturating_add(row.get::<_, i64>(column)?.unsigned_abs());
    }
    for (column, to) in [("settled", &mut sum.settled), ("in_doubt", &mut sum.in_doubt)] {
        to.micros = to.micros.saturating_add(row.get::<_, i64>(column)?);
    }
    Ok(())
}
