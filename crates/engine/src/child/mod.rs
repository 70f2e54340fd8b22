//! The engine child: a process that owns one model and nothing else. Or, by its first frame, a process that writes the
//! conversations of one model and owns nothing at all: [`writer`].
//!
//! `run` is the whole of it. The order at the start is what makes it safe: read the load frame, choose the CPU code, lock
//! every door ([`sandbox`]), and only then let llama.cpp see the first byte of the model, which anybody may have written.
//! From then on the process can compute, and talk to the daemon over the one socket that it was born with.
//!
//! - [`link`]: frames in and out, on threads of their own.
//! - [`scheduler`]: the loop; [`answer`], [`text`], [`sampling`], [`constraint`]: what is done with the logits.
//! - [`cells`], `scheduler::memory`: who holds what of the KV cache.
//! - [`llama`], [`cpu`], [`sandbox`], [`probe`], [`process`]: the only files with `unsafe`.

mod answer;
mod cells;
mod constraint;
mod cpu;
mod gbnf;
mod link;
mod llama;
mod probe;
mod process;
mod prompt;
mod sampling;
mod sandbox;
mod scheduler;
mod text;
mod writer;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use crate::frames::{FromChild, KvType, Load, Loaded, ToChild};
use link::{Interest, Outbox};
use llama::{Context, ContextOptions, MAX_SEQUENCES, Model, Pooling, ThreadPool};
use scheduler::memory::Memory;
use scheduler::{Parts, Scheduler};

/// Sequences beside the live ones: as many prefixes can be retained. Each costs a row of logits in memory that is hardly
/// touched, and a user has not many more prompts in mind.
const RETAINED_SEQUENCES: u32 = 32;
/// The same for models whose memory is a running state, which is set aside for each sequence.
const RETAINED_STATES: u32 = 4;
/// Tokens computed at once: llama.cpp's own default. More is not faster on a CPU, and a step takes longer.
const MICRO_BATCH: u32 = 512;
/// Most tokens in one step that a daemon can ask for.
const MAX_BATCH: u32 = 8192;
/// Texts whose vectors are computed at once.
const EMBEDDING_SEQUENCES: u32 = 32;

/// Runs the child with the descriptors that the daemon hands over: 0 is its end of the socket pair; where it is to run a model, 3
/// is the model, and 4 and up are the adapters, in the order of [`Load::adapters`]. Returns when loading fails or the daemon is
/// gone; mostly the process ends by itself when the socket closes.
pub fn run_inherited() -> ExitCode {
    let mut socket = File::from(process::inherited(0));
    match link::read_frame(&mut socket, &mut Vec::new()) {
        Ok(ToChild::Load(load)) => run(socket, load, process::inherited(3), process::inherited_from(4)),
        Ok(ToChild::Write { template, require_sandbox }) => writer::run(socket, *template, require_sandbox),
        Ok(_) => end("the first frame does not say what to do"),
        Err(error) => end(&error.to_string()),
    }
}

/// Runs a model. `adapters` are taken in order, as many as the load frame names.
fn run(socket: File, load: Load, model: OwnedFd, adapters: impl IntoIterator<Item = OwnedFd>) -> ExitCode {
    let begun = Instant::now();
    llama::start();
    let variant = cpu::choose();
    let gpus = if load.gpu_layers > 0 { llama::gpu_devices() } else { Vec::new() };
    let model = process::reopened(model);
    let adapters: Vec<File> = adapters.into_iter().take(load.adapters.len()).map(process::reopened).collect();
    // Not before: a process that others may not look into cannot open its own descriptors anew either.
    process::close_to_others();
    let sandbox = sandbox::enforce(!gpus.is_empty());

    let (outbox, interest) = (Outbox::default(), Interest::default());
    let inbox = match link::start(socket, &outbox, interest.clone(), gone) {
        Ok(inbox) => inbox,
        Err(error) => return end(&format!("cannot start a thread: {error}")),
    };
    let outcome = require(load.require_sandbox, sandbox)
        .and_then(|sandbox| Ok((sandbox, build(&load, model, adapters)?)));
    let (sandbox, built) = match outcome {
        Ok(outcome) => outcome,
        Err(message) => {
            outbox.send(&FromChild::LoadFailed { message });
            outbox.flush();
            return ExitCode::FAILURE;
        }
    };
    let loaded = Loaded {
        devices: std::iter::once(variant).chain(gpus).collect(),
        sandbox,
        load_millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        ..built.loaded
    };
    outbox.send(&FromChild::Loaded(loaded));
    let Built { model, context, adapters, memory, sequences, kv_bytes_per_token, .. } = built;
    let embeddings = load.embeddings;
    Scheduler::new(Parts {
        model,
        context,
        adapters,
        memory,
        sequences,
        kv_bytes_per_token,
        embeddings,
        inbox,
        outbox,
        interest,
    })
    .run();
    ExitCode::SUCCESS
}

