//! What the `image` and `mask` fields of a request hold.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::InputError;

/// Reads padded and unpadded base64, as browsers and libraries differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Digits of an upload id: SHA-256 in hexadecimal.
const ID_DIGITS: usize = 64;

/// Where a picture comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// An upload of this worker.
    Upload(String),
    /// The request itself.
    Inline(Vec<u8>),
}

impl ImageSource {
    /// Reads an upload id, base64 or a data URL.
    ///
    /// # Errors
    /// [`InputError::Address`] or [`InputError::Encoding`].
    pub fn parse(text: &str) -> Result<Self, InputError> {
        // Base64 of that length would be 48 bytes, which is no picture.
        if is_upload_id(text) {
            return Ok(Self::Upload(text.to_owned()));
        }
        // No base64 has a colon, and a data URL no slashes behind it.
        if text.trim_start().split_once(':').is_some_and(|(_, rest)| rest.starts_with("//")) {
            return Err(InputError::Address);
        }
        let encoded = match text.strip_prefix("data:") {
            Some(url) => url.split_once(',').map_or(url, |(_, encoded)| encoded),
            None => text,
        };
        BASE64.decode(encoded.trim()).map(Self::Inline).map_err(InputError::Encoding)
    }
}

/// Whether `text` has the form of an upload id; such a text is also a safe file name.
pub fn is_upload_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
