//! Development tasks, run as `cargo xtask TASK`.
//!
//! `tidy` holds the rules that no compiler knows (see [`tidy`]). It has few dependencies on purpose: it compiles in
//! seconds and needs neither llama.cpp nor SQLite. `bench-model` writes models to measure speed with,
//! `eval` runs the evaluations of `evals`, optimised.

mod bench_model;
mod eval;
// The engine's own generator, taken as a source file: depending on the engine would mean compiling llama.cpp.
#[path = "../../crates/engine/src/synth.rs"]
#[expect(dead_code, unreachable_pub, reason = "the engine uses all of it, in public")]
mod synth;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask TASK
  tidy
      check the rules of the workspace: the crate graph of ARCHITECTURE.md, lengths, names, where what may be used
  bench-model --shape 0.5b|1b --quant q4_0|q8_0|f16 --out FILE
      write a model with random weights, to measure speed with
  eval routing [--data DIR | --table FILE.csv] ...
      replay tables of outcomes through the router; evals/README.md says more";

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    // The workspace is where this source lies: `cargo xtask` works in any folder below it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no workspace")?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy::run(root),
        ["bench-model", arguments @ ..] => bench_model::run(arguments),
        ["eval", arguments @ ..] => eval::run(root, arguments),
        [] => bail!("no task given\n{USAGE}"),
        [other, ..] => bail!("unknown task `{other}`\n{USAGE}"),
    }
}
