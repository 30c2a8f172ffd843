//! Between latent cells: how much larger the canvas is, and the filter that fills the gaps.
//!
//! The filter is Mitchell and Netravali's cubic with B = C = 1/3 ("Reconstruction Filters in Computer
//! Graphics", SIGGRAPH 1988, eq. 8): at eight pixels a cell, bilinear shows diamonds, Catmull–Rom rings at
//! edges, and this one does neither. `basis.wgsl` has the same four weights.

/// Canvas pixels along one side of a latent cell, as long as the canvas stays within [`CANVAS_SIDE_MAX`].
///
/// Eight is the scale of every Stable Diffusion VAE, so a preview is as large as its picture.
pub const CELL_PX: u32 = 8;

/// Longest side of a preview canvas, in px. Larger pictures are previewed at half or a quarter of their size
/// and scaled by the page, which costs nothing and shows nothing less: a cell is the detail there is.
pub const CANVAS_SIDE_MAX: u32 = 1024;

/// Canvas pixels along one side of a cell for a latent of `width` × `height` cells: 8, 4, 2 or 1.
pub fn cell_px(width: u16, height: u16) -> u32 {
    let longest = u32::from(width.max(height));
    let mut px = CELL_PX;
    while px > 1 && longest * px > CANVAS_SIDE_MAX {
        px /= 2;
    }
    px
}

/// Width and height in px of the canvas for a latent of `width` × `height` cells.
pub fn canvas_size(width: u16, height: u16) -> (u32, u32) {
    let px = cell_px(width, height);
    (u32::from(width) * px, u32::from(height) * px)
}

/// The cells that one canvas pixel looks at along one axis, and how much of each it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taps {
    /// Four neighbouring cells; those beyond the border are the border cell.
    pub cells: [usize; 4],
    /// Their weights, which sum to 1.
    pub weights: [f32; 4],
}

/// The taps of canvas pixel `pixel` on an axis of `cells` cells with `cell_px` pixels each.
pub fn taps(pixel: u32, cell_px: u32, cells: u16) -> Taps {
    // The centre of a pixel in units of cells, measured from the centre of the first cell.
    let position = (pixel as f32 + 0.5) / cell_px as f32 - 0.5;
    let first = position.floor();
    let last = i32::from(cells) - 1;
    Taps {
        cells: [-1, 0, 1, 2].map(|offset| (first as i32 + offset).clamp(0, last) as usize),
        weights: weights(position - first),
    }
}

/// The cubic at distances `1 + t`, `t`, `1 − t` and `2 − t`, for `t` in `[0, 1)`.
fn weights(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        (-7.0 * t3 + 15.0 * t2 - 9.0 * t + 1.0) / 18.0,
        (21.0 * t3 - 36.0 * t2 + 16.0) / 18.0,
        (-21.0 * t3 + 27.0 * t2 + 9.0 * t + 1.0) / 18.0,
        (7.0 * t3 - 6.0 * t2) / 18.0,
    ]
}
