//! Models that Ollama and LM Studio have on this disk.
//!
//! Ollama keeps manifests (`manifests/REGISTRY/NAMESPACE/MODEL/TAG`, the OCI image manifest with its own media types) and
//! the layers they name as `blobs/sha256-HEX`; see its `manifest` and `server/modelpath.go`. LM Studio keeps plain files as
//! `PUBLISHER/REPOSITORY/FILE.gguf`. Both are foreign: whatever does not look like this is left alone.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::id_from;
use crate::environment::Environment;

/// The media type of a layer that is a GGUF file.
const OLLAMA_MODEL: &str = "application/vnd.ollama.image.model";
/// A manifest has some kilobytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// Folders and files looked at in one place. Collections have hundreds; this ends a walk into something else.
const MAX_VISITED: usize = 20_000;
/// `REGISTRY/NAMESPACE/MODEL/TAG` and `PUBLISHER/REPOSITORY/FOLDER/FILE`.
const MAX_DEPTH: usize = 4;

/// A model that another program has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it would be called here.
    pub(crate) id: String,
    /// What it is called there.
    pub(crate) name: String,
    /// `ollama` or `lm-studio`.
    pub(crate) program: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// From the other program's manifest, where it has one.
    pub(crate) sha256: Option<String>,
}

/// Looks in the places where these programs keep models.
pub(crate) fn find(environment: &Environment) -> Vec<Found> {
    let home = environment.path("HOME").or_else(|| environment.path("USERPROFILE"));
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let mut found = Vec::new();
    let ollama = [
        environment.path("OLLAMA_MODELS"),
        below_home(".ollama/models"),
        Some("/usr/share/ollama/.ollama/models".into()),
    ];
    for dir in ollama.into_iter().flatten() {
        found.extend(in_ollama(&dir));
    }
    let pointer = below_home(".lmstudio-home-pointer").and_then(|path| std::fs::read_to_string(path).ok());
    let pointed =
        pointer.map(|text| PathBuf::from(text.trim()).join("models")).filter(|path| path.is_absolute());
    for dir in
        [pointed, below_home(".lmstudio/models"), below_home(".cache/lm-studio/models")].into_iter().flatten()
    {
        found.extend(in_lm_studio(&dir));
    }
    unique(found)
}

/// The same file found twice counts once; different files get different ids.
fn unique(found: Vec<Found>) -> Vec<Found> {
    let mut kept: Vec<Found> = Vec::new();
    for mut one in found {
        if kept.iter().any(|other| other.path == one.path && other.name == one.name) {
            continue;
        }
        let wanted = one.id.clone();
        let taken = |id: &str| kept.iter().any(|other| other.id == id);
        let mut count = 2;
        while taken(&one.id) {
            one.id = format!("{wanted}-{count}");
            count += 1;
        }
        kept.push(one);
    }
    kept
}

#[derive(Deserialize)]
struct OllamaManifest {
    layers: Vec<OllamaLayer>,
}

#[derive(Deserialize)]
struct OllamaLayer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
}

fn in_ollama(dir: &Path) -> Vec<Found> {
    let manifests = dir.join("manifests");
    let mut found = Vec::new();
    for path in files_below(&manifests) {
        found.extend(ollama_model(dir, &manifests, &path));
    }
    found
}

