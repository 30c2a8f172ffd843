//! The tables, as steps from one version to the next.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, Transaction, params};
use sd_protocol::ImageFormat;

use super::StoreError;
use super::files::image_path;

/// What leads from version *n* to *n* + 1. A step that was released is never edited.
const STEPS: [Step; 3] = [first_tables, owners_sizes_and_departed, shares];

type Step = fn(&Transaction<'_>, images: &Path) -> Result<(), StoreError>;

/// Version of the tables that this worker reads and writes, kept in `PRAGMA user_version`.
pub(super) const VERSION: u32 = STEPS.len() as u32;

/// Brings a database to [`VERSION`]. A step happens whole or not at all.
pub(super) fn migrate(connection: &mut Connection, images: &Path) -> Result<(), StoreError> {
    migrate_to(connection, VERSION, images)
}

pub(super) fn migrate_to(connection: &mut Connection, wanted: u32, images: &Path) -> Result<(), StoreError> {
    let found = version(connection)?;
    for (version, step) in (1..=wanted).zip(STEPS).skip(found as usize) {
        let transaction = connection.transaction()?;
        step(&transaction, images)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        if found > 0 {
            tracing::info!(version, "the database was brought to a newer version");
        }
    }
    Ok(())
}

/// The version of a database; 0 is an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn first_tables(transaction: &Transaction<'_>, _: &Path) -> Result<(), StoreError> {
    Ok(transaction.execute_batch(
        "CREATE TABLE jobs (
             id            TEXT PRIMARY KEY,
             created_at_ms INTEGER NOT NULL,
             state         TEXT NOT NULL,
             submitted     TEXT NOT NULL,
             view          TEXT NOT NULL
         ) STRICT;
         CREATE INDEX jobs_by_age ON jobs (created_at_ms DESC, id DESC);
         CREATE TABLE events (
             job   TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
             seq   INTEGER NOT NULL,
             frame TEXT NOT NULL,
             PRIMARY KEY (job, seq)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE images (
             job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
             sha256 TEXT NOT NULL
         ) STRICT;
         CREATE INDEX images_by_content ON images (sha256);
         CREATE INDEX images_by_job ON images (job);",
    )?)
}

/// Jobs belong to credentials, pictures have a size, and the names of jobs that left stay for a while.
fn owners_sizes_and_departed(transaction: &Transaction<'_>, images: &Path) -> Result<(), StoreError> {
    transaction.execute_batch(
        "ALTER TABLE jobs ADD COLUMN owner TEXT;
         CREATE INDEX jobs_by_state ON jobs (state);
         ALTER TABLE images ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
         CREATE TABLE departed (
             job   TEXT PRIMARY KEY,
             owner TEXT,
             at_ms INTEGER NOT NULL
         ) STRICT;",
    )?;
    let mut contents = transaction.prepare("SELECT DISTINCT sha256 FROM images")?;
    let contents: Vec<String> = contents.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for sha256 in contents {
        // A file that is gone takes no room.
        let bytes = fs::metadata(image_path(images, &sha256, ImageFormat::Png)).map_or(0, |file| file.len());
        transaction.execute("UPDATE images SET bytes = ?2 WHERE sha256 = ?1", params![sha256, bytes as i64])?;
    }
    Ok(())
}

/// Jobs can be shared by link.
fn shares(transaction: &Transaction<'_>, _: &Path) -> Result<(), StoreError> {
    Ok(transaction.execute_batch(
        "CREATE TABLE shares (
             job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
             sha256 TEXT NOT NULL,
             PRIMARY KEY (job, sha256)
         ) STRICT, WITHOUT ROWID;",
    )?)
}
