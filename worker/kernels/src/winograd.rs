//! Convolutions under windows of 3×3 with four multiplications in place of nine (Winograd 1980; Lavin and Gray 2016,
//! F(2×2, 3×3)).
//!
//! Four neighbouring numbers of the result come of a tile of 4×4 pixels. Tile and window are turned into 16 numbers for
//! each channel; the products of these are sums over channels, matrix by matrix, which are turned into the four numbers.
//! Where the picture is seen at twice its size, seven of the 16 vanish, and nine products are left for four numbers.

use std::array;
use std::fmt;
use std::ops::Range;
use std::ptr;

use crate::linear::Window;
use crate::memory::{Output, SharedBytes, with_scratch};
use crate::number::{Number, place_in_panel};
use crate::pack::{Depth, PANEL, PackedMatrix};
use crate::pool;
use crate::product::{Ending, Finish, TASKS_PER_THREAD, apart, share};
use crate::simd::{self, Path, Simd, Work};
use crate::stored::Stored;
use crate::tile::{Rows, Sums};

/// Side of a tile of pixels.
const TILE: usize = 4;
/// Side of a tile of the result.
const MADE: usize = 2;
/// Numbers of a tile.
const POINTS: usize = TILE * TILE;
/// Most tiles of a task: with what it multiplies and its sums it fits into the second cache.
const TILES_MAX: usize = 28;
/// Most panels of a task.
const PANELS_MAX: usize = 10;
/// Numbers of turned weights beyond which reading them takes longer than the multiplications that they spare.
const WEIGHTS_MAX: usize = 16 << 20;
/// Fewest channels that are worth turning tiles for.
const CHANNELS_MIN: usize = 32;

/// Weights of windows of 3×3, turned: a matrix `[channels, columns]` for each of the 16 points of a tile.
pub struct WinogradMatrix([PackedMatrix<f32>; POINTS]);

impl fmt::Debug for WinogradMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WinogradMatrix {}×{}", self.channels(), self.columns())
    }
}

impl WinogradMatrix {
    /// Numbers that it keeps for each window of nine.
    pub const POINTS: usize = POINTS;

    /// Whether it is quicker than the plain convolution from `channels` into `columns`.
    pub fn pays(channels: usize, columns: usize) -> bool {
        channels >= CHANNELS_MIN && columns >= CHANNELS_MIN && POINTS * channels * columns <= WEIGHTS_MAX
    }

    /// Turns `weights`, `[columns, channels, 3, 3]`.
    ///
    /// # Panics
    /// When they have another size, or there are no channels.
    pub fn new(weights: &[f32], columns: usize, channels: usize) -> Self {
        assert!(channels > 0, "there is something to sum up");
        assert_eq!(weights.len(), columns * channels * 9, "weights are {columns} columns of {channels} channels");
        Self(PackedMatrix::filled(Depth::whole(channels), columns, |_, column| {
            let from = &weights[column * channels * 9..][..channels * 9];
            move |channel| turned_window(array::from_fn(|tap| from[channel * 9 + tap]))
        }))
    }

    /// As [`Self::new`], of weights as a file holds them: what is not turned of them is never more than some columns.
    ///
    /// # Panics
    /// As there.
    pub fn of_stored(weights: Stored, columns: usize, channels: usize) -> Self {
        assert!(channels > 0, "there is something to sum up");
        assert_eq!(weights.len(), columns * channels * 9, "weights are {columns} columns of {channels} channels");
        Self(PackedMatrix::filled_from(weights, 9 * channels, columns, Depth::whole(channels), |column, channel| {
            turned_window(array::from_fn(|tap| column[channel * 9 + tap]))
        }))
    }

    /// A matrix of this size whose [`Self::bytes`], one after the other, are `bytes` from `start`; nothing where they are not
    /// there, or begin at no multiple of 64 in memory.
    pub fn of_packed(bytes: &SharedBytes, start: usize, columns: usize, channels: usize) -> Option<Self> {
        let len = PackedMatrix::<f32>::len_bytes(columns, Depth::whole(channels));
        let mut points = Vec::with_capacity(POINTS);
        for point in 0..POINTS {
            let start = start.checked_add(point * len)?;
            points.push(PackedMatrix::of_packed(SharedBytes::clone(bytes), start, columns, channels, 1)?);
        }
        points.try_into().ok().map(Self)
    }

