//! `GET /inshore/v1/spend`: what was spent, as JSON. Amounts are integers in millionths of the currency.

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use inshore_domain::{Amounts, Closing, Money, ReservationId, TargetId, Timestamp};
use inshore_runtime::SpendReport;
use inshore_store::{CloseError, Dispute, SpendBy, SpendKey, SpendQuery, SpendRow};
use serde::Serialize;

use super::receipt::Cost;
use super::store_failed;
use crate::admit::Shared;
use crate::answer::plain;
use crate::body;
use crate::fault::{Fault, json};
use crate::gate::{App, Caller};
use crate::openai::settled;

/// A report covers this long when it is not said: the last thirty days.
const USUAL_MILLIS: u64 = 30 * 86_400_000;

const BY: [(&str, SpendBy); 6] = [
    ("feature", SpendBy::Feature),
    ("target", SpendBy::Target),
    ("user", SpendBy::User),
    ("app", SpendBy::App),
    ("day", SpendBy::Day),
    ("organisation", SpendBy::Organisation),
];

#[derive(Serialize)]
struct Wire<'a> {
    by: &'static str,
    from_unix_ms: u64,
    to_unix_ms: u64,
    rows: Vec<Row>,
    compared_with: Option<&'a str>,
    forecast: Option<Cost>,
}

#[derive(Serialize)]
struct Row {
    key: Option<String>,
    requests: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    cost: Cost,
    in_doubt: Cost,
    /// An estimate.
    saved: Option<Cost>,
}

impl Row {
    fn new(row: SpendRow, saved: Option<Money>) -> Self {
        let key = match row.key {
            SpendKey::Name(name) => name,
            SpendKey::Target(target) => target.map(|id| id.0),
            SpendKey::Day(day) => Some(day.unix_secs().to_string()),
        };
        Self {
            key,
            requests: row.requests,
            prompt_tokens: row.tokens.prompt,
            cached_tokens: row.tokens.cached,
            output_tokens: row.tokens.output,
            cost: row.settled.into(),
            in_doubt: row.in_doubt.into(),
            saved: saved.map(Cost::from),
        }
    }
}

/// The parameters of a report.
#[derive(Debug, PartialEq)]
struct Asked {
    by: (&'static str, SpendBy),
    from: Timestamp,
    to: Timestamp,
    without: Option<TargetId>,
}

/// `GET /inshore/v1/spend?by=feature&from=…&to=…`, times in milliseconds since 1970.
pub(crate) async fn spend(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let found = async {
        let asked = asked(&app, query.as_deref().unwrap_or_default())?;
        let query = SpendQuery { from: asked.from, to: asked.to, by: asked.by.1 };
        let report = app.parts.runtime.spend(query).await.map_err(|error| store_failed(&error))?;
        let SpendReport { rows, saved, compared_with, forecast } = report;
        Ok(plain(json(&Wire {
            by: asked.by.0,
            from_unix_ms: asked.from.unix_millis(),
            to_unix_ms: asked.to.unix_millis(),
            rows: rows.into_iter().zip(saved).map(|(row, saved)| Row::new(row, saved)).collect(),
            compared_with: compared_with.as_ref().map(|id| id.0.as_str()),
            forecast: forecast.map(Cost::from),
        })))
    };
    settled(&caller, found.await)
}

#[derive(Serialize)]
struct WireWhatIf<'a> {
    without: &'a str,
    requests: u64,
    cost: Cost,
    elsewhere: Vec<Elsewhere<'a>>,
}

#[derive(Serialize)]
struct Elsewhere<'a> {
    target: &'a str,
    tier: &'static str,
    cost: Cost,
}

/// `GET /inshore/v1/spend/what-if?without=TARGET`
pub(crate) async fn what_if(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let found = async {
        let asked = asked(&app, query.as_deref().unwrap_or_default())?;
        let target = asked.without.ok_or_else(|| Fault::value("without", "`without` must name a target"))?;
        let what_if = app.parts.runtime.what_if_without(&target, asked.from, asked.to).await;
        let what_if = what_if.map_err(|error| store_failed(&error))?;
        let missing = || Fault::not_found("target_not_found", format!("there is no target `{target}`"));
        let what_if = what_if.ok_or_else(missing)?;
        let elsewhere = what_if.elsewhere.iter().map(|(other, cost)| Elsewhere {
            target: &other.id.0,
            tier: other.tier.as_str(),
            cost: (*cost).into(),
        });
        Ok(plain(json(&WireWhatIf {
            without: &target.0,
            requests: what_if.requests,
            cost: what_if.settled.into(),
            elsewhere: elsewhere.collect(),
        })))
    };
    settled(&caller, found.await)
}

/// Most calls in doubt in one answer, as many as there can be.
const DOUBTS: usize = 16_384;

#[derive(Serialize)]
struct WireDoubts<'a> {
    currency: &'a str,
    doubts: Vec<WireDoubt>,
}

