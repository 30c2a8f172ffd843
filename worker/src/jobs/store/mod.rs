//! What outlives the process: jobs and durable events in SQLite, pictures as files named by their content.
//!
//! | module | what it holds |
//! |---|---|
//! | `schema` | the tables, version by version |
//! | `shares` | links through which anybody may look at a job |
//! | `spent` | what the owners of jobs used lately |
//! | `files` | picture files, and the room that is kept for a full disk |
//!
//! The ephemeral store is the same code over SQLite in memory and a temporary folder that leaves with the worker.

mod files;
mod schema;
mod shares;
mod spent;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, params};
use sd_protocol::limits::{DEPARTED_JOBS_MAX, UPLOADS_BYTES_MAX};
use sd_protocol::{Event, EventFrame, ImageFormat, ImageView, JobId, JobRequest, JobState, JobView};
use tempfile::TempDir;

use self::files::{Ballast, image_path};
use super::now_ms;
use crate::inputs::{Uploads, is_full};

/// Jobs, events and pictures on disk or in memory.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    images: PathBuf,
    uploads: Arc<Uploads>,
    lasting: Lasting,
    /// Pictures whose files are there and whose rows are not yet.
    unlisted: Mutex<HashSet<String>>,
}

/// Whether the store outlives the process.
#[derive(Debug)]
enum Lasting {
    /// It does.
    Durable(Ballast),
    /// The pictures leave with this value.
    Ephemeral { _temporary: TempDir },
}

/// How much of the past is kept. What has not ended is always kept, and so is the newest job that has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Ended jobs.
    pub jobs: usize,
    /// Time since they were accepted.
    pub age: Option<Duration>,
    /// Room that their pictures take.
    pub bytes: Option<u64>,
}

/// A job as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    /// Name of the credential that asked for it.
    pub owner: Option<Arc<str>>,
    /// How it stands.
    pub view: JobView,
    /// Its durable events.
    pub log: Vec<EventFrame>,
}

/// Where a job is that is not in memory.
#[derive(Debug)]
pub enum Lookup {
    /// Here.
    Found(Box<StoredJob>),
    /// It was here, until retention took it.
    Departed {
        /// Name of the credential that asked for it.
        owner: Option<Arc<str>>,
    },
    /// Never heard of, or forgotten on demand.
    Unknown,
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
        "{path}: the database has version {found}, this worker knows {known}; use the newer worker or another --data-dir"
    )]
    Newer {
        /// Which database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this worker knows.
        known: u32,
    },
    /// A statement failed.
    #[error("the database refused a statement")]
    Database(#[from] rusqlite::Error),
    /// A row is not what this worker writes.
    #[error("the database holds a row that is no valid JSON")]
    Row(#[from] serde_json::Error),
}

impl StoreError {
    /// Whether the disk has no room left.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_full(source),
            Self::Database(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
            Self::InUse(_) | Self::Newer { .. } | Self::Row(_) => false,
        }
    }
}

