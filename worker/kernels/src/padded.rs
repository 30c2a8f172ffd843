//! Pictures between zeros, in which patches lie as a convolution reads them, so that none is gathered.
//!
//! A line of zeros stands above each picture and below the last, and a zero before each line: the zero behind a line is
//! the one before the next. The patch of a place lies in three pieces, one for each line of the window, or in nine, one
//! for each pixel, and that of the next place begins a pixel later. So products go over all pixels in memory, and those
//! that begin at a zero make nothing.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::linear::Window;
use crate::memory::Output;
use crate::number::Number;
use crate::pack::{PHASES, PackedMatrix};
use crate::pool;
use crate::product::{Room, Source, apart};
use crate::tile::Rows;

/// Side of the window.
const KERNEL: usize = 3;

/// Pictures under a window of 3×3 that goes from pixel to pixel.
pub(crate) struct Padded<N> {
    /// Pixels between zeros, and more zeros behind them that fill up the last tile.
    numbers: Vec<N>,
    /// `[batch, height, width]`
    places: [usize; 3],
    channels: usize,
    /// Numbers from one pixel to the next, and what lies between is never read.
    distance: usize,
    /// Numbers of a piece.
    strip: usize,
}

impl<N: Number> Padded<N> {
    /// Whether products of all pixels, zeros among them, are quicker than gathering patches. What is chosen for an item is
    /// chosen for it among others.
    pub(crate) fn pays(window: Window) -> bool {
        let [height, width] = window.seen;
        3 * (height + 1) * (width + 1) <= 4 * height * width
    }

    /// Copies `x`, as `window` sees it, where no block of `weights` is of two pieces.
    pub(crate) fn of(x: &[N], window: Window, weights: &PackedMatrix<N>) -> Option<Self> {
        let Window { batch, seen: [height, width], channels, kernel, stride, padding, .. } = window;
        let strip = weights.cut().strip();
        let is_pixel = strip == channels;
        let distance = if is_pixel { apart::<N>(channels) } else { channels };
        let mut padded = Self { numbers: Vec::new(), places: [batch, height, width], channels, distance, strip };
        let side = (weights.depth() / channels.max(1)).isqrt();
        let fits = [kernel, stride] == [KERNEL, 1] && padding == [1, 1] && (is_pixel || strip == side * channels);
        fits.then(|| {
            padded.numbers = padded.filled(x, window);
            padded
        })
    }

    /// Pixels from the first to the last.
    fn rows(&self) -> usize {
        let [batch, height, width] = self.places;
        (batch * (height + 1)).saturating_sub(2) * self.line() + width
    }

    /// The patches under the window.
    pub(crate) fn patches(&self) -> Patches<'_, N> {
        Patches { padded: self, kernel: KERNEL, phase: None }
    }

    /// The patches of 2×2 pixels that the window covers at one of the four places that fall on each pixel, where it sees the
    /// pictures at twice their size.
    pub(crate) fn phase(&self, phase: usize) -> Patches<'_, N> {
        Patches { padded: self, kernel: 2, phase: Some([phase / 2, phase % 2]) }
    }

    /// Pixels from one line to the next.
    fn line(&self) -> usize {
        self.places[2] + 1
    }

    fn filled(&self, x: &[N], window: Window) -> Vec<N> {
        let ([_, height, _], channels) = (self.places, self.channels);
        let tiles = self.rows().next_multiple_of(N::TILE_ROWS);
        let pixels = tiles + (KERNEL - 1) * (self.line() + 1);
        let mut output = Output::new(pixels * self.distance);
        let parts = output.parts();
        pool::each(pixels.div_ceil(self.line()), |line| {
            let pixels = line * self.line()..pixels.min((line + 1) * self.line());
            // SAFETY: every task has its own line.
            let to = unsafe { parts.part(pixels.start * self.distance, pixels.len() * self.distance) };
            let place = line.checked_sub(1).map(|line| [line / (height + 1), line % (height + 1)]);
            let inside = place.filter(|&[item, y]| item < window.batch && y < height);
            let (zeros, pixels) = to.split_at_mut(if inside.is_some() { self.distance } else { to.len() });
            zeros.fill(MaybeUninit::new(N::default()));
            let Some([item, y]) = inside else { return };
            let y = window.nearest(0, y);
            for (x_at, to) in pixels.chunks_exact_mut(self.distance).enumerate() {
                let pixel = (item * window.size[0] + y) * window.size[1] + window.nearest(1, x_at);
                let (to, between) = to.split_at_mut(channels);
                to.write_copy_of_slice(&x[pixel * channels..][..channels]);
                between.fill(MaybeUninit::new(N::default()));
            }
        });
        // SAFETY: the tasks have written every pixel.
        unsafe { output.written() }
    }
}

/// Patches in a padded picture.
pub(crate) struct Patches<'a, N> {
    padded: &'a Padded<N>,
    /// Their side.
    kernel: usize,
    /// Line and column of the place, of the two that fall on a pixel each.
    phase: Option<[usize; 2]>,
}

impl<N: Number> Source<N> for Patches<'_, N> {
    fn rows(&self) -> usize {
        self.padded.rows()
    }

    fn made_rows(&self) -> usize {
        self.padded.places.iter().product::<usize>() * if self.phase.is_some() { PHASES } else { 1 }
    }

    #[inline(always)]
    fn made(&self, row: usize) -> Option<usize> {
        let [_, height, width] = self.padded.places;
        let (line, x) = (row / self.padded.line(), row % self.padded.line());
        let (item, y) = (line / (height + 1), line % (height + 1));
        (x < width && y < height).then(|| match self.phase {
            None => (item * height + y) * width + x,
            Some([below, right]) => ((item * height + y) * 2 + below) * 2 * width + 2 * x + right,
        })
    }

    #[inline(always)]
    fn block(&self, rows: &Range<usize>, depth: &Range<usize>, _: Room<N>) -> Rows<N> {
        let Padded { ref numbers, channels, distance, strip, .. } = *self.padded;
        let (piece, at) = (depth.start / strip, depth.start % strip);
        let [y, x] = if strip == channels { [piece / self.kernel, piece % self.kernel] } else { [piece, 0] };
        let [below, right] = self.phase.unwrap_or_default();
        let first = (rows.start + (y + below) * self.padded.line() + x + right) * distance + at;
        Rows::lying(&numbers[first..], distance, rows.len(), depth.len()).expect("zeros fill up the last tile")
    }
}
