//! What the pool is told: how models are loaded, and which models there are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inshore_domain::Clock;

use super::system::Memory;
use crate::frames::KvType;
use crate::host::Launcher;

/// How the pool works. Everything that a model does not override.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Starts engine children; see [`crate::host::CommandLauncher`].
    pub launcher: Arc<dyn Launcher>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// How much memory there is; see [`super::SystemMemory`].
    pub memory: Arc<dyn Memory>,
    /// Tokens of the KV cache; a model trained for less gets less.
    pub context: u32,
    /// Sequences that can be live at once in a model.
    pub sequences: u32,
    /// Most tokens in one decode step.
    pub batch: u32,
    /// Threads; `None`: one for each physical core.
    pub threads: Option<u32>,
    /// Layers on a GPU, where the build has one; `u32::MAX` for all.
    pub gpu_layers: u32,
    /// Memory-map model files.
    pub mmap: bool,
    /// Type of the KV cache.
    pub kv_type: KvType,
    /// Bytes of each model's KV cache that retained prefixes may hold.
    pub retained_bytes: u64,
    /// How long an idle model stays loaded. `None`: until memory runs short. Zero: not at all.
    pub keep_alive: Option<Duration>,
    /// Bytes that all models together may take; `None`: what the system has.
    pub memory_limit: Option<u64>,
    /// Bytes that must stay free for everything else on the machine.
    pub memory_reserve: u64,
    /// Refuse to load when any part of the sandbox cannot be put in force.
    pub require_sandbox: bool,
    /// Where saved prefixes are kept; `None`: they are not.
    pub state_dir: Option<PathBuf>,
    /// Bytes of saved prefixes of all models together.
    pub state_limit: u64,
    /// How long loading a model may take.
    pub load_timeout: Duration,
}

impl PoolOptions {
    /// The defaults, each with its reason in place.
    pub fn new(launcher: Arc<dyn Launcher>, clock: Arc<dyn Clock>, memory: Arc<dyn Memory>) -> Self {
        Self {
            launcher,
            clock,
            memory,
            // Long enough for a chat with documents; half a gigabyte in a model of 3 B.
            context: 8192,
            // A desktop has a handful of apps that ask at the same time.
            sequences: 8,
            // llama.cpp's own unit of prompt reading; more makes others wait longer.
            batch: 512,
            threads: None,
            gpu_layers: u32::MAX,
            mmap: true,
            kv_type: KvType::F16,
            retained_bytes: 256 << 20,
            // As long as Ollama's, which users know.
            keep_alive: Some(Duration::from_secs(300)),
            memory_limit: None,
            // What a browser tab takes.
            memory_reserve: 256 << 20,
            require_sandbox: true,
            state_dir: None,
            state_limit: 1 << 30,
            // A 70 B model from a slow disk.
            load_timeout: Duration::from_secs(300),
        }
    }
}

/// A model on this device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceModel {
    /// Its name; the target is `device/<id>`.
    pub id: String,
    /// The GGUF file.
    pub path: PathBuf,
    /// Other names by which a request may ask for it.
    pub aliases: Vec<String>,
    /// LoRA adapters: name and GGUF file.
    pub adapters: Vec<(String, PathBuf)>,
    /// A chat template instead of the model's own.
    pub template: Option<String>,
    /// What differs from the pool's options.
    pub overrides: Overrides,
}

/// What differs from [`PoolOptions`] for one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Tokens of the KV cache.
    pub context: Option<u32>,
    /// Threads.
    pub threads: Option<u32>,
    /// Layers on a GPU.
    pub gpu_layers: Option<u32>,
    /// Type of the KV cache.
    pub kv_type: Option<KvType>,
    /// Sequences that can be live at once.
    pub sequences: Option<u32>,
    /// How long it stays when idle: `Some(None)` until memory runs short.
    pub keep_alive: Option<Option<Duration>>,
    /// Serve embeddings (and nothing else) or not, whatever the file says.
    pub embeddings: Option<bool>,
}
