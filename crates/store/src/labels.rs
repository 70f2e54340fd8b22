//! Labels: how answers of the device turned out, by task family and pair of targets; and statistics of the last answers, so that what
//! somebody says of one later becomes a label.
//!
//! No text is kept. Statistics are bytes here: whoever made them knows their version, and finds out what it can still read.

use inshore_domain::{Currency, Money, ReceiptId, TargetId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::reader::Read;
use crate::store::Store;
use crate::work::Reply;

/// Labels of one family and one pair of targets, the newest. A risk of 1 % needs 448 without an error; ten times as many show what
/// can be shown, and at some 800 bytes each are 3 MB.
pub const LABELS_OF_PAIR: u32 = 4_000;
/// Labels of all pairs together, some 32 MB: targets come and go, and pairs that are gone would stay for ever.
pub const LABELS: u32 = 40_000;
/// Answers that are remembered, some 16 MB. At a thousand a day a week of them is in it three times over.
pub const REMEMBERED: u32 = 20_000;
/// How long an answer is remembered: whoever rates one does it at once, or when the week's work is looked over.
pub const REMEMBERED_MILLIS: u64 = 7 * 86_400_000;
/// Bytes of statistics. Those of a long request have a thousand words of two bytes each; what is longer is refused.
pub const MOST_SIGNALS: usize = 16 << 10;
/// Old ones that leave for each one that comes, so that they go faster than they come and no commit is long.
const LEAVE_AT_ONCE: u32 = 8;

/// What was known of an answer when it was to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistics {
    /// The kind of task.
    pub family: String,
    /// The target that answered.
    pub device: TargetId,
    /// The one that is asked where that answer is not kept.
    pub cloud: TargetId,
    /// The statistics, as whoever made them writes them; at most [`MOST_SIGNALS`] bytes.
    pub signals: Vec<u8>,
    /// What the other target's answer costs more, if that is known.
    pub spared: Option<Money>,
}

/// How an answer turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both answers were there, and the device's came to the same.
    Same,
    /// Both were there, and came to different things.
    Different,
    /// A person said that it was good.
    Good,
    /// A person said that it was bad.
    Bad,
    /// A person asked again.
    Retried,
}

impl Verdict {
    /// The numbers are part of the file format.
    const ALL: [Verdict; 5] = [Self::Same, Self::Different, Self::Good, Self::Bad, Self::Retried];

    fn number(self) -> i64 {
        match self {
            Self::Same => 0,
            Self::Different => 1,
            Self::Good => 2,
            Self::Bad => 3,
            Self::Retried => 4,
        }
    }
}

/// Who says so. A label of a receipt gives way to one of a source that stands lower in this list, or is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelSource {
    /// The answer was not kept, and the next target's was there to compare it with.
    Escalation,
    /// The next target was asked as well, for the comparison alone.
    Shadow,
    /// A person.
    Feedback,
}

impl LabelSource {
    /// The numbers are part of the file format.
    const ALL: [LabelSource; 3] = [Self::Escalation, Self::Shadow, Self::Feedback];

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Escalation => "escalation",
            Self::Shadow => "shadow",
            Self::Feedback => "feedback",
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Escalation => 0,
            Self::Shadow => 1,
            Self::Feedback => 2,
        }
    }
}

/// How one answer turned out, and what was known of it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Of which request.
    pub receipt: ReceiptId,
    /// When it became known.
    pub at: Timestamp,
    /// What was known.
    pub statistics: Statistics,
    /// How it turned out.
    pub verdict: Verdict,
    /// Who says so.
    pub source: LabelSource,
}

/// Something to keep.
pub(crate) enum Keep {
    Label(Box<Label>),
    Remember(ReceiptId, Timestamp, Box<Statistics>),
}

/// An order to keep something, with where the answer goes.
pub(crate) struct Kept {
    keep: Keep,
    done: Reply<bool>,
    outcome: bool,
}

