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
        Ok(context.output.table(&["TARGET", "TIER", "HEALTH", "STATE", "DETAIL"], &rows)?)
    })
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
