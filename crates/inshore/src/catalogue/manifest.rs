//! The description of one model in the models folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::check_id;

/// The format this program writes. A reader refuses formats it does not know, so that a signature may become part of
/// the format without an old program ignoring it.
const FORMAT: u32 = 1;
/// A manifest has some hundred bytes.
const MAX_BYTES: u64 = 64 << 10;

/// What is known of a model beside its file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Manifest {
    pub(crate) id: String,
    /// Where the file is: a name in the models folder, or an absolute path elsewhere.
    pub(crate) file: PathBuf,
    /// Inshore wrote the file, and deletes it with the model.
    pub(crate) owned: bool,
    /// Hex digits; `None` when nobody has computed it.
    pub(crate) sha256: Option<String>,
    pub(crate) size: u64,
    /// Where it came from, for people: `hf:owner/repo/file.gguf`, `ollama llama3.2:3b`.
    pub(crate) source: String,
    pub(crate) aliases: Vec<String>,
    /// Seconds since 1970.
    pub(crate) added: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    id: String,
    file: PathBuf,
    owned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    size: u64,
    source: String,
    #[serde(default)]
    aliases: Vec<String>,
    added: u64,
}

impl Manifest {
    /// Reads and checks a manifest.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path)?.len();
        if size > MAX_BYTES {
            bail!("a manifest has {MAX_BYTES} bytes at most, this file has {size}");
        }
        Self::from_bytes(&std::fs::read(path)?)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(bytes).context("not a manifest of this version")?;
        if file.format != FORMAT {
            bail!("the manifest has format {}, this program knows {FORMAT}", file.format);
        }
        check_id(&file.id)?;
        // An owned file is deleted with its model: it must be the one beside the manifest.
        if file.owned && file.file != Path::new(&format!("{}.gguf", file.id)) {
            bail!("the file of an owned model must lie in the models folder");
        }
        if !file.owned && !file.file.is_absolute() {
            bail!("the path `{}` is not absolute", file.file.display());
        }
        let File { id, file, owned, sha256, size, source, aliases, added, .. } = file;
        Ok(Self { id, file, owned, sha256, size, source, aliases, added })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Self { id, file, owned, sha256, size, source, aliases, added } = self.clone();
        let file = File { format: FORMAT, id, file, owned, sha256, size, source, aliases, added };
        // Serializing texts and numbers into memory cannot fail.
        let mut bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub(super) fn path_in(&self, dir: &Path) -> PathBuf {
        dir.join(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_manifest_cannot_own_a_file_elsewhere() {
        let manifest = |id: &str, file: &str, owned| Manifest {
            id: id.into(),
            file: file.into(),
            owned,
            ..Manifest::default()
        };
        assert!(Manifest::from_bytes(&manifest("a", "a.gguf", true).to_bytes()).is_ok());
        assert!(Manifest::from_bytes(&manifest("a", "/etc/passwd", true).to_bytes()).is_err());
        assert!(Manifest::from_bytes(&manifest("a", "../a.gguf", true).to_bytes()).is_err());
        assert!(Manifest::from_bytes(&manifest("a", "a.gguf", false).to_bytes()).is_err());
        assert!(Manifest::from_bytes(&manifest("../a", "/a.gguf", false).to_bytes()).is_err());
    }

    #[test]
    fn the_format_is_as_it_was() {
        let manifest = Manifest {
            id: "m".into(),
            file: "m.gguf".into(),
            owned: true,
            sha256: Some("00".into()),
            size: 7,
            source: "hf:o/r/m.gguf".into(),
            aliases: vec!["mm".into()],
            added: 9,
        };
        insta::assert_snapshot!(String::from_utf8(manifest.to_bytes()).unwrap(), @r#"
        {
          "format": 1,
          "id": "m",
          "file": "m.gguf",
          "owned": true,
          "sha256": "00",
          "size": 7,
          "source": "hf:o/r/m.gguf",
          "aliases": [
            "mm"
          ],
          "added": 9
        }
        "#);
        assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
    }
}
