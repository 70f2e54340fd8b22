//! `inshore secret`

use std::io::Read;

use super::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use crate::secrets;

/// A provider's key has some hundred characters.
const MAX_SECRET: u64 = 16 << 10;

/// Keep providers' keys in the operating system's keyring.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a key from stdin and keep it
    #[command(
        after_help = "Example:\n  inshore secret set openai < key.txt\n\nA target then names it: key = { keyring = \"openai\" }"
    )]
    Set {
        /// What to call it
        name: String,
    },
    /// Forget a key
    Rm {
        /// What it was called
        name: String,
    },
    /// List the names of the keys that are kept
    List,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    match &args.command {
        Command::Set { name } => set(context, name),
        Command::Rm { name } => Ok(secrets::remove(&context.paths, name)?),
        Command::List => {
            let names = secrets::names(&context.paths);
            if context.output.json {
                return Ok(context.output.json(&names)?);
            }
            let rows: Vec<Vec<String>> = names.into_iter().map(|name| vec![name]).collect();
            Ok(context.output.table(&["NAME"], &rows)?)
        }
    }
}

fn set(context: &Context, name: &str) -> Outcome {
    let secret = if output::stdin_is_terminal() { typed()? } else { piped()? };
    if secret.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "the key is empty"));
    }
    secrets::set(&context.paths, name, secret.trim())?;
    output::note(&format!(
        "kept as `{name}`; a running daemon reads it after `inshore stop` and a new start"
    ));
    Ok(())
}

fn piped() -> Outcome<zeroize::Zeroizing<String>> {
    let mut secret = zeroize::Zeroizing::new(String::new());
    std::io::stdin().lock().take(MAX_SECRET).read_to_string(&mut secret)?;
    Ok(secret)
}

/// The terminal would show what is typed, so it is asked for without echo where the editor can do that.
fn typed() -> Outcome<zeroize::Zeroizing<String>> {
    Err(Failure::new(Exit::Usage, "a key that is typed would be seen")
        .with_hint("pipe it in: inshore secret set NAME < key.txt"))
}
