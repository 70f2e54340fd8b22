//! Getting a model into memory: once for all who wait, only when it fits, and out again when it is idle.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use inshore_domain::{BackendError, BackendErrorKind};
use tokio::sync::watch;

use super::slot::{CRASH_WINDOW, Known, Lease, MAX_LOAD_CRASHES, Slot, State};
use super::{Inner, prefixes};
use crate::frames::Load;
use crate::gguf::{Estimate, show_bytes};
use crate::host::{Descriptors, Host, StartError};

/// How long a model that was just loaded waits for the request it was loaded for, even when `keep_alive` is zero.
const FIRST_USE: Duration = Duration::from_secs(2);
/// Idle models unloaded for one that is to be loaded, at most: bounds the loop, and nobody has as many models.
const EVICTION_ROUNDS: usize = 64;

enum Next {
    Use(Lease),
    Wait(watch::Receiver<Option<Result<(), BackendError>>>),
}

/// Loads the model if it is not, and gives the right to use it. Dropping the future does not stop a load that others may wait for.
pub(super) async fn acquire(inner: &Arc<Inner>, slot: &Arc<Slot>) -> Result<Lease, BackendError> {
    // A model that dies again and again between loading and use is given up after a few rounds.
    for _ in 0..4 {
        if inner.closing.is_cancelled() {
            return Err(BackendError::new(BackendErrorKind::ShuttingDown, "the daemon is shutting down"));
        }
        let next = slot.with_state(|state| match state {
            State::Loaded(host) if host.is_alive() => Next::Use(slot.lease(host)),
            State::Loading(outcome) => Next::Wait(outcome.clone()),
            State::Loaded(_) | State::Unloaded => {
                let (sender, outcome) = watch::channel(None);
                *state = State::Loading(outcome.clone());
                inner.tasks.spawn(load(Arc::clone(inner), Arc::clone(slot), sender));
                Next::Wait(outcome)
            }
        });
        let mut outcome = match next {
            Next::Use(lease) => return Ok(lease),
            Next::Wait(outcome) => outcome,
        };
        match outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()) {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(error),
            None => {
                return Err(BackendError::new(BackendErrorKind::ShuttingDown, "the daemon is shutting down"));
            }
        }
    }
    Err(BackendError::new(
        BackendErrorKind::Failed,
        format!("the engine for `{}` does not stay alive", slot.id()),
    ))
}

async fn load(inner: Arc<Inner>, slot: Arc<Slot>, outcome: watch::Sender<Option<Result<(), BackendError>>>) {
    let loaded = tokio::select! {
        loaded = try_load(&inner, &slot) => loaded,
        () = inner.closing.cancelled() => Err(BackendError::new(BackendErrorKind::ShuttingDown, "the daemon is shutting down")),
    };
    let result = match loaded {
        Ok(host) => {
            slot.touch();
            slot.fresh.store(true, Ordering::SeqCst);
            slot.with_state(|state| *state = State::Loaded(Arc::clone(&host)));
            inner.tasks.spawn(keep(Arc::clone(&inner), Arc::clone(&slot), host));
            Ok(())
        }
        Err(error) => {
            slot.with_state(|state| *state = State::Unloaded);
            Err(error)
        }
    };
    outcome.send_replace(Some(result));
}