    /// The matrices as they lie in memory, in the order that [`Self::layout`] names.
    pub fn bytes(&self) -> [&[u8]; POINTS] {
        self.0.each_ref().map(PackedMatrix::bytes)
    }

    /// Tells one order of the numbers in memory, and one choice of what is turned, from another.
    pub fn layout() -> String {
        let matrix = PackedMatrix::<f32>::layout();
        format!("{POINTS} points, from {CHANNELS_MIN} channels to {WEIGHTS_MAX} numbers, of {matrix}")
    }

    /// With `delta`, `[3 · 3 · channels, columns]`, added to the weights that were turned.
    ///
    /// # Panics
    /// When it has another size.
    pub fn plus(&self, delta: &[f32]) -> Self {
        let (channels, columns) = (self.channels(), self.columns());
        assert_eq!(delta.len(), 9 * channels * columns, "a difference is of the weights' size");
        Self(PackedMatrix::filled(Depth::whole(channels), columns, |rows, column| {
            let start = rows.start;
            let panels = self.0.each_ref().map(|matrix| matrix.panel(rows, column / PANEL));
            move |channel| {
                let added = turned_window(array::from_fn(|tap| delta[(tap * channels + channel) * columns + column]));
                let place = place_in_panel::<f32>(channel - start, column % PANEL);
                array::from_fn(|point| panels[point][place] + added[point])
            }
        }))
    }

    /// The weights before they were turned, `[3 · 3 · channels, columns]`, but for what rounding took.
    pub fn to_rows(&self) -> Vec<f32> {
        let (channels, columns) = (self.channels(), self.columns());
        let mut rows = vec![0.0; 9 * channels * columns];
        for (channel, column) in (0..channels).flat_map(|channel| (0..columns).map(move |column| (channel, column))) {
            // The middle of three is the difference of two points; the others are points themselves.
            let along = |points: [f32; TILE]| [points[0], points[1] - points[2], points[3]];
            let of_point = |y: usize, x: usize| self.0[y * TILE + x].number(channel, column);
            let lines: [[f32; 3]; TILE] = array::from_fn(|y| along(array::from_fn(|x| of_point(y, x))));
            for x in 0..3 {
                for (y, weight) in along(lines.map(|line| line[x])).into_iter().enumerate() {
                    rows[((y * 3 + x) * channels + channel) * columns + column] = weight;
                }
            }
        }
        rows
    }

    /// Channels that it convolves.
    pub fn channels(&self) -> usize {
        self.0[0].depth()
    }

    /// Columns of the result.
    pub fn columns(&self) -> usize {
        self.0[0].columns()
    }
}

/// `G · g · Gᵀ`
fn turned_window(window: [f32; 9]) -> [f32; POINTS] {
    let along = |[a, b, c]: [f32; 3]| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    let lines: [[f32; TILE]; 3] = array::from_fn(|y| along(array::from_fn(|x| window[3 * y + x])));
    let columns: [[f32; TILE]; TILE] = array::from_fn(|x| along(lines.map(|line| line[x])));
    array::from_fn(|point| columns[point % TILE][point / TILE])
}

/// [`Kernels::conv2d`](crate::Kernels::conv2d) under a window of 3×3 and stride 1.
///
/// # Panics
/// When the window is another one or does not fit into the padded picture, or a size is another one.
pub fn winograd_conv2d(
    path: Path,
    x: &[f32],
    window: Window,
    weights: &WinogradMatrix,
    ending: Ending<f32>,
) -> Vec<f32> {
    let Window { batch, size: [height, width], seen, channels, kernel, stride, padding: [before, _] } = window;
    assert_eq!([kernel, stride], [3, 1], "windows are of 3×3 pixels side by side");
    assert_eq!(x.len(), batch * height * width * channels, "a picture has the window's size");
    assert_eq!(weights.channels(), channels, "weights are those of the window");
    let places = window.places().expect("the window fits into the padded picture");
    let columns = weights.columns() / ending.activation.parts();
    let rows = batch * places[0] * places[1];
    ending.check(rows, weights.columns());
    let mut output = Output::new(rows * columns);
    let parts = output.parts();
    let across = places.map(|places| places.div_ceil(MADE));
    let is_doubled = seen == [2 * height, 2 * width] && before == 1;
    let tiles = batch * across[0] * across[1];
    let panels = columns.div_ceil(PANEL);
    let panel_tasks = panels.div_ceil(PANELS_MAX / ending.activation.parts());
    let tile_tasks =
        tiles.div_ceil(TILES_MAX).max((TASKS_PER_THREAD * pool::threads()).div_ceil(panel_tasks)).min(tiles);
    pool::each(tile_tasks * panel_tasks, |task| {
        let tiles = share(tiles, tile_tasks, task / panel_tasks);
        let finish = Finish { ending, columns, panels: share(panels, panel_tasks, task % panel_tasks), parts };
        path.run(Task { path, x, window, weights, places, across, is_doubled, tiles, finish });
    });
    // SAFETY: the tasks have written every column of every row.
    unsafe { output.written() }
}