impl Kept {
    /// Does it, within a transaction. May be called again after that was rolled back.
    pub(crate) fn carry_out(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.outcome = match &self.keep {
            Keep::Label(label) => add(connection, label)?,
            Keep::Remember(receipt, at, statistics) => remember(connection, *receipt, *at, statistics)?,
        };
        Ok(())
    }

    /// Tells the caller, after the commit.
    pub(crate) fn answer(self) {
        let _ = self.done.send(Ok(self.outcome));
    }

    /// Tells the caller that nothing was done.
    pub(crate) fn fail(self, error: &StoreError) {
        let _ = self.done.send(Err(error.clone()));
    }
}

impl Store {
    /// Keeps a label, and returns when it is committed (the crate's first page says what that survives). A request has one label: it
    /// gives way to one of the same source or of a better one, and otherwise stays; `false` then, and where the statistics are too
    /// long. Beyond [`LABELS_OF_PAIR`] and [`LABELS`] the oldest leave.
    ///
    /// The order is queued by the call itself, as with [`Self::settle`]; it is committed to the tables and not to the journal.
    pub fn add_label(
        &self,
        label: Label,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + 'static + use<> {
        self.keep(Keep::Label(Box::new(label)))
    }

    /// Keeps statistics of an answer for a week ([`REMEMBERED_MILLIS`]), or until [`REMEMBERED`] others have come; `false` where there
    /// are some of this receipt already, or they are too long. Committed and queued as with [`Self::add_label`].
    pub fn remember(
        &self,
        receipt: ReceiptId,
        at: Timestamp,
        statistics: Statistics,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send + 'static + use<> {
        self.keep(Keep::Remember(receipt, at, Box::new(statistics)))
    }

    /// All labels, in the order in which they came.
    pub async fn labels(&self) -> Result<Vec<Label>, StoreError> {
        self.read(Read::Labels).await
    }

    /// What is remembered of an answer now.
    pub async fn remembered(
        &self,
        receipt: ReceiptId,
        now: Timestamp,
    ) -> Result<Option<Statistics>, StoreError> {
        self.read(|reply| Read::Remembered(receipt, now, reply)).await
    }

    fn keep(&self, keep: Keep) -> impl Future<Output = Result<bool, StoreError>> + Send + 'static + use<> {
        let (done, answer) = oneshot::channel();
        self.keep_beside(Kept { keep, done, outcome: false }, answer)
    }
}

const COLUMNS: &str = "receipt, at, family, device, cloud, signals, spared, currency";

fn add(connection: &Connection, label: &Label) -> rusqlite::Result<bool> {
    let Label { receipt, at, statistics, verdict, source } = label;
    if statistics.signals.len() > MOST_SIGNALS {
        return Ok(false);
    }
    let receipt = receipt.to_bits().to_be_bytes();
    let before: Option<i64> = connection
        .prepare_cached("SELECT source FROM labels WHERE receipt = ?1")?
        .query_row([receipt], |row| row.get(0))
        .optional()?;
    if before.is_some_and(|before| before > source.number()) {
        return Ok(false);
    }
    // One that takes another's place comes at the end: it became known now.
    let insert = "INSERT OR REPLACE INTO labels (receipt, at, family, device, cloud, signals, spared, currency, outcome, source) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    connection.prepare_cached(insert)?.execute(params![
        receipt,
        signed(at.unix_millis()),
        statistics.family,
        statistics.device.0,
        statistics.cloud.0,
        statistics.signals,
        statistics.spared.map(|money| money.micros),
        statistics.spared.map(|money| money.currency.code().to_owned()),
        verdict.number(),
        source.number(),
    ])?;
    // Both walk an index over as many entries as may stay: a millisecond at most, and labels are rare.
    let of_pair = "DELETE FROM labels WHERE seq IN (SELECT seq FROM labels WHERE family = ?1 AND device = ?2 AND cloud = ?3 \
        ORDER BY seq DESC LIMIT ?5 OFFSET ?4)";
    connection.prepare_cached(of_pair)?.execute(params![
        statistics.family,
        statistics.device.0,
        statistics.cloud.0,
        LABELS_OF_PAIR,
        LEAVE_AT_ONCE
    ])?;
    let of_all =
        "DELETE FROM labels WHERE seq IN (SELECT seq FROM labels ORDER BY seq DESC LIMIT ?2 OFFSET ?1)";
    connection.prepare_cached(of_all)?.execute([LABELS, LEAVE_AT_ONCE])?;
    Ok(true)
}

