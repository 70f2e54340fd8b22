//! `inshore model rm`

use super::refresh;
use crate::cli::Context;
use crate::failure::Outcome;
use crate::output;

/// Forget a model, and delete its file when Inshore wrote it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  inshore model rm qwen3-4b")]
pub(crate) struct Args {
    /// The model's id
    #[arg(required = true)]
    ids: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let loaded = context.config()?;
    let catalogue = context.catalogue(&loaded);
    for id in &args.ids {
        let entry = catalogue.find(id)?;
        match catalogue.remove(&entry)? {
            Some(left) => output::note(&format!(
                "`{}` is forgotten; its file stays at `{}`",
                entry.manifest.id,
                left.display()
            )),
            None => output::note(&format!(
                "`{}` is deleted, {} are free again",
                entry.manifest.id,
                output::bytes(entry.manifest.size)
            )),
        }
    }
    refresh(context)
}