async fn try_load(inner: &Arc<Inner>, slot: &Arc<Slot>) -> Result<Arc<Host>, BackendError> {
    let (crashes, wait) = slot.crash_record();
    if crashes >= MAX_LOAD_CRASHES {
        let message = format!("the engine for `{}` crashed {crashes} times within a minute", slot.id());
        let mut error = BackendError::new(BackendErrorKind::ModelUnusable, message);
        error.retry_after = Some(CRASH_WINDOW);
        return Err(
            error.with_hint("the model file may be damaged: try `inshore model show`, or pull it again")
        );
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    // One at a time, so that two models are not promised the same memory.
    let _turn = inner.loading.lock().await;
    make_room(inner, slot).await?;
    let descriptors = open(&slot.known)?;
    let load = load_frame(inner, &slot.known);
    let started = Host::start(inner.options.launcher.as_ref(), descriptors, load, &inner.tasks);
    let started = tokio::time::timeout(inner.options.load_timeout, started).await;
    let (host, saved) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => return Err(start_error(slot, error)),
        Err(_) => {
            let message =
                format!("`{}` was not loaded within {} s", slot.id(), inner.options.load_timeout.as_secs());
            return Err(BackendError::new(BackendErrorKind::Timeout, message));
        }
    };
    tracing::info!(
        model = slot.id(), pid = host.pid(), millis = host.loaded().load_millis, sandbox = ?host.loaded().sandbox, "model loaded"
    );
    if let Some(store) = &inner.prefixes {
        inner.tasks.spawn(Arc::clone(store).keep(saved, slot.known.identity));
        inner.tasks.spawn(prefixes::restore_all(
            Arc::clone(store),
            Arc::clone(&host),
            slot.known.identity,
            slot.known.shape.retained_bytes,
        ));
    }
    Ok(host)
}

fn start_error(slot: &Slot, error: StartError) -> BackendError {
    let id = slot.id();
    match error {
        StartError::Spawn(reason) => BackendError::new(
            BackendErrorKind::Failed,
            format!("the engine for `{id}` cannot be started: {reason}"),
        ),
        StartError::Refused(reason) => {
            BackendError::new(BackendErrorKind::ModelUnusable, format!("`{id}` cannot be loaded: {reason}"))
        }
        StartError::Died(death) => {
            slot.note_crash();
            let message = format!("the engine for `{id}` crashed while loading the model: {death}");
            BackendError::new(BackendErrorKind::ModelUnusable, message)
                .with_hint("the model file may be damaged; the daemon's log has the engine's last words")
        }
    }
}

/// Opens the files read-only, and checks that the model is still the one that was looked at.
fn open(known: &Known) -> Result<Descriptors, BackendError> {
    let unusable = |message: String| BackendError::new(BackendErrorKind::ModelUnusable, message);
    let id = &known.model.id;
    let open = |path: &std::path::Path| {
        File::open(path).map_err(|error| unusable(format!("the file of `{id}` cannot be opened: {error}")))
    };
    let model = open(&known.model.path)?;
    let identity = prefixes::Identity::of(&model, &known.about)
        .map_err(|error| unusable(format!("the file of `{id}` cannot be read: {error}")))?;
    if identity != known.identity {
        return Err(unusable(format!("the file of `{id}` has changed on disk"))
            .with_hint("run `inshore model refresh`, or restart the daemon"));
    }
    let adapters = known
        .model
        .adapters
        .iter()
        .map(|(_, path)| open(path))
        .collect::<Result<Vec<File>, BackendError>>()?;
    Ok(Descriptors { model, adapters })
}

fn load_frame(inner: &Inner, known: &Known) -> Load {
    let (options, overrides) = (&inner.options, &known.model.overrides);
    Load {
        context: known.shape.context,
        sequences: overrides.sequences.unwrap_or(options.sequences).clamp(1, 64),
        batch: known.shape.batch,
        threads: overrides.threads.or(options.threads).unwrap_or_else(super::system::physical_cores).max(1),
        gpu_layers: overrides.gpu_layers.unwrap_or(options.gpu_layers),
        mmap: options.mmap,
        kv_type: known.shape.kv_type,
        retained_bytes: known.shape.retained_bytes,
        embeddings: known.embeddings,
        adapters: known.model.adapters.iter().map(|(name, _)| name.clone()).collect(),
        require_sandbox: options.require_sandbox,
    }
}