fn remember(
    connection: &Connection,
    receipt: ReceiptId,
    at: Timestamp,
    statistics: &Statistics,
) -> rusqlite::Result<bool> {
    if statistics.signals.len() > MOST_SIGNALS {
        return Ok(false);
    }
    let insert = "INSERT OR IGNORE INTO remembered (receipt, at, family, device, cloud, signals, spared, currency) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let added = connection.prepare_cached(insert)?.execute(params![
        receipt.to_bits().to_be_bytes(),
        signed(at.unix_millis()),
        statistics.family,
        statistics.device.0,
        statistics.cloud.0,
        statistics.signals,
        statistics.spared.map(|money| money.micros),
        statistics.spared.map(|money| money.currency.code().to_owned()),
    ])?;
    // Numbers rise by one and only the oldest leave, so that the last number says how many there are at most.
    let oldest = "DELETE FROM remembered WHERE seq IN (SELECT seq FROM remembered ORDER BY seq LIMIT ?1) \
        AND (at < ?2 OR seq <= (SELECT max(seq) FROM remembered) - ?3)";
    let since = signed(at.unix_millis().saturating_sub(REMEMBERED_MILLIS));
    connection.prepare_cached(oldest)?.execute(params![LEAVE_AT_ONCE, since, REMEMBERED])?;
    Ok(added > 0)
}

/// All labels, in the order in which they came.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<Label>> {
    let sql = format!("SELECT {COLUMNS}, outcome, source FROM labels ORDER BY seq");
    let mut statement = connection.prepare_cached(&sql)?;
    let labels = statement.query_map([], |row| {
        Ok(Label {
            receipt: ReceiptId::from_bits(u128::from_be_bytes(row.get(0)?)),
            at: Timestamp::from_unix_millis(unsigned(row.get(1)?)),
            statistics: statistics(row)?,
            verdict: word(row, 8, &Verdict::ALL, Verdict::number)?,
            source: word(row, 9, &LabelSource::ALL, LabelSource::number)?,
        })
    })?;
    labels.collect()
}

/// What is remembered of an answer.
pub(crate) fn remembered(
    connection: &Connection,
    receipt: ReceiptId,
    now: Timestamp,
) -> rusqlite::Result<Option<Statistics>> {
    let sql = format!("SELECT {COLUMNS} FROM remembered WHERE receipt = ?1 AND at >= ?2");
    let since = signed(now.unix_millis().saturating_sub(REMEMBERED_MILLIS));
    let found = params![receipt.to_bits().to_be_bytes(), since];
    connection.prepare_cached(&sql)?.query_row(found, statistics).optional()
}

fn statistics(row: &Row<'_>) -> rusqlite::Result<Statistics> {
    let micros: Option<i64> = row.get(6)?;
    let currency: Option<String> = row.get(7)?;
    let currency = currency.as_deref().and_then(Currency::new);
    Ok(Statistics {
        family: row.get(2)?,
        device: TargetId(row.get(3)?),
        cloud: TargetId(row.get(4)?),
        signals: row.get(5)?,
        spared: micros.zip(currency).map(|(micros, currency)| Money { micros, currency }),
    })
}

fn word<T: Copy>(row: &Row<'_>, at: usize, all: &[T], number: impl Fn(T) -> i64) -> rusqlite::Result<T> {
    let found: i64 = row.get(at)?;
    let unknown = || {
        let message = format!("{found} is no word of a label");
        rusqlite::Error::FromSqlConversionFailure(at, Type::Integer, message.into())
    };
    all.iter().copied().find(|&word| number(word) == found).ok_or_else(unknown)
}

/// SQLite's integers are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
