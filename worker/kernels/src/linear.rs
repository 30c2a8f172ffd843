//! Matrix products and convolutions of channels-last pictures.

use std::ops::Range;

use crate::memory::Output;
use crate::number::Number;
use crate::pack::PackedMatrix;
use crate::padded::Padded;
use crate::product::{Ending, Room, Source, product, product_into};
use crate::simd::Path;
use crate::tile::Rows;

/// Rows as they lie in memory.
struct Plain<'a, N> {
    numbers: &'a [N],
    depth: usize,
}

impl<N: Number> Source<N> for Plain<'_, N> {
    fn rows(&self) -> usize {
        self.numbers.len() / self.depth.max(1)
    }

    #[inline(always)]
    fn block(&self, rows: &Range<usize>, depth: &Range<usize>, room: Room<N>) -> Rows<N> {
        let len = depth.len();
        let from = &self.numbers[rows.start * self.depth + depth.start..];
        let whole = len.is_multiple_of(N::DEPTH_STEP);
        Rows::lying(from, self.depth, rows.len(), len).filter(|_| whole).unwrap_or_else(|| {
            room.gathered(rows, len, |row, to| to.copy_from_slice(&self.numbers[row * self.depth..][depth.clone()]))
        })
    }
}

/// [`Kernels::linear`](crate::Kernels::linear)
pub(crate) fn linear<N: Number>(path: Path, x: &[N], weights: &PackedMatrix<N>, ending: Ending<N>) -> Vec<N> {
    let depth = weights.depth();
    assert!(x.len().is_multiple_of(depth.max(1)), "{} numbers are no rows of {depth}", x.len());
    product(path, &Plain { numbers: x, depth }, weights, ending)
}

/// A picture, `[batch, height, width, channels]`, and the window that goes over it.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Pictures.
    pub batch: usize,
    /// Height and width of a picture as it lies in memory.
    pub size: [usize; 2],
    /// Height and width of a picture as the window sees it: where they are larger, every pixel stands for several, the
    /// nearest to its left and above.
    pub seen: [usize; 2],
    /// Numbers of a pixel.
    pub channels: usize,
    /// Side of the window.
    pub kernel: usize,
    /// From one place of the window to the next.
    pub stride: usize,
    /// Zeros above and on the left, below and on the right.
    pub padding: [usize; 2],
}

impl Window {
    /// Height and width of the result, where the window fits into the padded picture.
    pub fn places(&self) -> Option<[usize; 2]> {
        let [before, behind] = self.padding;
        let [height, width] = self.seen.map(|size| (before + size + behind).checked_sub(self.kernel));
        Some([height? / self.stride + 1, width? / self.stride + 1])
    }
}

impl Window {
    /// Whether it goes from pixel to pixel of a picture that it sees at twice its size, with as much around it as keeps that.
    pub(crate) fn is_doubled(&self) -> bool {
        let Self { size, seen, kernel, stride, padding, .. } = *self;
        [kernel, stride] == [3, 1] && padding == [1, 1] && seen == size.map(|size| 2 * size)
    }

    /// Where the pixel that the window sees at `at` along `axis`, counted from the first zero above or on the left, lies in
    /// memory; nothing in the padding.
    #[inline(always)]
    pub(crate) fn pixel(&self, axis: usize, at: usize) -> Option<usize> {
        let at = at.checked_sub(self.padding[0]).filter(|&at| at < self.seen[axis])?;
        Some(self.nearest(axis, at))
    }

    /// As [`Self::pixel`], counted from the first pixel that the window sees.
    #[inline(always)]
    pub(crate) fn nearest(&self, axis: usize, at: usize) -> usize {
        let Self { size, seen, .. } = *self;
        if size[axis] == seen[axis] { at } else { at * size[axis] / seen[axis] }
    }
}

/// The patches under a window, gathered one after the other: numbers ordered (y, x, channel).
struct Gathered<'a, N> {
    numbers: &'a [N],
    window: Window,
    places: [usize; 2],
}

impl<N: Number> Source<N> for Gathered<'_, N> {
    fn rows(&self) -> usize {
        self.window.batch * self.places[0] * self.places[1]
    }

    #[inline(always)]
    fn block(&self, rows: &Range<usize>, depth: &Range<usize>, room: Room<N>) -> Rows<N> {
        room.gathered(rows, depth.len(), |row, to| self.gather(row, depth, to))
    }
}

impl<N: Number> Gathered<'_, N> {
    /// Writes the numbers `depth` of a patch.
    #[inline(always)]
    fn gather(&self, row: usize, depth: &Range<usize>, to: &mut [N]) {
        let Window { size: [height, width], channels, kernel, stride, .. } = self.window;
        let (item, place) = (row / (self.places[0] * self.places[1]), row % (self.places[0] * self.places[1]));
        let (y, x) = (place / self.places[1], place % self.places[1]);
        let mut to = to;
        let (mut tap, mut channel) = (depth.start / channels, depth.start % channels);
        while !to.is_empty() {
            let (piece, rest) = to.split_at_mut((channels - channel).min(to.len()));
            let at = [y * stride + tap / kernel, x * stride + tap % kernel];
            match (self.window.pixel(0, at[0]), self.window.pixel(1, at[1])) {
                (Some(y), Some(x)) => {
                    let pixel = ((item * height + y) * width + x) * channels + channel;
                    piece.copy_from_slice(&self.numbers[pixel..][..piece.len()]);
                }
                _ => piece.fill(N::default()),
            }
            (to, tap, channel) = (rest, tap + 1, 0);
        }
    }
}

/// [`Kernels::conv2d`](crate::Kernels::conv2d)
pub(crate) fn conv2d<N: Number>(
    path: Path,
    x: &[N],
    window: Window,
    weights: &PackedMatrix<N>,
    ending: Ending<N>,
) -> Vec<N> {
    let Window { batch, size: [height, width], channels, kernel, .. } = window;
    assert_eq!(x.len(), batch * height * width * channels, "a picture has the window's size");
    assert_eq!(weights.depth(), kernel * kernel * channels, "weights are those of the window");
    if kernel == 1 && window.stride == 1 && window.padding == [0, 0] && window.size == window.seen {
        return linear(path, x, weights, ending);
    }
    let places = window.places().expect("the window fits into the padded picture");
    // Whatever the picture's size: sums in another order are others in their last digits.
    if window.is_doubled()
        && weights.has_phases()
        && let Some(padded) = Padded::of(x, Window { seen: window.size, ..window }, &weights.phases()[0])
    {
        let columns = weights.columns() / ending.activation.parts();
        let mut output = Output::new(batch * places[0] * places[1] * columns);
        for (phase, weights) in weights.phases().iter().enumerate() {
            product_into(path, &padded.phase(phase), weights, ending, output.parts());
        }
        // SAFETY: the four phases have every row between them.
        return unsafe { output.written() };
    }
    let padded = if Padded::<N>::pays(window) { Padded::of(x, window, weights) } else { None };
    match padded {
        Some(padded) => product(path, &padded.patches(), weights, ending),
        None => product(path, &Gathered { numbers: x, window, places }, weights, ending),
    }
}
