//! `/v1/models…`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sd_protocol::{ErrorCode, ModelsView, TokensRequest, TokensView};

use super::error::ApiError;
use super::extract::Path;
use super::jobs::JsonBody;
use super::{App, etag};
use crate::access::Caller;
use crate::outlet;
use crate::service::tokens::unknown_model;

/// `GET /v1/models`: what may be asked for by name, and within which bounds.
pub async fn models(State(app): State<App>, caller: Caller) -> Json<ModelsView> {
    let offer = app.service.offer();
    Json(ModelsView {
        catalogue: outlet::catalogue(offer),
        limits: offer.limits.clone(),
        devices: outlet::devices(offer),
        quota: app.service.quota(&caller),
    })
}

/// `POST /v1/models/{name}/tokens`: how the model reads a prompt.
pub async fn tokens(
    State(app): State<App>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<TokensView>, ApiError> {
    let prompt = TokensRequest::prompt_from_json(body)?;
    Ok(Json(app.service.tokens(&name, prompt).await?))
}

/// `GET /v1/models/{name}/preview-decoder`
pub async fn preview_decoder(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let models = &app.service.offer().models;
    let Some(model) = models.iter().find(|model| model.name == name) else {
        return Err(unknown_model(&name).into());
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
