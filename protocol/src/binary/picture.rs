//! Preview pictures: latents that the worker made into files, for clients that decode nothing themselves.

use super::{DecodeError, FrameKind, HEADER_BYTES, PreviewPosition, RawHeader};

/// Numbers of a pixel: red, green, blue.
const CHANNELS: u8 = 3;

/// The format of a preview picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PictureFormat {
    /// Without loss.
    Png = 3,
    /// With loss.
    Jpeg = 4,
}

impl PictureFormat {
    /// The media type of a file.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// The header of a preview picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureHeader {
    /// The job, as `accepted` or `attached` named it on this connection.
    pub handle: u32,
    /// Where in its job the preview stands.
    pub position: PreviewPosition,
    /// px
    pub width: u16,
    /// px
    pub height: u16,
    /// What the payload is.
    pub format: PictureFormat,
    /// Whether no further frame of this kind follows for this image.
    pub last: bool,
}

impl PictureHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let PreviewPosition { step, steps, batch_index, batch_size } = self.position;
        RawHeader {
            kind: FrameKind::PreviewPicture as u8,
            handle: self.handle,
            step,
            steps,
            batch_index,
            batch_size,
            width: self.width,
            height: self.height,
            channels: CHANNELS,
            element: self.format as u8,
            last: self.last,
            scale: 1.0,
            offset: 0.0,
        }
        .encode()
    }

    /// Reads the header of a picture. What the file behind it holds is for a decoder of pictures to say.
    ///
    /// # Errors
    /// The first thing that makes `frame` no preview picture of this version.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let raw = RawHeader::read_kind(frame, FrameKind::PreviewPicture)?;
        let format = match raw.element {
            3 => PictureFormat::Png,
            4 => PictureFormat::Jpeg,
            other => return Err(DecodeError::Element(other)),
        };
        let RawHeader { handle, step, steps, batch_index, batch_size, width, height, channels, last, .. } = raw;
        if width == 0 || height == 0 || channels != CHANNELS {
            return Err(DecodeError::Shape { width, height, channels });
        }
        let position = PreviewPosition { step, steps, batch_index, batch_size };
        Ok(Self { handle, position, width, height, format, last })
    }
}

/// A preview picture ready to be sent; only the handle differs between connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFrame {
    header: PictureHeader,
    file: Vec<u8>,
}

impl PictureFrame {
    /// A frame around `file`, a picture of `width` × `height` px.
    pub fn new(position: PreviewPosition, width: u16, height: u16, format: PictureFormat, file: Vec<u8>) -> Self {
        let last = position.step == position.steps;
        Self { header: PictureHeader { handle: 0, position, width, height, format, last }, file }
    }

    /// What the file is.
    pub fn header(&self) -> &PictureHeader {
        &self.header
    }

    /// The file.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// The frame for a connection that calls the job `handle`.
    pub fn encode(&self, handle: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.file.len());
        bytes.extend(PictureHeader { handle, ..self.header }.encode());
        bytes.extend(&self.file);
        bytes
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// As [`PictureHeader::decode`].
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let header = PictureHeader::decode(frame)?;
        Ok(Self { header, file: frame[HEADER_BYTES..].to_vec() })
    }
}
