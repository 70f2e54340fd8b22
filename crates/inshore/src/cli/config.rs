//! `inshore config`

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::Context;
use crate::config::{self, Setting};
use crate::failure::Outcome;
use crate::output;

/// Show and check the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every effective value and where it came from
    #[command(
        after_help = "Examples:\n  inshore config show\n  inshore config show --json --set engine.threads=2"
    )]
    Show,
    /// Look for mistakes, in a file or in all layers
    #[command(after_help = "Examples:\n  inshore config check\n  inshore config check ./config.toml")]
    Check {
        /// A config file; all layers when left out
        file: Option<PathBuf>,
    },
    /// Print where config files are looked for
    Path,
    /// Print a config file that documents every key
    #[command(after_help = "Example:\n  inshore config sample > ~/.config/inshore/config.toml")]
    Sample,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Show => show(context),
        Command::Check { file } => check(context, file.as_ref()),
        Command::Path => paths(context),
        Command::Sample => Ok(context.output.piece(config::SAMPLE)?),
    }
}

fn show(context: &Context) -> Outcome {
    let loaded = context.config()?;
    let mut all: Vec<(String, &Setting)> =
        loaded.settings.plain.iter().map(|(path, setting)| (path.clone(), setting)).collect();
    for (section, names) in &loaded.settings.named {
        for (name, entries) in names {
            all.extend(entries.iter().map(|(key, setting)| (format!("{section}.{name}.{key}"), setting)));
        }
    }
    for (section, entries) in &loaded.settings.listed {
        for (i, entry) in entries.iter().enumerate() {
            all.extend(entry.entries.iter().map(|(key, setting)| (format!("{section}[{i}].{key}"), setting)));
        }
    }
    if context.output.json {
        let values: Map<String, Value> = all
            .into_iter()
            .map(|(path, setting)| {
                (path, json!({"value": setting.value, "origin": setting.origin.to_string()}))
            })
            .collect();
        return Ok(context.output.json(&values)?);
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|(path, setting)| vec![path, setting.value.to_string(), setting.origin.to_string()])
        .collect();
    Ok(context.output.table(&["KEY", "VALUE", "FROM"], &rows)?)
}

fn check(context: &Context, file: Option<&PathBuf>) -> Outcome {
    match file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            config::check_file(path, &text, &context.environment)?;
            output::note(&format!("{}: no mistakes", path.display()));
        }
        None => {
            let loaded = context.config()?;
            for path in &loaded.files {
                output::note(&format!("{}: no mistakes", path.display()));
            }
            if loaded.files.is_empty() {
                output::note("no config file; the built-in values are in force");
            }
        }
    }
    Ok(())
}

fn paths(context: &Context) -> Outcome {
    let paths = [("system", &context.paths.system_config), ("user", &context.paths.user_config)];
    if context.output.json {
        let value: Map<String, Value> =
            paths.iter().map(|(name, path)| ((*name).to_owned(), json!(path))).collect();
        return Ok(context.output.json(&value)?);
    }
    let facts = paths.map(|(name, path)| (name, path.display().to_string()));
    Ok(context.output.facts(&facts)?)
}
