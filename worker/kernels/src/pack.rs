//! Weights in the order in which products read them.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::memory::{Buffer, LINE_BYTES, Memory, Parts, SharedBytes, with_scratch};
use crate::number::{Number, place_in_panel};
use crate::pool;
use crate::stored::Stored;

/// Columns of a panel of a packed matrix.
pub const PANEL: usize = 32;

/// Columns that are packed together: the part of a row that is a line of the cache in f32.
const GROUP: usize = 16;

/// A matrix `[depth, columns]`, cut into blocks of rows, each of which is cut into panels of [`PANEL`] columns; the last
/// panel is filled up with zeros, and so are the rows of a block that products take at once.
///
/// A product reads it from its beginning to its end.
pub struct PackedMatrix<N> {
    depth: usize,
    columns: usize,
    memory: Memory,
    numbers: PhantomData<N>,
}

impl<N> fmt::Debug for PackedMatrix<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMatrix {}×{}", self.depth, self.columns)
    }
}

impl<N: Number> PackedMatrix<N> {
    /// [`Kernels::pack`](crate::Kernels::pack)
    pub(crate) fn new(weights: &[N], columns: usize, depth: usize, taps: usize) -> Self {
        assert_eq!(weights.len(), columns * depth, "weights are {columns} columns of {depth}");
        assert!(depth.is_multiple_of(taps), "{depth} rows are no inputs of {taps} taps");
        let inputs = depth / taps;
        let [packed] = Self::filled(depth, columns, |_, column| {
            let from = &weights[column * depth..][..depth];
            move |row| [from[row % inputs * taps + row / inputs]]
        });
        packed
    }

    /// [`Kernels::pack_stored`](crate::Kernels::pack_stored)
    pub(crate) fn of_stored(weights: Stored, columns: usize, depth: usize, taps: usize) -> Self {
        assert_eq!(weights.len(), columns * depth, "weights are {columns} columns of {depth}");
        assert!(depth.is_multiple_of(taps), "{depth} rows are no inputs of {taps} taps");
        let inputs = depth / taps;
        let order: Vec<usize> = (0..depth).map(|row| row % inputs * taps + row / inputs).collect();
        let [packed] =
            Self::filled_from(weights, depth, columns, depth, |column, row| [N::from_f32(column[order[row]])]);
        packed
    }

    /// A matrix of this size whose [`Self::bytes`] are `bytes` from `start`; nothing where they are not there, or begin at
    /// no multiple of 64 in memory.
    pub fn of_packed(bytes: SharedBytes, start: usize, columns: usize, depth: usize) -> Option<Self> {
        let len = Self::len_bytes(columns, depth);
        Some(Self { depth, columns, memory: Memory::shared(bytes, start, len)?, numbers: PhantomData })
    }

    /// How many [`Self::bytes`] a matrix of this size has.
    pub(crate) fn len_bytes(columns: usize, depth: usize) -> usize {
        (len::<N>(depth, columns) * size_of::<N>()).next_multiple_of(LINE_BYTES)
    }

    /// The matrix as it lies in memory, in the order that [`Self::layout`] names: a multiple of 64 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    /// Tells one order of the numbers in memory from another.
    pub fn layout() -> String {
        let (bytes, pair, step, rows) = (size_of::<N>(), N::PAIR, N::DEPTH_STEP, N::BLOCK_ROWS);
        format!("numbers of {bytes} bytes by {pair} in panels of {PANEL}, blocks of {rows} rows by {step}")
    }

    /// [`Kernels::plus`](crate::Kernels::plus)
    pub(crate) fn plus(&self, delta: &[f32]) -> Self {
        let Self { depth, columns, .. } = *self;
        assert_eq!(delta.len(), depth * columns, "a difference is of the matrix's size");
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
        depth: usize,
        columns: usize,
        column: impl Fn(&Range<usize>, usize) -> C + Sync,
    ) -> [Self; M] {
        let panels = columns.div_ceil(PANEL);
        let blocks: Vec<Range<usize>> = blocks::<N>(depth).collect();
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
        depth: usize,
        numbers: impl Fn(&[f32], usize) -> [N; M] + Sync,
    ) -> [Self; M] {
        let panels = columns.div_ceil(PANEL);
        let fill = |parts: [Parts<N>; M], panel: usize, group: Range<usize>, wide: &mut [f32]| {
            weights.widen(group.start * stored..group.end * stored, wide);
            for rows in blocks::<N>(depth) {
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
    fn made<const M: usize>(depth: usize, columns: usize, fill: impl FnOnce([Parts<'_, N>; M])) -> [Self; M] {
        let mut memories = [(); M].map(|()| Buffer::zeros::<N>(len::<N>(depth, columns)));
        fill(memories.each_mut().map(|memory| Parts::of(memory.as_mut_slice())));
        memories.map(|memory| Self { depth, columns, memory: Memory::Owned(memory), numbers: PhantomData })
    }

    /// Its rows.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Its columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The matrix as it was before it was packed, `[depth, columns]`.
    pub fn to_rows(&self) -> Vec<N> {
        let columns = 0..self.columns;
        (0..self.depth).flat_map(|row| columns.clone().map(move |column| self.number(row, column))).collect()
    }

    /// One of its numbers.
    pub(crate) fn number(&self, row: usize, column: usize) -> N {
        let size = block_size::<N>(self.depth);
        let start = row / size * size;
        let panel = self.panel(&(start..(start + size).min(self.depth)), column / PANEL);
        panel[place_in_panel::<N>(row - start, column % PANEL)]
    }

    /// A panel of one of the [`blocks`]: its rows filled up to [`Number::DEPTH_STEP`], as [`place_in_panel`] says.
    #[inline(always)]
    pub(crate) fn panel(&self, rows: &Range<usize>, panel: usize) -> &[N] {
        &self.memory.as_slice()[place::<N>(rows, panel, self.columns.div_ceil(PANEL))]
    }
}

/// The blocks of rows, all but the last of one size.
pub(crate) fn blocks<N: Number>(depth: usize) -> impl Iterator<Item = Range<usize>> {
    let size = block_size::<N>(depth);
    (0..depth).step_by(size).map(move |start| start..(start + size).min(depth))
}

/// Rows of the largest of the blocks.
pub(crate) fn block_size<N: Number>(depth: usize) -> usize {
    let blocks = depth.div_ceil(N::BLOCK_ROWS).max(1);
    depth.div_ceil(blocks).max(1).next_multiple_of(N::DEPTH_STEP)
}

/// Numbers of a whole matrix, those that fill it up among them.
fn len<N: Number>(depth: usize, columns: usize) -> usize {
    let panels = columns.div_ceil(PANEL);
    blocks::<N>(depth).last().map_or(0, |last| place::<N>(&last, panels, panels).start)
}

/// Where a panel lies.
#[inline(always)]
fn place<N: Number>(rows: &Range<usize>, panel: usize, panels: usize) -> Range<usize> {
    let len = rows.len().next_multiple_of(N::DEPTH_STEP) * PANEL;
    let start = rows.start * panels * PANEL + panel * len;
    start..start + len
}
