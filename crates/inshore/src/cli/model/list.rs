//! `inshore model list`

use serde_json::{Value, json};

use crate::catalogue::Entry;
use crate::cli::Context;
use crate::failure::Outcome;
use crate::output;

/// List the models on this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore model list
  inshore model list --json")]
pub(crate) struct Args {}

pub(super) fn run(context: &Context, _args: &Args) -> Outcome {
    let loaded = context.config()?;
    let listing = context.catalogue(&loaded).list()?;
    for broken in &listing.broken {
        output::warn(&format!("left out: {broken}"));
    }
    if context.output.json {
        let models: Vec<Value> = listing.entries.iter().map(as_json).collect();
        return Ok(context.output.json(&models)?);
    }
    let default = &loaded.config.models.default;
    let rows: Vec<Vec<String>> = listing.entries.iter().map(|entry| row(entry, default)).collect();
    Ok(context.output.table(&["ID", "SIZE", "ALIASES", "FROM"], &rows)?)
}

fn row(entry: &Entry, default: &str) -> Vec<String> {
    let manifest = &entry.manifest;
    let mark = if manifest.id == default { " (default)" } else { "" };
    vec![
        format!("{}{mark}", manifest.id),
        output::bytes(manifest.size),
        manifest.aliases.join(", "),
        manifest.source.clone(),
    ]
}

/// A model for programs.
pub(super) fn as_json(entry: &Entry) -> Value {
    let manifest = &entry.manifest;
    json!({
        "id": manifest.id, "path": entry.path, "size": manifest.size, "sha256": manifest.sha256, "source": manifest.source,
        "aliases": manifest.aliases, "owned": manifest.owned, "builtin": entry.builtin,
    })
}
