//! A picture decoded in tiles, for devices whose memory does not hold the decoder of all of it (diffusers'
//! `AutoencoderKL.tiled_decode`, with its sizes).
//!
//! Tiles overlap by a quarter and fade into each other. Statistics of normalisations are those of a tile, so that tones
//! may differ a little from a picture that was decoded as a whole.

use candle_core::{Device, Result, Tensor};

use super::VaeDecoder;
use crate::diffusion::cancel::{CancelToken, Halt};

/// Cells along a side of a tile.
const TILE: usize = 64;
/// Cells that a tile shares with the one before.
const OVERLAP: usize = TILE / 4;
/// Cells from a tile to the next.
const STEP: usize = TILE - OVERLAP;
/// Numbers of a pixel.
const RGB: usize = 3;

/// Whether a picture of `height` by `width` cells is more than one tile.
pub fn is_divided(height: usize, width: usize) -> bool {
    height > TILE || width > TILE
}

/// [`VaeDecoder::decode`] of one item, tile by tile. What comes back lies in the machine's memory.
///
/// # Errors
/// When the token is set or memory runs out.
pub fn decode(decoder: &VaeDecoder, latents: &Tensor, cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
    let (_, height, width, _) = latents.dims4()?;
    let (mut picture, mut above) = (None, Vec::new());
    for top in (0..height).step_by(STEP) {
        let mut row: Vec<Tile> = Vec::with_capacity(width.div_ceil(STEP));
        for (column, left) in (0..width).step_by(STEP).enumerate() {
            let [rows, columns] = [TILE.min(height - top), TILE.min(width - left)];
            let cells = latents.narrow(1, top, rows)?.narrow(2, left, columns)?.contiguous()?;
            let mut tile = Tile::new(&decoder.decode(&cells, cancel)?)?;
            let scale = tile.height / rows;
            if let Some(above) = above.get(column) {
                tile.fade_down(above, scale * OVERLAP);
            }
            if let Some(before) = row.last() {
                tile.fade_across(before, scale * OVERLAP);
            }
            let picture = picture.get_or_insert_with(|| Tile::black(scale * height, scale * width));
            picture.put(&tile, [scale * top, scale * left], scale * STEP);
            row.push(tile);
        }
        above = row;
    }
    match picture {
        Some(Tile { height, width, values }) => Ok(Tensor::from_vec(values, (1, height, width, RGB), &Device::Cpu)?),
        None => Ok(decoder.decode(latents, cancel)?),
    }
}

/// `[height, width, 3]`
struct Tile {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Tile {
    fn new(decoded: &Tensor) -> Result<Self> {
        let (_, height, width, _) = decoded.dims4()?;
        Ok(Self { height, width, values: decoded.flatten_all()?.to_vec1()? })
    }

    fn black(height: usize, width: usize) -> Self {
        Self { height, width, values: vec![0.0; height * width * RGB] }
    }

    /// The pixels of `row` from `first` on.
    fn pixels(&self, row: usize, first: usize) -> &[f32] {
        &self.values[(row * self.width + first) * RGB..(row + 1) * self.width * RGB]
    }

    fn pixels_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.width * RGB..][..self.width * RGB]
    }

    /// Begins with the last of `extent` rows of the tile above.
    fn fade_down(&mut self, above: &Self, extent: usize) {
        let extent = extent.min(above.height).min(self.height);
        for row in 0..extent {
            let share = row as f32 / extent as f32;
            let before = above.pixels(above.height - extent + row, 0);
            for (new, old) in self.pixels_mut(row).iter_mut().zip(before) {
                *new = old * (1.0 - share) + *new * share;
            }
        }
    }

    /// Begins with the last of `extent` columns of the tile on the left.
    fn fade_across(&mut self, before: &Self, extent: usize) {
        let extent = extent.min(before.width).min(self.width);
        for row in 0..self.height {
            let before = before.pixels(row, before.width - extent);
            for (at, (new, old)) in self.pixels_mut(row).iter_mut().zip(before).enumerate() {
                let share = (at / RGB) as f32 / extent as f32;
                *new = old * (1.0 - share) + *new * share;
            }
        }
    }

    /// Takes over at most `most` rows and columns of `tile`.
    fn put(&mut self, tile: &Self, [top, left]: [usize; 2], most: usize) {
        let columns = tile.width.min(most) * RGB;
        for row in 0..tile.height.min(most) {
            self.pixels_mut(top + row)[left * RGB..][..columns].copy_from_slice(&tile.pixels(row, 0)[..columns]);
        }
    }
}
