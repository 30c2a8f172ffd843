//! The tables, as steps from one version to the next.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, Transaction, params};
use sd_protocol::{ImageFormat, JobRequest};
use serde_json::Value;

use super::files::image_path;
use super::{StoreError, listing};

/// What leads from version *n* to *n* + 1. A step that was released is never edited.
const STEPS: [Step; 4] = [first_tables, owners_sizes_and_departed, shares, favorites_words_and_thumbnails];

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

/// Jobs can be favourites and be searched, pictures have thumbnails, and uploads belong to whoever brought them: so far,
/// to the owners of the jobs that name them.
fn favorites_words_and_thumbnails(transaction: &Transaction<'_>, _: &Path) -> Result<(), StoreError> {
    transaction.execute_batch(
        "ALTER TABLE jobs ADD COLUMN favorite INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE jobs ADD COLUMN words TEXT NOT NULL DEFAULT '';
         CREATE TABLE upload_owners (
             upload TEXT NOT NULL,
             owner  TEXT NOT NULL,
             PRIMARY KEY (upload, owner)
         ) STRICT, WITHOUT ROWID;
         INSERT OR IGNORE INTO upload_owners (upload, owner)
             SELECT view ->> '$.request.image', owner FROM jobs
             WHERE owner IS NOT NULL AND view ->> '$.request.image' IS NOT NULL;
         INSERT OR IGNORE INTO upload_owners (upload, owner)
             SELECT view ->> '$.request.mask', owner FROM jobs
             WHERE owner IS NOT NULL AND view ->> '$.request.mask' IS NOT NULL;",
    )?;
    let mut statement = transaction.prepare("SELECT id, view FROM jobs")?;
    let views = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let views: Vec<(String, String)> = views.collect::<Result<_, _>>()?;
    for (id, view) in views {
        let mut view: Value = serde_json::from_str(&view)?;
        let request: JobRequest = serde_json::from_value(view["request"].clone())?;
        view["images"].as_array_mut().into_iter().flatten().for_each(add_thumbnail_url);
        let parameters = params![id, view.to_string(), listing::words(&request)];
        transaction.execute("UPDATE jobs SET view = ?2, words = ?3 WHERE id = ?1", parameters)?;
    }
    let images = "SELECT job, seq, frame FROM events WHERE frame ->> '$.type' = 'image'";
    let mut statement = transaction.prepare(images)?;
    let frames = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let frames: Vec<(String, i64, String)> = frames.collect::<Result<_, _>>()?;
    for (job, seq, frame) in frames {
        let mut frame: Value = serde_json::from_str(&frame)?;
        add_thumbnail_url(&mut frame["image"]);
        let parameters = params![job, seq, frame.to_string()];
        transaction.execute("UPDATE events SET frame = ?3 WHERE job = ?1 AND seq = ?2", parameters)?;
    }
    Ok(())
}

fn add_thumbnail_url(image: &mut Value) {
    if let Some(url) = image["url"].as_str() {
        image["thumbnail_url"] = format!("{url}/thumbnail").into();
    }
}
