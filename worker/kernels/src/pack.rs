//! Weights in the order in which products read them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;

use crate::memory::{Buffer, LINE_BYTES, Memory, Parts, SharedBytes, with_scratch};
use crate::number::{Number, place_in_panel};
use crate::pool;
use crate::stored::Stored;

/// Columns of a panel of a packed matrix.
pub const PANEL: usize = 32;

/// Columns that are packed together: the part of a row that is a line of the cache in f32.
const GROUP: usize = 16;

/// A matrix `[depth, columns]`, cut into strips of rows, each of which is cut into blocks of them, each of which is cut
/// into panels of [`PANEL`] columns; the last panel is filled up with zeros, and so are the rows of a block that products
/// take at once.
///
/// A product reads it from its beginning to its end.
pub struct PackedMatrix<N> {
    depth: Depth,
    columns: usize,
    memory: Memory,
    numbers: PhantomData<N>,
    /// See [`Self::phases`].
    phases: OnceLock<Box<[Self; PHASES]>>,
}

/// Places of a picture of twice the size that fall on one pixel.
pub(crate) const PHASES: usize = 4;

impl<N> fmt::Debug for PackedMatrix<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMatrix {}×{}", self.depth.rows, self.columns)
    }
}

impl<N: Number> PackedMatrix<N> {
    /// [`Kernels::pack`](crate::Kernels::pack)
    pub(crate) fn new(weights: &[N], columns: usize, depth: usize, taps: usize) -> Self {
        assert_eq!(weights.len(), columns * depth, "weights are {columns} columns of {depth}");
        let inputs = inputs(depth, taps);
        let [packed] = Self::filled(Depth::of_taps::<N>(depth, taps), columns, |_, column| {
            let from = &weights[column * depth..][..depth];
            move |row| [from[row % inputs * taps + row / inputs]]
        });
        packed
    }

    /// [`Kernels::pack_stored`](crate::Kernels::pack_stored)
    pub(crate) fn of_stored(weights: Stored, columns: usize, depth: usize, taps: usize) -> Self {
        assert_eq!(weights.len(), columns * depth, "weights are {columns} columns of {depth}");
        let inputs = inputs(depth, taps);
        let order: Vec<usize> = (0..depth).map(|row| row % inputs * taps + row / inputs).collect();
        let cut = Depth::of_taps::<N>(depth, taps);
        let [packed] = Self::filled_from(weights, depth, columns, cut, |column, row| [N::from_f32(column[order[row]])]);
        packed
    }

    /// A matrix of this size, for `taps`, whose [`Self::bytes`] are `bytes` from `start`; nothing where they are not there,
    /// or begin at no multiple of 64 in memory.
    ///
    /// # Panics
    /// When the depth is no whole number of inputs.
    pub fn of_packed(bytes: SharedBytes, start: usize, columns: usize, depth: usize, taps: usize) -> Option<Self> {
        inputs(depth, taps);
        let depth = Depth::of_taps::<N>(depth, taps);
        let len = Self::len_bytes(columns, depth);
        let memory = Memory::shared(bytes, start, len)?;
        Some(Self { depth, columns, memory, numbers: PhantomData, phases: OnceLock::new() })
    }

    /// How many [`Self::bytes`] a matrix of this size has.
    pub(crate) fn len_bytes(columns: usize, depth: Depth) -> usize {
        (len::<N>(depth, columns) * size_of::<N>()).next_multiple_of(LINE_BYTES)
    }

    /// The matrix as it lies in memory, in the order that [`Self::layout`] names: a multiple of 64 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// Tells one order of the numbers in memory from another.
    pub fn layout() -> String {
        let (bytes, pair, step, rows) = (size_of::<N>(), N::PAIR, N::DEPTH_STEP, N::BLOCK_ROWS);
        format!(
            "numbers of {bytes} bytes by {pair} in panels of {PANEL}, blocks of {rows} rows by {step} of a line of taps"
        )
    }

    /// [`Kernels::plus`](crate::Kernels::plus)
    pub(crate) fn plus(&self, delta: &[f32]) -> Self {
        let Self { depth, columns, .. } = *self;
        assert_eq!(delta.len(), depth.rows * columns, "a difference is of the matrix's size");
        let [sum] = Self::filled(depth, columns, |rows, column| {
            let (start, panel) = (rows.start, self.panel(rows, column / PANEL));
            move |row| {
                let number = panel[place_in_panel::<N>(row - start, column % PANEL)];
                [N::from_f32(number.to_f32() + delta[row * columns + column])]
            }
        });
        sum
    }

