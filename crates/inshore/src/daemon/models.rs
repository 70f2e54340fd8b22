//! Device models: from config and models folder to the engine's pool.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use inshore_domain::Clock;
use inshore_engine::frames;
use inshore_engine::host::CommandLauncher;
use inshore_engine::pool::{DeviceModel, DevicePool, Overrides, PoolOptions, SystemMemory};
use inshore_runtime::Registered;

use crate::catalogue::Entry;
use crate::config::{Engine, KvType, ModelOverrides};

/// A template longer than this is not one: the longest in use have some 30 KB.
const MAX_TEMPLATE: u64 = 1 << 20;

/// A pool that starts children of this program, and saves prefixes in `prefixes` if anywhere.
pub(crate) fn pool(engine: &Engine, prefixes: Option<PathBuf>, clock: Arc<dyn Clock>) -> Result<DevicePool> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let launcher = Arc::new(CommandLauncher { program, arguments: vec!["engine".to_owned()] });
    let usual = PoolOptions::new(launcher, clock, Arc::new(SystemMemory));
    Ok(DevicePool::new(PoolOptions {
        context: engine.context,
        sequences: engine.parallel,
        batch: engine.batch,
        threads: engine.threads,
        gpu_layers: engine.gpu_layers.unwrap_or(u32::MAX),
        kv_type: kv_type(engine.kv_type),
        retained_bytes: engine.retained_prefix_bytes,
        keep_alive: engine.keep_alive,
        memory_limit: engine.memory_limit,
        require_sandbox: engine.require_sandbox,
        state_dir: prefixes,
        state_limit: engine.saved_prefix_bytes,
        ..usual
    }))
}

fn kv_type(kv_type: KvType) -> frames::KvType {
    match kv_type {
        KvType::F16 => frames::KvType::F16,
        KvType::Q8_0 => frames::KvType::Q8_0,
    }
}

/// The models in the folder, each with what the config says about it.
pub(crate) fn device_models(
    entries: &[Entry],
    overrides: &BTreeMap<String, ModelOverrides>,
) -> Vec<DeviceModel> {
    for id in overrides.keys().filter(|id| !entries.iter().any(|entry| entry.manifest.id == **id)) {
        tracing::warn!("the config has a section for the model `{id}`, which is not there");
    }
    entries.iter().map(|entry| device_model(entry, overrides.get(&entry.manifest.id))).collect()
}

fn device_model(entry: &Entry, overrides: Option<&ModelOverrides>) -> DeviceModel {
    let none = ModelOverrides::default();
    let overrides = overrides.unwrap_or(&none);
    let template = overrides.template.as_deref().and_then(|path| {
        read_template(path)
            .inspect_err(|error| tracing::warn!("`{}` keeps its own template: {error:#}", entry.manifest.id))
            .ok()
    });
    DeviceModel {
        id: entry.manifest.id.clone(),
        path: entry.path.clone(),
        aliases: entry.manifest.aliases.iter().chain(&overrides.aliases).cloned().collect(),
        adapters: overrides.adapters.clone(),
        template,
        overrides: Overrides {
            context: overrides.context,
            threads: overrides.threads,
            gpu_layers: overrides.gpu_layers,
            kv_type: overrides.kv_type.map(kv_type),
            sequences: overrides.parallel,
            keep_alive: overrides.keep_alive,
            embeddings: overrides.embeddings,
        },
    }
}

fn read_template(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    anyhow::ensure!(
        size <= MAX_TEMPLATE,
        "`{}` has {size} bytes, a template may have {MAX_TEMPLATE}",
        path.display()
    );
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Gives the pool its models, and the runtime what the pool makes of them. Models that the pool refuses are logged and left out.
pub(super) async fn registered(pool: &DevicePool, models: Vec<DeviceModel>) -> Vec<Registered> {
    pool.set_models(models).await;
    let registered = pool.registered();
    registered
        .into_iter()
        .map(|(target, backend, embedder)| Registered { target, backend, embedder })
        .collect()
}
