//! `inshore doctor`
//!
//! Everything that is shown was looked at or tried when the command ran: the sandbox by starting an engine child that tries to
//! get out of it.

mod checks;
mod engine;
mod machine;

use serde_json::json;

use super::{Context, block_on};
use crate::failure::{Exit, Failure, Outcome};

/// Look at this installation: hardware, sandbox, models, config, and what would be chosen.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore doctor
  inshore doctor --json

Exits with 1 when something is wrong.")]
pub(crate) struct Args {}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Good,
    /// Worth knowing.
    Notice,
    /// Something does not work.
    Bad,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Notice => "note",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
struct Finding {
    what: &'static str,
    state: State,
    detail: String,
}

impl Finding {
    fn new(what: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self { what, state, detail: detail.into() }
    }
}

pub(crate) fn run(context: &Context, _args: &Args) -> Outcome {
    let mut findings = machine::look();
    let loaded = context.config();
    findings.extend(checks::config(context, &loaded));
    if let Ok(loaded) = &loaded {
        findings.extend(checks::models(context, loaded));
        findings.extend(checks::store(context));
        findings.extend(block_on(async { Ok(engine::look(context, loaded).await) })?);
        findings.extend(checks::targets(context, loaded));
    }
    findings.push(block_on(async { Ok(checks::daemon(context).await) })?);
    report(context, &findings)?;
    let bad = findings.iter().filter(|finding| finding.state == State::Bad).count();
    if bad > 0 {
        return Err(Failure::new(Exit::Failure, format!("{bad} of {} findings are bad", findings.len())));
    }
    Ok(())
}

fn report(context: &Context, findings: &[Finding]) -> Outcome {
    if context.output.json {
        let values: Vec<_> = findings
            .iter()
            .map(|finding| json!({"what": finding.what, "state": finding.state.as_str(), "detail": finding.detail}))
            .collect();
        return Ok(context.output.json(&values)?);
    }
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            vec![finding.state.as_str().to_owned(), finding.what.to_owned(), finding.detail.clone()]
        })
        .collect();
    Ok(context.output.table(&["", "WHAT", "FOUND"], &rows)?)
}
