//! `inshore spend`

use inshore_domain::{Currency, Money, ReservationId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, block_on};
use crate::client::{Cost, Daemon, find_or_start};
use crate::failure::{Exit, Failure, Outcome};

/// Show what was spent, on what, and what the device saved.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  inshore spend
  inshore spend --by target --days 7
  inshore spend --by day --csv > spend.csv
  inshore spend what-if --without openai/gpt-5-mini
  inshore spend doubts"
)]
pub(crate) struct Args {
    /// What to divide by
    #[arg(long, value_parser = ["feature", "target", "user", "app", "organisation", "day"], default_value = "feature")]
    by: String,
    /// How far to look back, in days
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: u32,
    /// Print comma-separated values
    #[arg(long)]
    csv: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what the same work would have cost without a target
    WhatIf {
        /// The target
        #[arg(long, value_name = "TARGET")]
        without: String,
        /// How far to look back, in days
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3660))]
        days: u32,
    },
    /// List calls of which nobody knows what they cost; they keep room in the caps
    Doubts,
    /// Say what a call in doubt did cost, as the provider's own records tell
    Reconcile {
        /// The reservation, as `inshore spend doubts` lists it
        reservation: ReservationId,
        /// What it cost, such as 0.0125; 0 when it was never carried out
        #[arg(long, value_name = "AMOUNT", value_parser = amount)]
        cost: u64,
    },
}

/// Reads an amount of money into millionths.
fn amount(text: &str) -> Result<u64, String> {
    crate::config::micros(text)
        .ok_or_else(|| "expected an amount such as 0.0125, with six decimals at most".to_owned())
}

#[derive(Debug, Deserialize)]
struct Doubts {
    currency: String,
    doubts: Vec<Doubt>,
}

#[derive(Debug, Deserialize)]
struct Doubt {
    reservation: String,
    target: String,
    since_unix_ms: i64,
    at_most_micros: i64,
    receipt: String,
}

#[derive(Debug, Deserialize)]
struct Report {
    rows: Vec<Row>,
    compared_with: Option<String>,
    forecast: Option<Cost>,
}

#[derive(Debug, Deserialize)]
struct Row {
    key: Option<String>,
    requests: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    cost: Cost,
    in_doubt: Cost,
    saved: Option<Cost>,
}

#[derive(Debug, Deserialize)]
struct WhatIf {
    requests: u64,
    cost: Cost,
    elsewhere: Vec<Elsewhere>,
}

#[derive(Debug, Deserialize)]
struct Elsewhere {
    target: String,
    tier: String,
    cost: Cost,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    block_on(async {
        let daemon = find_or_start(&context.starter()).await?;
        match &args.command {
            Some(Command::WhatIf { without, days }) => what_if(context, &daemon, without, *days).await,
            Some(Command::Doubts) => doubts(context, &daemon).await,
            Some(Command::Reconcile { reservation, cost }) => {
                let body = json!({"reservation": reservation.to_string(), "micros": cost});
                let done = daemon.post("/inshore/v1/spend/reconcile", &body).await?;
                if context.output.json {
                    return Ok(context.output.json(&done)?);
                }
                Ok(context.output.line(&format!("{reservation} is reconciled"))?)
            }
            None => report(context, &daemon, args).await,
        }
    })
}

/// The beginning of a time that ends now, as milliseconds since 1970.
fn days_ago(days: u32) -> u64 {
    crate::clock::unix_seconds().saturating_sub(u64::from(days) * 86_400) * 1000
}

async fn report(context: &Context, daemon: &Daemon, args: &Args) -> Outcome {
    let path = format!("/inshore/v1/spend?by={}&from={}", args.by, days_ago(args.days));
    let value = daemon.get(&path).await?;
    if context.output.json {
        return Ok(context.output.json(&value)?);
    }
    let report: Report = serde_json::from_value(value).map_err(anyhow::Error::from)?;
    if args.csv {
        return csv(context, &args.by, &report);
    }
    let head = [args.by.to_uppercase(), "REQUESTS".into(), "TOKENS IN".into(), "OF THESE CACHED".into()];
    let tail = ["TOKENS OUT", "COST", "IN DOUBT", "SAVED BY THE DEVICE"].map(str::to_owned);
    let head: Vec<String> = head.into_iter().chain(tail).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = report.rows.iter().map(|row| cells(&args.by, row)).collect();
    context.output.table(&head, &rows)?;
    context.output.line("")?;
    if let Some(target) = &report.compared_with {
        context.output.line(&format!(
            "Saved: an estimate of what the tokens of the device would have cost at {target}."
        ))?;
    }
    if let Some(forecast) = &report.forecast {
        context.output.line(&format!("This month will have cost {forecast} if it goes on like this."))?;
    }
    Ok(())
}

