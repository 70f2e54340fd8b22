//! The models of this device: loaded on first use, shared by all requests, unloaded when idle or when memory runs short.
//!
//! Layout: [`options`] what the pool is told; [`system`] memory and cores; `slot` one model and whether it is loaded; `load` getting it in and out
//! of memory; `request` from a domain request to the child's; `answer` from the child's frames to domain events; `backend` the traits of the
//! domain; `prefixes` saved prefixes; `writer` the process that writes a model's conversations.
//!
//! Invariants: a model is loaded at most once at a time, whoever asks; it is never unloaded while a request runs on it; the memory it needs is
//! computed and compared before a child is started; a child's end is an error for its own requests only; no template is run in the daemon.

mod answer;
mod backend;
mod load;
pub mod options;
mod prefixes;
mod request;
mod slot;
pub mod system;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use inshore_domain::{
    Backend, BackendError, BackendErrorKind, Capabilities, Capability, Embedder, Sensitivity, Target,
    TargetId, Tier,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use options::{DeviceModel, Overrides, PoolOptions};
pub use system::{Memory, SystemMemory, physical_cores};

use crate::frames::{Attempt, FromChild, Loaded, Stats, ToChild};
use crate::gguf::{Estimate, GgufError, LoadShape, Model, show_bytes};
use crate::host::{Host, Reply};
use crate::template::ChatTemplate;
use crate::tools::Format;
use backend::DeviceBackend;
use prefixes::{Identity, PrefixStore};
use slot::{Known, Slot, State};

/// The shortest context that is worth loading a model for.
const MIN_CONTEXT: u32 = 256;

/// The models of this device. A cheap handle.
#[derive(Debug, Clone)]
pub struct DevicePool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    broken: RwLock<BTreeMap<String, BackendError>>,
    tasks: TaskTracker,
    closing: CancellationToken,
    loading: tokio::sync::Mutex<()>,
    prefixes: Option<Arc<PrefixStore>>,
}

/// A model as `inshore status` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelStatus {
    /// Its name.
    pub id: String,
    /// What it is doing.
    pub state: ModelState,
    /// What it needs.
    pub estimate: Option<Estimate>,
}

/// What a model is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelState {
    /// Not in memory.
    Unloaded,
    /// On its way into memory.
    Loading,
    /// Ready.
    Loaded {
        /// Its process.
        pid: Option<u32>,
        /// What the child's sandbox has in force; empty: nothing.
        sandbox: Vec<String>,
        /// The CPU variant, and GPUs.
        devices: Vec<String>,
        /// Threads in use.
        threads: u32,
        /// Tokens the KV cache holds.
        context: u32,
        /// Requests running on it.
        running: usize,
        /// How long ago it was last used.
        idle: Duration,
    },
    /// It cannot be used, and why.
    Broken(BackendError),
}

/// What the pool offers to the runtime for one model.
pub type Registered = (Arc<Target>, Arc<dyn Backend>, Option<Arc<dyn Embedder>>);

impl DevicePool {
    /// A pool without models.
    pub fn new(options: PoolOptions) -> Self {
        let prefixes = options.state_dir.clone().and_then(|dir| {
            let store = PrefixStore::open(dir, options.state_limit, Arc::clone(&options.clock));
            store.inspect_err(|error| tracing::warn!(%error, "prefixes are not saved: the state directory cannot be used")).ok()
        });
        Self(Arc::new(Inner {
            options,
            slots: RwLock::default(),
            broken: RwLock::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            loading: tokio::sync::Mutex::new(()),
            prefixes,
        }))
    }

