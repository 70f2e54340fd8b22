//! The rules that no compiler knows. Each file below is one kind of rule: a function from what is in the workspace to
//! what is wrong with it.
//!
//! Rules about code look at it with comments and texts blanked out ([`source::code_only`]), so that writing about a
//! thing is not using it.

mod contents;
mod graph;
mod lengths;
mod manifests;
mod pages;
mod source;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use manifests::Metadata;
use source::Tree;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Where: a path, with a line where there is one.
    place: String,
    /// What, in one sentence.
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Checks everything and fails when something is found.
#[expect(clippy::print_stderr, reason = "a program for the terminal")]
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let metadata = metadata(root)?;
    let mut findings = check(&tree, &metadata);
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} problem(s)", findings.len());
    }
    eprintln!("tidy: {} files and {} crates keep the rules", tree.len(), metadata.packages.len());
    Ok(())
}

fn check(tree: &Tree, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = graph::check(tree.text("ARCHITECTURE.md"), metadata);
    findings.extend(manifests::check(metadata));
    findings.extend(lengths::check(tree));
    findings.extend(contents::check(tree));
    findings.extend(pages::check(tree));
    findings
}

fn metadata(root: &Path) -> Result<Metadata> {
    // The cargo that runs us, so that no other toolchain is asked.
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root);
    let output = command.output().context("cargo could not be started")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata is not what was expected")
}