fn name(by: &str, row: &Row) -> String {
    match (&row.key, by) {
        (Some(seconds), "day") => day(seconds),
        (Some(name), _) => name.clone(),
        (None, _) => "none".to_owned(),
    }
}

fn day(seconds: &str) -> String {
    let at = seconds.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| seconds.to_owned(), |at| at.to_string().chars().take(10).collect())
}

fn cells(by: &str, row: &Row) -> Vec<String> {
    vec![
        name(by, row),
        row.requests.to_string(),
        row.prompt_tokens.to_string(),
        row.cached_tokens.to_string(),
        row.output_tokens.to_string(),
        row.cost.to_string(),
        row.in_doubt.to_string(),
        row.saved.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

/// RFC 4180, with amounts as plain numbers.
fn csv(context: &Context, by: &str, report: &Report) -> Outcome {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let amount = |cost: &Cost| cost.to_string().split(' ').next().unwrap_or_default().to_owned();
    let mut text =
        format!("{by},requests,prompt_tokens,cached_tokens,output_tokens,cost,in_doubt,saved,currency\r\n");
    for row in &report.rows {
        let saved = row.saved.as_ref().map(amount).unwrap_or_default();
        text.push_str(&format!(
            "{},{},{},{},{},{},{},{saved},{}\r\n",
            quoted(&name(by, row)),
            row.requests,
            row.prompt_tokens,
            row.cached_tokens,
            row.output_tokens,
            amount(&row.cost),
            amount(&row.in_doubt),
            row.cost.currency(),
        ));
    }
    Ok(context.output.piece(&text)?)
}

async fn doubts(context: &Context, daemon: &Daemon) -> Outcome {
    let value = daemon.get("/inshore/v1/spend/doubts").await?;
    if context.output.json {
        return Ok(context.output.json(&value)?);
    }
    let found: Doubts = serde_json::from_value(value).map_err(anyhow::Error::from)?;
    if found.doubts.is_empty() {
        return Ok(context.output.line("No call is in doubt.")?);
    }
    let currency = Currency::new(&found.currency).unwrap_or(Currency::USD);
    let since = |millis| {
        jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
    };
    let rows: Vec<Vec<String>> = found
        .doubts
        .into_iter()
        .map(|doubt| {
            let at_most = Money { micros: doubt.at_most_micros, currency }.to_string();
            vec![doubt.reservation, doubt.target, since(doubt.since_unix_ms), at_most, doubt.receipt]
        })
        .collect();
    Ok(context.output.table(&["RESERVATION", "TARGET", "SINCE", "AT MOST", "RECEIPT"], &rows)?)
}

async fn what_if(context: &Context, daemon: &Daemon, without: &str, days: u32) -> Outcome {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(byte);
    let escaped: String = without
        .bytes()
        .map(|byte| if safe(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let path = format!("/inshore/v1/spend/what-if?without={escaped}&from={}", days_ago(days));
    let value: Value = daemon.get(&path).await?;
    if context.output.json {
        return Ok(context.output.json(&value)?);
    }
    let found: WhatIf = serde_json::from_value(value).map_err(anyhow::Error::from)?;
    context.output.line(&format!(
        "{} requests of the last {days} days cost {} at {without}.",
        found.requests, found.cost
    ))?;
    if found.elsewhere.is_empty() {
        return Err(Failure::new(
            Exit::Failure,
            format!("no other target could have done what `{without}` can"),
        )
        .with_hint("without it these requests would have been refused"));
    }
    context
        .output
        .line("The same tokens elsewhere (an estimate: other models count and answer otherwise):")?;
    let rows: Vec<Vec<String>> = found
        .elsewhere
        .iter()
        .map(|other| vec![other.target.clone(), other.tier.clone(), other.cost.to_string()])
        .collect();
    Ok(context.output.table(&["TARGET", "TIER", "COST"], &rows)?)
}