/// Some tiles of a result in some of its columns.
struct Task<'a> {
    path: Path,
    x: &'a [f32],
    window: Window,
    weights: &'a WinogradMatrix,
    places: [usize; 2],
    /// Tiles one above the other, and side by side.
    across: [usize; 2],
    /// Whether the picture is seen at twice its size, so that the pixels in the middle of a tile are one.
    is_doubled: bool,
    tiles: Range<usize>,
    finish: Finish<'a, f32>,
}

impl Work for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.window.channels;
        let depth = Depth::whole(channels);
        let (line, summed) = (apart::<f32>(depth.block_rows::<f32>()), self.finish.line());
        let count = self.tiles.len();
        with_scratch::<f32, _>(
            channels + POINTS * count * line,
            #[inline(always)]
            |a| {
                let (zeros, a) = a.split_at_mut(channels);
                zeros.fill(0.0);
                with_scratch::<f32, _>(
                    (POINTS * count + MADE * MADE) * summed,
                    #[inline(always)]
                    |c| {
                        let (c, made) = c.split_at_mut(POINTS * count * summed);
                        for block in depth.blocks::<f32>() {
                            for (at, tile) in self.tiles.clone().enumerate() {
                                self.turn(simd, tile, &block, zeros, &mut a[at * line..], count * line);
                            }
                            for point in (0..POINTS).filter(|&point| !self.vanishes(point)) {
                                let (a, c) = (&a[point * count * line..], &mut c[point * count * summed..]);
                                self.multiply(simd, point, &block, a, c, [line, summed]);
                            }
                        }
                        for (at, tile) in self.tiles.clone().enumerate() {
                            self.finish_tile(simd, tile, &c[at * summed..], count * summed, made);
                        }
                    },
                );
            },
        );
    }
}