    /// Matrices of one size. `column` is called with the rows of a block and a column, and says what its numbers in each of
    /// them are, one for each matrix.
    pub(crate) fn filled<C: Fn(usize) -> [N; M], const M: usize>(
        depth: Depth,
        columns: usize,
        column: impl Fn(&Range<usize>, usize) -> C + Sync,
    ) -> [Self; M] {
        let panels = columns.div_ceil(PANEL);
        let blocks: Vec<Range<usize>> = depth.blocks::<N>().collect();
        Self::made(depth, columns, |parts| {
            pool::each(blocks.len() * panels, |task| {
                let (rows, panel) = (&blocks[task / panels], task % panels);
                let place = place::<N>(rows, panel, panels);
                // SAFETY: every task has its own panel.
                let mut to = parts.map(|parts| unsafe { parts.part(place.start, place.len()) });
                for at in panel * PANEL..columns.min((panel + 1) * PANEL) {
                    let numbers = column(rows, at);
                    for row in rows.clone() {
                        let place = place_in_panel::<N>(row - rows.start, at % PANEL);
                        to.iter_mut().zip(numbers(row)).for_each(|(to, number)| to[place] = number);
                    }
                }
            });
        })
    }

    /// Matrices of one size from `weights`, `stored` numbers for each column. `numbers` is called with those and a row, and
    /// says what the numbers of the column in it are, one for each matrix.
    pub(crate) fn filled_from<const M: usize>(
        weights: Stored,
        stored: usize,
        columns: usize,
        depth: Depth,
        numbers: impl Fn(&[f32], usize) -> [N; M] + Sync,
    ) -> [Self; M] {
        let panels = columns.div_ceil(PANEL);
        let fill = |parts: [Parts<N>; M], panel: usize, group: Range<usize>, wide: &mut [f32]| {
            weights.widen(group.start * stored..group.end * stored, wide);
            for rows in depth.blocks::<N>() {
                let place = place::<N>(&rows, panel, panels);
                // SAFETY: every task has its own panel.
                let mut to = parts.map(|parts| unsafe { parts.part(place.start, place.len()) });
                for row in rows.clone() {
                    for (column, from) in group.clone().zip(wide.chunks_exact(stored)) {
                        let place = place_in_panel::<N>(row - rows.start, column % PANEL);
                        to.iter_mut().zip(numbers(from, row)).for_each(|(to, number)| to[place] = number);
                    }
                }
            }
        };
        Self::made(depth, columns, |parts| {
            pool::each(panels, |panel| {
                for first in (panel * PANEL..columns.min((panel + 1) * PANEL)).step_by(GROUP) {
                    let group = first..columns.min(first + GROUP);
                    with_scratch(group.len() * stored, |wide| fill(parts, panel, group, wide));
                }
            });
        })
    }

    /// Matrices of one size, zeros but for what `fill` writes.
    fn made<const M: usize>(depth: Depth, columns: usize, fill: impl FnOnce([Parts<'_, N>; M])) -> [Self; M] {
        let mut memories = [(); M].map(|()| Buffer::zeros::<N>(len::<N>(depth, columns)));
        fill(memories.each_mut().map(|memory| Parts::of(memory.as_mut_slice())));
        let made = |memory| {
            let memory = Memory::Owned(memory);
            Self { depth, columns, memory, numbers: PhantomData, phases: OnceLock::new() }
        };
        memories.map(made)
    }

    /// Whether a matrix for 3×3 `taps` has [`Self::phases`]: pairs of rows must be pairs in them too.
    pub(crate) fn has_phases(&self) -> bool {
        self.depth.rows.is_multiple_of(9 * N::DEPTH_STEP)
    }

    /// Of a matrix for a window of 3×3: where the picture is seen at twice its size, the window covers four pixels alone,
    /// which ones depends on the place, and its weights are sums of those of the pixels that are one. There is a matrix for
    /// 2×2 taps for each of the four places that fall on a pixel, by lines. They are made when they are first asked for.
    pub(crate) fn phases(&self) -> &[Self; PHASES] {
        /// Taps of three that fall on each of two pixels, in an even line and in an odd one.
        const TAPS: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];
        self.phases.get_or_init(|| {
            assert!(self.has_phases(), "whole steps of a product are the inputs of a tap");
            let (inputs, panels) = (self.depth.rows / 9, self.columns.div_ceil(PANEL));
            let depth = Depth::of_taps::<N>(4 * inputs, 4);
            Box::new(Self::made(depth, self.columns, |parts| {
                pool::each(panels, |panel| {
                    for (row, phase) in
                        (0..4 * inputs).step_by(N::PAIR).flat_map(|row| (0..PHASES).map(move |p| (row, p)))
                    {
                        let (tap, input) = (row / inputs, row % inputs);
                        let block = depth.block_of::<N>(row);
                        let start = place::<N>(&block, panel, panels).start + (row - block.start) * PANEL;
                        // SAFETY: every task has its own panel.
                        let to = unsafe { parts[phase].part(start, N::PAIR * PANEL) };
                        let [ys, xs] = [TAPS[phase / 2][tap / 2], TAPS[phase % 2][tap % 2]];
                        let mut sums = [0.0; 2 * PANEL];
                        for (y, x) in ys.iter().flat_map(|y| xs.iter().map(move |x| (y, x))) {
                            let from = self.line((3 * y + x) * inputs + input, panel);
                            sums.iter_mut().zip(from).for_each(|(sum, number)| *sum += number.to_f32());
                        }
                        to.iter_mut().zip(sums).for_each(|(to, sum)| *to = N::from_f32(sum));
                    }
                });
            }))
        })
    }

    /// The rows of a panel that are multiplied at once, from `row` on.
    fn line(&self, row: usize, panel: usize) -> &[N] {
        let block = self.depth.block_of::<N>(row);
        &self.panel(&block, panel)[(row - block.start) * PANEL..][..N::PAIR * PANEL]
    }

    /// Its rows.
    pub fn depth(&self) -> usize {
        self.depth.rows
    }

    /// Its rows, and how they are cut.
    pub(crate) fn cut(&self) -> Depth {
        self.depth
    }

    /// Its columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The matrix as it was before it was packed, `[depth, columns]`.
    pub fn to_rows(&self) -> Vec<N> {
        let columns = 0..self.columns;
        (0..self.depth.rows).flat_map(|row| columns.clone().map(move |column| self.number(row, column))).collect()
    }

    /// One of its numbers.
    pub(crate) fn number(&self, row: usize, column: usize) -> N {
        let block = self.depth.block_of::<N>(row);
        let panel = self.panel(&block, column / PANEL);
        panel[place_in_panel::<N>(row - block.start, column % PANEL)]
    }

    /// A panel of one of the [`Depth::blocks`]: its rows filled up to [`Number::DEPTH_STEP`], as [`place_in_panel`] says.
    #[inline(always)]
    pub(crate) fn panel(&self, rows: &Range<usize>, panel: usize) -> &[N] {
        &self.memory.as_slice()[place::<N>(rows, panel, self.columns.div_ceil(PANEL))]
    }
}

/// Numbers of a pixel that make a block of their own: sums are read and written once for each block.
const PIXEL_MIN: usize = 192;

/// Rows of a matrix, and how they are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    rows: usize,
    /// Rows that lie side by side in a picture: no block is of two strips.
    strip: usize,
}

