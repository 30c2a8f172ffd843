//! What outlives the process: jobs and durable events in SQLite, pictures as files named by their content.
//!
//! The ephemeral store is the same code over SQLite in memory and a temporary folder that leaves with the worker.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use sd_protocol::limits::UPLOADS_BYTES_MAX;
use sd_protocol::{ErrorBody, Event, EventFrame, JobId, JobRequest, JobState, JobView};
use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use crate::inputs::Uploads;

/// Version of the tables below, kept in `PRAGMA user_version`.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE jobs (
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
CREATE INDEX images_by_job ON images (job);
";

/// Jobs, events and pictures on disk or in memory.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    images: PathBuf,
    uploads: Arc<Uploads>,
    /// Removes the pictures of an ephemeral store when it is dropped.
    _temporary: Option<TempDir>,
}

/// What the store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder or file could not be made.
    #[error("{path}: cannot be written")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the database open.
    #[error("{0}: another worker uses this data folder; stop it or choose another --data-dir")]
    InUse(PathBuf),
    /// The database was written by a newer worker.
    #[error(
        "{path}: the database has version {found}, this worker knows {SCHEMA_VERSION}; use the newer worker or another --data-dir"
    )]
    Newer {
        /// Which database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// A statement failed.
    #[error("the database refused a statement")]
    Database(#[from] rusqlite::Error),
    /// A row is not what this worker writes.
    #[error("the database holds a row that is no valid JSON")]
    Row(#[from] serde_json::Error),
}

/// A job with its durable events, as stored.
pub type StoredJob = (JobView, Vec<EventFrame>);

impl Store {
    /// Opens or makes the store under `folder`, for this process alone.
    ///
    /// # Errors
    /// When the folder cannot be written, is in use, or belongs to a newer worker.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let images = folder.join("images");
        fs::create_dir_all(&images).map_err(|source| StoreError::Io { path: images.clone(), source })?;
        let path = folder.join("jobs.sqlite");
        let connection = Connection::open(&path)?;
        Self::prepare(connection, &path, images, &folder.join("uploads"), None)
    }

    /// A store that leaves nothing behind.
    ///
    /// # Errors
    /// When the temporary folder cannot be made.
    pub fn ephemeral() -> Result<Self, StoreError> {
        let path = std::env::temp_dir();
        let temporary = TempDir::with_prefix("sd-worker-").map_err(|source| StoreError::Io { path, source })?;
        let (images, uploads) = (temporary.path().to_owned(), temporary.path().join("uploads"));
        Self::prepare(Connection::open_in_memory()?, Path::new(":memory:"), images, &uploads, Some(temporary))
    }

    fn prepare(
        connection: Connection,
        path: &Path,
        images: PathBuf,
        uploads: &Path,
        temporary: Option<TempDir>,
    ) -> Result<Self, StoreError> {
        let in_use = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse(path.to_owned()),
            _ => error.into(),
        };
        // Whoever else has the database open keeps it: waiting for them would only delay the answer.
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(in_use)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(in_use)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(in_use)?;
        match found {
            0 => {
                connection
                    .execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))?;
            }
            SCHEMA_VERSION => {}
            found => return Err(StoreError::Newer { path: path.to_owned(), found }),
        }
        // After the lock on the database: nobody else may be at these files.
        let io = |source| StoreError::Io { path: uploads.to_owned(), source };
        let uploads = Arc::new(Uploads::open(uploads, UPLOADS_BYTES_MAX).map_err(io)?);
        Ok(Self { connection: Mutex::new(connection), images, uploads, _temporary: temporary })
    }

    /// The pictures that clients brought.
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// Stores a new job with its first event; `false` when the id is taken and nothing was stored.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn insert(&self, submitted: &JobRequest, view: &JobView, first: &EventFrame) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let inserted = transaction.execute(
            "INSERT INTO jobs (id, created_at_ms, state, submitted, view) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO NOTHING",
            params![
                view.id.as_str(),
                view.created_at_ms as i64,
                view.state.as_str(),
                serde_json::to_string(submitted)?,
                serde_json::to_string(view)?
            ],
        )?;
        if inserted == 0 {
            return Ok(false);
        }
        insert_event(&transaction, first)?;
        transaction.commit()?;
        Ok(true)
    }

    /// The request that made a job, as the client wrote it.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn submitted(&self, id: &JobId) -> Result<Option<JobRequest>, StoreError> {
        let row: Option<String> = self
            .connection()
            .query_row("SELECT submitted FROM jobs WHERE id = ?1", [id.as_str()], |row| row.get(0))
            .optional()?;
        row.map(|text| Ok(serde_json::from_str(&text)?)).transpose()
    }

    /// Stores an event together with the view that it leads to.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save_event(&self, view: &JobView, frame: &EventFrame) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute(
            "UPDATE jobs SET state = ?2, view = ?3 WHERE id = ?1",
            params![view.id.as_str(), view.state.as_str(), serde_json::to_string(view)?],
        )?;
        insert_event(&transaction, frame)?;
        if let Event::Image { image } = &frame.event {
            transaction
                .execute("INSERT INTO images (job, sha256) VALUES (?1, ?2)", params![view.id.as_str(), image.sha256])?;
        }
        Ok(transaction.commit()?)
    }

    /// A job by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn job(&self, id: &JobId) -> Result<Option<StoredJob>, StoreError> {
        let connection = self.connection();
        let view: Option<String> =
            connection.query_row("SELECT view FROM jobs WHERE id = ?1", [id.as_str()], |row| row.get(0)).optional()?;
        let Some(view) = view else { return Ok(None) };
        let mut statement = connection.prepare_cached("SELECT frame FROM events WHERE job = ?1 ORDER BY seq")?;
        let frames = statement.query_map([id.as_str()], |row| row.get::<_, String>(0))?;
        let frames = frames.map(|frame| Ok(serde_json::from_str(&frame?)?)).collect::<Result<_, StoreError>>()?;
        Ok(Some((serde_json::from_str(&view)?, frames)))
    }

    /// Jobs from the newest, those older than `before` (creation time and id), at most `limit`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn list(
        &self,
        state: Option<JobState>,
        before: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<JobView>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT view FROM jobs WHERE (?1 IS NULL OR state = ?1) AND (created_at_ms, id) < (?2, ?3)
             ORDER BY created_at_ms DESC, id DESC LIMIT ?4",
        )?;
        let (created_at_ms, id) = before.map_or((i64::MAX, ""), |(ms, id)| (ms as i64, id));
        let rows = statement
            .query_map(params![state.map(JobState::as_str), created_at_ms, id, limit], |row| row.get::<_, String>(0))?;
        rows.map(|view| Ok(serde_json::from_str(&view?)?)).collect()
    }

    /// Ends what was not finished when the last process stopped; the number of such jobs.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn interrupt_unfinished(&self, error: &ErrorBody) -> Result<usize, StoreError> {
        let unfinished =
            [self.list(Some(JobState::Queued), None, u32::MAX)?, self.list(Some(JobState::Running), None, u32::MAX)?]
                .concat();
        for view in &unfinished {
            let view = JobView {
                state: JobState::Failed,
                error: Some(error.clone()),
                queue_position: None,
                finished_at_ms: Some(super::now_ms()),
                last_seq: view.last_seq + 1,
                ..view.clone()
            };
            let event = Event::Failed { error: error.clone() };
            self.save_event(&view, &EventFrame { job: view.id.clone(), seq: Some(view.last_seq), event })?;
        }
        Ok(unfinished.len())
    }

    /// Removes a job, its events, and the pictures that no other job shows.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn remove(&self, id: &JobId) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT DISTINCT sha256 FROM images WHERE job = ?1
             AND sha256 NOT IN (SELECT sha256 FROM images WHERE job <> ?1)",
        )?;
        let orphans: Vec<String> = statement.query_map([id.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
        connection.execute("DELETE FROM jobs WHERE id = ?1", [id.as_str()])?;
        for sha256 in orphans {
            let path = self.image_path(&sha256);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "a picture stays behind");
            }
        }
        Ok(())
    }

    /// Ended jobs beyond the newest `keep`, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expired(&self, keep: usize) -> Result<Vec<JobId>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id FROM jobs WHERE state NOT IN ('queued', 'running')
             ORDER BY created_at_ms DESC, id DESC LIMIT -1 OFFSET ?1",
        )?;
        let ids = statement.query_map([keep as i64], |row| row.get::<_, String>(0))?;
        let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
        Ok(ids.into_iter().rev().filter_map(|id| JobId::parse(id).ok()).collect())
    }

    /// Stores a PNG file under its SHA-256 and returns that; whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_png(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.image_path(&sha256);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let mut file = NamedTempFile::new_in(&self.images).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(sha256)
    }

    /// Where the picture of that content lies.
    pub fn image_path(&self, sha256: &str) -> PathBuf {
        self.images.join(format!("{sha256}.png"))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A statement that panics rolls back; the connection stays good.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert_event(connection: &Connection, frame: &EventFrame) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO events (job, seq, frame) VALUES (?1, ?2, ?3)",
        params![frame.job.as_str(), frame.seq.map(|seq| seq as i64), serde_json::to_string(frame)?],
    )?;
    Ok(())
}
