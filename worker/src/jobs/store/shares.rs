//! Share links, as hashes beside their jobs: a link leaves with its job.

use rusqlite::params;
use sd_protocol::JobId;
use sd_protocol::limits::SHARES_PER_JOB_MAX;

use super::{Store, StoreError};
use crate::access::secret::SecretHash;

impl Store {
    /// Adds a link to a job; `false` when the job has as many as it may.
    ///
    /// # Errors
    /// When the database refuses, also because the job left meanwhile.
    pub fn add_share(&self, job: &JobId, hash: &SecretHash) -> Result<bool, StoreError> {
        let added = self.connection().execute(
            "INSERT INTO shares (job, sha256) SELECT ?1, ?2
             WHERE (SELECT COUNT(*) FROM shares WHERE job = ?1) < ?3",
            params![job.as_str(), hash.to_string(), SHARES_PER_JOB_MAX as i64],
        )?;
        Ok(added > 0)
    }

    /// Whether a job has that link.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn is_shared(&self, job: &JobId, hash: &SecretHash) -> Result<bool, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT sha256 FROM shares WHERE job = ?1")?;
        let links = statement.query_map([job.as_str()], |row| row.get::<_, String>(0))?;
        let links: Vec<String> = links.collect::<Result<_, _>>()?;
        let links = links.iter().filter_map(|link| link.parse::<SecretHash>().ok());
        // All of them are compared, so that the time says nothing about any.
        Ok(links.fold(false, |found, link| found | link.matches(hash)))
    }

    /// Ends every link of a job.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn remove_shares(&self, job: &JobId) -> Result<(), StoreError> {
        self.connection().execute("DELETE FROM shares WHERE job = ?1", [job.as_str()])?;
        Ok(())
    }
}
