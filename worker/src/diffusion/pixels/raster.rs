//! Rectangles of pixels: what is cut out of them, pasted into them and grown around them.

use crate::diffusion::pipeline::Picture;

/// Pixels in rows from the top: `[height, width, CHANNELS]` u8. At least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster<const CHANNELS: usize> {
    width: u32,
    height: u32,
    values: Vec<u8>,
}

/// sRGB.
pub type Rgb = Raster<3>;

/// One level per pixel: black keeps, white repaints.
pub type Mask = Raster<1>;

/// A part of a raster, in px.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Columns left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
    /// Columns; at least 1.
    pub width: u32,
    /// Rows; at least 1.
    pub height: u32,
}

impl Rect {
    /// All of a raster of `width` × `height`.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { x: 0, y: 0, width, height }
    }
}

/// What is added to the sides of a raster, in px.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// Columns before the first.
    pub left: u32,
    /// Rows above the first.
    pub top: u32,
    /// Columns after the last.
    pub right: u32,
    /// Rows below the last.
    pub bottom: u32,
}

impl Sides {
    /// The size of a raster of `width` × `height` with the sides added.
    pub fn around(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let sum = |a: u32, b: u32, c: u32| a.saturating_add(b).saturating_add(c);
        (sum(width, self.left, self.right), sum(height, self.top, self.bottom))
    }
}

impl<const CHANNELS: usize> Raster<CHANNELS> {
    /// A raster of `values`; `None` when they are not `width · height · CHANNELS`, or there are none.
    pub fn new(width: u32, height: u32, values: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(CHANNELS)?;
        (expected > 0 && values.len() == expected).then_some(Self { width, height, values })
    }

    /// The raster that has `pixel(x, y)` everywhere.
    ///
    /// # Panics
    /// When a side is zero.
    pub fn from_fn((width, height): (u32, u32), mut pixel: impl FnMut(u32, u32) -> [u8; CHANNELS]) -> Self {
        assert!(width > 0 && height > 0, "a raster has at least one pixel, not {width}×{height}");
        let mut values = Vec::with_capacity(width as usize * height as usize * CHANNELS);
        for y in 0..height {
            for x in 0..width {
                values.extend(pixel(x, y));
            }
        }
        Self { width, height, values }
    }

    /// px
    pub fn width(&self) -> u32 {
        self.width
    }

    /// px
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height, in px.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// `[height, width, CHANNELS]`
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// The pixel in column `x` of row `y`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; CHANNELS] {
        let at = (y as usize * self.width as usize + x as usize) * CHANNELS;
        self.values[at..].first_chunk().copied().expect("the last pixel of a raster is whole")
    }

    /// The numbers of row `y`.
    pub(super) fn row(&self, y: u32) -> &[u8] {
        let length = self.width as usize * CHANNELS;
        &self.values[y as usize * length..][..length]
    }

    /// A part of it.
    ///
    /// # Panics
    /// When `part` lies outside or is empty.
    pub fn crop(&self, part: Rect) -> Self {
        Self::from_fn((part.width, part.height), |x, y| self.pixel(part.x + x, part.y + y))
    }

    /// Lays `other` over it with its first pixel in column `x` of row `y`; what hangs over is cut off.
    pub fn paste(&mut self, other: &Self, x: i64, y: i64) {
        let (width, height) = (i64::from(self.width), i64::from(self.height));
        let columns = x.max(0)..(x + i64::from(other.width)).min(width);
        if columns.is_empty() {
            return;
        }
        let length = (columns.end - columns.start) as usize * CHANNELS;
        for row in y.max(0)..(y + i64::from(other.height)).min(height) {
            let to = (row * width + columns.start) as usize * CHANNELS;
            let from = ((row - y) * i64::from(other.width) + columns.start - x) as usize * CHANNELS;
            self.values[to..to + length].copy_from_slice(&other.values[from..from + length]);
        }
    }

    /// It with `sides` added, which repeat its outermost pixels.
    pub fn extended(&self, sides: Sides) -> Self {
        Self::from_fn(sides.around(self.size()), |x, y| {
            let x = x.saturating_sub(sides.left).min(self.width - 1);
            let y = y.saturating_sub(sides.top).min(self.height - 1);
            self.pixel(x, y)
        })
    }

    /// Every number changed by `change`.
    pub fn map(mut self, change: impl Fn(u8) -> u8) -> Self {
        self.values.iter_mut().for_each(|value| *value = change(*value));
        self
    }
}

impl Rgb {
    /// The raster of a picture; `None` when its fields do not fit each other.
    pub fn from_picture(picture: &Picture) -> Option<Self> {
        Self::new(picture.width, picture.height, picture.rgb.clone())
    }

    /// The picture of it.
    pub fn into_picture(self) -> Picture {
        Picture { width: self.width, height: self.height, rgb: self.values }
    }

    /// Its brightness as Pillow's `convert("L")` has it: ITU-R 601-2 luma, rounded.
    pub fn luma(&self) -> Mask {
        let level = |rgb: &[u8]| {
            let weighed = rgb.iter().zip([19_595u32, 38_470, 7_471]).map(|(&value, weight)| u32::from(value) * weight);
            ((weighed.sum::<u32>() + 0x8000) >> 16) as u8
        };
        Mask { width: self.width, height: self.height, values: self.values.chunks_exact(3).map(level).collect() }
    }
}
