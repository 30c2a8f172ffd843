//! Weights in the order in which products read them.

use std::fmt;
use std::ops::Range;

use crate::memory::{Buffer, Output};
use crate::pool;

/// Columns of a panel of a packed matrix.
pub const PANEL: usize = 32;
/// Most rows of a block: a panel of it (32 KiB) and the rows that it meets fit into the first cache.
const DEPTH_BLOCK_MAX: usize = 256;

/// A matrix `[depth, columns]`, cut into blocks of rows, each of which is cut into panels of [`PANEL`] columns; the last
/// panel is filled up with zeros.
///
/// A product reads it from its beginning to its end.
pub struct PackedMatrix {
    depth: usize,
    columns: usize,
    numbers: Buffer,
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedMatrix {}×{}", self.depth, self.columns)
    }
}

impl PackedMatrix {
    /// Packs `weights`, `[columns, depth]`, whose number at depth `order(k)` becomes the one at depth `k`.
    ///
    /// # Panics
    /// When `weights` have another size.
    pub fn new(weights: &[f32], columns: usize, depth: usize, order: impl Fn(usize) -> usize) -> Self {
        assert_eq!(weights.len(), columns * depth, "weights are {columns} columns of {depth}");
        let order: Vec<usize> = (0..depth).map(order).collect();
        Self::filled(depth, columns, |rows, column, to| {
            let from = &weights[column * depth..][..depth];
            for (to, row) in to.chunks_mut(PANEL).zip(rows) {
                to[0] = from[order[row]];
            }
        })
    }

    /// The matrix with `delta`, `[depth, columns]`, added to it.
    ///
    /// # Panics
    /// When `delta` has another size.
    pub fn plus(&self, delta: &[f32]) -> Self {
        let Self { depth, columns, .. } = *self;
        assert_eq!(delta.len(), depth * columns, "a difference is of the matrix's size");
        Self::filled(depth, columns, |rows, column, to| {
            let from = &self.panel(&rows, column / PANEL)[column % PANEL..];
            for ((to, from), row) in to.chunks_mut(PANEL).zip(from.chunks(PANEL)).zip(rows) {
                to[0] = from[0] + delta[row * columns + column];
            }
        })
    }

    /// `fill` is called with the rows of a block, a column, and the rest of its panel, where the column's numbers stand
    /// at every [`PANEL`]th place.
    fn filled(depth: usize, columns: usize, fill: impl Fn(Range<usize>, usize, &mut [f32]) + Sync) -> Self {
        let panels = columns.div_ceil(PANEL);
        let mut numbers = Buffer::zeros(panels * PANEL * depth);
        let blocks: Vec<Range<usize>> = blocks(depth).collect();
        let parts = Output::parts_of(numbers.as_mut_slice());
        pool::each(blocks.len() * panels, |task| {
            let (rows, panel) = (&blocks[task / panels], task % panels);
            let (start, len) = place(rows, panel, panels);
            // SAFETY: `parts` are of `numbers`, and every task has its own panel.
            let to = unsafe { parts.part(start, len) };
            for column in panel * PANEL..columns.min((panel + 1) * PANEL) {
                fill(rows.clone(), column, &mut to[column % PANEL..]);
            }
        });
        Self { depth, columns, numbers }
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
    pub fn to_rows(&self) -> Vec<f32> {
        let mut numbers = vec![0.0; self.depth * self.columns];
        for rows in blocks(self.depth) {
            for panel in 0..self.columns.div_ceil(PANEL) {
                let first = panel * PANEL;
                let width = PANEL.min(self.columns - first);
                for (row, from) in rows.clone().zip(self.panel(&rows, panel).chunks_exact(PANEL)) {
                    numbers[row * self.columns + first..][..width].copy_from_slice(&from[..width]);
                }
            }
        }
        numbers
    }

    /// A panel of one of the [`blocks`]: `[rows, PANEL]`.
    #[inline(always)]
    pub(crate) fn panel(&self, rows: &Range<usize>, panel: usize) -> &[f32] {
        let (start, len) = place(rows, panel, self.columns.div_ceil(PANEL));
        &self.numbers.as_slice()[start..start + len]
    }
}

/// The blocks of rows, all but the last of one size.
pub(crate) fn blocks(depth: usize) -> impl Iterator<Item = Range<usize>> {
    let size = block_size(depth);
    (0..depth).step_by(size).map(move |start| start..(start + size).min(depth))
}

/// Rows of the largest of the blocks.
pub(crate) fn block_size(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(DEPTH_BLOCK_MAX).max(1)).max(1)
}

/// Where a panel starts and how long it is.
#[inline(always)]
fn place(rows: &Range<usize>, panel: usize, panels: usize) -> (usize, usize) {
    let len = rows.len() * PANEL;
    (rows.start * panels * PANEL + panel * len, len)
}
