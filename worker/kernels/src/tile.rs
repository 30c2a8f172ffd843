//! The innermost product: some rows of one matrix with a panel of another, the sums held in registers.

use half::bf16;

use crate::number::Number;
use crate::pack::PANEL;
use crate::simd::{Simd, WorkOn};

/// Rows, one after the other at a fixed distance.
#[derive(Clone, Copy)]
pub struct Rows<N> {
    pub(crate) start: *const N,
    /// Numbers from the beginning of one row to that of the next.
    pub(crate) distance: usize,
    pub(crate) count: usize,
}

impl<N: Number> Rows<N> {
    /// `count` rows at a `distance` from the beginning of `numbers`, of `width` each; nothing where whole tiles of them are
    /// not there.
    #[inline(always)]
    pub(crate) fn lying(numbers: &[N], distance: usize, count: usize, width: usize) -> Option<Self> {
        let last = count.next_multiple_of(N::TILE_ROWS).saturating_sub(1);
        let are_there = count == 0 || last * distance + width <= numbers.len();
        are_there.then_some(Self { start: numbers.as_ptr(), distance, count })
    }
}

/// Where sums go: rows of at least a whole vector's width.
#[derive(Clone, Copy)]
pub struct Sums {
    pub(crate) start: *mut f32,
    pub(crate) distance: usize,
    /// Columns that are wanted, of one panel; more may be written, up to whole vectors.
    pub(crate) columns: usize,
    /// Whether the product is added to what is there.
    pub(crate) added: bool,
    /// A panel that is wanted soon, as large as this one; any address will do.
    pub(crate) ahead: *const u8,
}

/// How numbers of a row meet those of a panel.
pub(crate) trait Multiplier<S: Simd>: Copy {
    /// Of rows and panels.
    type Number: Copy;
    /// What a vector's columns are multiplied with, or what they are multiplied by.
    type Factors: Copy;

    /// Numbers of a row that meet as many rows of a panel at once.
    const STEP: usize;
    /// Rows of a tile two vectors wide: as many as the registers hold.
    const TILE_ROWS: usize;

    /// Reads [`Self::STEP`] rows of a panel in a vector's columns.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn panel(self, simd: S, from: *const Self::Number) -> Self::Factors;
    /// Reads [`Self::STEP`] numbers of a row, for all columns.
    ///
    /// # Safety
    /// They lie at `from`.
    unsafe fn row(self, simd: S, from: *const Self::Number) -> Self::Factors;
    /// `row · panel + sum`
    fn mul_add(self, simd: S, row: Self::Factors, panel: Self::Factors, sum: S::Lanes) -> S::Lanes;

    /// [`Simd::apart`], with what more this needs.
    #[inline(always)]
    fn apart<W: WorkOn<S>>(self, simd: S, work: W) {
        simd.apart(work);
    }
}

/// One number with one number.
#[derive(Clone, Copy)]
pub(crate) struct Singles;

impl<S: Simd> Multiplier<S> for Singles {
    type Number = f32;
    type Factors = S::Lanes;

    const STEP: usize = 1;
    const TILE_ROWS: usize = S::TILE_ROWS;

    #[inline(always)]
    unsafe fn panel(self, simd: S, from: *const f32) -> S::Lanes {
        // SAFETY: the caller's promise.
        unsafe { simd.load(from) }
    }

    #[inline(always)]
    unsafe fn row(self, simd: S, from: *const f32) -> S::Lanes {
        // SAFETY: the caller's promise.
        simd.splat(unsafe { *from })
    }

    #[inline(always)]
    fn mul_add(self, simd: S, row: S::Lanes, panel: S::Lanes, sum: S::Lanes) -> S::Lanes {
        simd.mul_add(row, panel, sum)
    }
}

/// Two numbers of bf16 with two of them, each made an f32 before.
#[derive(Clone, Copy)]
pub(crate) struct Widened;

impl<S: Simd> Multiplier<S> for Widened {
    type Number = bf16;
    type Factors = [S::Lanes; 2];

    const STEP: usize = 2;
    // A row and a vector of columns take two registers each, where those of f32 take one.
    const TILE_ROWS: usize = if S::TILE_ROWS > 4 { S::TILE_ROWS - 2 } else { S::TILE_ROWS };

    #[inline(always)]
    unsafe fn panel(self, simd: S, from: *const bf16) -> [S::Lanes; 2] {
        // SAFETY: the caller's promise.
        unsafe { simd.load_pairs(from) }
    }

    #[inline(always)]
    unsafe fn row(self, simd: S, from: *const bf16) -> [S::Lanes; 2] {
        // SAFETY: the caller's promise.
        let bits = unsafe { [*from, *from.add(1)] }.map(|number| u32::from(number.to_bits()) << 16);
        bits.map(|bits| simd.splat(f32::from_bits(bits)))
    }

