//! Receipts as rows of the table `receipts`.

use std::sync::LazyLock;
use std::time::Duration;

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::time::micros;
use inshore_domain::{
    Currency, Money, Outcome, Principal, Profile, Receipt, ReceiptId, RequestId, Sensitivity, Strategy,
    TargetId, Tier, Timestamp, Timings, TraceId, Usage,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::detail;

/// Most bytes of one text in a receipt. The longest that has a use is a provider's error message; what is longer is cut
/// at a character boundary, so that no caller can swell the database with a long model name.
const MAX_TEXT: usize = 4096;

const COLUMNS: &str = "id, request, trace, at, app, user, organisation, feature, profile, asked, target, tier, model, \
    strategy, sensitivity, prompt_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, \
    queued_micros, first_token_micros, total_micros, bytes_out, bytes_in, cost_micros, cost_currency, outcome, code, \
    message, detail";

/// Values by position, in the order of [`COLUMNS`]: looking 31 names up costs as much as the insert itself.
const VALUES: &str = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, \
    ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31";

static INSERT: LazyLock<String> = LazyLock::new(|| {
    format!("INSERT INTO receipts ({COLUMNS}) VALUES ({VALUES}) ON CONFLICT (id) DO NOTHING")
});
static GET: LazyLock<String> = LazyLock::new(|| format!("SELECT {COLUMNS} FROM receipts WHERE id = ?1"));
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

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Cancelled => "cancelled",
        Outcome::Failed { .. } => "failed",
    }
}

fn profile_word(profile: Profile) -> &'static str {
    match profile {
        Profile::Realtime => "realtime",
        Profile::Async => "async",
        Profile::Batch => "batch",
    }
}

/// Writes a receipt, with its lists already encoded. `false`: there is one with this id, and nothing was written.
pub(crate) fn insert(tx: &Transaction<'_>, receipt: &Receipt, detail: &[u8]) -> rusqlite::Result<bool> {
    let answered = receipt.answered_by.as_ref();
    let (code, message) = match &receipt.outcome {
        Outcome::Failed { code, message } => (Some(clamp(code)), Some(clamp(message))),
        Outcome::Answered | Outcome::Cancelled => (None, None),
    };
    let sum = |of: fn(&inshore_domain::EgressRecord) -> u64| {
        signed(receipt.egress.iter().map(of).fold(0, u64::saturating_add))
    };
    let inserted = tx.prepare_cached(&INSERT)?.execute(params![
        receipt.id.to_bits().to_be_bytes(),
        receipt.request.to_bits().to_be_bytes(),
        receipt.trace.to_bits().to_be_bytes(),
        signed(receipt.at.unix_millis()),
        clamp(&receipt.principal.app),
        receipt.principal.user.as_deref().map(clamp),
        receipt.principal.organisation.as_deref().map(clamp),
        receipt.feature.as_deref().map(clamp),
        profile_word(receipt.profile),
        clamp(&receipt.asked),
        answered.map(|by| clamp(&by.target.0)),
        answered.map(|by| by.tier.as_str()),
        answered.map(|by| clamp(&by.model)),
        receipt.strategy.as_str(),
        receipt.sensitivity.as_str(),
        receipt.usage.prompt_tokens,
        receipt.usage.cached_tokens,
        receipt.usage.cache_write_tokens,
        receipt.usage.output_tokens,
        receipt.usage.reasoning_tokens,
        signed(micros(receipt.timings.queued)),
        receipt.timings.first_token.map(|time| signed(micros(time))),
        signed(micros(receipt.timings.total)),
        sum(|record| record.bytes_out),
        sum(|record| record.bytes_in),
        receipt.cost.micros,
        receipt.cost.currency.code(),
        outcome_word(&receipt.outcome),
        code,
        message,
        detail,
    ])?;
    Ok(inserted == 1)
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

/// Removes all receipts committed before `seq`.
pub(crate) fn remove_before(tx: &Transaction<'_>, seq: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM receipts WHERE seq < ?1")?.execute([seq])
}

/// What is stored is not what [`insert`] writes.
fn unreadable(
    column: &'static str,
    reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    tracing::warn!(column, "a receipt's row cannot be read");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, reason.into())
}

fn bits(row: &Row<'_>, column: &'static str) -> rusqlite::Result<u128> {
    Ok(u128::from_be_bytes(row.get(column)?))
}

fn unsigned(row: &Row<'_>, column: &'static str) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

/// Looks a stored word up among those of the domain.
fn word<T>(
    row: &Row<'_>,
    column: &'static str,
    known: impl FnOnce(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let stored = row.get_ref(column)?.as_str()?;
    known(stored).ok_or_else(|| {
        unreadable(column, format!("column `{column}` has the unknown word `{}`", clamp(stored)))
    })
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
        profile: word(row, "profile", |stored| {
            [Profile::Realtime, Profile::Async, Profile::Batch]
                .into_iter()
                .find(|known| profile_word(*known) == stored)
        })?,
        asked: row.get("asked")?,
        answered_by: read_answered_by(row)?,
        strategy: word(row, "strategy", |stored| {
            [Strategy::Direct, Strategy::Fallback].into_iter().find(|known| known.as_str() == stored)
        })?,
        sensitivity: word(row, "sensitivity", |stored| stored.parse::<Sensitivity>().ok())?,
        verdicts: lists.verdicts,
        failed_steps: lists.failed_steps,
        usage: Usage {
            prompt_tokens: row.get("prompt_tokens")?,
            cached_tokens: row.get("cached_tokens")?,
            cache_write_tokens: row.get("cache_write_tokens")?,
            output_tokens: row.get("output_tokens")?,
            reasoning_tokens: row.get("reasoning_tokens")?,
        },
        timings: Timings {
            queued: Duration::from_micros(unsigned(row, "queued_micros")?),
            first_token: row
                .get::<_, Option<i64>>("first_token_micros")?
                .map(|time| Duration::from_micros(time.unsigned_abs())),
            total: Duration::from_micros(unsigned(row, "total_micros")?),
        },
        egress: lists.egress,
        cost: Money { micros: row.get("cost_micros")?, currency: word(row, "cost_currency", Currency::new)? },
        in_doubt: lists.in_doubt,
        replay: lists.replay,
        notes: lists.notes,
        outcome: read_outcome(row)?,
    })
}

fn read_answered_by(row: &Row<'_>) -> rusqlite::Result<Option<AnsweredBy>> {
    let Some(target) = row.get::<_, Option<String>>("target")? else { return Ok(None) };
    let tier = word(row, "tier", |stored| stored.parse::<Tier>().ok())?;
    Ok(Some(AnsweredBy { target: TargetId(target), tier, model: row.get("model")? }))
}

fn read_outcome(row: &Row<'_>) -> rusqlite::Result<Outcome> {
    let failed = || Ok(Outcome::Failed { code: row.get("code")?, message: row.get("message")? });
    word(row, "outcome", |stored| match stored {
        "answered" => Some(Ok(Outcome::Answered)),
        "cancelled" => Some(Ok(Outcome::Cancelled)),
        "failed" => Some(failed()),
        _ => None,
    })?
}