impl Task<'_> {
    /// Whether a point is zero in every tile.
    #[inline(always)]
    fn vanishes(&self, point: usize) -> bool {
        self.is_doubled && (point / TILE == 2 || point % TILE == 2)
    }

    /// Item, and place of the first number that a tile makes.
    #[inline(always)]
    fn place(&self, tile: usize) -> [usize; 3] {
        let [down, across] = self.across;
        [tile / (down * across), tile / across % down * MADE, tile % across * MADE]
    }

    /// Writes `Bᵀ · d · B` of the channels `block`, the points `distance` apart.
    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        simd: S,
        tile: usize,
        block: &Range<usize>,
        zeros: &[f32],
        to: &mut [f32],
        distance: usize,
    ) {
        let Window { size: [height, width], channels, .. } = self.window;
        let [item, top, left] = self.place(tile);
        let rows: [Option<usize>; TILE] = array::from_fn(|y| self.window.pixel(0, top + y));
        let columns: [Option<usize>; TILE] = array::from_fn(|x| self.window.pixel(1, left + x));
        let pixels: [[&[f32]; TILE]; TILE] = rows.map(|y| {
            columns.map(|x| match (y, x) {
                (Some(y), Some(x)) => &self.x[((item * height + y) * width + x) * channels..][block.clone()],
                _ => &zeros[block.clone()],
            })
        });
        for at in (0..block.len()).step_by(S::LANES) {
            let mut lines = [[simd.splat(0.0); TILE]; TILE];
            for (line, pixels) in lines.iter_mut().zip(&pixels) {
                for (lanes, pixel) in line.iter_mut().zip(pixels) {
                    *lanes = simd::at(simd, pixel, at);
                }
                *line = turned(simd, *line);
            }
            for x in 0..TILE {
                let column = turned(simd, [lines[0][x], lines[1][x], lines[2][x], lines[3][x]]);
                for (y, lanes) in column.into_iter().enumerate() {
                    let to = &mut to[(y * TILE + x) * distance + at..][..S::LANES];
                    // SAFETY: there is room for LANES numbers.
                    unsafe { simd.store(to.as_mut_ptr(), lanes) }
                }
            }
        }
    }

    /// Adds the products of one point of all tiles: what was turned from `a` on, with sums from `c` on, in lines of the
    /// lengths that `distances` says.
    #[inline(always)]
    fn multiply<S: Simd>(
        &self,
        simd: S,
        point: usize,
        block: &Range<usize>,
        a: &[f32],
        c: &mut [f32],
        distances: [usize; 2],
    ) {
        let rows = Rows { start: a.as_ptr(), distance: distances[0], count: self.tiles.len() };
        self.finish.each_panel(
            #[inline(always)]
            |panel, at, columns, after| {
                let from = self.weights.0[point].panel(block, panel).as_ptr();
                let start = c[at..].as_mut_ptr();
                let ahead = after.map_or(ptr::null(), |panel| self.weights.0[point].panel(block, panel).as_ptr());
                let (added, ahead) = (block.start > 0, ahead.cast());
                let sums = Sums { start, distance: distances[1], columns, added, ahead };
                // SAFETY: every row has `block.len()` numbers, the panel as many rows, and every line of sums a whole panel's
                // width from `at` on.
                unsafe { f32::multiply(simd, self.path, block.len(), rows, from, sums) }
            },
        );
    }

    /// Writes the numbers of a tile, whose sums for each point are `distance` apart. `made` is room for theirs.
    #[inline(always)]
    fn finish_tile<S: Simd>(&self, simd: S, tile: usize, sums: &[f32], distance: usize, made: &mut [f32]) {
        let line = self.finish.line();
        let [item, top, left] = self.place(tile);
        let zero = simd.splat(0.0);
        let summed = self.finish.panels.len() * PANEL * self.finish.ending.activation.parts();
        for at in (0..summed).step_by(S::LANES) {
            let mut lines = [[zero; MADE]; TILE];
            for (y, line) in lines.iter_mut().enumerate() {
                let mut points = [zero; TILE];
                for (x, lanes) in points.iter_mut().enumerate() {
                    let point = y * TILE + x;
                    if !self.vanishes(point) {
                        *lanes = simd::at(simd, &sums[point * distance..], at);
                    }
                }
                *line = turned_back(simd, points);
            }
            for x in 0..MADE {
                let column = turned_back(simd, [lines[0][x], lines[1][x], lines[2][x], lines[3][x]]);
                for (y, lanes) in column.into_iter().enumerate() {
                    let to = &mut made[(y * MADE + x) * line + at..][..S::LANES];
                    // SAFETY: there is room for LANES numbers.
                    unsafe { simd.store(to.as_mut_ptr(), lanes) }
                }
            }
        }
        for (number, sums) in made.chunks_exact(line).enumerate() {
            let (y, x) = (top + number / MADE, left + number % MADE);
            if y < self.places[0] && x < self.places[1] {
                self.finish.row(simd, (item * self.places[0] + y) * self.places[1] + x, sums);
            }
        }
    }
}

/// A row of `Bᵀ` with each column of it.
#[inline(always)]
fn turned<S: Simd>(simd: S, [a, b, c, d]: [S::Lanes; TILE]) -> [S::Lanes; TILE] {
    [simd.sub(a, c), simd.add(b, c), simd.sub(c, b), simd.sub(b, d)]
}

/// `Aᵀ` with four points.
#[inline(always)]
fn turned_back<S: Simd>(simd: S, [a, b, c, d]: [S::Lanes; TILE]) -> [S::Lanes; MADE] {
    [simd.add(simd.add(a, b), c), simd.sub(simd.sub(b, c), d)]
}
