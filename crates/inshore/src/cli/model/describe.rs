//! What a model's file says of itself.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use inshore_engine::gguf::{self, Model};

/// Reads a model's header, without loading it; refuses what is no model.
pub(super) fn read(path: &Path) -> Result<Model> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let model = gguf::read(BufReader::new(file))
        .with_context(|| format!("`{}` is not a usable model", path.display()))?;
    if model.adapter {
        bail!(
            "`{}` is an adapter for a model; name it in the config: adapters = [{{ name = \"…\", path = \"…\" }}]",
            path.display()
        );
    }
    Ok(model)
}

/// `1.2 B`, `8.4 M`: how weights are counted.
pub(super) fn parameters(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let in_units = |unit: u64| count as f64 / unit as f64;
    match count {
        0..1_000_000 => format!("{count}"),
        1_000_000..1_000_000_000 => format!("{:.1} M", in_units(1_000_000)),
        _ => format!("{:.1} B", in_units(1_000_000_000)),
    }
}

/// What the model can do, as far as its file tells.
pub(super) fn kind(model: &Model) -> &'static str {
    match (model.embedding_only(), model.chat_template.is_some(), model.infill) {
        (true, ..) => "embeddings",
        (false, true, true) => "chat, completion, fill-in-the-middle",
        (false, true, false) => "chat, completion",
        (false, false, true) => "completion, fill-in-the-middle",
        (false, false, false) => "completion",
    }
}
