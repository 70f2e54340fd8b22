//! `inshore completions`

use clap_complete::Shell;

use super::Context;
use crate::failure::Outcome;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore completions bash > ~/.local/share/bash-completion/completions/inshore
  inshore completions zsh > ~/.zfunc/_inshore
  inshore completions fish > ~/.config/fish/completions/inshore.fish")]
pub(crate) struct Args {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::definition(), "inshore", &mut script);
    Ok(context.output.piece(&String::from_utf8_lossy(&script))?)
}
