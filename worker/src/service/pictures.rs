//! Pictures on their way to clients: finished ones, their thumbnails, and those that clients brought.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use sd_protocol::{ErrorBody, ErrorCode, ImageView};

use super::{Service, blocking, storage_error};
use crate::access::Caller;
use crate::inputs::source::is_upload_id;
use crate::inputs::{ImageSource, InputError};
use crate::jobs::JobCell;
use crate::outputs;

/// Bytes at the start of a file that tell its format.
const FORMAT_BYTES: u64 = 32;

/// The file of an upload.
#[derive(Debug)]
pub struct UploadFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is, as its first bytes say.
    pub content_type: &'static str,
}

impl Service {
    /// A picture of a job.
    ///
    /// # Errors
    /// `image_not_found` while there is none of that index.
    pub fn image(&self, cell: &JobCell, index: u32) -> Result<ImageView, ErrorBody> {
        let view = cell.view();
        view.images.into_iter().find(|image| image.index == index).ok_or_else(|| {
            let state = view.state.as_str();
            ErrorBody::new(ErrorCode::ImageNotFound, format!("the job is {state} and has no image {index}"))
        })
    }

    /// Where the file of a picture lies.
    pub fn image_path(&self, image: &ImageView) -> PathBuf {
        self.registry.store().image_path(image)
    }

    /// The thumbnail of a picture, a JPEG; made when it is first asked for.
    ///
    /// # Errors
    /// `image_not_found` when the file of the picture is gone, `storage_failed`.
    pub async fn thumbnail(&self, image: ImageView) -> Result<Vec<u8>, ErrorBody> {
        let (store, wanted) = (Arc::clone(self.registry.store()), image.clone());
        let kept = move || store.thumbnail(&wanted).map_err(|error| storage_error(&error));
        if let Some(file) = blocking(kept).await? {
            return Ok(file);
        }
        let place = Arc::clone(&self.thumbnailing).acquire_owned().await.expect("nobody closes this semaphore");
        let store = Arc::clone(self.registry.store());
        blocking(move || {
            let _place = place;
            // Whoever had the place before may have made it.
            if let Some(file) = store.thumbnail(&image).map_err(|error| storage_error(&error))? {
                return Ok(file);
            }
            let picture = fs::read(store.image_path(&image)).map_err(|error| unreadable(&error))?;
            let file = outputs::thumbnail(&picture, image.format).map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "a picture has no thumbnail");
                ErrorBody::new(ErrorCode::StorageFailed, "the picture is damaged; the worker's log has the reason")
            })?;
            if let Err(error) = store.save_thumbnail(&image, &file) {
                tracing::warn!(error = &error as &dyn std::error::Error, "a thumbnail will be made again");
            }
            Ok(file)
        })
        .await
    }

    /// The file of an upload that `caller` brought.
    ///
    /// # Errors
    /// `upload_not_found`, also for what somebody else brought; `storage_failed`.
    pub async fn upload_file(&self, caller: &Caller, id: &str) -> Result<UploadFile, ErrorBody> {
        let (registry, caller, id) = (Arc::clone(&self.registry), caller.clone(), id.to_owned());
        blocking(move || {
            let unknown = || ErrorBody::from(InputError::UnknownUpload(id.clone()));
            if !is_upload_id(&id) {
                return Err(unknown());
            }
            let is_own = match caller.name() {
                Some(name) => registry.store().owns_upload(&id, name).map_err(|error| storage_error(&error))?,
                None => true,
            };
            if !is_own {
                return Err(unknown());
            }
            // Looking at an upload is a use of it.
            let lease = registry.store().uploads().lease(&ImageSource::Upload(id.clone()))?;
            let mut start = Vec::new();
            let opened = fs::File::open(lease.path()).and_then(|file| file.take(FORMAT_BYTES).read_to_end(&mut start));
            opened.map_err(InputError::Io)?;
            let format = image::guess_format(&start).map_err(|_| unknown())?;
            Ok(UploadFile { path: lease.path(), content_type: format.to_mime_type() })
        })
        .await
    }
}

fn unreadable(error: &io::Error) -> ErrorBody {
    if error.kind() == io::ErrorKind::NotFound {
        return image_gone();
    }
    tracing::error!(error = error as &dyn std::error::Error, "a picture could not be read");
    ErrorBody::new(ErrorCode::StorageFailed, "the picture could not be read; the worker's log has the reason")
}

/// What is said of a picture whose file somebody removed.
pub fn image_gone() -> ErrorBody {
    ErrorBody::new(ErrorCode::ImageNotFound, "the picture's file is gone from the worker's data folder")
}
