//! Receipts as rows of the table `receipts`. Words that are one of a few are numbers there; the numbers are part of the file
//! format, and a new word takes the next.

use std::sync::LazyLock;
use std::time::Duration;

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::time::micros;
use inshore_domain::{
    Currency, Money, Outcome, Principal, Profile, Receipt, ReceiptId, RequestId, Sensitivity, Strategy,
    TargetId, Tier, Timestamp, Timings, TraceId, Usage,
};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::detail;

/// Most bytes of one text in a receipt. The longest that has a use is a provider's error message; what is longer is cut
/// at a character boundary, so that no caller can swell the database with a long model name.
const MAX_TEXT: usize = 4096;

/// All but `seq`, which only the writer needs.
const COLUMNS: &str = "id, request, trace, at, app, user, organisation, feature, profile, asked, target, tier, model, \
    strategy, sensitivity, prompt_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, \
    queued_micros, first_token_micros, total_micros, bytes_out, bytes_in, cost_micros, cost_currency, outcome, code, \
    message, detail";

/// Values by position, in the order of the table: looking 33 names up costs as much as the insert itself.
const INSERT: &str = "INSERT INTO receipts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, \
    ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33)";

/// One statement, so that a receipt cannot move from the tail to `receipt_ids` between two.
static GET: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {COLUMNS} FROM receipts WHERE seq = coalesce((SELECT seq FROM receipt_ids WHERE id = ?1), \
            (SELECT seq FROM receipts WHERE seq > (SELECT receipts FROM folded) AND id = ?1))"
    )
});
static NEWEST: LazyLock<String> =
    LazyLock::new(|| format!("SELECT {COLUMNS} FROM receipts ORDER BY seq DESC LIMIT ?1"));

/// Cuts a text to [`MAX_TEXT`] bytes at a character boundary.
pub(crate) fn clamp(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

/// SQLite's integers are signed: what is larger becomes the largest. (Times of 292,000 years, 8 exabytes.)
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn outcome_number(outcome: &Outcome) -> i64 {
    match outcome {
        Outcome::Answered => 0,
        Outcome::Cancelled => 1,
        Outcome::Failed { .. } => 2,
    }
}

fn profile_number(profile: Profile) -> i64 {
    match profile {
        Profile::Realtime => 0,
        Profile::Async => 1,
        Profile::Batch => 2,
    }
}

fn tier_number(tier: Tier) -> i64 {
    match tier {
        Tier::Device => 0,
        Tier::Edge => 1,
        Tier::Cloud => 2,
    }
}

fn strategy_number(strategy: Strategy) -> i64 {
    match strategy {
        Strategy::Direct => 0,
        Strategy::Fallback => 1,
        Strategy::Draft => 2,
        Strategy::Cascade => 3,
        Strategy::Split => 4,
    }
}

fn sensitivity_number(sensitivity: Sensitivity) -> i64 {
    match sensitivity {
        Sensitivity::Public => 0,
        Sensitivity::Internal => 1,
        Sensitivity::Confidential => 2,
        Sensitivity::Restricted => 3,
    }
}

/// One receipt as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceiptRow<'r> {
    seq: i64,
    id: [u8; 16],
    request: [u8; 16],
    trace: [u8; 16],
    at: i64,
    account: i64,
    app: &'r str,
    user: Option<&'r str>,
    organisation: Option<&'r str>,
    feature: Option<&'r str>,
    profile: i64,
    asked: &'r str,
    target: Option<&'r str>,
    tier: Option<i64>,
    model: Option<&'r str>,
    strategy: i64,
    sensitivity: i64,
    usage: [u32; 5],
    queued_micros: i64,
    first_token_micros: Option<i64>,
    total_micros: i64,
    bytes_out: i64,
    bytes_in: i64,
    cost_micros: i64,
    cost_currency: &'r str,
    outcome: i64,
    code: Option<&'r str>,
    message: Option<&'r str>,
    detail: &'r [u8],
}

