//! How a model reads a prompt.

use std::sync::Arc;

use sd_protocol::{ErrorBody, ErrorCode, TokenChunk, TokensView};

use super::{Service, blocking};
use crate::models::LoadError;

impl Service {
    /// How the tokenizer of `model` reads a prompt, whether the model is loaded or not.
    ///
    /// # Errors
    /// `not_found` when no model is called so, `model_unavailable` when its tokenizer is not here or cannot be used.
    pub async fn tokens(&self, model: &str, prompt: String) -> Result<TokensView, ErrorBody> {
        let (readers, model) = (Arc::clone(&self.readers), model.to_owned());
        blocking(move || {
            let reader = readers.get(&model).map_err(|error| unreadable(&model, &error))?;
            let reading = reader.read(&prompt).map_err(|error| {
                tracing::error!(model, error = &error as &dyn std::error::Error, "a prompt could not be read");
                ErrorBody::new(ErrorCode::Internal, "the tokenizer refused the prompt; the worker's log has the reason")
            })?;
            let chunks = reading.passages.into_iter();
            Ok(TokensView {
                tokens_max: reading.room as u32,
                chunks: chunks
                    .map(|passage| TokenChunk { tokens: passage.tokens as u32, text: passage.text })
                    .collect(),
                warnings: reading.warnings,
            })
        })
        .await
    }
}

fn unreadable(model: &str, error: &LoadError) -> ErrorBody {
    if let LoadError::Unknown(_) = error {
        return unknown_model(model);
    }
    tracing::error!(error = error as &dyn std::error::Error, "a tokenizer could not be read");
    let message = format!("the tokenizer of the model {model:?} cannot be used; the worker's log has the reason");
    ErrorBody::new(ErrorCode::ModelUnavailable, message)
}

/// What is said of a name that no model has.
pub fn unknown_model(name: &str) -> ErrorBody {
    let message = format!("no model is called {name:?}; GET /v1/models lists those that are here");
    ErrorBody::new(ErrorCode::NotFound, message)
}
