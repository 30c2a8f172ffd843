//! Products with packed weights: blocked for the caches, spread over threads, with what follows done on the way out.
//!
//! A task makes some rows of the result in some of its columns. It takes a block of the rows that it needs, where they lie
//! or gathered, multiplies it with every panel of its columns, goes on to the next block, and at last writes the sums out
//! under their [`Ending`]. How the result is cut into tasks depends on the
//! number of threads; the sum of a number does not.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

use crate::math;
use crate::memory::{LINE_BYTES, Output, Parts, with_scratch};
use crate::number::Number;
use crate::pack::{PANEL, PackedMatrix};
use crate::pool;
use crate::simd::{self, Path, Simd, Work};
use crate::tile::{Rows, Sums};

/// Most panels of a task of the most rows; fewer rows leave room for the sums of more.
const PANELS_MAX: usize = 20;
/// Fewest panels of a task where there are enough of them: every task gathers its rows anew.
const PANELS_MIN: usize = 4;
/// Tasks for each thread, so that one that is held up does not hold up all.
pub(crate) const TASKS_PER_THREAD: usize = 4;
/// Multiplications that are done before another thread has woken up.
const WORTH_A_THREAD: usize = 200_000;

/// The rows that weights are multiplied with.
pub(crate) trait Source<N>: Sync {
    /// How many, those that become nothing among them.
    fn rows(&self) -> usize;

    /// Rows of the result.
    fn made_rows(&self) -> usize {
        self.rows()
    }

    /// The row of the result that `row` becomes; nothing where it only lies between two of them.
    #[inline(always)]
    fn made(&self, row: usize) -> Option<usize> {
        Some(row)
    }

    /// The numbers `depth`, a block of the weights', of `rows`: where they lie, or gathered in `room`.
    fn block(&self, rows: &Range<usize>, depth: &Range<usize>, room: Room<N>) -> Rows<N>;
}

/// Scratch memory for rows of a block.
pub(crate) struct Room<'a, N> {
    numbers: &'a mut [N],
    distance: usize,
}

impl<N: Number> Room<'_, N> {
    /// Calls `gather` with each of `rows`, and where `len` numbers of it go.
    #[inline(always)]
    pub(crate) fn gathered(self, rows: &Range<usize>, len: usize, gather: impl Fn(usize, &mut [N])) -> Rows<N> {
        let filled = len.next_multiple_of(N::DEPTH_STEP);
        for (row, to) in rows.clone().zip(self.numbers.chunks_exact_mut(self.distance)) {
            gather(row, &mut to[..len]);
            to[len..filled].fill(N::default());
        }
        Rows::lying(self.numbers, self.distance, rows.len(), filled).expect("there is room for whole tiles")
    }
}

/// What happens to a sum before it is written, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a, N> {
    /// `[columns]`: added to every row.
    pub bias: Option<&'a [N]>,
    /// Added to the rows of an item.
    pub shift: Option<Shift<'a, N>>,
    /// Added number by number, of the result's shape.
    pub residual: Option<&'a [N]>,
    /// Applied at last.
    pub activation: Activation,
}

impl<N> Default for Ending<'_, N> {
    fn default() -> Self {
        Self { bias: None, shift: None, residual: None, activation: Activation::Identity }
    }
}

/// Something to add to all rows of an item of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Shift<'a, N> {
    /// `[items, columns]`, or `[1, columns]` for all items.
    pub numbers: &'a [N],
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
    pub(crate) fn parts(self) -> usize {
        if self == Self::Geglu { 2 } else { 1 }
    }

    #[inline(always)]
    pub(crate) fn of<N: Number, S: Simd>(self, simd: S, x: S::Lanes) -> S::Lanes {
        match self {
            Self::Identity | Self::Geglu => x,
            Self::Relu => simd.max(simd.splat(0.0), x),
            Self::Silu => math::sigmoid_gated::<N, S>(simd, x, 1.0),
            Self::QuickGelu => math::sigmoid_gated::<N, S>(simd, x, 1.702),
            Self::GeluErf => math::gelu_erf::<N, S>(simd, x),
        }
    }
}

/// `source · weights`, then `ending`: `[rows, columns]`.
///
/// # Panics
/// When a part of the ending has another size, or columns to be gated do not fall into two halves of whole panels.
pub(crate) fn product<N: Number>(
    path: Path,
    source: &impl Source<N>,
    weights: &PackedMatrix<N>,
    ending: Ending<N>,
) -> Vec<N> {
    let mut output = Output::new(source.made_rows() * weights.columns() / ending.activation.parts());
    product_into(path, source, weights, ending, output.parts());
    // SAFETY: every row of the source has become a row, and each row has one that becomes it.
    unsafe { output.written() }
}

