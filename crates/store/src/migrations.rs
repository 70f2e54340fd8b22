//! The schema, version by version.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;
use crate::transaction::transact;

/// One step of the schema. Its number is its place in [`MIGRATIONS`], from 1.
struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// All steps, oldest first. A step that was released is never changed; the schema changes by adding one.
const MIGRATIONS: &[Migration] = &[Migration { name: "receipts", sql: include_str!("../migrations/0001_receipts.sql") }];

/// Which steps have been taken. Kept apart from the numbered ones: it must be there before the first.
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT";

/// Brings the schema up to this build's version, each step in a transaction of its own: a crash leaves the database at
/// one version or the next. A newer schema is refused and left alone.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::from_sqlite(path, &error);
    let known = MIGRATIONS.len() as u32;
    let found = version(connection).map_err(failed)?;
    if found > known {
        return Err(StoreError::NewerSchema { path: path.to_path_buf(), found, known });
    }
    for (migration, version) in MIGRATIONS.iter().zip(1u32..).skip(found as usize) {
        transact(connection, "migrate", |tx| {
            tx.execute_batch(VERSIONS)?;
            tx.execute_batch(migration.sql)?;
            tx.execute("INSERT INTO schema_version (version, name) VALUES (?1, ?2)", (version, migration.name))
        })
        .map_err(failed)?;
        tracing::info!(version, name = migration.name, "schema migrated");
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    connection.query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))
}
