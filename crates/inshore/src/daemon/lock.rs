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

/// Commands that look whether a daemon runs hold a shared lock for microseconds; so many times such a one may be in the way.
const TRIES: u32 = 10_000;

/// Takes the lock; `None` when another daemon holds it.
pub(crate) fn take(paths: &Paths) -> io::Result<Option<Lock>> {
    let file = open(paths)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock { _file: file })),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        match file.try_lock_shared() {
            // It is shared: somebody only looks.
            Ok(()) => file.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        std::thread::yield_now();
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    #[test]
    fn looking_does_not_keep_a_daemon_from_starting() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::find(&Environment::of([("INSHORE_HOME", home.path().to_str().unwrap())])).unwrap();
        assert!(!is_held(&paths));
        drop(take(&paths).unwrap().unwrap());
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| (0..2000).filter(|_| is_held(&paths)).count());
            while !looking.is_finished() {
                assert!(take(&paths).unwrap().is_some());
            }
        });
        let held = take(&paths).unwrap().unwrap();
        assert!(is_held(&paths) && take(&paths).unwrap().is_none());
        drop(held);
        assert!(!is_held(&paths));
    }
}
