//! `inshore model`

mod describe;
mod import;
mod list;
mod progress;
mod pull;
mod remove;
mod show;

use super::{Context, refresh};
use crate::failure::Outcome;

/// List, download, import and remove models.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the models on this machine
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show a model: architecture, size, quantization, context, memory needed, licence
    Show(show::Args),
    /// Download a model from a hub or any web address; goes on where it was interrupted
    Pull(pull::Args),
    /// Use a GGUF file that is on this machine already, or models that Ollama and LM Studio have
    Import(import::Args),
    /// Forget a model, and delete its file when Inshore wrote it
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::List(args) => list::run(context, args),
        Command::Show(args) => show::run(context, args),
        Command::Pull(args) => pull::run(context, args),
        Command::Import(args) => import::run(context, args),
        Command::Rm(args) => remove::run(context, args),
    }
}
