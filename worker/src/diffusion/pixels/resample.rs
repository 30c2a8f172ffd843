//! Other sizes: Pillow's Lanczos filter, which diffusers' `VaeImageProcessor` resizes with, and the ways of bringing
//! a picture to a size of another shape.
//!
//! As in Pillow, the filter widens when it shrinks a picture, weights are integers of 22 bits, and columns and rows are
//! done one after the other with bytes between, so that the result is Pillow's byte for byte.

use std::f64::consts::PI;

use super::raster::{Raster, Rect};

/// How a picture comes to a size of another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resize {
    /// All of it, in its own shape, with its outermost pixels drawn out over the bars (A1111's "resize and fill",
    /// diffusers' `fill`).
    Fit,
    /// In its own shape, with what hangs over cut off (A1111's "crop and resize", diffusers' `crop`).
    Fill,
    /// All of it, out of shape (A1111's "just resize", diffusers' `default`, and the default of both).
    #[default]
    Stretch,
}

impl Resize {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Fit, Self::Fill, Self::Stretch];
}

/// Bits of a weight behind the point.
const WEIGHT_BITS: u32 = 32 - 8 - 2;
/// Lobes of the Lanczos window on each side.
const LOBES: f64 = 3.0;

impl<const CHANNELS: usize> Raster<CHANNELS> {
    /// It at `size` in the way of `resize`, as diffusers' `VaeImageProcessor.resize`.
    pub fn fitted(&self, resize: Resize, (width, height): (u32, u32)) -> Self {
        let (own_width, own_height) = self.size();
        // Width over height is compared crosswise, without rounding.
        let is_wider = u64::from(own_width) * u64::from(height) > u64::from(width) * u64::from(own_height);
        let scaled_width = (u64::from(own_width) * u64::from(height) / u64::from(own_height)).max(1) as u32;
        let scaled_height = (u64::from(own_height) * u64::from(width) / u64::from(own_width)).max(1) as u32;
        match resize {
            Resize::Stretch => self.resized((width, height)),
            Resize::Fill => {
                let (scaled_width, scaled_height) =
                    if is_wider { (scaled_width, height) } else { (width, scaled_height) };
                let x = (scaled_width / 2).saturating_sub(width / 2).min(scaled_width - width);
                let y = (scaled_height / 2).saturating_sub(height / 2).min(scaled_height - height);
                self.resampled((scaled_width, scaled_height), Rect { x, y, width, height })
            }
            Resize::Fit => {
                let scaled = if is_wider { (width, scaled_height) } else { (scaled_width, height) };
                self.resized(scaled).centred((width, height))
            }
        }
    }

    /// It at `size`, out of shape where that has another one.
    pub fn resized(&self, size: (u32, u32)) -> Self {
        self.resampled(size, Rect::whole(size))
    }

    /// The part `window` of it at `size`; what lies outside is never computed, however large.
    fn resampled(&self, size: (u32, u32), window: Rect) -> Self {
        // As Pillow from version 13 on: rows first where they shrink by more than twice what columns shrink by.
        let shrinks = |own: u32, resized: u32| i64::from(own) - i64::from(resized);
        let (columns, rows) = (shrinks(self.width(), size.0), shrinks(self.height(), size.1));
        if rows > 0 && rows > 2 * columns {
            self.rows_resampled(size.1, window).columns_resampled(size.0, window)
        } else {
            self.columns_resampled(size.0, window).rows_resampled(size.1, window)
        }
    }

    /// The columns of `window` at `width`, all rows.
    fn columns_resampled(&self, width: u32, window: Rect) -> Self {
        if width == self.width() {
            return self.crop(Rect { x: window.x, y: 0, width: window.width, height: self.height() });
        }
        let taps = Taps::new(self.width(), width, window.x..window.x + window.width);
        let mut values = Vec::with_capacity(window.width as usize * self.height() as usize * CHANNELS);
        for y in 0..self.height() {
            let row = self.row(y);
            for tap in taps.iter() {
                values.extend(tap.weigh::<CHANNELS>(|at| &row[at as usize * CHANNELS..]));
            }
        }
        Self::new(window.width, self.height(), values).expect("each row got one pixel per column of the window")
    }

