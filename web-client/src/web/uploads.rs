//! Pictures on their way to the worker.

use sd_protocol::{ErrorEnvelope, Secret, UploadView};
use web_sys::Blob;

use super::fetch::{self, FetchError};

/// Why a picture did not reach the worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The worker said why.
    #[error("{0}")]
    Refused(String),
    /// No answer, or none that could be read.
    #[error("the picture could not be sent")]
    Lost(#[from] FetchError),
}

/// Brings a picture to the worker, which answers with the id that jobs name.
pub(crate) async fn upload(file: &Blob, token: Option<&Secret>) -> Result<String, UploadError> {
    let (status, text) = fetch::send_file("/v1/uploads", token, file).await?;
    if let Ok(view) = sd_protocol::read::<UploadView>(&text) {
        return Ok(view.id);
    }
    match sd_protocol::read::<ErrorEnvelope>(&text) {
        Ok(envelope) => Err(UploadError::Refused(envelope.error.message)),
        Err(_) => Err(FetchError::Refused(status).into()),
    }
}
