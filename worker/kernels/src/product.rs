//! Products with packed weights: blocked for the caches, spread over threads, with what follows done on the way out.
//!
//! A task makes some rows of the result in some of its columns. It gathers a block of the rows that it needs — for a
//! convolution these are patches, which exist nowhere else — multiplies it with every panel of its columns, goes on to
//! the next block, and at last writes the sums out under their [`Ending`]. How the result is cut into tasks depends on the
//! number of threads; the sum of a number does not.

use std::ops::Range;

use crate::math;
use crate::memory::{Output, Parts, with_scratch};
use crate::pack::{PANEL, PackedMatrix, block_size, blocks};
use crate::pool;
use crate::simd::{self, Path, Simd, Work};
use crate::tile::{Rows, Sums, multiply};

/// Most rows of a task: with its sums and a block of what it multiplies it fits into the second cache.
const ROWS_MAX: usize = 140;
/// Most panels of a task.
const PANELS_MAX: usize = 20;
/// Fewest panels of a task where there are enough of them: every task gathers its rows anew.
const PANELS_MIN: usize = 4;
/// Tasks for each thread, so that one that is held up does not hold up all.
const TASKS_PER_THREAD: usize = 4;
/// Multiplications that are done before another thread has woken up.
const WORTH_A_THREAD: usize = 200_000;

/// The rows that weights are multiplied with.
pub(crate) trait Source: Sync {
    /// How many.
    fn rows(&self) -> usize;

    /// Writes the numbers `depth` of a row.
    fn gather(&self, row: usize, depth: Range<usize>, to: &mut [f32]);
}

/// What happens to a sum before it is written, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending<'a> {
    /// `[columns]`: added to every row.
    pub bias: Option<&'a [f32]>,
    /// Added to the rows of an item.
    pub shift: Option<Shift<'a>>,
    /// Added number by number, of the result's shape.
    pub residual: Option<&'a [f32]>,
    /// Applied at last.
    pub activation: Activation,
}

/// Something to add to all rows of an item of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Shift<'a> {
    /// `[items, columns]`, or `[1, columns]` for all items.
    pub numbers: &'a [f32],
    /// Rows of an item.
    pub rows: usize,
}

