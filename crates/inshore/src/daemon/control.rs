//! What the API asks of the daemon.

use std::collections::BTreeSet;
use std::sync::Arc;

use inshore_api::{Control, ControlError, Refreshed, Status, TargetStatus};
use inshore_domain::{BoxFuture, Health, Tier};
use inshore_engine::pool::ModelState;

use super::wiring::Daemon;

/// The daemon as its own endpoints see it.
pub(super) struct Steering(pub(super) Arc<Daemon>);

impl Control for Steering {
    fn status(&self) -> BoxFuture<'_, Status> {
        Box::pin(async { self.0.status() })
    }

    fn ready(&self) -> Result<(), String> {
        if self.0.stop.is_cancelled() {
            return Err("the daemon is ending".to_owned());
        }
        if self.0.runtime.targets().is_empty() {
            return Err("there is no model: `inshore model pull` gets one".to_owned());
        }
        Ok(())
    }

    fn refresh_models(&self) -> BoxFuture<'_, Result<Refreshed, ControlError>> {
        Box::pin(async {
            let before = self.0.target_ids();
            self.0.refresh().await.map_err(|error| ControlError {
                code: "refresh_failed".to_owned(),
                message: format!("{error:#}"),
                hint: Some("`inshore doctor` looks for the cause".to_owned()),
            })?;
            let after = self.0.target_ids();
            Ok(Refreshed {
                added: after.difference(&before).cloned().collect(),
                removed: before.difference(&after).cloned().collect(),
            })
        })
    }

    fn request_shutdown(&self) {
        tracing::info!("asked to end by a command");
        self.0.stop.cancel();
    }
}

impl Daemon {
    fn target_ids(&self) -> BTreeSet<String> {
        self.runtime.targets().iter().map(|target| target.id.0.clone()).collect()
    }

    fn status(&self) -> Status {
        let down = self.runtime.down();
        let loaded = self.pool.status();
        let targets = self
            .runtime
            .targets()
            .into_iter()
            .map(|target| {
                let model =
                    loaded.iter().find(|model| target.tier == Tier::Device && model.id == target.model);
                TargetStatus {
                    health: if down.contains(&target.id) { Health::Down } else { Health::Up },
                    state: model.map_or("remote", |model| state(&model.state)).to_owned(),
                    detail: match model {
                        Some(model) => detail(&model.state),
                        None => {
                            let reason = self.forwards(&target.id);
                            reason.map(|reason| ("forwards".to_owned(), reason)).into_iter().collect()
                        }
                    },
                    target,
                }
            })
            .collect();
        Status {
            version: crate::cli::VERSION.to_owned(),
            pid: std::process::id(),
            uptime: self.clock.monotonic().saturating_duration_since(self.begun),
            resident_bytes: resident_bytes(),
            targets,
        }
    }
}

fn state(state: &ModelState) -> &'static str {
    match state {
        ModelState::Unloaded => "unloaded",
        ModelState::Loading => "loading",
        ModelState::Loaded { .. } => "loaded",
        ModelState::Broken(_) => "failed",
    }
}

fn detail(state: &ModelState) -> Vec<(String, String)> {
    let pairs = match state {
        ModelState::Unloaded | ModelState::Loading => Vec::new(),
        ModelState::Broken(error) => vec![("error", error.to_string())],
        ModelState::Loaded { pid, sandbox, devices, threads, context, running, idle } => vec![
            ("pid", pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string())),
            ("sandbox", if sandbox.is_empty() { "none".to_owned() } else { sandbox.join(" + ") }),
            ("devices", devices.join(" + ")),
            ("threads", threads.to_string()),
            ("context", context.to_string()),
            ("running", running.to_string()),
            ("idle", format!("{} s", idle.as_secs())),
        ],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Resident memory of this process.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Not told without unsafe calls on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}
