//! `/v1/models…`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sd_protocol::{ErrorCode, ModelsView};

use super::error::ApiError;
use super::extract::Path;
use super::{App, etag};
use crate::access::Caller;
use crate::outlet;

/// `GET /v1/models`: what may be asked for by name, and within which bounds.
pub async fn models(State(app): State<App>, caller: Caller) -> Json<ModelsView> {
    let offer = app.service.offer();
    let (catalogue, limits) = (outlet::catalogue(offer), offer.limits.clone());
    Json(ModelsView { catalogue, limits, quota: app.service.quota(&caller) })
}

/// `GET /v1/models/{name}/preview-decoder`
pub async fn preview_decoder(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let models = &app.service.offer().models;
    let Some(model) = models.iter().find(|model| model.name == name) else {
        let message = format!("no model is called {name:?}; GET /v1/models lists those that are here");
        return Err(ApiError::new(ErrorCode::NotFound, message));
    };
    let Some(decoder) = &model.preview_decoder else {
        let message = format!("the model {name:?} has no preview decoder; its `preview` makes a picture of latents");
        return Err(ApiError::new(ErrorCode::NotFound, message));
    };
    let etag = etag::of_hash(decoder.sha256());
    let known = etag::is_known(&headers, &etag);
    // Another decoder may stand behind the name when the worker runs anew, so that readers ask each time.
    let headers = [(header::ETAG, etag), (header::CACHE_CONTROL, "private, no-cache".into())];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, kind, Bytes::from_owner(decoder.safetensors())).into_response())
}
