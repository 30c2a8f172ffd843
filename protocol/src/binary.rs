//! Binary frames: a 32-byte header, then the payload.
//!
#![doc = include_str!("binary.md")]
//!
//! Upload chunks have the same first bytes, zeros behind the tag and the flags, and are read by [`crate::upload`].

mod picture;

use half::f16;

pub use self::picture::{PictureFormat, PictureFrame, PictureHeader};
use crate::PROTOCOL_VERSION;
use crate::job::PreviewDtype;

/// Bytes before the payload; a multiple of 16, so that the payload is aligned for any element.
pub const HEADER_BYTES: usize = 32;

pub(crate) const MAGIC: [u8; 2] = *b"SD";
pub(crate) const FLAG_LAST: u16 = 1;

/// What a binary frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A predicted clean latent.
    PreviewLatent = 1,
    /// A picture of one, made by the worker.
    PreviewPicture = 2,
}

/// How the numbers of a latent are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Element {
    /// IEEE half precision.
    F16 = 1,
    /// One byte: `value = q·scale + offset`.
    U8 = 2,
}

impl Element {
    /// Bytes of one number.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::U8 => 1,
        }
    }
}

impl From<PreviewDtype> for Element {
    fn from(dtype: PreviewDtype) -> Self {
        match dtype {
            PreviewDtype::F16 => Self::F16,
            PreviewDtype::U8 => Self::U8,
        }
    }
}

/// The header of a preview latent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameHeader {
    /// The job, as `accepted` or `attached` named it on this connection.
    pub handle: u32,
    /// Denoising steps done; 0 is a glimpse of the first, half of which is done.
    pub step: u16,
    /// Denoising steps in all.
    pub steps: u16,
    /// Image of the batch.
    pub batch_index: u16,
    /// Images in the batch.
    pub batch_size: u16,
    /// Latent cells in a row.
    pub width: u16,
    /// Rows of latent cells.
    pub height: u16,
    /// Numbers per cell, padding included: a multiple of four.
    pub channels: u8,
    /// How they are written.
    pub element: Element,
    /// Whether no further frame of this kind follows for this image.
    pub last: bool,
    /// Multiplier of a `u8` element, 1 otherwise.
    pub scale: f32,
    /// Offset of a `u8` element, 0 otherwise.
    pub offset: f32,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a header.
    #[error("a binary frame has at least {HEADER_BYTES} bytes, this one has {0}")]
    TooShort(usize),
    /// The first two bytes.
    #[error("a binary frame starts with \"SD\"")]
    Magic,
    /// The third byte.
    #[error("this frame is of protocol version {0}, not {PROTOCOL_VERSION}")]
    Version(u8),
    /// The fourth byte, of a kind that does not exist or is not read here.
    #[error("frame kind {0} is none that is read here")]
    Kind(u8),
    /// Byte 21, of an element that does not exist or that this kind does not have.
    #[error("no element type {0} in a frame of this kind")]
    Element(u8),
    /// Nothing wide or high, a latent whose channels are no multiple of four, or a picture that has not three.
    #[error("a preview is not {width}×{height}×{channels}")]
    Shape {
        /// Latent cells or px in a row.
        width: u16,
        /// Rows.
        height: u16,
        /// Numbers per cell or pixel.
        channels: u8,
    },
    /// A scale or offset that is no number.
    #[error("scale and offset are finite numbers")]
    NotFinite,
    /// More or fewer bytes than the header says.
    #[error("the header announces {expected} bytes of payload, {found} are there")]
    Length {
        /// From the header.
        expected: usize,
        /// In the frame.
        found: usize,
    },
}

/// The fields of a header of any kind, as they lie in its bytes.
#[derive(Clone, Copy, Debug)]
struct RawHeader {
    kind: u8,
    handle: u32,
    step: u16,
    steps: u16,
    batch_index: u16,
    batch_size: u16,
    width: u16,
    height: u16,
    channels: u8,
    element: u8,
    last: bool,
    scale: f32,
    offset: f32,
}

