//! Named, retried transactions.

use std::time::Instant;

use rusqlite::{Connection, ErrorCode};

/// How often a transaction is begun before its error is given to the caller. SQLite has already waited for its busy
/// timeout each time, so three tries are several seconds; more would only hide that something is wrong.
pub(crate) const ATTEMPTS: u32 = 3;

/// Runs `work` in one transaction and commits it. When the database is busy or locked, everything is rolled back and
/// `work` runs again, `attempts` times at most: it may run several times, its effects happen once. `name` appears in logs,
/// with how long it took. The connection is borrowed as a whole, so that nothing else happens on it meanwhile.
pub(crate) fn transact<T>(
    connection: &mut Connection,
    name: &'static str,
    attempts: u32,
    mut work: impl FnMut(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let started = Instant::now();
    let mut attempt = 1;
    loop {
        match once(connection, &mut work) {
            Ok(value) => {
                tracing::trace!(name, attempt, micros = started.elapsed().as_micros() as u64, "committed");
                return Ok(value);
            }
            Err(error) if attempt < attempts && is_transient(&error) => {
                tracing::warn!(name, attempt, %error, "transaction is tried again");
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn once<T>(
    connection: &Connection,
    work: &mut impl FnMut(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // Immediate: the write lock is taken at the start, so that a transaction never fails half-way for want of it.
    step(connection, "BEGIN IMMEDIATE")?;
    let _undo = RollBack(connection);
    let value = work(connection)?;
    step(connection, "COMMIT")?;
    Ok(value)
}

/// Prepared once: parsing these words each time costs as much as a row does.
fn step(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Ends a transaction that did not come to its end, also when `work` panicked.
struct RollBack<'c>(&'c Connection);

impl Drop for RollBack<'_> {
    fn drop(&mut self) {
        // Some errors have rolled everything back already.
        if !self.0.is_autocommit()
            && let Err(error) = step(self.0, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

pub(crate) fn is_transient(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x INTEGER)").unwrap();
        connection
    }

    fn busy() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn work_that_runs_again_takes_effect_once() {
        let (mut connection, mut runs) = (table(), 0);
        transact(&mut connection, "test", ATTEMPTS, |tx| {
            runs += 1;
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            if runs < 3 { Err(busy()) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!((runs, rows(&connection)), (3, 1));
    }

    #[test]
    fn work_that_panics_leaves_no_transaction_behind() {
        let mut connection = table();
        let work = std::panic::AssertUnwindSafe(|| {
            transact(&mut connection, "test", ATTEMPTS, |tx| -> rusqlite::Result<()> {
                tx.execute("INSERT INTO t VALUES (1)", [])?;
                panic!("on purpose")
            })
        });
        assert!(std::panic::catch_unwind(work).is_err());
        assert!(connection.is_autocommit());
        assert_eq!(rows(&connection), 0);
    }

    #[test]
    fn a_database_that_stays_busy_is_reported() {
        let (mut connection, mut runs) = (table(), 0);
        let failed = transact(&mut connection, "test", ATTEMPTS, |_| {
            runs += 1;
            Err::<(), _>(busy())
        });
        assert_eq!(failed.unwrap_err().sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        assert_eq!(runs, ATTEMPTS);
    }

    #[test]
    fn other_errors_roll_back_and_are_not_retried() {
        let (mut connection, mut runs) = (table(), 0);
        let failed = transact(&mut connection, "test", ATTEMPTS, |tx| {
            runs += 1;
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            tx.execute("INSERT INTO nowhere VALUES (1)", [])
        });
        assert!(failed.is_err());
        assert_eq!((runs, rows(&connection)), (1, 0));
    }
}
