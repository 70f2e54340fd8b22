//! `[models.ID]`: what differs for one model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::layers::Origin;
use super::reader::Reader;

/// Type of the KV cache's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum KvType {
    /// Half floats.
    #[default]
    F16,
    /// 8-bit blocks.
    Q8_0,
}

pub(super) const KV_TYPES: [(&str, KvType); 2] = [("f16", KvType::F16), ("q8_0", KvType::Q8_0)];

/// What differs for one model; `None` means as in `[engine]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ModelOverrides {
    pub(crate) context: Option<u32>,
    pub(crate) parallel: Option<u32>,
    /// The inner `None`: for ever.
    pub(crate) keep_alive: Option<Option<Duration>>,
    pub(crate) threads: Option<u32>,
    pub(crate) gpu_layers: Option<u32>,
    pub(crate) kv_type: Option<KvType>,
    /// A Jinja file instead of the model's own chat template.
    pub(crate) template: Option<PathBuf>,
    pub(crate) aliases: Vec<String>,
    /// Name and file.
    pub(crate) adapters: Vec<(String, PathBuf)>,
    /// Serve embeddings and nothing else, or not, whatever the file says.
    pub(crate) embeddings: Option<bool>,
}

pub(super) fn overrides(reader: &mut Reader<'_>) -> BTreeMap<String, ModelOverrides> {
    let settings = reader.settings;
    let mut all = BTreeMap::new();
    for (id, entries) in settings.names("models") {
        let overrides = reader.within(&format!("models.{id}"), entries, Origin::BuiltIn, one);
        all.insert(id.to_owned(), overrides);
    }
    all
}

fn one(reader: &mut Reader<'_>) -> ModelOverrides {
    ModelOverrides {
        context: reader.maybe("context", |reader, path| reader.whole(path, 32, 16_777_216)),
        parallel: reader.maybe("parallel", |reader, path| reader.whole(path, 1, 256)),
        keep_alive: reader.maybe("keep_alive", Reader::keep_alive),
        threads: reader.maybe("threads", |reader, path| reader.whole(path, 1, 1024)),
        gpu_layers: reader.maybe("gpu_layers", |reader, path| reader.whole(path, 0, 100_000)),
        kv_type: reader.maybe("kv_type", |reader, path| reader.choice(path, &KV_TYPES)),
        template: reader.maybe("template", Reader::path),
        aliases: reader.texts("aliases"),
        adapters: reader.maybe("adapters", adapters).unwrap_or_default(),
        embeddings: reader.maybe("embeddings", Reader::flag),
    }
}

fn adapters(reader: &mut Reader<'_>, path: &str) -> Vec<(String, PathBuf)> {
    let mut adapters = Vec::new();
    for item in reader.items(path) {
        let text = |key: &str| item.get(key).and_then(Value::as_str);
        let extra =
            item.as_table().is_none_or(|table| table.keys().any(|key| key != "name" && key != "path"));
        match (text("name"), text("path").map(|text| reader.expand(text)), extra) {
            (Some(name), Some(file), false) if file.is_absolute() => adapters.push((name.to_owned(), file)),
            _ => reader.wrong(
                path,
                "each adapter needs a `name` and an absolute `path`, and nothing else".to_owned(),
                Some("adapters = [{ name = \"formal\", path = \"~/adapters/formal.gguf\" }]"),
            ),
        }
    }
    adapters
}
