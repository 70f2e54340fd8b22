//! Puts sections into the user's config file.

use anyhow::Context as _;

use crate::cli::Context;
use crate::client::Daemon;
use crate::config::sections::{Section, merged};
use crate::config::{self, Problems};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use crate::paths::write_over;

/// Adds the sections, or changes those that are there. Nothing is written when the file would not be read without mistakes then, or
/// when somebody else has changed it meanwhile.
pub(super) fn write(context: &Context, sections: &[Section], replace: bool) -> Outcome {
    if sections.is_empty() {
        return Ok(());
    }
    let path = &context.paths.user_config;
    let before = read(path)?;
    let text = before.clone().unwrap_or_default();
    let wrong = |problems: Problems| Failure::new(Exit::Usage, format!("nothing was written\n{problems}"));
    let after = merged(path, &text, sections, replace).map_err(wrong)?;
    config::load_with(&context.sources(), &after).map_err(wrong)?;
    if read(path)? != before {
        return Err(Failure::new(Exit::Failure, format!("`{}` has just been changed", path.display()))
            .with_hint("nothing was written; run it again"));
    }
    // A link to a file elsewhere stays a link.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    write_over(&target, after.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    if matches!(Daemon::find(&context.paths), Ok(Some(_))) {
        output::note("the running daemon reads it when it is started again: `inshore stop`");
    }
    Ok(())
}

/// `None`: there is no file yet.
fn read(path: &std::path::Path) -> Outcome<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display()))?,
    }
}
