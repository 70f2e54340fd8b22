//! `inshore version`

use serde_json::json;

use super::Context;
use crate::failure::Outcome;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Print the version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore version
  inshore version --json")]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _args: &Args) -> Outcome {
    if context.output.json {
        let value = json!({
            "version": VERSION, "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
            "features": {"cuda": cfg!(feature = "cuda"), "metal": cfg!(feature = "metal"), "vulkan": cfg!(feature = "vulkan"),
                         "keyring": cfg!(feature = "keyring")},
        });
        return Ok(context.output.json(&value)?);
    }
    Ok(context.output.line(&format!("inshore {VERSION}"))?)
}
