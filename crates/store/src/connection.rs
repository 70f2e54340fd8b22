//! Opening the file.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::key::Key;
use crate::lock::private;

/// Bytes in a page. Each commit encrypts and signs every page it touched, so small pages make commits cheaper: one
/// receipt takes 54 µs with SQLCipher's own 4096 bytes and SHA-512, 29 µs with these and SHA-256 (bench `settle`
/// and its kind). Part of the file format, like everything in [`CIPHER`].
const PAGE: usize = 1024;
/// How pages are encrypted and signed: AES-256 as always, with a signature that processors have instructions for.
/// Memory wiping would lock and clear every allocation, which doubles the cost of a commit; what it would protect, the
/// text of receipts, this process holds in the clear anyway. The log would print to stderr.
const CIPHER: &str = "PRAGMA cipher_page_size = 1024; PRAGMA cipher_hmac_algorithm = HMAC_SHA256; \
    PRAGMA cipher_memory_security = OFF; PRAGMA cipher_log_level = NONE;";
/// How long SQLite itself waits for another connection. Only a checkpoint of ours holds the lock for so long; a second
/// process is kept out by the lock file.
const BUSY: Duration = Duration::from_secs(2);
/// Page cache of a connection in KiB (negative, as SQLite wants it). A settled receipt touches the right-hand edge of
/// two trees, some ten pages; 1 MiB holds that many times over and keeps the daemon small.
const CACHE_KIB: i64 = -1024;
/// After a checkpoint the write-ahead log is cut back to this many bytes, so that one burst does not hold the disk.
const LOG_LIMIT: u64 = 16 << 20;
/// Prepared statements that a connection keeps: all that the hot path uses and those of a fold.
const STATEMENTS: usize = 48;
/// Who keeps the locks of connections apart. The lock file keeps other processes out, so those of this one are kept apart in
/// memory instead of by system calls, six for each commit and 5 µs together. Another program finds the database locked.
#[cfg(unix)]
const LOCKS: &std::ffi::CStr = c"unix-excl";

/// Makes the file when there is none, readable by its owner only, and says whether its first bytes are those of a
/// store with this key. Writes nothing to a file that has content.
pub(crate) fn prepare(path: &Path, key: &Key) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    private(&mut options);
    let mut file = options.open(path).map_err(|error| StoreError::unavailable(path, error))?;
    let length = file.metadata().map_err(|error| StoreError::unavailable(path, error))?.len();
    let mut head = Vec::with_capacity(PAGE);
    file.by_ref()
        .take(PAGE as u64)
        .read_to_end(&mut head)
        .map_err(|error| StoreError::unavailable(path, error))?;
    if length == 0 || head.starts_with(&key.salt()) && head.len() == PAGE {
        return Ok(());
    }
    let found = if head.starts_with(b"SQLite format 3\0") {
        "it is an SQLite database without encryption"
    } else if head.len() < PAGE {
        "it is shorter than one page"
    } else if std::str::from_utf8(head.get(..PAGE / 2).unwrap_or_default()).is_ok() {
        // 512 bytes of ciphertext are valid UTF-8 with a probability far below one in 2^100.
        "it is a text file"
    } else {
        return Err(StoreError::WrongKey { path: path.to_path_buf() });
    };
    Err(StoreError::NotAStore { path: path.to_path_buf(), found })
}

/// Opens a connection to a file that [`prepare`] has accepted, and reads its first page.
pub(crate) fn connect(path: &Path, key: &Key) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    // No mutex: each connection belongs to one thread. No URI: a path is a path, whatever is in it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    #[cfg(unix)]
    let connection = Connection::open_with_flags_and_vfs(path, flags, LOCKS).map_err(failed)?;
    #[cfg(not(unix))]
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(&key.pragma()).map_err(failed)?;
    connection.execute_batch(CIPHER).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
    configure(&connection).map_err(failed)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Write-ahead log: readers do not wait for the writer, and a commit is one append.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // NORMAL: the log is forced to the disk at checkpoints, not at each commit (see the crate's first page).
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // With these, also a row that is replaced counts as deleted, which the ledger refuses.
    connection.pragma_update(None, "recursive_triggers", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    // Checkpoints are asked for by the writer and run where nobody waits for them.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_LIMIT as i64, |_| Ok(()))?;
    // A damaged or hostile schema cannot call functions, and broken cells are reported when they are read.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}