/// As [`product`], of the rows that the source makes of all; writes every column of those.
///
/// # Panics
/// As there.
pub(crate) fn product_into<N: Number>(
    path: Path,
    source: &impl Source<N>,
    weights: &PackedMatrix<N>,
    ending: Ending<N>,
    parts: Parts<MaybeUninit<N>>,
) {
    let rows = source.rows();
    let columns = weights.columns() / ending.activation.parts();
    ending.check(source.made_rows(), weights.columns());
    let [row_tasks, panel_tasks] = tasks::<N>(rows, weights.depth(), columns, ending.activation.parts());
    let panels = columns.div_ceil(PANEL);
    let tiles = rows.div_ceil(N::ROWS_AT_ONCE);
    pool::each(row_tasks * panel_tasks, |task| {
        let tiles = share(tiles, row_tasks, task / panel_tasks);
        let rows = tiles.start * N::ROWS_AT_ONCE..rows.min(tiles.end * N::ROWS_AT_ONCE);
        let finish = Finish { ending, columns, panels: share(panels, panel_tasks, task % panel_tasks), parts };
        path.run(Task { path, source, weights, rows, finish });
    });
}

/// Into how many tasks rows and columns are cut.
fn tasks<N: Number>(rows: usize, depth: usize, columns: usize, parts: usize) -> [usize; 2] {
    let panels = columns.div_ceil(PANEL);
    let panels_max = PANELS_MAX * (N::TASK_ROWS / rows.max(1)).max(1) / parts;
    let (row_tasks, panel_tasks) = (rows.div_ceil(N::TASK_ROWS), panels.div_ceil(panels_max));
    let threads = pool::threads();
    if threads == 1 || rows * depth * columns * parts < WORTH_A_THREAD {
        return [row_tasks, panel_tasks];
    }
    // Few rows are done when the weights are read, which is quicker in long pieces.
    let of_thread = if rows <= N::TASK_ROWS / 2 { 1 } else { TASKS_PER_THREAD };
    let wanted = (of_thread * threads).div_ceil(row_tasks.max(1));
    let panel_tasks = panel_tasks.max(wanted.min(panels / PANELS_MIN));
    // All threads are done at the same time where there are few rounds of tasks.
    let even = if panel_tasks.is_multiple_of(threads) { row_tasks } else { row_tasks.next_multiple_of(threads) };
    [even.min(rows.div_ceil(N::ROWS_AT_ONCE)), panel_tasks]
}

/// Part `index` of `0..whole` in `parts` nearly equal ones.
pub(crate) fn share(whole: usize, parts: usize, index: usize) -> Range<usize> {
    whole * index / parts..whole * (index + 1) / parts
}

impl<N> Ending<'_, N> {
    /// # Panics
    /// When a part of it is not for a product of `rows` and `columns`.
    pub(crate) fn check(&self, rows: usize, columns: usize) {
        let parts = self.activation.parts();
        let whole_panels = parts == 1 || columns.is_multiple_of(parts * PANEL);
        assert!(whole_panels, "{columns} columns are not gated panel by panel");
        assert!(self.bias.is_none_or(|bias| bias.len() == columns), "a bias has the columns of the weights");
        assert!(self.residual.is_none_or(|x| x.len() == rows * columns / parts), "a residual has the result's shape");
        let fits = |shift: &Shift<N>| {
            let items = rows.div_ceil(shift.rows.max(1));
            shift.numbers.len() == columns || shift.numbers.len() == items * columns
        };
        assert!(self.shift.as_ref().is_none_or(fits), "a shift is one row, or one for each item");
    }
}

/// Some rows of a product in some of its columns.
struct Task<'a, N, G> {
    path: Path,
    source: &'a G,
    weights: &'a PackedMatrix<N>,
    rows: Range<usize>,
    finish: Finish<'a, N>,
}

impl<N: Number, G: Source<N>> Work for Task<'_, N, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let depth = self.weights.cut();
        let distance = apart::<N>(depth.block_rows::<N>());
        let summed = self.finish.line();
        let rows = self.rows.len().next_multiple_of(N::TILE_ROWS);
        with_scratch::<N, _>(
            rows * distance,
            #[inline(always)]
            |room| {
                with_scratch::<f32, _>(
                    rows * summed,
                    #[inline(always)]
                    |c| {
                        if self.weights.depth() == 0 {
                            c.fill(0.0);
                        }
                        let mut blocks = depth.blocks::<N>().peekable();
                        while let Some(block) = blocks.next() {
                            let a = self.source.block(&self.rows, &block, Room { numbers: room, distance });
                            self.multiply(simd, &block, blocks.peek(), a, c, summed);
                        }
                        for (row, sums) in self.rows.clone().zip(c.chunks_exact(summed)) {
                            if let Some(row) = self.source.made(row) {
                                self.finish.row(simd, row, sums);
                            }
                        }
                    },
                );
            },
        );
    }
}