fn ollama_model(dir: &Path, manifests: &Path, path: &Path) -> Option<Found> {
    let size = std::fs::metadata(path).ok()?.len();
    if size > MAX_MANIFEST {
        return None;
    }
    let manifest: OllamaManifest = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let layer = manifest.layers.into_iter().find(|layer| layer.media_type == OLLAMA_MODEL)?;
    let hex = layer.digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex))?;
    let blob = dir.join("blobs").join(format!("sha256-{hex}"));
    let parts: Vec<String> =
        path.strip_prefix(manifests).ok()?.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let [registry, namespace, model, tag] = parts.as_slice() else { return None };
    // Ollama itself leaves these two out when it shows a name.
    let name = match (registry.as_str(), namespace.as_str()) {
        ("registry.ollama.ai", "library") => format!("{model}:{tag}"),
        ("registry.ollama.ai", _) => format!("{namespace}/{model}:{tag}"),
        _ => format!("{registry}/{namespace}/{model}:{tag}"),
    };
    let id = if tag == "latest" { id_from(model) } else { id_from(&format!("{model}-{tag}")) }.ok()?;
    let size = std::fs::metadata(&blob).ok()?.len();
    Some(Found { id, name, program: "ollama", path: blob, size, sha256: Some(hex.to_owned()) })
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn in_lm_studio(dir: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for path in files_below(dir) {
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // Projectors of vision models are no models of their own; of a model in parts, no part is one.
        let part = file.contains("-of-0");
        if !file.ends_with(".gguf") || file.starts_with("mmproj") || part {
            continue;
        }
        let (Ok(id), Ok(metadata)) = (id_from(file), std::fs::metadata(&path)) else { continue };
        let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        found.push(Found {
            id,
            name,
            program: "lm-studio",
            path: path.clone(),
            size: metadata.len(),
            sha256: None,
        });
    }
    found
}

/// All files up to the usual depth, in a fixed order. Folders that cannot be read are left out.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut visited = 0;
    let mut folders = vec![(dir.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            visited += 1;
            if visited > MAX_VISITED {
                break;
            }
            let path = entry.path();
            // Follows links: LM Studio users link collections in from other disks.
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() && depth + 1 < MAX_DEPTH => folders.push((path, depth + 1)),
                Ok(metadata) if metadata.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, content: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn models_of_both_programs_are_found_where_they_lie() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        let hex = "ab".repeat(32);
        let manifest = format!(
            r#"{{"schemaVersion":2,"layers":[{{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:{hex}","size":1}},
               {{"mediaType":"{OLLAMA_MODEL}","digest":"sha256:{hex}","size":4}}]}}"#
        );
        write(&at(".ollama/models/manifests/registry.ollama.ai/library/llama3.2/3b"), &manifest);
        write(&at(".ollama/models/manifests/registry.ollama.ai/me/own/latest"), &manifest);
        write(&at(".ollama/models/manifests/registry.ollama.ai/library/broken/latest"), "{");
        let evil = manifest.replace(&hex, "../../../etc/passwd");
        write(&at(".ollama/models/manifests/registry.ollama.ai/library/evil/latest"), &evil);
        write(&at(&format!(".ollama/models/blobs/sha256-{hex}")), "GGUF");
        write(&at(".lmstudio/models/lmstudio-community/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf"), "GGUF");
        write(&at(".lmstudio/models/lmstudio-community/Qwen3-4B-GGUF/mmproj-model-f16.gguf"), "GGUF");
        write(&at(".lmstudio/models/big/Big/big-00001-of-00002.gguf"), "GGUF");

        let home_text = home.path().to_str().unwrap().to_owned();
        let environment = Environment::of([("HOME", home_text.as_str())]);
        let found = find(&environment);
        let ids: Vec<_> = found.iter().map(|one| (one.program, one.id.as_str(), one.name.as_str())).collect();
        assert_eq!(
            ids,
            [
                ("ollama", "llama3.2-3b", "llama3.2:3b"),
                ("ollama", "own", "me/own:latest"),
                ("lm-studio", "qwen3-4b-q4_k_m", "lmstudio-community/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf"),
            ]
        );
        assert_eq!(found[0].sha256.as_deref(), Some(hex.as_str()));
        assert_eq!(found[0].path, at(&format!(".ollama/models/blobs/sha256-{hex}")));
    }

    #[test]
    fn nothing_there_is_nothing_found() {
        assert_eq!(in_ollama(Path::new("/nonexistent")), []);
        assert_eq!(in_lm_studio(Path::new("/nonexistent")), []);
    }
}