impl Store {
    /// Opens or makes the store under `folder`, for this process alone.
    ///
    /// # Errors
    /// When the folder cannot be written, is in use, or belongs to a newer worker.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let images = folder.join("images");
        fs::create_dir_all(&images).map_err(|source| StoreError::Io { path: images.clone(), source })?;
        let path = folder.join("jobs.sqlite");
        let mut connection = Connection::open(&path)?;
        prepare(&mut connection, &path, &images)?;
        // After the lock on the database: nobody else may be at these files.
        let ballast = Ballast::new(folder.join("reserve"));
        Self::over(connection, images, &folder.join("uploads"), Lasting::Durable(ballast))
    }

    /// A store that leaves nothing behind.
    ///
    /// # Errors
    /// When the temporary folder cannot be made.
    pub fn ephemeral() -> Result<Self, StoreError> {
        let path = std::env::temp_dir();
        let temporary = TempDir::with_prefix("sd-worker-").map_err(|source| StoreError::Io { path, source })?;
        let (images, uploads) = (temporary.path().to_owned(), temporary.path().join("uploads"));
        let mut connection = Connection::open_in_memory()?;
        prepare(&mut connection, Path::new(":memory:"), &images)?;
        Self::over(connection, images, &uploads, Lasting::Ephemeral { _temporary: temporary })
    }

    fn over(connection: Connection, images: PathBuf, uploads: &Path, lasting: Lasting) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: uploads.to_owned(), source };
        let uploads = Arc::new(Uploads::open(uploads, UPLOADS_BYTES_MAX).map_err(io)?);
        let store = Self { connection: Mutex::new(connection), images, uploads, lasting, unlisted: Mutex::default() };
        let known = store.image_names()?;
        let swept = files::sweep(&store.images, &known)
            .map_err(|source| StoreError::Io { path: store.images.clone(), source })?;
        if swept > 0 {
            tracing::info!(files = swept, "pictures that no job knows were removed");
        }
        Ok(store)
    }

    /// Whether jobs outlive the process.
    pub fn is_durable(&self) -> bool {
        matches!(self.lasting, Lasting::Durable(_))
    }

    /// The pictures that clients brought.
    pub fn uploads(&self) -> &Arc<Uploads> {
        &self.uploads
    }

    /// Stores a new job with its first event; `false` when the id is taken and nothing was stored.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn insert(
        &self,
        owner: Option<&str>,
        submitted: &JobRequest,
        job: &JobView,
        first: &EventFrame,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let inserted = transaction.execute(
            "INSERT INTO jobs (id, owner, created_at_ms, state, submitted, view) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO NOTHING",
            params![
                job.id.as_str(),
                owner,
                job.created_at_ms as i64,
                job.state.as_str(),
                serde_json::to_string(submitted)?,
                serde_json::to_string(job)?
            ],
        )?;
        if inserted == 0 {
            return Ok(false);
        }
        transaction.execute("DELETE FROM departed WHERE job = ?1", [job.id.as_str()])?;
        insert_event(&transaction, first)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Who made a job, and with which request, as the client wrote it.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn submitted(&self, id: &JobId) -> Result<Option<(Option<String>, JobRequest)>, StoreError> {
        let row: Option<(Option<String>, String)> = self
            .connection()
            .query_row("SELECT owner, submitted FROM jobs WHERE id = ?1", [id.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        row.map(|(owner, text)| Ok((owner, serde_json::from_str(&text)?))).transpose()
    }

    /// Stores events together with the view that they lead to. A full disk gives up its reserve for an end.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn save(&self, view: &JobView, frames: &[EventFrame]) -> Result<(), StoreError> {
        let saved = self.try_save(view, frames);
        let Lasting::Durable(ballast) = &self.lasting else { return saved };
        match saved {
            Err(error) if error.is_full() && view.state.is_terminal() && ballast.drop_it() => {
                self.try_save(view, frames)
            }
            saved => saved,
        }
    }

    fn try_save(&self, view: &JobView, frames: &[EventFrame]) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute(
            "UPDATE jobs SET state = ?2, view = ?3 WHERE id = ?1",
            params![view.id.as_str(), view.state.as_str(), serde_json::to_string(view)?],
        )?;
        for frame in frames {
            insert_event(&transaction, frame)?;
            if let Event::Image { image } = &frame.event {
                let bytes = fs::metadata(self.image_path(image)).map_or(0, |file| file.len());
                transaction.execute(
                    "INSERT INTO images (job, sha256, bytes) VALUES (?1, ?2, ?3)",
                    params![view.id.as_str(), image.sha256, bytes as i64],
                )?;
            }
        }
        transaction.commit()?;
        let mut unlisted = self.unlisted();
        for frame in frames {
            if let Event::Image { image } = &frame.event {
                unlisted.remove(&image.sha256);
            }
        }
        Ok(())
    }

    /// A job by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn job(&self, id: &JobId) -> Result<Lookup, StoreError> {
        let connection = self.connection();
        let row =
            connection.query_row("SELECT owner, view FROM jobs WHERE id = ?1", [id.as_str()], job_row).optional()?;
        let Some((owner, view)) = row else {
            let departed = connection
                .query_row("SELECT owner FROM departed WHERE job = ?1", [id.as_str()], |row| {
                    row.get::<_, Option<String>>(0)
                })
                .optional()?;
            return Ok(departed.map_or(Lookup::Unknown, |owner| Lookup::Departed { owner: owner.map(Arc::from) }));
        };
        Ok(Lookup::Found(Box::new(with_log(&connection, owner, &view)?)))
    }

    /// Jobs of `owner`, or of everyone, from the newest, those older than `before` (creation time and id), at most
    /// `limit`.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn list(
        &self,
        owner: Option<&str>,
        state: Option<JobState>,
        before: Option<(u64, &str)>,
        limit: u32,
    ) -> Result<Vec<JobView>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT view FROM jobs
             WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR state = ?2) AND (created_at_ms, id) < (?3, ?4)
             ORDER BY created_at_ms DESC, id DESC LIMIT ?5",
        )?;
        let (created_at_ms, id) = before.map_or((i64::MAX, ""), |(ms, id)| (ms as i64, id));
        let rows = statement
            .query_map(params![owner, state.map(JobState::as_str), created_at_ms, id, limit], |row| {
                row.get::<_, String>(0)
            })?;
        rows.map(|view| Ok(serde_json::from_str(&view?)?)).collect()
    }

    /// What the last process left unfinished, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn unfinished(&self) -> Result<Vec<StoredJob>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare("SELECT owner, view FROM jobs WHERE state IN ('queued', 'running') ORDER BY created_at_ms, id")?;
        let rows = statement.query_map([], job_row)?.collect::<Result<Vec<_>, _>>()?;
        rows.iter().map(|(owner, view)| with_log(&connection, owner.clone(), view)).collect()
    }

    /// Removes a job, its events, and the pictures that no other job shows.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn remove(&self, id: &JobId) -> Result<(), StoreError> {
        self.remove_as(id, |_| Ok(()))
    }

    /// As [`remove`](Self::remove), and remembers for a while that the job was here.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expire(&self, id: &JobId) -> Result<(), StoreError> {
        self.remove_as(id, |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO departed (job, owner, at_ms) SELECT id, owner, ?2 FROM jobs WHERE id = ?1",
                params![id.as_str(), now_ms() as i64],
            )?;
            transaction.execute(
                "DELETE FROM departed WHERE job IN
                 (SELECT job FROM departed ORDER BY at_ms DESC, job LIMIT -1 OFFSET ?1)",
                [DEPARTED_JOBS_MAX as i64],
            )?;
            Ok(())
        })
    }

    fn remove_as(
        &self,
        id: &JobId,
        before: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        before(&transaction)?;
        let orphans: Vec<String> = transaction
            .prepare_cached(
                "SELECT DISTINCT sha256 FROM images WHERE job = ?1
                 AND sha256 NOT IN (SELECT sha256 FROM images WHERE job <> ?1)",
            )?
            .query_map([id.as_str()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        transaction.execute("DELETE FROM jobs WHERE id = ?1", [id.as_str()])?;
        transaction.commit()?;
        // Another job may be about to list the same picture.
        let unlisted = self.unlisted();
        for sha256 in orphans.into_iter().filter(|sha256| !unlisted.contains(sha256)) {
            if let Err(error) = files::remove(&self.images, &sha256) {
                tracing::warn!(sha256, error = &error as &dyn std::error::Error, "a picture stays behind");
            }
        }
        if let Lasting::Durable(ballast) = &self.lasting {
            ballast.restore();
        }
        Ok(())
    }

    /// Ended jobs beyond what `keep` keeps, oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expired(&self, keep: &Retention) -> Result<Vec<JobId>, StoreError> {
        let oldest_ms = keep.age.map_or(0, |age| now_ms().saturating_sub(age.as_millis() as u64));
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "WITH ended AS (
                 SELECT id, created_at_ms,
                     ROW_NUMBER() OVER newest_first AS place,
                     SUM(COALESCE(size, 0)) OVER newest_first AS total
                 FROM jobs LEFT JOIN (SELECT job, SUM(bytes) AS size FROM images GROUP BY job) ON job = id
                 WHERE state NOT IN ('queued', 'running')
                 WINDOW newest_first AS (ORDER BY created_at_ms DESC, id DESC)
             )
             SELECT id FROM ended WHERE place > 1 AND (place > ?1 OR created_at_ms < ?2 OR total > ?3)
             ORDER BY created_at_ms, id",
        )?;
        let bytes = keep.bytes.map_or(i64::MAX, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let ids = statement
            .query_map(params![keep.jobs as i64, oldest_ms as i64, bytes], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(ids.into_iter().filter_map(|id| JobId::parse(id).ok()).collect())
    }

    /// Stores the file of a picture under its SHA-256 and returns that; whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_image(&self, bytes: &[u8], format: ImageFormat) -> Result<String, StoreError> {
        let sha256 = files::content_name(bytes);
        self.unlisted().insert(sha256.clone());
        files::save(&self.images, &image_path(&self.images, &sha256, format), bytes)
            .map_err(|source| StoreError::Io { path: self.images.clone(), source })?;
        Ok(sha256)
    }

    /// Where the file of a picture lies.
    pub fn image_path(&self, image: &ImageView) -> PathBuf {
        image_path(&self.images, &image.sha256, image.format)
    }

    fn image_names(&self) -> Result<HashSet<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT DISTINCT sha256 FROM images")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    fn unlisted(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A statement that panics rolls back; the connection stays good.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a connection this process's own and its tables those of this worker.
