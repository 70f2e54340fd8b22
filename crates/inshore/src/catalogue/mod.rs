//! The models on this machine's disk.
//!
//! A folder with one manifest (`ID.json`) for each model. The model's file lies beside it (`ID.gguf`) when Inshore
//! downloaded or copied it, and stays where it was when it was only registered. The model that is part of the program is put
//! into the folder when it is first needed.
//!
//! Layout: [`manifest`] the file format; [`builtin`] the model in the program; [`source`] where pulls come from;
//! [`scan`] models that other programs have on disk; [`digest`] checksums.
//!
//! Invariants: a manifest is written after its model is whole. Only files that Inshore wrote are ever deleted. An id is
//! always safe as a file name.

pub(crate) mod builtin;
pub(crate) mod digest;
mod manifest;
pub(crate) mod scan;
pub(crate) mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(crate) use manifest::Manifest;

use crate::paths::write_private;

/// A folder with more manifests than this is not ours; each is read at start.
const MAX_MODELS: usize = 1024;
/// The longest id: with `.gguf.part` still a file name on every system.
const MAX_ID: usize = 100;

/// A model that can be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manifest: Manifest,
    /// Where the file is.
    pub(crate) path: PathBuf,
    /// It is part of the program.
    pub(crate) builtin: bool,
}

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    dir: PathBuf,
    builtin: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Entry>,
    /// Manifests that could not be used, and why.
    pub(crate) broken: Vec<String>,
}

impl Catalogue {
    /// A catalogue in this folder, which need not exist; with or without the model in the program.
    pub(crate) fn new(dir: PathBuf, builtin: bool) -> Self {
        Self { dir, builtin }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All models, by id; the built-in one first. One broken manifest does not hide the others.
    pub(crate) fn list(&self) -> Result<Listing> {
        let mut listing = Listing::default();
        if self.builtin {
            listing.entries.push(builtin::entry(&self.dir)?);
        }
        let files = match std::fs::read_dir(&self.dir) {
            Ok(files) => files,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(listing),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", self.dir.display())),
        };
        let mut manifests: Vec<PathBuf> = files
            .filter_map(|file| file.ok().map(|file| file.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json") && !is_hidden(path))
            .take(MAX_MODELS)
            .collect();
        manifests.sort();
        for path in manifests {
            match self.read(&path) {
                Ok(entry) if entry.manifest.id == builtin::ID && self.builtin => {}
                Ok(entry) => listing.entries.push(entry),
                Err(error) => listing.broken.push(format!("{}: {error:#}", path.display())),
            }
        }
        Ok(listing)
    }

    fn read(&self, path: &Path) -> Result<Entry> {
        let manifest = Manifest::read(path)?;
        if path.file_stem().is_none_or(|stem| stem != manifest.id.as_str()) {
            bail!("the manifest is for `{}`", manifest.id);
        }
        let path = manifest.path_in(&self.dir);
        if !path.is_file() {
            bail!("the model's file `{}` is gone", path.display());
        }
        Ok(Entry { manifest, path, builtin: false })
    }

    /// The model with this id or alias.
    pub(crate) fn find(&self, name: &str) -> Result<Entry> {
        let listing = self.list()?;
        let named = |entry: &&Entry| {
            entry.manifest.id == name || entry.manifest.aliases.iter().any(|alias| alias == name)
        };
        if let Some(entry) = listing.entries.iter().find(named) {
            return Ok(entry.clone());
        }
        let ids = listing.entries.iter().map(|entry| entry.manifest.id.as_str());
        let likely = ids
            .map(|id| (strsim::normalized_damerau_levenshtein(name, id), id))
            .filter(|(likeness, _)| *likeness > 0.4)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        match likely {
            Some((_, id)) => bail!("there is no model `{name}`; did you mean `{id}`?"),
            None => bail!("there is no model `{name}`; `inshore model list` shows what there is"),
        }
    }

    /// Registers a model whose file is whole and in its place.
    pub(crate) fn register(&self, manifest: &Manifest) -> Result<Entry> {
        check_id(&manifest.id)?;
        let path = self.manifest_path(&manifest.id);
        write_private(&path, &manifest.to_bytes())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Entry { manifest: manifest.clone(), path: manifest.path_in(&self.dir), builtin: false })
    }

    /// Whether an id is taken.
    pub(crate) fn has(&self, id: &str) -> bool {
        (self.builtin && id == builtin::ID) || self.manifest_path(id).exists()
    }

    /// Where the file of a model goes that Inshore keeps itself.
    pub(crate) fn file_of(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.gguf"))
    }

    /// Forgets a model, and deletes its file when Inshore wrote it. Returns the file that was left where it is.
    pub(crate) fn remove(&self, entry: &Entry) -> Result<Option<PathBuf>> {
        if entry.builtin {
            bail!("`{}` is part of the program; hide it with `models.builtin = false`", entry.manifest.id);
        }
        let manifest = self.manifest_path(&entry.manifest.id);
        std::fs::remove_file(&manifest).with_context(|| format!("cannot delete `{}`", manifest.display()))?;
        if !entry.manifest.owned {
            return Ok(Some(entry.path.clone()));
        }
        std::fs::remove_file(&entry.path)
            .with_context(|| format!("cannot delete `{}`", entry.path.display()))?;
        Ok(None)
    }

    fn manifest_path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Whether a text can be a model's id: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !begins || id.len() > MAX_ID || !id.bytes().all(good) {
        let shown: String = id.chars().take(MAX_ID).collect();
        bail!("`{shown}` cannot name a model: use letters, digits, `.`, `_` and `-`, {MAX_ID} at most");
    }
    // Names with a meaning of their own when a request asks for a model.
    if ["auto", "device", "edge", "cloud", "default"].contains(&id) {
        bail!("`{id}` has a meaning of its own and cannot name a model");
    }
    Ok(())
}

/// Makes an id of a file's name or of another program's name for a model: `Qwen3-4B-Q4_K_M.gguf` → `qwen3-4b-q4_k_m`.
pub(crate) fn id_from(name: &str) -> Result<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let name = name.strip_suffix(".gguf").unwrap_or(name).to_ascii_lowercase();
    let mut id: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    id.truncate(MAX_ID);
    let id = id.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
    check_id(&id).context("name the model with `--name`")?;
    Ok(id)
}

#[cfg(test)]
mod tests;
