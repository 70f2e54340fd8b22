//! The small completion model that is part of the program.
//!
//! Its bytes are in the program's file. The engine wants a file of its own (it maps the model into memory and hands its
//! descriptor to a sandboxed child), so the bytes are written to the models folder once for each version.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Entry, Manifest, digest};
use crate::paths::write_private;

/// Its id.
pub(crate) const ID: &str = "inshore-default";
/// The model.
static BYTES: &[u8] = include_bytes!("../../../../models/default/inshore-default-q8_0.gguf");

/// How many places of the model the fingerprint looks at, and how many bytes at each. Two trainings differ in every
/// weight, so a few are enough; reading all 6 MB at each start would cost the start more than everything else.
const SAMPLES: usize = 16;
const SAMPLE_BYTES: usize = 256;

/// What was written, and by which program.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Written {
    fingerprint: String,
    sha256: String,
    size: u64,
}

/// The built-in model, written to `dir` when it is not there yet. Blocking.
pub(crate) fn entry(dir: &Path) -> Result<Entry> {
    let path = dir.join(format!("{ID}.gguf"));
    let written = match read_note(dir) {
        Some(note) if note.fingerprint == fingerprint() && size_of(&path) == Some(note.size) => note,
        _ => write(dir, &path)
            .with_context(|| format!("cannot put the built-in model into `{}`", dir.display()))?,
    };
    Ok(Entry {
        manifest: Manifest {
            id: ID.to_owned(),
            file: PathBuf::from(format!("{ID}.gguf")),
            owned: true,
            sha256: Some(written.sha256),
            size: written.size,
            source: "part of the program".to_owned(),
            aliases: Vec::new(),
            added: 0,
        },
        path,
        builtin: true,
    })
}

fn size_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}

fn note_path(dir: &Path) -> PathBuf {
    // Hidden, so that it is not taken for a manifest.
    dir.join(format!(".{ID}.json"))
}

fn read_note(dir: &Path) -> Option<Written> {
    serde_json::from_slice(&std::fs::read(note_path(dir)).ok()?).ok()
}

fn write(dir: &Path, path: &Path) -> Result<Written> {
    write_private(path, BYTES)?;
    let expected = digest::sha256(BYTES);
    // What counts is what the disk has, not what was meant.
    let found = digest::sha256_of(path, |_| {})?;
    anyhow::ensure!(found == expected, "the file on disk differs from the one in the program");
    let note = Written { fingerprint: fingerprint(), sha256: expected, size: BYTES.len() as u64 };
    write_private(&note_path(dir), &serde_json::to_vec(&note)?)?;
    Ok(note)
}

fn fingerprint() -> String {
    let mut sampled = BYTES.len().to_le_bytes().to_vec();
    for i in 0..SAMPLES {
        let from = BYTES.len() / SAMPLES * i;
        sampled.extend(BYTES.get(from..).unwrap_or_default().iter().take(SAMPLE_BYTES));
    }
    // The end too: a truncated build must not pass.
    sampled.extend(BYTES.iter().rev().take(SAMPLE_BYTES));
    digest::sha256(&sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_and_again_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let first = entry(dir.path()).unwrap();
        assert_eq!(std::fs::read(&first.path).unwrap(), BYTES);
        let made = std::fs::metadata(&first.path).unwrap().modified().unwrap();
        assert_eq!(entry(dir.path()).unwrap(), first);
        assert_eq!(
            std::fs::metadata(&first.path).unwrap().modified().unwrap(),
            made,
            "written again without need"
        );
        std::fs::write(&first.path, b"short").unwrap();
        assert_eq!(entry(dir.path()).unwrap(), first);
        assert_eq!(std::fs::read(&first.path).unwrap(), BYTES);
    }
}
