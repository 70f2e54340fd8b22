//! `inshore model show`

use inshore_engine::frames::KvType as FrameKvType;
use inshore_engine::gguf::{Estimate, LoadShape, Model};
use serde_json::json;

use super::{describe, list};
use crate::catalogue::{Entry, digest};
use crate::cli::Context;
use crate::config::{Engine, KvType, ModelOverrides};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Show a model: architecture, size, quantization, context, memory needed, licence.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore model show inshore-default
  inshore model show qwen3-4b --verify")]
pub(crate) struct Args {
    /// The model's id or one of its aliases
    id: String,
    /// Read the whole file and compare its checksum
    #[arg(long)]
    verify: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Outcome {
    let loaded = context.config()?;
    let entry = context.catalogue(&loaded).find(&args.id)?;
    let model = describe::read(&entry.path)?;
    let overrides = loaded.config.models.overrides.get(&entry.manifest.id);
    let memory = Estimate::of(&model, shape(&model, &loaded.config.engine, overrides));
    if args.verify {
        verify(&entry)?;
    }
    if context.output.json {
        let value = json!({
            "model": list::as_json(&entry),
            "name": model.name, "kind": describe::kind(&model), "architecture": model.architecture,
            "parameters": model.parameters, "quantization": model.quantization, "context_length": model.context_length,
            "memory": {
                "total": memory.total(), "weights": memory.weights, "context_tokens": memory.context,
                "context": memory.kv(), "work": memory.work, "retained": memory.retained,
            },
            "licence": model.license,
        });
        return Ok(context.output.json(&value)?);
    }
    Ok(context.output.facts(&facts(&entry, &model, &memory))?)
}

/// How the model would be loaded.
fn shape(model: &Model, engine: &Engine, overrides: Option<&ModelOverrides>) -> LoadShape {
    let context = overrides.and_then(|overrides| overrides.context).unwrap_or(engine.context);
    let kv_type = overrides.and_then(|overrides| overrides.kv_type).unwrap_or(engine.kv_type);
    LoadShape {
        context: context.min(model.context_length.unwrap_or(context)),
        batch: engine.batch,
        kv_type: match kv_type {
            KvType::F16 => FrameKvType::F16,
            KvType::Q8_0 => FrameKvType::Q8_0,
        },
        retained_bytes: engine.retained_prefix_bytes,
    }
}

fn facts(entry: &Entry, model: &Model, memory: &Estimate) -> Vec<(&'static str, String)> {
    let manifest = &entry.manifest;
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "not told".to_owned());
    let owned = if entry.builtin || manifest.owned { "" } else { " (registered where it lies)" };
    vec![
        ("id", manifest.id.clone()),
        ("name", or_unknown(&model.name)),
        (
            "aliases",
            if manifest.aliases.is_empty() { "none".to_owned() } else { manifest.aliases.join(", ") },
        ),
        ("made for", describe::kind(model).to_owned()),
        ("architecture", model.architecture.clone()),
        ("parameters", describe::parameters(model.parameters)),
        ("quantization", model.quantization.clone()),
        (
            "context",
            model.context_length.map_or_else(|| "not told".to_owned(), |tokens| format!("{tokens} tokens")),
        ),
        ("memory", memory.to_string()),
        ("licence", or_unknown(&model.license)),
        ("file", format!("{}{owned}", entry.path.display())),
        ("size", output::bytes(manifest.size)),
        ("sha256", manifest.sha256.clone().unwrap_or_else(|| "not recorded".to_owned())),
        ("from", manifest.source.clone()),
    ]
}

fn verify(entry: &Entry) -> Outcome {
    let Some(expected) = &entry.manifest.sha256 else {
        let message = format!("no checksum was recorded for `{}`", entry.manifest.id);
        return Err(Failure::new(Exit::Failure, message));
    };
    let mut bar = super::progress::Bar::new(entry.manifest.size, "reading");
    let found = digest::sha256_of(&entry.path, |done| bar.at(done))?;
    bar.done();
    if found != *expected {
        let message = format!(
            "`{}` has changed: its checksum is {found}, recorded was {expected}",
            entry.path.display()
        );
        return Err(
            Failure::new(Exit::Failure, message).with_hint("delete the model and pull or import it again")
        );
    }
    output::note("the checksum is right");
    Ok(())
}
