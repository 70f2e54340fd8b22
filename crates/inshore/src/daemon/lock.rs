//! At most one daemon for each data folder.
//!
//! The lock is the operating system's, on an open file: it goes with the process, however that ends, so a daemon that was
//! killed never blocks the next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;

use crate::paths::{Paths, private_folder};

/// Held while the daemon runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock; `None` when another daemon holds it.
pub(crate) fn take(paths: &Paths) -> io::Result<Option<Lock>> {
    let file = open(paths)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a daemon holds the lock now.
pub(crate) fn is_held(paths: &Paths) -> bool {
    if !paths.daemon_lock().exists() {
        return false;
    }
    // Shared, so that two commands asking at once do not take each other for a daemon.
    match open(paths).map(|file| file.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => true,
        Ok(_) | Err(_) => false,
    }
}

fn open(paths: &Paths) -> io::Result<File> {
    private_folder(&paths.state)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(paths.daemon_lock())
}
