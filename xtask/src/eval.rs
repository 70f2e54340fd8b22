//! Evaluations run in a program of their own, so that this one depends on nothing that they need.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    // The cargo that runs us, so that no other toolchain is asked.
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(["run", "--quiet", "--release", "--package", "inshore-evals", "--manifest-path"]);
    command.arg(root.join("Cargo.toml")).arg("--").args(arguments);
    let status = command.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("the evaluation failed");
    }
    Ok(())
}
