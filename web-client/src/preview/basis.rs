//! The Rust half of `basis.wgsl`: what the shader finds in its texture and in its uniform block.

use sd_protocol::{Element, FrameHeader};

use super::{CHANNELS_MAX, Latent, sampling};

/// The shader's text.
pub const SHADER: &str = include_str!("basis.wgsl");

/// Bytes of the uniform block: two `vec4` and one row per channel.
pub const UNIFORM_BYTES: usize = 16 * (2 + CHANNELS_MAX);

/// How the payload of a frame lies in a texture: four channels are one texel, and the texels of a cell stand
/// side by side, so the bytes of the wire are the bytes of the texture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextureLayout {
    /// `f16` texels are `Rgba16Float`, `u8` texels are `Rgba8Unorm`.
    pub element: Element,
    /// Texels in a row: cells × channels / 4.
    pub width: u32,
    /// Rows of cells.
    pub height: u32,
    /// Bytes in a row of texels.
    pub row_bytes: u32,
}

/// The texture that holds the payload of such a frame.
pub fn texture_layout(header: &FrameHeader) -> TextureLayout {
    let row_numbers = u32::from(header.width) * u32::from(header.channels);
    TextureLayout {
        element: header.element,
        width: row_numbers / 4,
        height: u32::from(header.height),
        row_bytes: row_numbers * header.element.size_bytes() as u32,
    }
}

/// Scale and offset that make the numbers of a latent of what its texels yield; a `Rgba8Unorm` texel is `q / 255`.
pub fn texel_affine(header: &FrameHeader) -> (f32, f32) {
    match header.element {
        Element::F16 => (1.0, 0.0),
        Element::U8 => (header.scale * 255.0, header.offset),
    }
}

/// The uniform block for `latent`.
///
/// The affine map of a `u8` element, `value = q·scale + offset`, is folded into the rows and the bias, so the
/// shader need not know which element it reads.
pub fn uniforms(latent: &Latent<'_>) -> [u8; UNIFORM_BYTES] {
    let header = latent.header();
    let (scale, offset) = texel_affine(header);
    let mut bias = latent.basis().bias;
    let mut rows = [[0.0_f32; 4]; CHANNELS_MAX];
    for (slot, row) in rows.iter_mut().zip(&latent.basis().rows) {
        for (channel, &weight) in row.iter().enumerate() {
            slot[channel] = weight * scale;
            bias[channel] += weight * offset;
        }
    }

    let mut bytes = [0; UNIFORM_BYTES];
    let shape = [
        u32::from(header.width),
        u32::from(header.height),
        u32::from(header.channels) / 4,
        sampling::cell_px(header.width, header.height),
    ];
    let words = shape.map(u32::to_le_bytes).into_iter();
    let floats = [bias[0], bias[1], bias[2], 0.0].into_iter().chain(rows.into_iter().flatten());
    for (slot, word) in bytes.chunks_exact_mut(4).zip(words.chain(floats.map(f32::to_le_bytes))) {
        slot.copy_from_slice(&word);
    }
    bytes
}
