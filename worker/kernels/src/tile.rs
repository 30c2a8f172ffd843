//! The innermost product: some rows of one matrix with a panel of another, the sums held in registers.

use crate::pack::PANEL;
use crate::simd::{Simd, Work};

/// Rows, one after the other at a fixed distance.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) start: *const f32,
    /// Numbers from the beginning of one row to that of the next.
    pub(crate) distance: usize,
    pub(crate) count: usize,
}

/// Where sums go: rows of at least a whole vector's width.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    pub(crate) start: *mut f32,
    pub(crate) distance: usize,
    /// Columns that are wanted, of one panel; more may be written, up to whole vectors.
    pub(crate) columns: usize,
    /// Whether the product is added to what is there.
    pub(crate) added: bool,
}

/// `rows · panel` into `sums`, for `depth` numbers of each row and a panel `[depth, PANEL]`. Every sum is made from
/// the first to the last number of its row, whatever the tiles are, so that it is the same in each.
///
/// # Safety
/// Rows and panel have `depth` numbers, and there is room for the sums.
#[inline(always)]
pub(crate) unsafe fn multiply<S: Simd>(simd: S, depth: usize, rows: Rows, panel: *const f32, sums: Sums) {
    let tiles = rows.count.div_ceil(S::TILE_ROWS);
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
                // The next panel follows in memory; the first tiles bring it nearer, a line with each step.
                let ahead = panel.wrapping_add(depth * PANEL + (tile % LINES) * depth * LINE);
                let (b, added) = (panel.add(column), sums.added);
                let tile = Tile { depth, a, row: rows.distance, b, c, line: sums.distance, added, ahead };
                if sums.columns - column > S::LANES {
                    tile.of_rows::<S, 2>(simd, count);
                } else {
                    tile.of_rows::<S, 1>(simd, count);
                }
            }
            column += 2 * S::LANES;
        }
        done += count;
    }
}

/// Numbers of a line of the cache.
const LINE: usize = 16;
/// Lines of a row of a panel.
const LINES: usize = PANEL / LINE;

#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    a: *const f32,
    row: usize,
    b: *const f32,
    c: *mut f32,
    line: usize,
    added: bool,
    ahead: *const f32,
}

impl Tile {
    /// # Safety
    /// As of [`multiply`], for `count` rows.
    #[inline(always)]
    unsafe fn of_rows<S: Simd, const VECTORS: usize>(self, simd: S, count: usize) {
        macro_rules! rows {
            ($($rows:literal)*) => {
                match count {
                    $($rows if $rows <= S::TILE_ROWS => simd.apart(Shaped::<$rows, VECTORS>(self)),)*
                    _ => unreachable!("a tile has at least one row and at most TILE_ROWS"),
                }
            };
        }
        rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }
}

/// A tile of `ROWS` rows that are `VECTORS` vectors wide. Whoever makes one keeps the promises of [`multiply`].
struct Shaped<const ROWS: usize, const VECTORS: usize>(Tile);

impl<const ROWS: usize, const VECTORS: usize> Work for Shaped<ROWS, VECTORS> {
    type Output = ();

    #[expect(clippy::needless_range_loop, reason = "iterators of arrays by value go through memory")]
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tile { depth, a, row, b, c, line, added, ahead } = self.0;
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
            for k in 0..depth {
                simd.prefetch(ahead.wrapping_add(k * LINE));
                let mut panel = [simd.splat(0.0); VECTORS];
                for v in 0..VECTORS {
                    panel[v] = simd.load(b.add(k * PANEL + v * S::LANES));
                }
                for r in 0..ROWS {
                    let number = simd.splat(*a.add(r * row + k));
                    for v in 0..VECTORS {
                        sums[r][v] = simd.mul_add(number, panel[v], sums[r][v]);
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
