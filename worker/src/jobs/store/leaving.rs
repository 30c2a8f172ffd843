//! How jobs leave: forgotten on demand, or because newer ones need their room.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Transaction, params};
use sd_protocol::JobId;
use sd_protocol::limits::DEPARTED_JOBS_MAX;

use super::{Lasting, Store, StoreError, files};
use crate::jobs::now_ms;

/// How much of the past is kept. What has not ended is always kept, and so are favourites, which do not count, and the
/// newest job that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Ended jobs.
    pub jobs: usize,
    /// Time since they were accepted.
    pub age: Option<Duration>,
    /// Room that their pictures take.
    pub bytes: Option<u64>,
}

impl Store {
    /// Removes a job, its events, and the pictures that no other job shows.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn remove(&self, id: &JobId) -> Result<(), StoreError> {
        self.remove_as(id, |_| Ok(true)).map(drop)
    }

    /// As [`remove`](Self::remove), and remembers for a while that the job was here. `false` when it became a favourite
    /// meanwhile, and stays.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn expire(&self, id: &JobId) -> Result<bool, StoreError> {
        self.remove_as(id, |transaction| {
            let favorite =
                transaction.query_row("SELECT favorite FROM jobs WHERE id = ?1", [id.as_str()], |row| row.get(0));
            if favorite.optional()? == Some(true) {
                return Ok(false);
            }
            transaction.execute(
                "INSERT OR REPLACE INTO departed (job, owner, at_ms) SELECT id, owner, ?2 FROM jobs WHERE id = ?1",
                params![id.as_str(), now_ms() as i64],
            )?;
            transaction.execute(
                "DELETE FROM departed WHERE job IN
                 (SELECT job FROM departed ORDER BY at_ms DESC, job LIMIT -1 OFFSET ?1)",
                [DEPARTED_JOBS_MAX as i64],
            )?;
            Ok(true)
        })
    }

    /// Removes a job unless `before` says that it stays.
    fn remove_as(
        &self,
        id: &JobId,
        before: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<bool>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        if !before(&transaction)? {
            return Ok(false);
        }
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
        Ok(true)
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
                 WHERE state NOT IN ('queued', 'running') AND NOT favorite
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
}