/// Sees to it that the model fits, unloading idle models, the longest unused first.
async fn make_room(inner: &Inner, slot: &Arc<Slot>) -> Result<(), BackendError> {
    let estimate = slot.known.estimate;
    for _ in 0..EVICTION_ROUNDS {
        let Some(free) = inner.free_memory(slot) else { return Ok(()) };
        if estimate.total() <= free {
            return Ok(());
        }
        let Some((other, host)) = inner.take_idle(slot) else {
            return Err(does_not_fit(inner, slot, &estimate, free));
        };
        tracing::info!(
            model = other.id(),
            instead = slot.id(),
            "unloading an idle model because memory is short"
        );
        host.quit().await;
    }
    Ok(())
}

fn does_not_fit(inner: &Inner, slot: &Slot, estimate: &Estimate, free: u64) -> BackendError {
    let message =
        format!("`{}` does not fit in memory: it needs {estimate}; {} are free", slot.id(), show_bytes(free));
    let busy: Vec<String> = inner
        .slots()
        .iter()
        .filter(|other| other.running() > 0 && other.id() != slot.id())
        .map(|other| format!("`{}`", other.id()))
        .collect();
    if !busy.is_empty() {
        let mut error = BackendError::new(
            BackendErrorKind::Overloaded,
            format!("{message}, and {} in use", busy.join(", ")),
        );
        error.retry_after = Some(Duration::from_secs(5));
        return error;
    }
    let fits = estimate.context_that_fits(free);
    let error = BackendError::new(BackendErrorKind::ModelUnusable, message);
    match fits {
        256.. => error.with_hint(format!("with `context = {}` it would fit", fits / 256 * 256)),
        _ => error.with_hint("close other programs, or use a smaller or more strongly quantized model"),
    }
}

/// Watches a loaded model until it is gone: unloads it when it is idle, and notes when it dies.
async fn keep(inner: Arc<Inner>, slot: Arc<Slot>, host: Arc<Host>) {
    let mut retired = slot.retired.subscribe();
    let death = tokio::select! {
        death = host.died() => death,
        () = idle(&slot) => host_gone(&slot, &host).await,
        () = told(&mut retired) => {
            // Running answers end first, and the request it was loaded for runs first.
            tokio::select! {
                () = unused(&slot) => {}
                () = inner.closing.cancelled() => {}
                _ = host.died() => {}
            }
            slot.forget(&host);
            host.quit().await
        }
        () = inner.closing.cancelled() => {
            slot.forget(&host);
            host.quit().await
        }
    };
    slot.forget(&host);
    if !death.expected {
        slot.note_crash();
    }
    slot.used.notify_waiters();
    slot.writer.end().await;
}

/// Returns when no request uses the model, and the one it was loaded for has.
async fn unused(slot: &Slot) {
    loop {
        let used = slot.used.notified();
        match (slot.running(), slot.fresh.load(Ordering::SeqCst)) {
            (0, false) => return,
            (0, true) => {
                let _ = tokio::time::timeout(FIRST_USE, used).await;
                slot.fresh.store(false, Ordering::SeqCst);
            }
            _ => used.await,
        }
    }
}

async fn told(retired: &mut watch::Receiver<bool>) {
    let _ = retired.wait_for(|retired| *retired).await;
}

/// The model has been taken out of its slot; ends it.
async fn host_gone(slot: &Slot, host: &Arc<Host>) -> crate::host::Death {
    tracing::info!(model = slot.id(), "unloading an idle model");
    host.quit().await
}

/// Returns when the model was idle for as long as it may be, and has been taken out of its slot.
async fn idle(slot: &Arc<Slot>) {
    let Some(keep_alive) = slot.known.keep_alive else { return std::future::pending().await };
    loop {
        let used = slot.used.notified();
        if slot.running() > 0 {
            used.await;
            continue;
        }
        let fresh = if slot.fresh.load(Ordering::SeqCst) { FIRST_USE } else { Duration::ZERO };
        let deadline = slot.last_used() + keep_alive.max(fresh);
        if deadline <= tokio::time::Instant::now() && slot.take_if_idle().is_some() {
            return;
        }
        if deadline <= tokio::time::Instant::now() {
            // Somebody was faster in either direction.
            used.await;
            continue;
        }
        tokio::select! {
            () = used => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}