fn prepare(connection: &mut Connection, path: &Path, images: &Path) -> Result<(), StoreError> {
    let in_use = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse(path.to_owned()),
        _ => error.into(),
    };
    // Whoever else has the database open keeps it: waiting for them would only delay the answer.
    connection.busy_timeout(Duration::ZERO)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(in_use)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(in_use)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let found = schema::version(connection).map_err(in_use)?;
    if found > schema::VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: schema::VERSION });
    }
    schema::migrate(connection, images)
}

fn insert_event(connection: &Connection, frame: &EventFrame) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO events (job, seq, frame) VALUES (?1, ?2, ?3)",
        params![frame.job.as_str(), frame.seq.map(|seq| seq as i64), serde_json::to_string(frame)?],
    )?;
    Ok(())
}

fn job_row(row: &Row<'_>) -> rusqlite::Result<(Option<String>, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn with_log(connection: &Connection, owner: Option<String>, view: &str) -> Result<StoredJob, StoreError> {
    let view: JobView = serde_json::from_str(view)?;
    let mut statement = connection.prepare_cached("SELECT frame FROM events WHERE job = ?1 ORDER BY seq")?;
    let frames = statement.query_map([view.id.as_str()], |row| row.get::<_, String>(0))?;
    let log = frames.map(|frame| Ok(serde_json::from_str(&frame?)?)).collect::<Result<_, StoreError>>()?;
    Ok(StoredJob { owner: owner.map(Arc::from), view, log })
}

#[cfg(test)]
mod tests;
