//! Who brought which upload: who may have it back.

use rusqlite::params;

use super::{Store, StoreError};

impl Store {
    /// Remembers that `owner` brought an upload.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn own_upload(&self, upload: &str, owner: &str) -> Result<(), StoreError> {
        let statement = "INSERT OR IGNORE INTO upload_owners (upload, owner) VALUES (?1, ?2)";
        self.connection().execute(statement, params![upload, owner])?;
        Ok(())
    }

    /// Whether `owner` brought that upload.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn owns_upload(&self, upload: &str, owner: &str) -> Result<bool, StoreError> {
        let statement = "SELECT EXISTS (SELECT 1 FROM upload_owners WHERE upload = ?1 AND owner = ?2)";
        Ok(self.connection().query_row(statement, params![upload, owner], |row| row.get(0))?)
    }

    /// Forgets who brought what newer uploads have pushed out.
    pub(super) fn forget_departed_uploads(&self) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT DISTINCT upload FROM upload_owners")?;
        let uploads: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for upload in uploads.iter().filter(|upload| !self.uploads.contains(upload)) {
            connection.execute("DELETE FROM upload_owners WHERE upload = ?1", [upload])?;
        }
        Ok(())
    }
}
