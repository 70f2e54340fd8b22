//! The daemon: wires the crates together, and ends them in order.
//!
//! Start: lock, log, store, models, targets, sockets, ready. End: no new connections, answers in work are finished, engine
//! children go, receipts are on disk, the lock is given back.
//!
//! Layout: [`wiring`] what is made at start; [`targets`] remote targets; [`models`] device models; [`control`] what the API asks of
//! the daemon; [`key`] the database's key; [`tokens`] the apps' tokens; [`lock`], [`address`] one daemon and where it is;
//! [`signals`], [`notify`], [`log`] the operating system's part.

pub(crate) mod address;
mod control;
pub(crate) mod key;
pub(crate) mod lock;
mod log;
pub(crate) mod models;
mod notify;
mod signals;
pub(crate) mod targets;
pub(crate) mod tokens;
mod wiring;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use crate::clock::unix_seconds;
use crate::config::Loaded;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::paths::Paths;
use address::Address;
use signals::{Signals, Wish};
use wiring::Daemon;

/// Two to accept, parse and write, and more where there are cores: inference has its own processes.
const WORKERS: std::ops::RangeInclusive<usize> = 2..=4;
/// How often the policy file is looked at: whoever saves it sees what comes of it at once, and a look costs some microseconds.
const LOOK: Duration = Duration::from_secs(1);
/// Every how many looks calls in doubt are looked through; they expire after hours.
const DOUBTS: u64 = 60;
/// What is left to do after the last answer: telling children to go, a checkpoint of the database. Past this the daemon ends
/// anyway; children go with their sockets.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// Reads the configuration again.
pub(crate) type Reload = Box<dyn Fn() -> Result<Loaded> + Send + Sync>;
/// Tells where the daemon is.
pub(crate) type Announce = Box<dyn FnOnce(&Address) -> std::io::Result<()> + Send>;

/// What the daemon is told at start.
pub(crate) struct Start<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) environment: &'a Environment,
    pub(crate) loaded: Loaded,
    /// Read again on SIGHUP.
    pub(crate) reload: Reload,
    /// Called once, when requests are answered.
    pub(crate) announce: Announce,
}

/// The entry of an engine child; see `inshore-engine`.
#[cfg(unix)]
pub(crate) fn engine_child() -> ExitCode {
    inshore_engine::child::run_inherited()
}

/// The entry of an engine child; see `inshore-engine`.
#[cfg(not(unix))]
pub(crate) fn engine_child() -> ExitCode {
    crate::output::note("error: inference on this system is not part of this version");
    ExitCode::FAILURE
}

/// Runs the daemon until it is asked to end.
pub(crate) fn run(start: Start<'_>) -> Outcome {
    let lock = lock::take(start.paths)
        .with_context(|| format!("cannot lock `{}`", start.paths.daemon_lock().display()))?;
    let Some(_lock) = lock else {
        let message = format!("a daemon already runs for `{}`", start.paths.data.display());
        return Err(Failure::new(Exit::AlreadyRunning, message)
            .with_hint("`inshore status` shows it, `inshore stop` ends it"));
    };
    // What a daemon that was killed left behind must not be taken for ours.
    Address::remove(start.paths);
    log::begin(&start.loaded.config.log.level)?;
    let cores = std::thread::available_parallelism().map_or(*WORKERS.start(), usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(*WORKERS.start(), *WORKERS.end()))
        .thread_name("inshore")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let outcome = runtime.block_on(serve(start));
    runtime.shutdown_timeout(LAST_STEPS);
    Ok(outcome?)
}

async fn serve(start: Start<'_>) -> Result<()> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let Start { paths, environment, loaded, reload, announce } = start;
    let stop = CancellationToken::new();
    let (daemon, listeners) = Daemon::make(paths, environment, &loaded, stop.clone()).await?;
    let address = Address {
        pid: std::process::id(),
        version: crate::cli::VERSION.to_owned(),
        tcp: listeners.tcp_address,
        unix: listeners.unix_path.clone(),
        started: unix_seconds(),
    };
    let daemon = Arc::new(daemon);
    let server = inshore_api::serve(
        listeners.open,
        daemon.parts(),
        daemon.api_options(&loaded.config.server),
        stop.clone(),
    );
    tokio::pin!(server);
    address.write(paths).context("cannot write where the daemon can be reached")?;
    // The sockets are open: whoever connects now waits for the accept loop, which starts with the next poll.
    announce(&address).context("cannot announce the daemon")?;
    notify::tell(environment, "READY=1");
    tracing::info!(tcp = %address.tcp, "ready");
    let (mut look, mut looks) = (tokio::time::interval(LOOK), 0_u64);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let watching = daemon.watch_targets();
    tokio::pin!(watching);
    let outcome = loop {
        tokio::select! {
            outcome = &mut server => break outcome,
            // It never ends by itself.
            () = &mut watching => {}
            _ = look.tick() => {
                daemon.watch_policies();
                if looks % DOUBTS == 0 {
                    daemon.expire_doubts().await;
                }
                looks += 1;
            }
            wish = signals.next() => match wish {
                Wish::Reload => daemon.reload(&*reload).await,
                Wish::End if stop.is_cancelled() => {
                    tracing::warn!("asked twice to end: answers in work are cut off");
                    break Ok(());
                }
                Wish::End => {
                    tracing::info!("ending: answers in work are finished first");
                    notify::tell(environment, "STOPPING=1");
                    stop.cancel();
                }
            },
        }
    };
    Address::remove(paths);
    if tokio::time::timeout(LAST_STEPS, daemon.end()).await.is_err() {
        tracing::warn!("some work did not end in {} s", LAST_STEPS.as_secs());
    }
    if let Some(path) = &listeners.unix_path {
        // A socket file left behind is replaced by the next daemon.
        let _ = std::fs::remove_file(path);
    }
    tracing::info!("ended");
    outcome.context("the server failed")
}
