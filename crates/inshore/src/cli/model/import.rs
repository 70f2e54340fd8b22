//! `inshore model import`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::progress::Bar;
use super::{describe, list, refresh};
use crate::catalogue::scan::{self, Found};
use crate::catalogue::{Catalogue, Entry, Manifest, check_id, digest, id_from};
use crate::cli::Context;
use crate::clock::unix_seconds;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use crate::paths::private_folder;

/// Use a GGUF file that is on this machine already, or models that Ollama and LM Studio have.
///
/// The file stays where it is and is not copied, unless `--copy` says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore model import ~/Downloads/Qwen3-4B-Q4_K_M.gguf
  inshore model import --copy --name qwen /mnt/usb/qwen.gguf
  inshore model import --scan --dry-run
  inshore model import --scan")]
pub(crate) struct Args {
    /// A GGUF file
    #[arg(required_unless_present = "scan", conflicts_with = "scan")]
    file: Option<PathBuf>,
    /// What to call it; made from the file's name when left out
    #[arg(long, conflicts_with = "scan")]
    name: Option<String>,
    /// Another name by which requests may ask for it; can be given several times
    #[arg(long, conflicts_with = "scan")]
    alias: Vec<String>,
    /// Copy the file into the models folder
    #[arg(long, conflicts_with = "scan")]
    copy: bool,
    /// Find the models of Ollama and LM Studio and use them where they lie
    #[arg(long)]
    scan: bool,
    /// Only list what a scan finds
    #[arg(long, requires = "scan")]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let loaded = context.config()?;
    let catalogue = context.catalogue(&loaded);
    match &args.file {
        Some(file) => {
            let entry = import(&catalogue, args, file)?;
            refresh(context)?;
            report(context, &entry)
        }
        None => scanned(context, &catalogue, args.dry_run),
    }
}

fn report(context: &Context, entry: &Entry) -> Outcome {
    if context.output.json {
        return Ok(context.output.json(&list::as_json(entry))?);
    }
    output::note(&format!(
        "`{}` is ready; `inshore chat --model {}` talks with it",
        entry.manifest.id, entry.manifest.id
    ));
    Ok(())
}

fn import(catalogue: &Catalogue, args: &Args, file: &Path) -> Outcome<Entry> {
    let path = std::fs::canonicalize(file).with_context(|| format!("cannot find `{}`", file.display()))?;
    describe::read(&path)?;
    let id = match &args.name {
        Some(name) => {
            check_id(name)?;
            name.clone()
        }
        None => id_from(&path.to_string_lossy())?,
    };
    free(catalogue, &id)?;
    let size = std::fs::metadata(&path)?.len();
    let mut bar = Bar::new(size, "reading");
    let sha256 = digest::sha256_of(&path, |done| bar.at(done))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    bar.done();
    let source = path.display().to_string();
    let file = if args.copy { copy(catalogue, &path, &id, &sha256)? } else { path };
    let manifest = Manifest {
        id,
        file,
        owned: args.copy,
        sha256: Some(sha256),
        size,
        source,
        aliases: args.alias.clone(),
        added: unix_seconds(),
    };
    Ok(catalogue.register(&manifest)?)
}

fn free(catalogue: &Catalogue, id: &str) -> Outcome {
    if catalogue.has(id) {
        let message = format!("there is a model `{id}` already");
        return Err(Failure::new(Exit::Failure, message)
            .with_hint("choose another name with `--name`, or remove that model first"));
    }
    Ok(())
}

/// Copies by way of a name that is no model yet, so that an interrupted copy is never taken for one.
fn copy(catalogue: &Catalogue, from: &Path, id: &str, sha256: &str) -> Outcome<PathBuf> {
    let to = catalogue.file_of(id);
    let part = to.with_extension("gguf.part");
    private_folder(catalogue.dir())
        .with_context(|| format!("cannot make `{}`", catalogue.dir().display()))?;
    std::fs::copy(from, &part).with_context(|| format!("cannot copy to `{}`", part.display()))?;
    let copied = digest::sha256_of(&part, |_| {})?;
    if copied != sha256 {
        std::fs::remove_file(&part)?;
        return Err(Failure::new(
            Exit::Failure,
            "the copy differs from the file: it was changed meanwhile, or a disk is failing",
        ));
    }
    std::fs::rename(&part, &to)?;
    Ok(PathBuf::from(format!("{id}.gguf")))
}

fn scanned(context: &Context, catalogue: &Catalogue, dry_run: bool) -> Outcome {
    let known: Vec<PathBuf> = catalogue.list()?.entries.into_iter().map(|entry| entry.path).collect();
    let mut rows = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut added = 0;
    for found in scan::find(&context.environment) {
        let state = if known.contains(&found.path) {
            "known".to_owned()
        } else if dry_run {
            "new".to_owned()
        } else {
            match take(catalogue, &found) {
                Ok(entry) => {
                    added += 1;
                    format!("imported as {}", entry.manifest.id)
                }
                Err(failure) => format!("left out: {:#}", failure.error),
            }
        };
        values.push(json!({"id": found.id, "name": found.name, "program": found.program, "path": found.path, "size": found.size, "state": state}));
        rows.push(vec![found.program.to_owned(), found.name, output::bytes(found.size), state]);
    }
    if added > 0 {
        refresh(context)?;
    }
    if context.output.json {
        return Ok(context.output.json(&values)?);
    }
    if rows.is_empty() {
        output::note("neither Ollama nor LM Studio has models here");
        return Ok(());
    }
    Ok(context.output.table(&["PROGRAM", "NAME", "SIZE", "STATE"], &rows)?)
}

fn take(catalogue: &Catalogue, found: &Found) -> Outcome<Entry> {
    describe::read(&found.path)?;
    free(catalogue, &found.id)?;
    // The name it has there works here too, so that an app's configuration need not change.
    let aliases = if found.program == "ollama" { vec![found.name.clone()] } else { Vec::new() };
    let manifest = Manifest {
        id: found.id.clone(),
        file: std::fs::canonicalize(&found.path)?,
        owned: false,
        sha256: found.sha256.clone(),
        size: found.size,
        source: format!("{} {}", found.program, found.name),
        aliases,
        added: unix_seconds(),
    };
    Ok(catalogue.register(&manifest)?)
}
