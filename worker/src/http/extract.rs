//! Parts of a path, refused in the form that every error has.

use axum::extract::{FromRequestParts, Path as Raw};
use axum::http::request::Parts;
use sd_protocol::{ErrorBody, ErrorCode};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// [`axum::extract::Path`], where a path that is no text is a path of nothing.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Raw(value) = Raw::from_request_parts(parts, state).await.map_err(|rejection| {
            ErrorBody::new(ErrorCode::NotFound, format!("nothing has this path: {}", rejection.body_text()))
        })?;
        Ok(Self(value))
    }
}
