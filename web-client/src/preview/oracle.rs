//! The preview in plain Rust: what `basis.wgsl` must show, and what is shown where there is no WebGPU.
//!
//! The basis is applied per cell and the filter in two passes, across and then down, which is the shader's sum
//! in another order: a 1024 px preview costs tens of milliseconds instead of seconds.

use half::f16;
use sd_protocol::{Element, PreviewBasis};

use super::{FrameError, Latent, sampling};

/// A drawn preview: `[height, width, 4]` u8, sRGB, opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// px
    pub width: u32,
    /// px
    pub height: u32,
    /// Rows from the top, RGBA.
    pub rgba: Vec<u8>,
}

/// Draws a whole binary frame through `basis`, at the size that the preview canvas has for it.
///
/// # Errors
/// When `frame` is no preview frame, or does not belong to `basis`.
pub fn draw(frame: &[u8], basis: &PreviewBasis) -> Result<Drawn, FrameError> {
    let latent = Latent::new(frame, basis)?;
    let header = latent.header();
    let cell_px = sampling::cell_px(header.width, header.height);
    let (width, height) = latent.canvas_size();
    let taps = |pixels, cells| (0..pixels).map(move |pixel| sampling::taps(pixel, cell_px, cells));

    let cells = rgb_from_cells(&latent);
    let row_cells = usize::from(header.width);
    let across: Vec<_> = taps(width, header.width).collect();
    let wide: Vec<[f32; 3]> = cells
        .chunks_exact(row_cells)
        .flat_map(|row| across.iter().map(move |tap| mix(tap.cells.map(|cell| row[cell]), tap.weights)))
        .collect();

    let row_pixels = width as usize;
    let mut rgba = Vec::with_capacity(row_pixels * height as usize * 4);
    for tap in taps(height, header.height) {
        let rows = tap.cells.map(|cell| &wide[cell * row_pixels..][..row_pixels]);
        for x in 0..row_pixels {
            let [red, green, blue] = mix(rows.map(|row| row[x]), tap.weights).map(byte_from_unit);
            rgba.extend([red, green, blue, u8::MAX]);
        }
    }
    Ok(Drawn { width, height, rgba })
}

/// Display RGB of every cell, `[height, width, 3]`, not clamped yet: filtering comes first.
fn rgb_from_cells(latent: &Latent<'_>) -> Vec<[f32; 3]> {
    let header = latent.header();
    let channels = usize::from(header.channels);
    let value = |bytes: &[u8]| match header.element {
        Element::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        Element::U8 => f32::from(bytes[0]) * header.scale + header.offset,
    };
    let number_bytes = header.element.size_bytes();
    latent
        .payload()
        .chunks_exact(channels * number_bytes)
        .map(|cell| {
            let mut rgb = latent.basis().bias;
            for (number, row) in cell.chunks_exact(number_bytes).zip(&latent.basis().rows) {
                let value = value(number);
                for (sum, weight) in rgb.iter_mut().zip(row) {
                    *sum += value * weight;
                }
            }
            rgb
        })
        .collect()
}

fn mix(colours: [[f32; 3]; 4], weights: [f32; 4]) -> [f32; 3] {
    let mut sum = [0.0; 3];
    for (colour, weight) in colours.iter().zip(weights) {
        for (sum, part) in sum.iter_mut().zip(colour) {
            *sum += weight * part;
        }
    }
    sum
}

/// As a GPU writes a `unorm` target: clamped, then rounded to the nearest step.
pub(super) fn byte_from_unit(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}
