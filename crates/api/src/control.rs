//! What the native endpoints need from the binary beside the runtime and the store.

use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{BoxFuture, Health, Target};

/// The daemon, as far as its own endpoints steer it.
pub trait Control: Send + Sync {
    /// What `GET /inshore/v1/status` shows. Cheap enough to be asked for once a second; must not load a model.
    fn status(&self) -> BoxFuture<'_, Status>;

    /// Whether requests can be answered now; `Err` is a sentence that says what is missing. Asked by `/readyz`.
    fn ready(&self) -> Result<(), String>;

    /// Reads the model catalogue again and hands the new targets to the runtime.
    fn refresh_models(&self) -> BoxFuture<'_, Result<Refreshed, ControlError>>;

    /// Asks the daemon to shut down. Returns at once; the response to the request that asked is still sent.
    fn request_shutdown(&self);
}

/// The daemon at a glance.
#[derive(Debug, Clone)]
pub struct Status {
    /// Of the binary.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since the start.
    pub uptime: Duration,
    /// Resident memory of the daemon itself, without engine children, in bytes; `None` where the platform does not tell.
    pub resident_bytes: Option<u64>,
    /// All targets, in the order of the config.
    pub targets: Vec<TargetStatus>,
}

/// A target at a glance.
#[derive(Debug, Clone)]
pub struct TargetStatus {
    /// Which.
    pub target: Arc<Target>,
    /// Whether it is expected to answer.
    pub health: Health,
    /// `unloaded`, `loading`, `loaded` or `failed` on the device; `remote` elsewhere.
    pub state: String,
    /// More for people: name and value, in the order to show them (`threads`, `sandbox`, `memory`).
    pub detail: Vec<(String, String)>,
}

/// What changed when the model catalogue was read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Target ids that are new.
    pub added: Vec<String>,
    /// Target ids that are gone.
    pub removed: Vec<String>,
}

/// Why the daemon did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlError {
    /// A stable word for machines.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}