impl<'r> ReceiptRow<'r> {
    /// `detail` is what [`detail::encode`] makes of the receipt, outside of the turn of whoever writes.
    pub(crate) fn of(seq: i64, receipt: &'r Receipt, account: i64, detail: &'r [u8]) -> Self {
        let answered = receipt.answered_by.as_ref();
        let (code, message) = match &receipt.outcome {
            Outcome::Failed { code, message } => (Some(clamp(code)), Some(clamp(message))),
            Outcome::Answered | Outcome::Cancelled => (None, None),
        };
        let sum = |of: fn(&inshore_domain::EgressRecord) -> u64| {
            signed(receipt.egress.iter().map(of).fold(0, u64::saturating_add))
        };
        let usage = &receipt.usage;
        Self {
            seq,
            id: receipt.id.to_bits().to_be_bytes(),
            request: receipt.request.to_bits().to_be_bytes(),
            trace: receipt.trace.to_bits().to_be_bytes(),
            at: signed(receipt.at.unix_millis()),
            account,
            app: clamp(&receipt.principal.app),
            user: receipt.principal.user.as_deref().map(clamp),
            organisation: receipt.principal.organisation.as_deref().map(clamp),
            feature: receipt.feature.as_deref().map(clamp),
            profile: profile_number(receipt.profile),
            asked: clamp(&receipt.asked),
            target: answered.map(|by| clamp(&by.target.0)),
            tier: answered.map(|by| tier_number(by.tier)),
            model: answered.map(|by| clamp(&by.model)),
            strategy: strategy_number(receipt.strategy),
            sensitivity: sensitivity_number(receipt.sensitivity),
            usage: [
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.cache_write_tokens,
                usage.output_tokens,
                usage.reasoning_tokens,
            ],
            queued_micros: signed(micros(receipt.timings.queued)),
            first_token_micros: receipt.timings.first_token.map(|time| signed(micros(time))),
            total_micros: signed(micros(receipt.timings.total)),
            bytes_out: sum(|record| record.bytes_out),
            bytes_in: sum(|record| record.bytes_in),
            cost_micros: receipt.cost.micros,
            cost_currency: receipt.cost.currency.code(),
            outcome: outcome_number(&receipt.outcome),
            code,
            message,
            detail,
        }
    }

    /// Adds it to the table.
    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let [prompt, cached, cache_write, output, reasoning] = self.usage;
        connection.prepare_cached(INSERT)?.execute(params![
            self.seq,
            self.id,
            self.request,
            self.trace,
            self.at,
            self.account,
            self.app,
            self.user,
            self.organisation,
            self.feature,
            self.profile,
            self.asked,
            self.target,
            self.tier,
            self.model,
            self.strategy,
            self.sensitivity,
            prompt,
            cached,
            cache_write,
            output,
            reasoning,
            self.queued_micros,
            self.first_token_micros,
            self.total_micros,
            self.bytes_out,
            self.bytes_in,
            self.cost_micros,
            self.cost_currency,
            self.outcome,
            self.code,
            self.message,
            self.detail,
        ])?;
        Ok(())
    }
}

/// Reads one receipt.
pub(crate) fn get(connection: &Connection, id: ReceiptId) -> rusqlite::Result<Option<Receipt>> {
    connection.prepare_cached(&GET)?.query_row([id.to_bits().to_be_bytes()], read).optional()
}

/// Reads the receipts committed last, newest first.
pub(crate) fn newest(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<Receipt>> {
    connection.prepare_cached(&NEWEST)?.query_map([limit], read)?.collect()
}

/// The first and last `seq` there are; `None` in an empty table.
pub(crate) fn span(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let sql = "SELECT (SELECT min(seq) FROM receipts), (SELECT max(seq) FROM receipts)";
    let (first, last) = connection
        .query_row(sql, [], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    Ok(first.zip(last))
}

/// Removes all receipts committed before `seq`, which must be known to `receipt_ids`.
pub(crate) fn remove_before(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    let ids = "DELETE FROM receipt_ids WHERE id IN (SELECT id FROM receipts WHERE seq < ?1)";
    connection.prepare_cached(ids)?.execute([seq])?;
    connection.prepare_cached("DELETE FROM receipts WHERE seq < ?1")?.execute([seq])?;
    Ok(())
}

/// Whether `receipt_ids` knows a receipt.
pub(crate) fn is_known(connection: &Connection, id: ReceiptId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM receipt_ids WHERE id = ?1")?.exists([id.to_bits().to_be_bytes()])
}

/// Lets `receipt_ids` know a receipt.
pub(crate) fn make_known(connection: &Connection, id: ReceiptId, seq: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO receipt_ids VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![id.to_bits().to_be_bytes(), seq])?;
    Ok(())
}

/// The greatest id that `receipt_ids` knows.
pub(crate) fn greatest_known(connection: &Connection) -> rusqlite::Result<Option<ReceiptId>> {
    let id: Option<[u8; 16]> =
        connection.query_row("SELECT max(id) FROM receipt_ids", [], |row| row.get(0))?;
    Ok(id.map(|id| ReceiptId::from_bits(u128::from_be_bytes(id))))
}

/// The ids of the receipts after row `seq`.
pub(crate) fn ids_after(connection: &Connection, seq: i64) -> rusqlite::Result<Vec<(ReceiptId, i64)>> {
    let mut statement = connection.prepare("SELECT id, seq FROM receipts WHERE seq > ?1")?;
    statement.query_map([seq], |row| Ok((ReceiptId::from_bits(bits(row, "id")?), row.get("seq")?)))?.collect()
}

/// Gives account, time, tier and tokens of the receipts after row `seq` to `each`.
pub(crate) fn counted(
    connection: &Connection,
    seq: i64,
    mut each: impl FnMut(i64, Timestamp, Option<Tier>, &Usage),
) -> rusqlite::Result<()> {
    let sql = "SELECT account, at, tier, prompt_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens \
        FROM receipts WHERE seq > ?1";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let at = Timestamp::from_unix_millis(unsigned(row, "at")?);
        each(row.get("account")?, at, read_tier(row)?, &read_usage(row)?);
    }
    Ok(())
}