/// The distance of lines of `len` numbers: an odd number of the cache's lines, which keeps them apart in it.
pub(crate) fn apart<N>(len: usize) -> usize {
    let line = LINE_BYTES / size_of::<N>();
    len.next_multiple_of(2 * line) + line
}

impl<N: Number, G: Source<N>> Task<'_, N, G> {
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        block: &Range<usize>,
        next: Option<&Range<usize>>,
        rows: Rows<N>,
        c: &mut [f32],
        line: usize,
    ) {
        let depth = block.len().next_multiple_of(N::DEPTH_STEP);
        let first = next.map(|next| self.weights.panel(next, self.finish.panels.start));
        self.finish.each_panel(|panel, at, columns, after| {
            let from = self.weights.panel(block, panel).as_ptr();
            let ahead =
                after.map(|panel| self.weights.panel(block, panel)).or(first).map_or(ptr::null(), <[N]>::as_ptr);
            let start = c[at..].as_mut_ptr();
            let sums = Sums { start, distance: line, columns, added: block.start > 0, ahead: ahead.cast() };
            // SAFETY: every row has `depth` numbers, the panel as many rows, and every row of `c` a whole panel's
            // width from `at` on; there are whole tiles of both.
            unsafe { N::multiply(simd, self.path, depth, rows, from, sums) }
        });
    }
}

/// What becomes of the sums of a task.
pub(crate) struct Finish<'a, N> {
    pub(crate) ending: Ending<'a, N>,
    /// Of the result.
    pub(crate) columns: usize,
    /// Those of the task.
    pub(crate) panels: Range<usize>,
    pub(crate) parts: Parts<'a, MaybeUninit<N>>,
}

impl<N: Number> Finish<'_, N> {
    /// Numbers from the sums of one row to those of the next.
    #[inline(always)]
    pub(crate) fn line(&self) -> usize {
        apart::<f32>(self.panels.len() * PANEL * self.ending.activation.parts())
    }

    /// Calls `f` for each panel of the weights with where its sums begin in a line of them, its columns, and the panel after
    /// it.
    #[inline(always)]
    pub(crate) fn each_panel(&self, mut f: impl FnMut(usize, usize, usize, Option<usize>)) {
        let (parts, of_part) = (self.ending.activation.parts(), self.panels.len());
        let panel = |at: usize| at / of_part * self.columns / PANEL + self.panels.start + at % of_part;
        for at in 0..parts * of_part {
            let columns = (self.columns - (self.panels.start + at % of_part) * PANEL).min(PANEL);
            f(panel(at), at * PANEL, columns, (at + 1 < parts * of_part).then(|| panel(at + 1)));
        }
    }

    /// Writes the sums of a row.
    #[inline(always)]
    pub(crate) fn row<S: Simd>(&self, simd: S, row: usize, sums: &[f32]) {
        let first = self.panels.start * PANEL;
        let width = (self.panels.len() * PANEL).min(self.columns - first);
        let Ending { bias, shift, residual, activation } = self.ending;
        let all = self.columns * activation.parts();
        let shift = shift.map(|Shift { numbers, rows }| {
            let item = if numbers.len() == all { 0 } else { row / rows };
            &numbers[item * all..][..all]
        });
        let parts: [Summed<N>; 2] = std::array::from_fn(|part| {
            // Where nothing is gated there is one part alone.
            let part = part.min(activation.parts() - 1);
            let own = part * self.columns + first;
            Summed {
                sums: &sums[part * self.panels.len() * PANEL..],
                bias: bias.map(|bias| &bias[own..own + width]),
                shift: shift.map(|shift| &shift[own..own + width]),
            }
        });
        let residual = residual.map(|residual| &residual[row * self.columns + first..][..width]);
        // SAFETY: no two tasks have a row and a column in common.
        let to = unsafe { self.parts.part(row * self.columns + first, width) };
        simd::fill(
            simd,
            to,
            #[inline(always)]
            |at| {
                let mut value = parts[0].at(simd, at);
                if activation == Activation::Geglu {
                    value = simd.mul(value, math::gelu_erf::<N, S>(simd, parts[1].at(simd, at)));
                }
                if let Some(residual) = residual {
                    value = simd.add(value, simd::at(simd, residual, at));
                }
                activation.of::<N, S>(simd, value)
            },
        );
    }
}

/// The sums of a row in a task's columns, and what is added to them.
struct Summed<'a, N> {
    sums: &'a [f32],
    bias: Option<&'a [N]>,
    shift: Option<&'a [N]>,
}

impl<N: Number> Summed<'_, N> {
    #[inline(always)]
    fn at<S: Simd>(&self, simd: S, at: usize) -> S::Lanes {
        let mut sum = simd::at(simd, self.sums, at);
        if let Some(bias) = self.bias {
            sum = simd.add(sum, simd::at(simd, bias, at));
        }
        if let Some(shift) = self.shift {
            sum = simd.add(sum, simd::at(simd, shift, at));
        }
        sum
    }
}
