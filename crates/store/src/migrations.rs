//! The schema, version by version.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;
use crate::transaction::{ATTEMPTS, transact};

/// One step of the schema. Its number is its place in [`MIGRATIONS`], from 1.
struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// All steps, oldest first. A step that was released is never changed; the schema changes by adding one.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "receipts", sql: include_str!("../migrations/0001_receipts.sql") },
    Migration { name: "books", sql: include_str!("../migrations/0002_books.sql") },
    Migration { name: "journal", sql: include_str!("../migrations/0003_journal.sql") },
    Migration { name: "labels", sql: include_str!("../migrations/0004_labels.sql") },
];

/// Which steps have been taken. Kept apart from the numbered ones: it must be there before the first.
const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT";

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
        transact(connection, "migrate", ATTEMPTS, |tx| {
            tx.execute_batch(VERSIONS)?;
            tx.execute_batch(migration.sql)?;
            tx.execute(
                "INSERT INTO schema_version (version, name) VALUES (?1, ?2)",
                (version, migration.name),
            )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Path::new("memory")).unwrap();
        connection
    }

    /// The schema as a fresh database has it. A change here without a new migration breaks every installation.
    #[test]
    fn the_schema_is_the_one_that_was_agreed_on() {
        let connection = migrated();
        let mut statement =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let all: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        insta::assert_snapshot!("schema", all.join(";\n\n"));
    }

    #[test]
    fn migrating_again_changes_nothing() {
        let mut connection = migrated();
        migrate(&mut connection, Path::new("memory")).unwrap();
        let steps: i64 =
            connection.query_row("SELECT count(*) FROM schema_version", [], |row| row.get(0)).unwrap();
        assert_eq!(steps, MIGRATIONS.len() as i64);
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let mut connection = migrated();
        connection.execute("INSERT INTO schema_version VALUES (99, 'from the future')", []).unwrap();
        let refused = migrate(&mut connection, Path::new("memory")).unwrap_err();
        assert_eq!(
            refused,
            StoreError::NewerSchema { path: "memory".into(), found: 99, known: MIGRATIONS.len() as u32 }
        );
        assert_eq!(version(&connection).unwrap(), 99);
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        // Stands in the way of the first step, which has by then made the table of versions.
        connection.execute_batch("CREATE TABLE receipts (x)").unwrap();
        migrate(&mut connection, Path::new("memory")).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 0);
    }
}
