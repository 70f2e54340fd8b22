//! One process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Held while the database is open. The operating system frees it when the process dies, however it dies; the empty
/// file beside the database stays.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, or says that somebody else has it. Does not wait.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let beside = Self::beside(path);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        private(&mut options);
        let file = options.open(&beside).map_err(|error| StoreError::unavailable(&beside, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => Err(StoreError::unavailable(&beside, error)),
        }
    }

    fn beside(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push("-lock");
        PathBuf::from(name)
    }
}

/// A file made with these options can be read and written by its owner only. SQLite gives its own files beside the
/// database the same mode.
#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

/// Elsewhere the folder's own access list decides.
#[cfg(not(unix))]
pub(crate) fn private(_options: &mut OpenOptions) {}
