//! Picture files: those of jobs, their thumbnails, and uploads on their way back.

use std::path::PathBuf;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sd_protocol::limits::THUMBNAIL_PX_MAX;
use sd_protocol::{ErrorCode, ImageView};
use tower_http::services::ServeFile;

use super::error::ApiError;
use super::extract::Path;
use super::{App, etag};
use crate::access::Caller;
use crate::service::pictures::image_gone;

/// What stands under these paths never changes; only whoever may look keeps it.
const CACHE_CONTROL: &str = "private, max-age=31536000, immutable";

/// `GET /v1/jobs/{id}/images/{index}`
pub async fn image(
    State(app): State<App>,
    caller: Caller,
    Path((id, index)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let image = find(&app, &caller, &id, &index).await?;
    let served = serve(app.service.image_path(&image), &etag::of_hash(&image.sha256), request).await?;
    served.ok_or_else(|| image_gone().into())
}

/// `GET /v1/jobs/{id}/images/{index}/thumbnail`
pub async fn thumbnail(
    State(app): State<App>,
    caller: Caller,
    Path((id, index)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let image = find(&app, &caller, &id, &index).await?;
    let etag = etag::of_hash(&format!("{}-{THUMBNAIL_PX_MAX}", image.sha256));
    if etag::is_known(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, cached(&etag)).into_response());
    }
    let file = app.service.thumbnail(image).await?;
    Ok((cached(&etag), [(header::CONTENT_TYPE, "image/jpeg")], file).into_response())
}

/// `GET /v1/uploads/{id}`
pub async fn upload(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let file = app.service.upload_file(&caller, &id).await?;
    let mut response = serve(file.path, &etag::of_hash(&id), request).await?.ok_or_else(|| {
        ApiError::new(ErrorCode::UploadNotFound, "the upload has just been pushed out by a newer one; upload it again")
    })?;
    if response.status().is_success() {
        // The file's name has no ending that would say it.
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    }
    Ok(response)
}

async fn find(app: &App, caller: &Caller, id: &str, index: &str) -> Result<ImageView, ApiError> {
    let cell = app.service.find(caller, id).await?;
    let index = index
        .parse()
        .map_err(|_| ApiError::new(ErrorCode::ImageNotFound, format!("images are numbered, {index:?} is no number")))?;
    Ok(app.service.image(&cell, index)?)
}

fn cached(etag: &str) -> [(header::HeaderName, String); 2] {
    [(header::ETAG, etag.to_owned()), (header::CACHE_CONTROL, CACHE_CONTROL.into())]
}

/// The file or a part of it; nothing where there is none.
async fn serve(path: PathBuf, etag: &str, request: Request) -> Result<Option<Response>, ApiError> {
    if etag::is_known(request.headers(), etag) {
        return Ok(Some((StatusCode::NOT_MODIFIED, cached(etag)).into_response()));
    }
    match ServeFile::new(path).try_call(request).await {
        Ok(response) if response.status() != StatusCode::NOT_FOUND => {
            Ok(Some((cached(etag), response).into_response()))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a picture could not be read");
            Err(ApiError::new(
                ErrorCode::StorageFailed,
                "the picture could not be read; the worker's log has the reason",
            ))
        }
    }
}