/// What is stored is not what this crate writes.
pub(crate) fn unreadable(
    column: &'static str,
    reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    tracing::warn!(column, "a row cannot be read");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, reason.into())
}

/// Looks a stored word up among those that a type has.
pub(crate) fn word_of<T: Copy>(
    row: &Row<'_>,
    column: &'static str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let stored = row.get_ref(column)?.as_str()?;
    all.iter().copied().find(|known| word(*known) == stored).ok_or_else(|| {
        unreadable(column, format!("column `{column}` has the unknown word `{}`", clamp(stored)))
    })
}

/// Looks a stored number up among those that the words of a type have.
fn numbered<T: Copy>(
    row: &Row<'_>,
    column: &'static str,
    all: &[T],
    number: impl Fn(T) -> i64,
) -> rusqlite::Result<T> {
    let stored: i64 = row.get(column)?;
    let found = all.iter().copied().find(|known| number(*known) == stored);
    found.ok_or_else(|| unreadable(column, format!("column `{column}` has the unknown number {stored}")))
}

fn bits(row: &Row<'_>, column: &'static str) -> rusqlite::Result<u128> {
    Ok(u128::from_be_bytes(row.get(column)?))
}

fn unsigned(row: &Row<'_>, column: &'static str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Receipt> {
    let lists =
        detail::decode(row.get_ref("detail")?.as_blob()?).map_err(|error| unreadable("detail", error))?;
    Ok(Receipt {
        id: ReceiptId::from_bits(bits(row, "id")?),
        request: RequestId::from_bits(bits(row, "request")?),
        trace: TraceId::new(bits(row, "trace")?),
        at: Timestamp::from_unix_millis(unsigned(row, "at")?),
        principal: Principal {
            app: row.get("app")?,
            user: row.get("user")?,
            organisation: row.get("organisation")?,
        },
        feature: row.get("feature")?,
        profile: numbered(
            row,
            "profile",
            &[Profile::Realtime, Profile::Async, Profile::Batch],
            profile_number,
        )?,
        asked: row.get("asked")?,
        answered_by: read_answered_by(row)?,
        strategy: numbered(row, "strategy", &Strategy::ALL, strategy_number)?,
        sensitivity: numbered(row, "sensitivity", &Sensitivity::ALL, sensitivity_number)?,
        verdicts: lists.verdicts,
        failed_steps: lists.failed_steps,
        usage: read_usage(row)?,
        timings: Timings {
            queued: Duration::from_micros(unsigned(row, "queued_micros")?),
            first_token: row
                .get::<_, Option<i64>>("first_token_micros")?
                .map(|time| Duration::from_micros(time.unsigned_abs())),
            total: Duration::from_micros(unsigned(row, "total_micros")?),
        },
        egress: lists.egress,
        cost: Money { micros: row.get("cost_micros")?, currency: read_currency(row)? },
        in_doubt: lists.in_doubt,
        replay: lists.replay,
        notes: lists.notes,
        outcome: read_outcome(row)?,
    })
}

fn read_tier(row: &Row<'_>) -> rusqlite::Result<Option<Tier>> {
    if row.get_ref("tier")? == ValueRef::Null {
        return Ok(None);
    }
    numbered(row, "tier", &[Tier::Device, Tier::Edge, Tier::Cloud], tier_number).map(Some)
}

fn read_usage(row: &Row<'_>) -> rusqlite::Result<Usage> {
    Ok(Usage {
        prompt_tokens: row.get("prompt_tokens")?,
        cached_tokens: row.get("cached_tokens")?,
        cache_write_tokens: row.get("cache_write_tokens")?,
        output_tokens: row.get("output_tokens")?,
        reasoning_tokens: row.get("reasoning_tokens")?,
    })
}

fn read_currency(row: &Row<'_>) -> rusqlite::Result<Currency> {
    let code = row.get_ref("cost_currency")?.as_str()?;
    Currency::new(code)
        .ok_or_else(|| unreadable("cost_currency", format!("`{}` is no currency", clamp(code))))
}

fn read_answered_by(row: &Row<'_>) -> rusqlite::Result<Option<AnsweredBy>> {
    let (Some(target), Some(tier)) = (row.get::<_, Option<String>>("target")?, read_tier(row)?) else {
        return Ok(None);
    };
    Ok(Some(AnsweredBy { target: TargetId(target), tier, model: row.get("model")? }))
}

fn read_outcome(row: &Row<'_>) -> rusqlite::Result<Outcome> {
    match row.get::<_, i64>("outcome")? {
        0 => Ok(Outcome::Answered),
        1 => Ok(Outcome::Cancelled),
        2 => Ok(Outcome::Failed { code: row.get("code")?, message: row.get("message")? }),
        stored => Err(unreadable("outcome", format!("column `outcome` has the unknown number {stored}"))),
    }
}