impl RawHeader {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..2].copy_from_slice(&MAGIC);
        bytes[2] = PROTOCOL_VERSION;
        bytes[3] = self.kind;
        bytes[4..8].copy_from_slice(&self.handle.to_le_bytes());
        let shorts = [self.step, self.steps, self.batch_index, self.batch_size, self.width, self.height];
        for (slot, value) in bytes[8..20].chunks_exact_mut(2).zip(shorts) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes[20] = self.channels;
        bytes[21] = self.element;
        bytes[22..24].copy_from_slice(&(if self.last { FLAG_LAST } else { 0 }).to_le_bytes());
        bytes[24..28].copy_from_slice(&self.scale.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// The header in front of `frame`, of any kind.
    fn read(frame: &[u8]) -> Result<Self, DecodeError> {
        let bytes: &[u8; HEADER_BYTES] = frame.first_chunk().ok_or(DecodeError::TooShort(frame.len()))?;
        if bytes[0..2] != MAGIC {
            return Err(DecodeError::Magic);
        }
        if bytes[2] != PROTOCOL_VERSION {
            return Err(DecodeError::Version(bytes[2]));
        }
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        Ok(Self {
            kind: bytes[3],
            handle: u32::from_le_bytes(word(4)),
            step: short(8),
            steps: short(10),
            batch_index: short(12),
            batch_size: short(14),
            width: short(16),
            height: short(18),
            channels: bytes[20],
            element: bytes[21],
            last: short(22) & FLAG_LAST != 0,
            scale: f32::from_le_bytes(word(24)),
            offset: f32::from_le_bytes(word(28)),
        })
    }

    /// The same, where it is of that kind.
    fn read_kind(frame: &[u8], kind: FrameKind) -> Result<Self, DecodeError> {
        let header = Self::read(frame)?;
        if header.kind == kind as u8 { Ok(header) } else { Err(DecodeError::Kind(header.kind)) }
    }
}

impl FrameHeader {
    /// The bytes of the header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let &Self { handle, step, steps, batch_index, batch_size, width, height, channels, .. } = self;
        RawHeader {
            kind: FrameKind::PreviewLatent as u8,
            handle,
            step,
            steps,
            batch_index,
            batch_size,
            width,
            height,
            channels,
            element: self.element as u8,
            last: self.last,
            scale: self.scale,
            offset: self.offset,
        }
        .encode()
    }

    /// Reads the header of a latent and checks that exactly its payload follows.
    ///
    /// # Errors
    /// The first thing that makes `frame` no preview latent of this version.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let raw = RawHeader::read_kind(frame, FrameKind::PreviewLatent)?;
        let element = match raw.element {
            1 => Element::F16,
            2 => Element::U8,
            other => return Err(DecodeError::Element(other)),
        };
        let RawHeader { handle, step, steps, batch_index, batch_size, width, height, channels, .. } = raw;
        let RawHeader { last, scale, offset, .. } = raw;
        let header = Self {
            handle,
            step,
            steps,
            batch_index,
            batch_size,
            width,
            height,
            channels,
            element,
            last,
            scale,
            offset,
        };
        header.check(frame.len() - HEADER_BYTES)?;
        Ok(header)
    }

    fn check(&self, found: usize) -> Result<(), DecodeError> {
        let Self { width, height, channels, .. } = *self;
        if width == 0 || height == 0 || channels == 0 || channels % 4 != 0 {
            return Err(DecodeError::Shape { width, height, channels });
        }
        if !self.scale.is_finite() || !self.offset.is_finite() {
            return Err(DecodeError::NotFinite);
        }
        let expected = self.payload_bytes();
        if expected != found {
            return Err(DecodeError::Length { expected, found });
        }
        Ok(())
    }

    /// Bytes of the payload that this header announces.
    pub fn payload_bytes(&self) -> usize {
        usize::from(self.width) * usize::from(self.height) * usize::from(self.channels) * self.element.size_bytes()
    }
}

/// Numbers per cell after padding: the next multiple of four.
pub fn padded_channels(channels: usize) -> usize {
    channels.next_multiple_of(4)
}

/// A preview latent ready to be sent; only the handle differs between connections.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewFrame {
    header: FrameHeader,
    payload: Vec<u8>,
}

