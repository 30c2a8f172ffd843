//! How a model's tokenizer reads a prompt.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{ErrorBody, ErrorDetail};
use crate::fields;
use crate::limits::PROMPT_BYTES_MAX;

/// The body of `POST /v1/models/{name}/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("required" = ["prompt"])))]
#[serde(deny_unknown_fields)]
pub struct TokensRequest {
    /// A prompt or negative prompt, as a job has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(required, length(max = PROMPT_BYTES_MAX)))]
    pub prompt: Option<String>,
}

impl TokensRequest {
    /// Reads the body; the prompt that it holds.
    ///
    /// # Errors
    /// `malformed_json` when `value` is no object, `invalid_request` with every field that is unknown, missing or too long.
    pub fn prompt_from_json(value: Value) -> Result<String, ErrorBody> {
        let form = "the body is a JSON object such as {\"prompt\": \"a red balloon\"}";
        let (request, mut faults): (Self, _) = fields::read(value, form)?;
        let is_faulty = faults.iter().any(|fault| fault.field == "prompt");
        let message = match &request.prompt {
            Some(prompt) if prompt.len() > PROMPT_BYTES_MAX => {
                Some(format!("has {} bytes, the limit is {PROMPT_BYTES_MAX}", prompt.len()))
            }
            None if !is_faulty => Some("is missing; say what to read".into()),
            _ => None,
        };
        faults.extend(message.map(|message| ErrorDetail { field: "prompt".into(), message }));
        match request.prompt {
            Some(prompt) if faults.is_empty() => Ok(prompt),
            _ => Err(ErrorBody::invalid(faults)),
        }
    }
}

/// How a prompt falls into chunks, of which each goes through the text encoder by itself. Where a model has two text
/// encoders that read it differently: as the one that needs more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokensView {
    /// Tokens of text that a chunk holds; 75 for CLIP.
    pub tokens_max: u32,
    /// At least one.
    pub chunks: Vec<TokenChunk>,
    /// What of the prompt is understood differently from what may have been meant, as a job would say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One chunk of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenChunk {
    /// Tokens in it; an embedding is as many as it has vectors.
    pub tokens: u32,
    /// What it is read of, without brackets and weights.
    pub text: String,
}