impl Depth {
    /// One strip.
    pub(crate) const fn whole(rows: usize) -> Self {
        Self { rows, strip: rows }
    }

    /// Of a square of `taps`: what a pixel has is a strip, or what a line of the square covers where that is little.
    fn of_taps<N: Number>(rows: usize, taps: usize) -> Self {
        let (kernel, pixel) = (taps.isqrt(), rows / taps);
        let strip = if pixel < PIXEL_MIN { pixel * kernel } else { pixel };
        let is_cut = kernel * kernel == taps && strip.is_multiple_of(N::DEPTH_STEP);
        Self { rows, strip: if is_cut { strip } else { rows } }
    }

    /// Rows of a strip.
    pub(crate) fn strip(self) -> usize {
        self.strip
    }

    /// The blocks, all but the last of a strip of one size.
    pub(crate) fn blocks<N: Number>(self) -> impl Iterator<Item = Range<usize>> {
        let Self { rows, strip } = self;
        let size = self.block_rows::<N>();
        let of_strip =
            move |start: usize| (start..start + strip).step_by(size).map(move |at| at..(at + size).min(start + strip));
        (0..rows).step_by(strip.max(1)).flat_map(of_strip)
    }

    /// Rows of the largest block.
    pub(crate) fn block_rows<N: Number>(self) -> usize {
        let blocks = self.strip.div_ceil(N::BLOCK_ROWS).max(1);
        self.strip.div_ceil(blocks).max(1).next_multiple_of(N::DEPTH_STEP)
    }

    /// The block that `row` is in.
    fn block_of<N: Number>(self, row: usize) -> Range<usize> {
        let (strip, size) = (row / self.strip * self.strip, self.block_rows::<N>());
        let start = strip + row % self.strip / size * size;
        start..(start + size).min(strip + self.strip)
    }
}

/// Inputs of each of `taps`.
fn inputs(depth: usize, taps: usize) -> usize {
    assert!(depth.is_multiple_of(taps), "{depth} rows are no inputs of {taps} taps");
    depth / taps
}

/// Numbers of a whole matrix, those that fill it up among them.
fn len<N: Number>(depth: Depth, columns: usize) -> usize {
    let panels = columns.div_ceil(PANEL);
    depth.blocks::<N>().last().map_or(0, |last| place::<N>(&last, panels, panels).start)
}

/// Where a panel lies.
#[inline(always)]
fn place<N: Number>(rows: &Range<usize>, panel: usize, panels: usize) -> Range<usize> {
    let len = rows.len().next_multiple_of(N::DEPTH_STEP) * PANEL;
    let start = rows.start * panels * PANEL + panel * len;
    start..start + len
}