    #[inline(always)]
    fn mul_add(self, simd: S, row: [S::Lanes; 2], panel: [S::Lanes; 2], sum: S::Lanes) -> S::Lanes {
        simd.mul_add(row[1], panel[1], simd.mul_add(row[0], panel[0], sum))
    }
}

/// `rows · panel` into `sums`, for `depth` numbers of each row, whole steps of them, and a panel of as many rows. Every
/// sum is made from the first to the last number of its row, whatever the tiles are, so that it is the same in each.
///
/// # Safety
/// Rows and panel have `depth` numbers, and there is room for the sums.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd, M: Multiplier<S>>(
    simd: S,
    by: M,
    depth: usize,
    rows: Rows<M::Number>,
    panel: *const M::Number,
    sums: Sums,
) {
    let tiles = rows.count.div_ceil(M::TILE_ROWS);
    let mut done = 0;
    for tile in 0..tiles {
        // Tiles of nearly one height: a low last one would keep the multipliers waiting.
        let count = (rows.count - done).div_ceil(tiles - tile);
        let mut column = 0;
        while column < sums.columns {
            // SAFETY: the tile lies in the rows, the panel and the sums that the caller has.
            unsafe {
                let a = rows.start.add(done * rows.distance);
                let c = sums.start.add(done * sums.distance + column);
                // The first tiles bring the next panel nearer, a line with each step.
                let ahead = sums.ahead.cast::<f32>().wrapping_add(tile % LINES * depth * LINE / M::STEP);
                let (b, added) = (panel.add(column * M::STEP), sums.added);
                let tile = Tile { depth, a, row: rows.distance, b, c, line: sums.distance, added, ahead };
                if sums.columns - column > S::LANES {
                    tile.of_rows::<S, M, 2>(simd, by, count);
                } else {
                    tile.of_rows::<S, M, 1>(simd, by, count);
                }
            }
            column += 2 * S::LANES;
        }
        done += count;
    }
}

/// Numbers of f32 in a line of the cache.
const LINE: usize = 16;
/// Lines of a row of a panel.
const LINES: usize = PANEL / LINE;

#[derive(Clone, Copy)]
struct Tile<N> {
    depth: usize,
    a: *const N,
    row: usize,
    b: *const N,
    c: *mut f32,
    line: usize,
    added: bool,
    ahead: *const f32,
}

impl<N: Copy> Tile<N> {
    /// # Safety
    /// As of [`multiply`], for `count` rows.
    #[inline(always)]
    unsafe fn of_rows<S: Simd, M: Multiplier<S, Number = N>, const VECTORS: usize>(self, simd: S, by: M, count: usize) {
        macro_rules! rows {
            ($($rows:literal)*) => {
                match count {
                    $($rows if $rows <= M::TILE_ROWS => by.apart(simd, Shaped::<M, N, $rows, VECTORS>(by, self)),)*
                    _ => unreachable!("a tile has at least one row and at most TILE_ROWS"),
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

/// A tile of `ROWS` rows that are `VECTORS` vectors wide. Whoever makes one keeps the promises of [`multiply`].
struct Shaped<M, N, const ROWS: usize, const VECTORS: usize>(M, Tile<N>);

impl<S: Simd, M: Multiplier<S>, const ROWS: usize, const VECTORS: usize> WorkOn<S>
    for Shaped<M, M::Number, ROWS, VECTORS>
{
    #[expect(clippy::needless_range_loop, reason = "iterators of arrays by value go through memory")]
    #[inline(always)]
    fn run(self, simd: S) {
        let Self(by, Tile { depth, a, row, b, c, line, added, ahead }) = self;
        let mut sums = [[simd.splat(0.0); VECTORS]; ROWS];
        // SAFETY: all of it lies in the rows, the panel and the sums that the caller of `multiply` has.
        unsafe {
            if added {
                for r in 0..ROWS {
                    for v in 0..VECTORS {
                        sums[r][v] = simd.load(c.add(r * line + v * S::LANES));
                    }
                }
            }
            for step in 0..depth / M::STEP {
                simd.prefetch(ahead.wrapping_add(step * LINE));
                let k = step * M::STEP;
                let mut panel = [by.panel(simd, b.add(k * PANEL)); VECTORS];
                for v in 1..VECTORS {
                    panel[v] = by.panel(simd, b.add(k * PANEL + v * S::LANES * M::STEP));
                }
                for r in 0..ROWS {
                    let number = by.row(simd, a.add(r * row + k));
                    for v in 0..VECTORS {
                        sums[r][v] = by.mul_add(simd, number, panel[v], sums[r][v]);
                    }
                }
            }
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    simd.store(c.add(r * line + v * S::LANES), sums[r][v]);
                }
            }
        }
    }
}