/// A function of every number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// None.
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x · sigmoid(x)`
    Silu,
    /// `x · sigmoid(1.702 x)`
    QuickGelu,
    /// `x · Φ(x)`
    GeluErf,
    /// The first half of the columns times the GELU of the second; the result has half the columns.
    Geglu,
}

impl Activation {
    /// Columns of a product for each of the result.
    fn parts(self) -> usize {
        if self == Self::Geglu { 2 } else { 1 }
    }

    #[inline(always)]
    pub(crate) fn of<S: Simd>(self, simd: S, x: S::Lanes) -> S::Lanes {
        match self {
            Self::Identity | Self::Geglu => x,
            Self::Relu => simd.max(simd.splat(0.0), x),
            Self::Silu => math::sigmoid_gated(simd, x, 1.0),
            Self::QuickGelu => math::sigmoid_gated(simd, x, 1.702),
            Self::GeluErf => math::gelu_erf(simd, x),
        }
    }
}

/// `source · weights`, then `ending`: `[rows, columns]`.
///
/// # Panics
/// When a part of the ending has another size, or columns to be gated do not fall into two halves of whole panels.
pub(crate) fn product(path: Path, source: &impl Source, weights: &PackedMatrix, ending: Ending) -> Vec<f32> {
    let rows = source.rows();
    let columns = weights.columns() / ending.activation.parts();
    ending.check(rows, weights.columns());
    let mut output = Output::new(rows * columns);
    let parts = output.parts();
    let [row_tasks, panel_tasks] = tasks(rows, weights.depth(), columns, ending.activation.parts());
    let panels = columns.div_ceil(PANEL);
    pool::each(row_tasks * panel_tasks, |task| {
        let rows = share(rows, row_tasks, task / panel_tasks);
        let panels = share(panels, panel_tasks, task % panel_tasks);
        path.run(Task { source, weights, ending, rows, panels, columns, parts });
    });
    // SAFETY: the tasks have written every column of every row.
    unsafe { output.written() }
}

/// Into how many tasks rows and columns are cut.
fn tasks(rows: usize, depth: usize, columns: usize, parts: usize) -> [usize; 2] {
    let panels = columns.div_ceil(PANEL);
    let (row_tasks, panel_tasks) = (rows.div_ceil(ROWS_MAX), panels.div_ceil(PANELS_MAX / parts));
    let threads = pool::threads();
    if threads == 1 || rows * depth * columns * parts < WORTH_A_THREAD {
        return [row_tasks, panel_tasks];
    }
    let wanted = (TASKS_PER_THREAD * threads).div_ceil(row_tasks.max(1));
    let panel_tasks = panel_tasks.max(wanted.min(panels / PANELS_MIN));
    // All threads are done at the same time where there are few rounds of tasks.
    let even = if panel_tasks.is_multiple_of(threads) { row_tasks } else { row_tasks.next_multiple_of(threads) };
    [even.min(rows), panel_tasks]
}

/// Part `index` of `0..whole` in `parts` nearly equal ones.
fn share(whole: usize, parts: usize, index: usize) -> Range<usize> {
    whole * index / parts..whole * (index + 1) / parts
}

impl Ending<'_> {
    fn check(&self, rows: usize, columns: usize) {
        let parts = self.activation.parts();
        let whole_panels = parts == 1 || columns.is_multiple_of(parts * PANEL);
        assert!(whole_panels, "{columns} columns are not gated panel by panel");
        assert!(self.bias.is_none_or(|bias| bias.len() == columns), "a bias has the columns of the weights");
        assert!(self.residual.is_none_or(|x| x.len() == rows * columns / parts), "a residual has the result's shape");
        let fits = |shift: Shift| {
            let items = rows.div_ceil(shift.rows.max(1));
            shift.numbers.len() == columns || shift.numbers.len() == items * columns
        };
        assert!(self.shift.is_none_or(fits), "a shift is one row, or one for each item");
    }
}

/// Some rows of a product in some of its columns.
struct Task<'a, G> {
    source: &'a G,
    weights: &'a PackedMatrix,
    ending: Ending<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    columns: usize,
    parts: Parts,
}

impl<G: Source> Work for Task<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let parts = self.ending.activation.parts();
        let depth = self.weights.depth();
        // A distance that is no power of two keeps rows apart in the cache.
        let gathered = block_size(depth).next_multiple_of(PANEL) + PANEL / 2;
        let summed = self.panels.len() * PANEL;
        let len = self.rows.len() * gathered;
        let needed = len + self.rows.len() * summed * parts;
        with_scratch(
            needed,
            #[inline(always)]
            |scratch| {
                let (a, c) = scratch.split_at_mut(len);
                if depth == 0 {
                    c.fill(0.0);
                }
                for block in blocks(depth) {
                    for (row, to) in self.rows.clone().zip(a.chunks_exact_mut(gathered)) {
                        self.source.gather(row, block.clone(), &mut to[..block.len()]);
                    }
                    self.multiply(simd, &block, a, gathered, c, summed * parts);
                }
                for (row, sums) in self.rows.clone().zip(c.chunks_exact_mut(summed * parts)) {
                    self.finish(simd, row, sums);
                }
            },
        );
    }
}

impl<G: Source> Task<'_, G> {
    #[inline(always)]
    fn multiply<S: Simd>(&self, simd: S, block: &Range<usize>, a: &[f32], gathered: usize, c: &mut [f32], line: usize) {
        let rows = Rows { start: a.as_ptr(), distance: gathered, count: self.rows.len() };
        for part in 0..self.ending.activation.parts() {
            for (at, panel) in self.panels.clone().enumerate() {
                let columns = (self.columns - panel * PANEL).min(PANEL);
                let from = self.weights.panel(block, part * self.columns / PANEL + panel).as_ptr();
                let start = c[(part * self.panels.len() + at) * PANEL..].as_mut_ptr();
                let sums = Sums { start, distance: line, columns, added: block.start > 0 };
                // SAFETY: every gathered row has `block.len()` numbers, the panel as many rows, and every row of `c` a
                // whole panel's width from `start` on.
                unsafe { multiply(simd, block.len(), rows, from, sums) }
            }
        }
    }

    /// Writes the sums of a row.
    #[inline(always)]
    fn finish<S: Simd>(&self, simd: S, row: usize, sums: &mut [f32]) {
        let first = self.panels.start * PANEL;
        let width = (self.panels.len() * PANEL).min(self.columns - first);
        let Ending { bias, shift, residual, activation } = self.ending;
        let line = self.panels.len() * PANEL;
        for (part, sums) in sums.chunks_exact_mut(line).enumerate() {
            let sums = &mut sums[..width];
            let from = part * self.columns + first;
            if let Some(bias) = bias {
                add(simd, sums, &bias[from..][..width]);
            }
            if let Some(Shift { numbers, rows }) = shift {
                let all = self.weights.columns();
                let item = if numbers.len() == all { 0 } else { row / rows };
                add(simd, sums, &numbers[item * all + from..][..width]);
            }
        }
        // SAFETY: the output is there until all tasks are done, and no two of them have a row and a column in common.
        let to = unsafe { self.parts.part(row * self.columns + first, width) };
        let (value, gate) = sums.split_at_mut(line);
        if activation == Activation::Geglu {
            simd::change(
                simd,
                &mut value[..width],
                #[inline(always)]
                |at, x| simd.mul(x, math::gelu_erf(simd, simd::at(simd, gate, at))),
            );
        }
        let value = &mut value[..width];
        if let Some(residual) = residual {
            add(simd, value, &residual[row * self.columns + first..][..width]);
        }
        match activation {
            Activation::Identity | Activation::Geglu => {}
            activation => simd::change(
                simd,
                value,
                #[inline(always)]
                |_, x| activation.of(simd, x),
            ),
        }
        to.copy_from_slice(value);
    }
}

#[inline(always)]
fn add<S: Simd>(simd: S, to: &mut [f32], from: &[f32]) {
    simd::change(
        simd,
        to,
        #[inline(always)]
        |at, x| simd.add(x, simd::at(simd, from, at)),
    );
}