#[derive(Serialize)]
struct WireDoubt {
    reservation: String,
    receipt: String,
    target: String,
    since_unix_ms: u64,
    at_most_micros: u64,
    tokens: u64,
}

/// `GET /inshore/v1/spend/doubts`, oldest first.
pub(crate) async fn doubts(State(app): Shared, Extension(caller): Extension<Caller>) -> Response {
    let found = async {
        let doubts = app.parts.store.in_doubt(DOUBTS).await.map_err(|error| store_failed(&error))?;
        let doubts = doubts.into_iter().map(|doubt| WireDoubt {
            reservation: doubt.id.to_string(),
            receipt: doubt.receipt.to_string(),
            target: doubt.target.0,
            since_unix_ms: doubt.since.unix_millis(),
            at_most_micros: doubt.amounts.money,
            tokens: doubt.amounts.tokens,
        });
        let currency = app.parts.runtime.currency();
        Ok(plain(json(&WireDoubts { currency: currency.code(), doubts: doubts.collect() })))
    };
    settled(&caller, found.await)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    reservation: String,
    /// What it did cost.
    micros: u64,
    #[serde(default)]
    tokens: u64,
}

/// `POST /inshore/v1/spend/reconcile`: what a call in doubt did cost, as the provider's own records say.
pub(crate) async fn reconcile(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let done = async {
        let received = body::read(&app, &headers, body).await?;
        let wire: Reconcile = crate::json::parse(&received.bytes)?;
        let id: ReservationId =
            wire.reservation.parse().map_err(|error| Fault::value("reservation", format!("{error}")))?;
        let calls = u64::from(wire.micros > 0);
        let used = Amounts { money: wire.micros, tokens: wire.tokens, calls, bytes_out: 0 };
        let closing = if wire.micros == 0 { Closing::Released } else { Closing::Settled(used) };
        let closed = app.parts.store.close_reservation(id, closing, app.parts.clock.now()).await;
        let settlement = closed.map_err(|error| match error {
            CloseError::Store(error) => store_failed(&error),
            error => Fault::not_found("reservation_not_found", error.to_string())
                .hint("`inshore spend doubts` lists those that are in doubt"),
        })?;
        if let Some(Dispute::Beyond { reserved, .. }) = settlement.disputes.first() {
            let message = format!("only {reserved} were set aside for it, and so many are charged now");
            return Err(Fault::value("micros", message));
        }
        Ok(plain(b"{\"status\":\"reconciled\"}".to_vec()))
    };
    settled(&caller, done.await)
}

fn asked(app: &App, query: &str) -> Result<Asked, Fault> {
    parse(query, app.parts.clock.now())
}

fn parse(query: &str, now: Timestamp) -> Result<Asked, Fault> {
    let mut asked = Asked {
        by: BY[0],
        from: Timestamp::from_unix_millis(now.unix_millis().saturating_sub(USUAL_MILLIS)),
        // The moment itself belongs to the report.
        to: Timestamp::from_unix_millis(now.unix_millis().saturating_add(1)),
        without: None,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let time = || {
            let millis = value.parse().map_err(|_| {
                Fault::value(name, format!("`{name}` must be a time in milliseconds since 1970"))
            });
            millis.map(Timestamp::from_unix_millis)
        };
        match name {
            "by" => asked.by = by(value)?,
            "from" => asked.from = time()?,
            "to" => asked.to = time()?,
            "without" => asked.without = Some(TargetId(unescaped(value))),
            _ => {
                let name: String = name.chars().take(64).collect();
                let message = format!("`{name}` is not a parameter that is known here");
                return Err(Fault::field(name, "unknown_parameter", message)
                    .hint("known are by, from, to and, for what-if, without"));
            }
        }
    }
    Ok(asked)
}

fn by(value: &str) -> Result<(&'static str, SpendBy), Fault> {
    BY.into_iter().find(|(word, _)| *word == value).ok_or_else(|| {
        let words: Vec<&str> = BY.iter().map(|(word, _)| *word).collect();
        let shown: String = value.chars().take(64).collect();
        Fault::value("by", format!("`{shown}` is nothing to divide by"))
            .hint(format!("known are {}", words.join(", ")))
    })
}

/// A target's id holds slashes, which clients may escape (RFC 3986, section 2.1).
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_strictly() {
        let now = Timestamp::from_unix_millis(40 * 86_400_000);
        let of = |query: &str| parse(query, now).ok();
        let usual = of("").expect("no parameter is needed");
        assert_eq!((usual.from.unix_millis(), usual.by.0), (10 * 86_400_000, "feature"));
        let asked = of("by=day&from=5&to=9&without=openai%2Fgpt-5").expect("these are known");
        assert_eq!((asked.by.0, asked.from.unix_millis(), asked.to.unix_millis()), ("day", 5, 9));
        assert_eq!(asked.without, Some(TargetId("openai/gpt-5".into())));
        for bad in ["by=", "by=moon", "from=-1", "to=x", "limit=1"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(unescaped("a%2"), "a%2");
        assert_eq!(unescaped("%zz%41"), "%zzA");
    }
}
