//! Where a running daemon can be reached: a file that it writes when it is ready.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::paths::{Paths, write_private};

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) pid: u32,
    pub(crate) version: String,
    /// The loopback address.
    pub(crate) tcp: SocketAddr,
    /// The Unix socket, where there is one.
    pub(crate) unix: Option<PathBuf>,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

impl Address {
    pub(crate) fn write(&self, paths: &Paths) -> Result<()> {
        Ok(write_private(&paths.daemon_state(), &serde_json::to_vec_pretty(self)?)?)
    }

    /// Reads the file; `None` when there is none that makes sense. Says nothing about whether the daemon still runs.
    pub(crate) fn read(paths: &Paths) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(paths.daemon_state()).ok()?).ok()
    }

    pub(crate) fn remove(paths: &Paths) {
        // Left behind it does no harm: the lock tells whether it is true.
        let _ = std::fs::remove_file(paths.daemon_state());
    }
}