    /// Sets which models there are. Files are looked at, not loaded. A model that is unchanged stays as it is, loaded or not; one that is gone is
    /// unloaded when its last answer ends. A model whose file is unusable is not offered, and [`Self::status`] says why.
    pub async fn set_models(&self, models: Vec<DeviceModel>) {
        let inner = Arc::clone(&self.0);
        let looked = tokio::task::spawn_blocking(move || {
            models
                .into_iter()
                .map(|model| (model.id.clone(), look(&inner.options, model)))
                .collect::<Vec<_>>()
        });
        let looked = looked.await.unwrap_or_default();
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *slots);
        let mut broken = BTreeMap::new();
        for (id, known) in looked {
            match known {
                Ok(known) => {
                    let same = |slot: &Arc<Slot>| {
                        slot.known.model == known.model && slot.known.identity == known.identity
                    };
                    let slot = old.remove(&id).filter(same).unwrap_or_else(|| Slot::new(known));
                    slots.insert(id, slot);
                }
                Err(error) => {
                    tracing::warn!(model = %id, %error, "a model cannot be used");
                    broken.insert(id, error);
                }
            }
        }
        let kept: Vec<*const Slot> = slots.values().map(Arc::as_ptr).collect();
        for slot in old.into_values().filter(|slot| !kept.contains(&Arc::as_ptr(slot))) {
            slot.retired.send_replace(true);
        }
        *self.0.broken.write().unwrap_or_else(PoisonError::into_inner) = broken;
    }

    /// What the runtime can use.
    pub fn registered(&self) -> Vec<Registered> {
        let slots = self.0.slots();
        let offer = |slot: &Arc<Slot>| {
            let backend = Arc::new(DeviceBackend { inner: Arc::clone(&self.0), slot: Arc::clone(slot) });
            let embedder = slot
                .known
                .target
                .capabilities
                .has(Capability::Embeddings)
                .then(|| Arc::clone(&backend) as Arc<dyn Embedder>);
            (Arc::clone(&slot.known.target), backend as Arc<dyn Backend>, embedder)
        };
        slots.iter().map(offer).collect()
    }

    /// What a model's file says.
    pub fn describe(&self, id: &str) -> Option<Model> {
        self.0.slot(id).map(|slot| slot.known.about.clone())
    }

    /// All models, by name.
    pub fn status(&self) -> Vec<ModelStatus> {
        let broken = self.0.broken.read().unwrap_or_else(PoisonError::into_inner).clone();
        let broken = broken.into_iter().map(|(id, error)| ModelStatus {
            id,
            state: ModelState::Broken(error),
            estimate: None,
        });
        let mut all: Vec<ModelStatus> =
            self.0.slots().iter().map(|slot| status(slot)).chain(broken).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Loads a model if it is not loaded.
    pub async fn load(&self, id: &str) -> Result<(), BackendError> {
        let slot = self.0.slot(id).ok_or_else(|| unknown(id))?;
        load::acquire(&self.0, &slot).await.map(drop)
    }

    /// Unloads a model when no request runs on it; says whether it was unloaded.
    pub async fn unload(&self, id: &str) -> Result<bool, BackendError> {
        let slot = self.0.slot(id).ok_or_else(|| unknown(id))?;
        match slot.take_if_idle() {
            None => Ok(false),
            Some(host) => {
                host.quit().await;
                Ok(true)
            }
        }
    }

    /// What the sandbox of a model's child denies, by trying. Loads the model if it is not loaded.
    pub async fn probe(&self, id: &str) -> Result<(Loaded, Vec<Attempt>), BackendError> {
        match self.ask(id, |id| ToChild::Probe { id }).await? {
            (loaded, FromChild::Probed { attempts, .. }) => Ok((loaded, attempts)),
            _ => Err(BackendError::new(BackendErrorKind::Protocol, "the engine answered something else")),
        }
    }

    /// Counters of a model's child. Loads the model if it is not loaded.
    pub async fn stats(&self, id: &str) -> Result<Stats, BackendError> {
        match self.ask(id, |id| ToChild::Stats { id }).await? {
            (_, FromChild::Stats { stats, .. }) => Ok(stats),
            _ => Err(BackendError::new(BackendErrorKind::Protocol, "the engine answered something else")),
        }
    }

    async fn ask(
        &self,
        id: &str,
        frame: impl FnOnce(u64) -> ToChild,
    ) -> Result<(Loaded, FromChild), BackendError> {
        let slot = self.0.slot(id).ok_or_else(|| unknown(id))?;
        let lease = load::acquire(&self.0, &slot).await?;
        let mut work = lease.host.submit(frame);
        match work.next().await {
            Reply::Frame(frame) => {
                work.finish();
                Ok((lease.host.loaded().clone(), frame))
            }
            reply => Err(answer::lost(id, &reply)),
        }
    }

    /// Ends all children and waits until they are gone. Running answers end with an error.
    pub async fn shutdown(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        for slot in self.0.slots() {
            slot.writer.end().await;
        }
    }
}

fn unknown(id: &str) -> BackendError {
    BackendError::new(BackendErrorKind::ModelNotFound, format!("there is no model `{id}` on this device"))
}

impl Inner {
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Bytes a model may take now; `None` when nobody knows.
    fn free_memory(&self, but: &Arc<Slot>) -> Option<u64> {
        let system =
            self.options.memory.available().map(|bytes| bytes.saturating_sub(self.options.memory_reserve));
        let taken = || -> u64 {
            let loaded =
                self.slots().into_iter().filter(|slot| !Arc::ptr_eq(slot, but) && slot.host().is_some());
            loaded.map(|slot| slot.known.estimate.total()).sum()
        };
        let ours = self.options.memory_limit.map(|limit| limit.saturating_sub(taken()));
        [system, ours].into_iter().flatten().min()
    }

    /// Takes the longest unused idle model out of its slot.
    fn take_idle(&self, but: &Arc<Slot>) -> Option<(Arc<Slot>, Arc<Host>)> {
        let mut others: Vec<Arc<Slot>> =
            self.slots().into_iter().filter(|slot| !Arc::ptr_eq(slot, but)).collect();
        others.sort_by_key(|slot| slot.last_used());
        others.into_iter().find_map(|slot| slot.take_if_idle().map(|host| (slot, host)))
    }
}

fn status(slot: &Slot) -> ModelStatus {
    let state = slot.with_state(|state| match state {
        State::Unloaded => ModelState::Unloaded,
        State::Loading(_) => ModelState::Loading,
        State::Loaded(host) => {
            let loaded = host.loaded();
            ModelState::Loaded {
                pid: host.pid(),
                sandbox: loaded.sandbox.clone(),
                devices: loaded.devices.clone(),
                threads: loaded.threads,
                context: loaded.context,
                running: slot.running(),
                idle: slot.last_used().elapsed(),
            }
        }
    });
    ModelStatus { id: slot.id().to_owned(), state, estimate: Some(slot.known.estimate) }
}

