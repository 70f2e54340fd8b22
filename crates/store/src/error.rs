//! What can go wrong with the store, by what the caller can do about it.

use std::path::{Path, PathBuf};

use inshore_domain::ReceiptId;
use rusqlite::ErrorCode;

/// Why the store could not do something. No variant holds text of a receipt or of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file was written with another key.
    #[error("the key does not open `{}`", path.display())]
    WrongKey {
        /// The database.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("`{}` is not an Inshore store: {found}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
    },
    /// A newer version of Inshore has written the file.
    #[error("`{}` has schema {found} and this version knows {known} at most", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest version this build knows.
        known: u32,
    },
    /// Another process (or another handle in this one) has the database open.
    #[error("`{}` is in use by another process", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The key is right and the content is not what was written.
    #[error("`{}` is damaged: {detail}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// The journal beside the database is of another database, or of another state of this one.
    #[error("`{}` does not belong to the database beside it", path.display())]
    OtherJournal {
        /// The file of the journal.
        path: PathBuf,
    },
    /// No room on the disk.
    #[error("no space is left for `{}`", path.display())]
    DiskFull {
        /// The database.
        path: PathBuf,
    },
    /// The operating system or SQLite refused; another try may succeed.
    #[error("`{}` cannot be used: {detail}", path.display())]
    Unavailable {
        /// The database.
        path: PathBuf,
        /// What was said.
        detail: String,
    },
    /// There is a receipt with this id, and receipts are written once.
    #[error("receipt `{id}` is already settled")]
    AlreadySettled {
        /// The id.
        id: ReceiptId,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// A stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongKey { .. } => "wrong_key",
            Self::NotAStore { .. } => "not_a_store",
            Self::NewerSchema { .. } => "newer_schema",
            Self::InUse { .. } => "in_use",
            Self::Damaged { .. } => "damaged",
            Self::OtherJournal { .. } => "other_journal",
            Self::DiskFull { .. } => "disk_full",
            Self::Unavailable { .. } => "unavailable",
            Self::AlreadySettled { .. } => "already_settled",
            Self::Closed => "closed",
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WrongKey { .. } => Some(
                "restore the key that was made together with the file, or move the file away to start with an empty store",
            ),
            Self::NotAStore { .. } => Some("name another path, or move the file away"),
            Self::NewerSchema { .. } => Some("install the version of Inshore that wrote it, or a newer one"),
            Self::InUse { .. } => Some("stop the other daemon, or give this one another state directory"),
            Self::Damaged { .. } => Some(
                "restore a backup, or move the file away to start with an empty store; it was left as it is",
            ),
            Self::OtherJournal { .. } => Some(
                "put the database and the files beside it back together; to go on without what is in the file, move it away",
            ),
            Self::DiskFull { .. } => Some("free some space; the store goes on by itself"),
            Self::Unavailable { .. } | Self::AlreadySettled { .. } | Self::Closed => None,
        }
    }

    pub(crate) fn unavailable(path: &Path, detail: impl ToString) -> Self {
        Self::Unavailable { path: path.to_path_buf(), detail: detail.to_string() }
    }

    /// Sorts what the operating system said by what can be done about it.
    pub(crate) fn from_io(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_path_buf() }
            }
            _ => Self::unavailable(path, error),
        }
    }

    /// Sorts what SQLite said by what can be done about it.
    pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, detail: error.to_string() }
            }
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            Some(_) => Self::Unavailable { path, detail: error.to_string() },
            // Not from SQLite but from reading a row: what is stored is not what this crate writes.
            None => Self::Damaged { path, detail: error.to_string() },
        }
    }
}