/// Where in its job a preview stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviewPosition {
    /// Denoising steps done; 0 is a glimpse of the first, half of which is done.
    pub step: u16,
    /// Denoising steps in all.
    pub steps: u16,
    /// Image of the batch.
    pub batch_index: u16,
    /// Images in the batch.
    pub batch_size: u16,
}

impl PreviewFrame {
    /// Packs one clean latent, `[height, width, channels]` f32 with unit-variance channels.
    ///
    /// # Panics
    /// When `latent` does not have `width · height · channels` numbers.
    pub fn pack(position: PreviewPosition, width: u16, height: u16, latent: &[f32], dtype: PreviewDtype) -> Self {
        let cells = usize::from(width) * usize::from(height);
        assert!(
            cells > 0 && latent.len().is_multiple_of(cells),
            "{} numbers are no {width}×{height} latent",
            latent.len()
        );
        let channels = latent.len() / cells;
        let padded = padded_channels(channels);
        let (scale, offset) = match dtype {
            PreviewDtype::F16 => (1.0, 0.0),
            PreviewDtype::U8 => quantisation(latent),
        };
        let mut payload = Vec::with_capacity(cells * padded * Element::from(dtype).size_bytes());
        for cell in latent.chunks_exact(channels) {
            let values = cell.iter().copied().chain(std::iter::repeat_n(0.0, padded - channels));
            match dtype {
                PreviewDtype::F16 => values.for_each(|v| payload.extend(f16::from_f32(v).to_le_bytes())),
                PreviewDtype::U8 => payload.extend(values.map(|v| ((v - offset) / scale).round() as u8)),
            }
        }
        let header = FrameHeader {
            handle: 0,
            step: position.step,
            steps: position.steps,
            batch_index: position.batch_index,
            batch_size: position.batch_size,
            width,
            height,
            channels: padded as u8,
            element: dtype.into(),
            last: position.step == position.steps,
            scale,
            offset,
        };
        Self { header, payload }
    }

    /// What the payload is.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The frame for a connection that calls the job `handle`.
    pub fn encode(&self, handle: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.extend(FrameHeader { handle, ..self.header }.encode());
        bytes.extend(&self.payload);
        bytes
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// As [`FrameHeader::decode`].
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let header = FrameHeader::decode(frame)?;
        Ok(Self { header, payload: frame[HEADER_BYTES..].to_vec() })
    }

    /// The payload as it stands on the wire.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The numbers of the payload, `[height, width, channels]` with the padding channels.
    pub fn values(&self) -> Vec<f32> {
        let FrameHeader { scale, offset, .. } = self.header;
        match self.header.element {
            Element::F16 => self.payload.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Element::U8 => self.payload.iter().map(|&q| f32::from(q) * scale + offset).collect(),
        }
    }
}

/// Any binary frame that a worker sends.
#[derive(Clone, Debug, PartialEq)]
pub enum BinaryFrame {
    /// The predicted clean latent.
    Latent(PreviewFrame),
    /// A picture of it.
    Picture(PictureFrame),
}

impl BinaryFrame {
    /// Reads a frame of any kind.
    ///
    /// # Errors
    /// The first thing that makes `frame` none of this version.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        match RawHeader::read(frame)?.kind {
            kind if kind == FrameKind::PreviewPicture as u8 => PictureFrame::decode(frame).map(Self::Picture),
            // Whatever else it is, it is refused there.
            _ => PreviewFrame::decode(frame).map(Self::Latent),
        }
    }

    /// The frame for a connection that calls the job `handle`.
    pub fn encode(&self, handle: u32) -> Vec<u8> {
        match self {
            Self::Latent(frame) => frame.encode(handle),
            Self::Picture(frame) => frame.encode(handle),
        }
    }
}

/// Scale and offset that spread the finite values of a latent over one byte.
fn quantisation(latent: &[f32]) -> (f32, f32) {
    let finite = || latent.iter().copied().filter(|v| v.is_finite());
    let low = finite().fold(f32::INFINITY, f32::min).max(-1e6);
    let high = finite().fold(f32::NEG_INFINITY, f32::max).min(1e6);
    if low < high { ((high - low) / 255.0, low) } else { (1.0, if low.is_finite() { low } else { 0.0 }) }
}