    /// The rows of `window` at `height`, all columns.
    fn rows_resampled(&self, height: u32, window: Rect) -> Self {
        if height == self.height() {
            return self.crop(Rect { x: 0, y: window.y, width: self.width(), height: window.height });
        }
        let taps = Taps::new(self.height(), height, window.y..window.y + window.height);
        let mut values = Vec::with_capacity(self.width() as usize * window.height as usize * CHANNELS);
        for tap in taps.iter() {
            for x in 0..self.width() as usize {
                values.extend(tap.weigh::<CHANNELS>(|at| &self.row(at)[x * CHANNELS..]));
            }
        }
        Self::new(self.width(), window.height, values).expect("each row of the window got all columns")
    }

    /// It in the middle of a raster of `width` × `height`, with bars on the sides where it is smaller.
    fn centred(&self, (width, height): (u32, u32)) -> Self {
        let left = i64::from(width / 2) - i64::from(self.width() / 2);
        let top = i64::from(height / 2) - i64::from(self.height() / 2);
        Self::from_fn((width, height), |x, y| self.pixel_beyond(i64::from(x) - left, i64::from(y) - top))
    }

    /// The pixel at `(x, y)`; outside, the outermost one and an eighth of the step that leads to it, which is what
    /// diffusers' `_resize_and_fill` gets from Pillow for a line of no height.
    fn pixel_beyond(&self, x: i64, y: i64) -> [u8; CHANNELS] {
        let (last_x, last_y) = (i64::from(self.width()) - 1, i64::from(self.height()) - 1);
        let (edge_x, edge_y) = (x.clamp(0, last_x), y.clamp(0, last_y));
        let edge = self.pixel(edge_x as u32, edge_y as u32);
        if (edge_x, edge_y) == (x, y) {
            return edge;
        }
        let inside_x = (edge_x + (edge_x - x).signum()).clamp(0, last_x);
        let inside_y = (edge_y + (edge_y - y).signum()).clamp(0, last_y);
        let inside = self.pixel(inside_x as u32, inside_y as u32);
        std::array::from_fn(|channel| {
            let (edge, inside) = (i32::from(edge[channel]), i32::from(inside[channel]));
            ((9 * edge - inside + 4) >> 3).clamp(0, 255) as u8
        })
    }
}

/// For each number of a resized line, which numbers of the line it is made of and their weights.
struct Taps {
    /// First number of the line, and where its weights end.
    starts: Vec<(u32, usize)>,
    weights: Vec<i32>,
}

/// What one number of a resized line is made of.
struct Tap<'a> {
    start: u32,
    weights: &'a [i32],
}

impl Taps {
    /// For the numbers `window` of a line of `length` resized to `resized`.
    fn new(length: u32, resized: u32, window: std::ops::Range<u32>) -> Self {
        let scale = f64::from(length) / f64::from(resized);
        let stretch = scale.max(1.0);
        let support = LOBES * stretch;
        let mut taps = Self { starts: Vec::with_capacity(window.len()), weights: Vec::new() };
        for at in window {
            let centre = (f64::from(at) + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as u32;
            let end = ((centre + support + 0.5) as u32).min(length);
            let lanczos: Vec<f64> =
                (start..end).map(|x| lanczos((f64::from(x) - centre + 0.5) * stretch.recip())).collect();
            let sum: f64 = lanczos.iter().sum();
            let unit = f64::from(1u32 << WEIGHT_BITS);
            taps.weights.extend(lanczos.iter().map(|weight| (weight / sum * unit).round() as i32));
            taps.starts.push((start, taps.weights.len()));
        }
        taps
    }

    fn iter(&self) -> impl Iterator<Item = Tap<'_>> {
        let ends = self.starts.iter().map(|(_, end)| *end);
        let begins = std::iter::once(0).chain(ends);
        self.starts.iter().zip(begins).map(|(&(start, end), begin)| Tap { start, weights: &self.weights[begin..end] })
    }
}

impl Tap<'_> {
    /// The weighed sum of the pixels that `pixel` begins.
    fn weigh<'p, const CHANNELS: usize>(&self, pixel: impl Fn(u32) -> &'p [u8]) -> [u8; CHANNELS] {
        let mut sums = [1i32 << (WEIGHT_BITS - 1); CHANNELS];
        for (at, weight) in (self.start..).zip(self.weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel(at)) {
                *sum += i32::from(value) * weight;
            }
        }
        sums.map(|sum| (sum >> WEIGHT_BITS).clamp(0, 255) as u8)
    }
}

/// The Lanczos window: a sinc under the main lobe of a wider one.
fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if (-LOBES..LOBES).contains(&x) { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}
