//! What outlives the process: jobs and durable events in SQLite, pictures as files named by their content.
//!
//! | module | what it holds |
//! |---|---|
//! | `schema` | the tables, version by version |
//! | `listing` | which jobs a list shows: by state, words, favourites |
//! | `leaving` | how jobs leave: forgotten on demand, or beyond what is kept |
//! | `uploads` | who brought which upload |
//! | `shares` | links through which anybody may look at a job |
//! | `spent` | what the owners of jobs used lately |
//! | `files` | picture files, and the room that is kept for a full disk |
//!
//! The ephemeral store is the same code over SQLite in memory and a temporary folder that leaves with the worker.

mod files;
mod leaving;
mod listing;
mod schema;
mod shares;
mod spent;
mod uploads;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use sd_protocol::limits::UPLOADS_BYTES_MAX;
use sd_protocol::{Event, EventFrame, ImageFormat, ImageView, JobId, JobRequest, JobView};
use tempfile::TempDir;

use self::files::{Ballast, image_path, thumbnail_path};
pub use self::leaving::Retention;
pub use self::listing::JobFilter;
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
        store.forget_departed_uploads()?;
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
            "INSERT INTO jobs (id, owner, created_at_ms, state, submitted, view, words)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO NOTHING",
            params![
                job.id.as_str(),
                owner,
                job.created_at_ms as i64,
                job.state.as_str(),
                serde_json::to_string(submitted)?,
                serde_json::to_string(job)?,
                listing::words(&job.request),
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
        let saved = self.try_save(view, frames).map(drop);
        let Lasting::Durable(ballast) = &self.lasting else { return saved };
        match saved {
            Err(error) if error.is_full() && view.state.is_terminal() && ballast.drop_it() => {
                self.try_save(view, frames).map(drop)
            }
            saved => saved,
        }
    }

    /// Stores a view that changed without an event, with events that could not be stored before; `false` when the job
    /// has left meanwhile.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn change(&self, view: &JobView, frames: &[EventFrame]) -> Result<bool, StoreError> {
        self.try_save(view, frames)
    }

    fn try_save(&self, view: &JobView, frames: &[EventFrame]) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let updated = transaction.execute(
            "UPDATE jobs SET state = ?2, view = ?3, favorite = ?4 WHERE id = ?1",
            params![view.id.as_str(), view.state.as_str(), serde_json::to_string(view)?, view.favorite],
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
        Ok(updated > 0)
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

    /// The thumbnail of a picture, where it was made.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn thumbnail(&self, image: &ImageView) -> Result<Option<Vec<u8>>, StoreError> {
        let path = thumbnail_path(&self.images, &image.sha256);
        match fs::read(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Keeps the thumbnail of a picture beside it, for as long as that is there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_thumbnail(&self, image: &ImageView, file: &[u8]) -> Result<(), StoreError> {
        let path = thumbnail_path(&self.images, &image.sha256);
        let saved = files::save(&self.images, &path, file).and_then(|()| {
            // Whoever removes a picture removes its thumbnail after it, so that one of the two sees the other.
            if self.image_path(image).exists() { Ok(()) } else { fs::remove_file(&path) }
        });
        saved.map_err(|source| StoreError::Io { path, source })
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
