//! `inshore status`

use serde_json::Value;

use super::{Context, block_on};
use crate::client::Daemon;
use crate::failure::Outcome;
use crate::output;

/// Show the running daemon, its targets and loaded models.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore status
  inshore status --json

Exits with 3 when no daemon runs.")]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _args: &Args) -> Outcome {
    block_on(async {
        let daemon = Daemon::find_running(&context.paths)?;
        let status = daemon.get("/inshore/v1/status").await?;
        if context.output.json {
            return Ok(context.output.json(&status)?);
        }
        let text = |pointer: &str| status.pointer(pointer).map(plain).unwrap_or_else(|| "-".to_owned());
        let memory =
            status.pointer("/resident_bytes").and_then(Value::as_u64).map_or("-".to_owned(), output::bytes);
        let address = &daemon.address;
        let socket = address.unix.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
        context.output.facts(&[
            ("version", text("/version")),
            ("pid", text("/pid")),
            ("address", format!("http://{}/v1", address.tcp)),
            ("socket", socket),
            ("token", context.paths.token().display().to_string()),
            ("up", uptime(status.pointer("/uptime_ms").and_then(Value::as_u64).unwrap_or(0))),
            ("memory", memory),
            (
                "cache",
                format!("{} answers kept, {} given again", text("/cache/answers"), text("/cache/hits")),
            ),
        ])?;
        context.output.line("")?;
        let targets = status.get("targets").and_then(Value::as_array).cloned().unwrap_or_default();
        let rows: Vec<Vec<String>> = targets.iter().map(row).collect();
        context.output.table(&["TARGET", "TIER", "HEALTH", "STATE", "DETAIL"], &rows)?;
        let paces: Vec<Vec<String>> = targets.iter().flat_map(paces).collect();
        if !paces.is_empty() {
            context.output.line("\nThe last answers (median / nine of ten at least as fast)")?;
            let titles = ["TARGET", "FEATURE", "ANSWERS", "FIRST TOKEN", "WHOLE ANSWER", "TOKENS/S"];
            context.output.table(&titles, &paces)?;
        }
        Ok(())
    })
}

/// A row for all answers of a target, and one for each feature of it.
fn paces(target: &Value) -> Vec<Vec<String>> {
    let Some(all) = target.get("pace").filter(|pace| !pace.is_null()) else { return Vec::new() };
    let features = all.get("features").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let id = target.get("id").map(plain).unwrap_or_default();
    let row = |pace: &Value| {
        let feature = pace.get("feature").map_or_else(|| "all".to_owned(), plain);
        let pair = |key: &str, show: fn(f64) -> String| {
            let at = |which: &str| pace.get(key)?.get(which)?.as_f64().map(show);
            at("p50").zip(at("p90")).map_or_else(|| "-".to_owned(), |(p50, p90)| format!("{p50} / {p90}"))
        };
        let millis = |micros: f64| format!("{:.0} ms", micros / 1_000.0);
        let speed = |speed: f64| format!("{speed:.1}");
        vec![
            id.clone(),
            feature,
            pace.get("answers").map(plain).unwrap_or_default(),
            pair("first_token_us", millis),
            pair("total_us", millis),
            pair("tokens_per_second", speed),
        ]
    };
    std::iter::once(all).chain(features).map(row).collect()
}

fn uptime(millis: u64) -> String {
    let seconds = millis / 1000;
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{}.{} s", seconds, millis % 1000 / 100),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn row(target: &Value) -> Vec<String> {
    let text = |key: &str| target.get(key).map(plain).unwrap_or_else(|| "-".to_owned());
    vec![text("id"), text("tier"), text("health"), text("state"), detail(target.get("detail"))]
}

fn detail(value: Option<&Value>) -> String {
    let pairs = value.and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |pair: &Value, key: &str| pair.get(key).map(plain).unwrap_or_default();
    pairs
        .iter()
        .map(|pair| format!("{} {}", text(pair, "name"), text(pair, "value")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
