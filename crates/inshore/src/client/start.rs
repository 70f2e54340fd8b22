//! Starts a daemon when none runs.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::Daemon;
use crate::environment::Environment;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;
use crate::paths::{Paths, private_folder};

/// A daemon is ready in well under a second; the first start writes the model and makes the database, on a slow disk.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks for the daemon that another command is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A log larger than this is begun anew by the next start.
const MAX_LOG: u64 = 8 << 20;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub(crate) struct Starter<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) environment: &'a Environment,
    /// `--set` flags to hand on.
    pub(crate) sets: &'a [String],
}

/// The daemon that runs, or one that is started now and goes on running after this command has ended.
pub(crate) async fn find_or_start(starter: &Starter<'_>) -> Outcome<Daemon> {
    if let Some(daemon) = Daemon::find(starter.paths)? {
        if !starter.sets.is_empty() {
            output::warn("a daemon is already running, so `--set` has no effect on it");
        }
        return Ok(daemon);
    }
    start(starter).await
}

async fn start(starter: &Starter<'_>) -> Outcome<Daemon> {
    let log = open_log(starter.paths)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--announce");
    for set in starter.sets {
        command.arg("--set").arg(set);
    }
    // Its own process group: Ctrl-C in this terminal is for this command, not for the daemon.
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(windows)]
    {
        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        const DETACHED_PROCESS: u32 = 0x0000_0008;
        command.creation_flags(CREATE_NEW_PROCESS_GROUP | DETACHED_PROCESS);
    }
    // Started from the root, so that it holds no folder that somebody wants to unmount.
    command.current_dir(root());
    for name in ["INSHORE_HOME", "INSHORE_CONFIG", "OLLAMA_MODELS"] {
        if let Some(path) = starter.environment.path(name) {
            command.env(name, std::path::absolute(path).context("cannot find the working folder")?);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(false);
    let mut child = command.spawn().context("cannot start the daemon")?;
    let announced = child.stdout.take().map(BufReader::new);
    let ready = timeout(READY_WITHIN, async {
        let mut line = String::new();
        match announced {
            Some(mut announced) => announced.read_line(&mut line).await.map(|_| line),
            None => Ok(line),
        }
    });
    match ready.await {
        Ok(Ok(line)) if !line.is_empty() => Daemon::find_running(starter.paths),
        // It ended without a word to us: why is in its exit code and its log.
        Ok(_) => match child.wait().await.ok().and_then(|status| status.code()) {
            Some(code) if code == Exit::AlreadyRunning as i32 => wait_for_other(starter.paths).await,
            _ => Err(did_not_start(starter.paths)),
        },
        Err(_) => Err(did_not_start(starter.paths)),
    }
}

/// Another command was faster; its daemon is about to be ready.
async fn wait_for_other(paths: &Paths) -> Outcome<Daemon> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(daemon) = Daemon::find(paths)? {
            return Ok(daemon);
        }
        if Instant::now() > deadline {
            return Err(did_not_start(paths));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn open_log(paths: &Paths) -> Outcome<std::fs::File> {
    private_folder(&paths.state).with_context(|| format!("cannot make `{}`", paths.state.display()))?;
    let path = paths.daemon_log();
    let long = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > MAX_LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    if long {
        file.set_len(0)?;
    }
    Ok(file)
}

fn did_not_start(paths: &Paths) -> Failure {
    let log = paths.daemon_log();
    let text =
        std::fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n  ");
    Failure::new(Exit::Unreachable, format!("the daemon did not start; its last words:\n  {last}"))
        .with_hint(format!("the whole log is `{}`", log.display()))
}

fn root() -> PathBuf {
    if cfg!(windows) { PathBuf::from("C:\\") } else { PathBuf::from("/") }
}