fn end(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}

/// The daemon is gone, or its frames make no sense: there is nobody to work for.
fn gone(message: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "{message}");
    process::exit_now(i32::from(message != link::ReadError::Closed.to_string()))
}

fn require(required: bool, sandbox: sandbox::Outcome) -> Result<Vec<String>, String> {
    match sandbox.missing {
        Some(missing) if required => Err(format!("the sandbox cannot be put in force: {missing}")),
        _ => Ok(sandbox.in_force),
    }
}

struct Built {
    model: Rc<Model>,
    context: Context,
    adapters: Vec<llama::Adapter>,
    memory: Memory,
    sequences: usize,
    kv_bytes_per_token: u64,
    loaded: Loaded,
}

/// Loads model and adapters and makes the context.
fn build(load: &Load, file: File, adapter_files: Vec<File>) -> Result<Built, String> {
    if adapter_files.len() < load.adapters.len() {
        return Err("fewer adapters were handed over than were named".to_owned());
    }
    let model = Rc::new(Model::load(file, load.mmap, load.gpu_layers)?);
    if !model.has_vocabulary() {
        return Err("the model has no vocabulary".to_owned());
    }
    let mut adapters = Vec::new();
    for (name, file) in load.adapters.iter().zip(adapter_files) {
        adapters.push(
            model
                .load_adapter(file)
                .map_err(|error| format!("the adapter `{name}` cannot be loaded: {error}"))?,
        );
    }
    let threads = load.threads.clamp(1, 512);
    let options = options(load, &model, threads);
    let pool = ThreadPool::start(threads).map(Rc::new);
    let mut context = Context::new(Rc::clone(&model), pool.clone(), &options)?;
    if load.embeddings && context.pooling() == Pooling::None {
        drop(context);
        let options = ContextOptions { embeddings: Some(Some(Pooling::Mean)), ..options.clone() };
        context = Context::new(Rc::clone(&model), pool, &options)?;
    }
    let kv_bytes_per_token = kv_bytes_per_token(&model, load.kv_type);
    let retained = load.retained_bytes / kv_bytes_per_token.max(1);
    let capacity = context.capacity();
    let memory = Memory::new(
        capacity,
        options.sequences,
        usize::try_from(retained).unwrap_or(usize::MAX),
        !model.is_recurrent(),
    );
    let sequences = if load.embeddings { options.sequences } else { load.sequences.clamp(1, MAX_SEQUENCES) };
    let loaded = Loaded {
        description: model.description(),
        context: u32::try_from(capacity).unwrap_or(u32::MAX),
        trained_context: model.trained_context(),
        embedding_width: model.embedding_width(),
        kv_bytes_per_token,
        infill: model.infill().is_some(),
        threads,
        ..Loaded::default()
    };
    let sequences = usize::try_from(sequences).unwrap_or(1);
    Ok(Built { model, context, adapters, memory, sequences, kv_bytes_per_token, loaded })
}

fn options(load: &Load, model: &Model, threads: u32) -> ContextOptions {
    let retained = if model.is_recurrent() { RETAINED_STATES } else { RETAINED_SEQUENCES };
    let batch = load.batch.clamp(32, MAX_BATCH);
    let (sequences, batch, micro_batch) = if load.embeddings {
        // A text is pooled, and read by models that look both ways, in one piece.
        (EMBEDDING_SEQUENCES, batch, batch)
    } else {
        ((load.sequences.max(1) + retained).min(MAX_SEQUENCES), batch, batch.min(MICRO_BATCH))
    };
    ContextOptions {
        tokens: load.context,
        sequences,
        batch,
        micro_batch,
        threads,
        kv_type: load.kv_type,
        embeddings: load.embeddings.then_some(None),
    }
}

/// What a token costs in the KV cache, from the model's shape. Layers that hold less (a sliding window, a running state)
/// are counted like the others: too much rather than too little.
fn kv_bytes_per_token(model: &Model, kv_type: KvType) -> u64 {
    let architecture = model.metadata("general.architecture").unwrap_or_default();
    let number =
        |key: &str| -> Option<u64> { model.metadata(&format!("{architecture}.{key}"))?.parse().ok() };
    let (layers, heads, kv_heads) = model.shape();
    let width = number("embedding_length").unwrap_or(0) / u64::from(heads.max(1));
    let key = number("attention.key_length").unwrap_or(width);
    let value = number("attention.value_length").unwrap_or(width);
    let elements = u64::from(layers) * u64::from(kv_heads) * (key + value);
    match kv_type {
        KvType::F16 => elements * 2,
        KvType::Q8_0 => elements * 34 / 32,
    }
}
