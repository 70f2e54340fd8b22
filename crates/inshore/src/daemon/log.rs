//! The daemon's log, on stderr. Never holds prompts, answers or keys.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log. `level` is `info`, or `info,inshore_engine=debug`.
pub(super) fn begin(level: &str) -> Result<()> {
    let filter: Targets =
        level.parse().with_context(|| format!("`log.level` is `{level}`, which is no level"))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(filter).try_init().context("cannot begin to log")
}
