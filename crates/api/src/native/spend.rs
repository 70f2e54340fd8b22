//! `GET /inshore/v1/spend`: what was spent, as JSON. Amounts are integers in millionths of the currency.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use inshore_domain::{Money, TargetId, Timestamp};
use inshore_runtime::SpendReport;
use inshore_store::{SpendBy, SpendKey, SpendQuery, SpendRow};
use serde::Serialize;

use super::receipt::Cost;
use super::store_failed;
use crate::admit::Shared;
use crate::answer::plain;
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
