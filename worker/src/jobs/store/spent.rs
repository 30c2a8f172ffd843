//! What the owners of jobs used lately: how quotas survive a restart.

use super::{Store, StoreError};

/// What one job cost its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Name of the credential.
    pub owner: String,
    /// When the job was accepted, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Width × height × batch size.
    pub pixels: u64,
}

impl Store {
    /// What jobs that were accepted since `since_ms` cost; those that ended before they were drawn cost nothing.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn spent_since(&self, since_ms: u64) -> Result<Vec<Spent>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare(
            "SELECT owner, created_at_ms,
                 view ->> '$.request.width' * view ->> '$.request.height' * view ->> '$.request.batch_size'
             FROM jobs
             WHERE owner IS NOT NULL AND created_at_ms >= ?1
                 AND (state IN ('queued', 'running') OR view ->> '$.started_at_ms' IS NOT NULL)",
        )?;
        let rows = statement.query_map([since_ms as i64], |row| {
            let (at_ms, pixels): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok(Spent { owner: row.get(0)?, at_ms: at_ms as u64, pixels: pixels as u64 })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
