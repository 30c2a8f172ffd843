//! Matrix products and convolutions of channels-last pictures.

use std::ops::Range;

use crate::number::Number;
use crate::pack::PackedMatrix;
use crate::product::{Ending, Source, product};
use crate::simd::Path;

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
    fn gather(&self, row: usize, depth: Range<usize>, to: &mut [N]) {
        to.copy_from_slice(&self.numbers[row * self.depth..][depth]);
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
    /// Where the pixel that the window sees at `at` along `axis`, counted from the first zero above or on the left, lies in
    /// memory; nothing in the padding.
    #[inline(always)]
    pub(crate) fn pixel(&self, axis: usize, at: usize) -> Option<usize> {
        let Self { size, seen, padding: [before, _], .. } = *self;
        let at = at.checked_sub(before).filter(|&at| at < seen[axis])?;
        Some(if size[axis] == seen[axis] { at } else { at * size[axis] / seen[axis] })
    }
}

/// The patches under a window, one after the other: numbers ordered (y, x, channel).
struct Patches<'a, N> {
    numbers: &'a [N],
    window: Window,
    places: [usize; 2],
}

impl<N: Number> Source<N> for Patches<'_, N> {
    fn rows(&self) -> usize {
        self.window.batch * self.places[0] * self.places[1]
    }

    #[inline(always)]
    fn gather(&self, row: usize, depth: Range<usize>, to: &mut [N]) {
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
    product(path, &Patches { numbers: x, window, places }, weights, ending)
}