/// Reads what a file says. Also for `inshore model show`. Blocking.
pub fn inspect(path: &Path) -> Result<Model, BackendError> {
    let unusable = |message: String| BackendError::new(BackendErrorKind::ModelUnusable, message);
    let file = File::open(path)
        .map_err(|error| unusable(format!("`{}` cannot be opened: {error}", path.display())))?;
    crate::gguf::read(file).map_err(|error: GgufError| {
        let hint = error.hint();
        let error = unusable(format!("`{}` cannot be used: {error}", path.display()));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

fn look(options: &PoolOptions, model: DeviceModel) -> Result<Known, BackendError> {
    let unusable = |message: String| BackendError::new(BackendErrorKind::ModelUnusable, message);
    let about = inspect(&model.path)?;
    if about.adapter {
        return Err(unusable(format!("`{}` is a LoRA adapter, not a model", model.id)));
    }
    if about.tensors == 0 {
        return Err(unusable(format!("`{}` holds no tensors", model.id)));
    }
    for (name, path) in &model.adapters {
        if !inspect(path)?.adapter {
            return Err(unusable(format!("adapter `{name}` of `{}` is not a LoRA adapter", model.id)));
        }
    }
    let file = File::open(&model.path)
        .map_err(|error| unusable(format!("`{}` cannot be opened: {error}", model.id)))?;
    let identity = Identity::of(&file, &about)
        .map_err(|error| unusable(format!("`{}` cannot be read: {error}", model.id)))?;
    let template = ChatTemplate::of(&about, model.template.as_deref());
    let embeddings = model.overrides.embeddings.unwrap_or_else(|| about.embedding_only());
    let shape = shape(options, &model, &about)?;
    let estimate = Estimate::of(&about, shape);
    let capabilities = capabilities(&model, &about, &template, embeddings);
    let target = Arc::new(target(&model, shape.context, capabilities));
    let keep_alive = model.overrides.keep_alive.unwrap_or(options.keep_alive);
    let format = Format::of(template.source());
    Ok(Known { model, about, template, format, target, shape, estimate, identity, embeddings, keep_alive })
}

/// The context is the smallest of what the model was trained for, what is configured, and what fits in the whole machine.
fn shape(options: &PoolOptions, model: &DeviceModel, about: &Model) -> Result<LoadShape, BackendError> {
    let configured = model.overrides.context.unwrap_or(options.context);
    let context =
        configured.min(about.context_length.filter(|trained| *trained > 0).unwrap_or(configured)).max(1);
    let kv_type = model.overrides.kv_type.unwrap_or(options.kv_type);
    let batch = options.batch.clamp(1, context.max(32));
    let shape = LoadShape { context, batch, kv_type, retained_bytes: options.retained_bytes };
    let estimate = Estimate::of(about, shape);
    let total = options.memory.total().map(|bytes| bytes.saturating_sub(options.memory_reserve));
    let Some(most) = [total, options.memory_limit].into_iter().flatten().min() else { return Ok(shape) };
    if estimate.total() <= most {
        return Ok(shape);
    }
    let fits = estimate.context_that_fits(most).min(context);
    if fits < MIN_CONTEXT.min(context) {
        let message = format!(
            "`{}` does not fit in memory: it needs {estimate}; this machine can give {}",
            model.id,
            show_bytes(most)
        );
        return Err(BackendError::new(BackendErrorKind::ModelUnusable, message)
            .with_hint("use a smaller or more strongly quantized model"));
    }
    Ok(LoadShape { context: fits, ..shape })
}

fn capabilities(
    model: &DeviceModel,
    about: &Model,
    template: &ChatTemplate,
    embeddings: bool,
) -> Capabilities {
    if embeddings {
        return Capabilities::NONE.with(Capability::Embeddings).with(Capability::TokenPrompts);
    }
    use Capability as C;
    let always = [
        C::Chat,
        C::Completion,
        C::JsonSchema,
        C::Grammar,
        C::Logprobs,
        C::TokenPrompts,
        C::ExtendedSampling,
        C::ManyAnswers,
    ];
    let some = [
        (C::Infill, about.infill),
        (C::Tools, template.takes_tools()),
        (C::Adapters, !model.adapters.is_empty()),
    ];
    always
        .into_iter()
        .chain(some.into_iter().filter(|(_, has)| *has).map(|(capability, _)| capability))
        .collect()
}

fn target(model: &DeviceModel, context: u32, capabilities: Capabilities) -> Target {
    Target {
        id: TargetId(format!("device/{}", model.id)),
        endpoint_of: None,
        tier: Tier::Device,
        model: model.id.clone(),
        aliases: model.aliases.clone(),
        destination: None,
        context_window: context,
        max_output: None,
        capabilities,
        price: None,
        permitted_up_to: Some(Sensitivity::Restricted),
        region: None,
        quality: None,
    }
}
