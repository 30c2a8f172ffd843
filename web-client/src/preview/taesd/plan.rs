//! The passes that a GPU makes for a latent, and the memory that they share.
//!
//! Four slots go round: the present picture of a level in one, two for what lies between the convolutions of a block,
//! the picture of the level before in the fourth. A residual is added in place.
//!
//! The last level has most of the pixels, so it is drawn in bands of rows, each with as many rows around it as its
//! convolutions look at: a picture of 1024 px takes a third of the memory, and no buffer is beyond WebGPU's default
//! limit of 128 MiB.

use super::packing::Reading;
use super::{Precision, Shape};

/// Buffers that the passes share.
pub const SLOTS: usize = 4;

/// Bytes of a pass's uniform block.
pub const BLOCK_BYTES: usize = 48;

/// Where in the block of [`Step::Enter`] the scale and the offset of a latent's texels stand, two f32.
pub const AFFINE_AT: usize = 40;

/// Numbers that a slot may hold before the last level is drawn in bands: 16 MiB of f32.
pub const SLOT_NUMBERS: usize = 4 << 20;

/// Columns and rows that a workgroup of `convolve` works on.
const TILE: (u32, u32) = (16, 4);
/// Columns and rows that a workgroup of `enter` works on.
const ENTER_TILE: u32 = 8;
/// Most lanes that share the pixels of a workgroup.
const LANES_MAX: u32 = 8;

const RELU: u32 = 1;
const RESIDUAL: u32 = 2;

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The entry point `enter`.
    Enter,
    /// The entry point `convolve`.
    Convolve(Reading),
    /// The entry points `cover` and `show`: so many rows of the picture from this one on.
    Show {
        /// px
        first: u32,
        /// px
        rows: u32,
    },
}

/// One pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// What it does.
    pub step: Step,
    /// Number of its convolution, in the order of `Decoder::convolutions`.
    pub convolution: usize,
    /// The slot that it reads.
    pub source: usize,
    /// The slot that it writes.
    pub drawn: usize,
    /// Workgroups along each axis.
    pub workgroups: [u32; 3],
    /// Its uniform block.
    pub block: [u8; BLOCK_BYTES],
}

/// All passes for latents of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub passes: Vec<Pass>,
    /// Numbers that each slot holds.
    pub slots: [usize; SLOTS],
    /// px
    pub width: u32,
    /// px
    pub height: u32,
}

impl Plan {
    /// The plan for latents of `width` × `height` cells, with slots of so many numbers where that can be.
    pub fn new(shape: &Shape, width: u32, height: u32, slot_numbers: usize) -> Self {
        let picture = Size { width: width * shape.scale(), height: height * shape.scale() };
        let plan = Self { passes: Vec::new(), slots: [0; SLOTS], width: picture.width, height: picture.height };
        let mut planner = Planner { plan, slot_numbers, convolution: 0, groups: shape.channels.div_ceil(4) as u32 };
        let size = Size { width, height };
        planner.enter(size, shape.latent_channels.div_ceil(4) as u32);

        let last = shape.blocks.len() - 1;
        let mut before = None;
        for (level, &blocks) in shape.blocks.iter().enumerate() {
            let size = Size { width: width << level, height: height << level };
            let first = planner.convolution;
            let halo = 3 * blocks as u32 + 1;
            let bands = if level == last && level > 0 { planner.bands(size, halo) } else { vec![size.rows()] };
            for band in bands {
                // Each band has the same convolutions.
                planner.convolution = first;
                let around = |rows| band.around(rows, size.height);
                let x = match before {
                    None => planner.stem(size),
                    Some(before) => planner.finer(size, before, level % SLOTS, around(halo).even()),
                };
                let whole = level < last;
                planner.blocks(size, x, blocks, |left| if whole { size.rows() } else { around(left) });
                if level == last {
                    planner.show(size, x, band);
                } else {
                    before = Some(x);
                }
            }
        }
        planner.plan
    }

    /// Bytes of the largest slot.
    pub fn slot_bytes_max(&self, precision: Precision) -> usize {
        self.slots.iter().max().map_or(0, |numbers| numbers * precision.size_bytes())
    }
}

/// Lanes that share the pixels of a workgroup where so many channels are written.
pub fn lanes(outputs: usize) -> u32 {
    (outputs as u32).div_ceil(8).clamp(1, LANES_MAX)
}

#[derive(Clone, Copy)]
struct Size {
    width: u32,
    height: u32,
}

impl Size {
    fn rows(self) -> Rows {
        Rows { first: 0, count: self.height }
    }
}

/// Neighbouring rows of a picture.
#[derive(Clone, Copy)]
struct Rows {
    first: u32,
    count: u32,
}

impl Rows {
    /// With so many more at either end, as far as there are any.
    fn around(self, rows: u32, height: u32) -> Self {
        let first = self.first.saturating_sub(rows);
        Self { first, count: (self.first + self.count + rows).min(height) - first }
    }

    /// With whole pairs at either end.
    fn even(self) -> Self {
        let first = self.first / 2 * 2;
        Self { first, count: (self.first + self.count - first).next_multiple_of(2) }
    }

    fn half(self) -> Self {
        Self { first: self.first / 2, count: self.count / 2 }
    }
}

/// Rows of a picture in a slot.
#[derive(Clone, Copy)]
struct Held {
    slot: usize,
    rows: Rows,
}

struct Planner {
    plan: Plan,
    slot_numbers: usize,
    convolution: usize,
    /// Groups of four channels between layers.
    groups: u32,
}

impl Planner {
    /// Bands of the last level's rows, of about the same height.
    fn bands(&self, size: Size, halo: u32) -> Vec<Rows> {
        let row_numbers = (size.width * self.groups * 4) as usize;
        let level_before = row_numbers * size.height as usize / 4;
        let fitting = (self.slot_numbers.max(level_before) / row_numbers) as u32;
        if fitting >= size.height {
            return vec![size.rows()];
        }
        let count = size.height.div_ceil(fitting.saturating_sub(2 * halo).max(halo));
        let rows = size.height.div_ceil(count).next_multiple_of(2);
        let bands = (0..size.height).step_by(rows as usize);
        bands.map(|first| Rows { first, count: rows.min(size.height - first) }).collect()
    }

    fn enter(&mut self, size: Size, groups: u32) {
        let drawn = Held { slot: 1, rows: size.rows() };
        let tiles = [size.width.div_ceil(ENTER_TILE), size.height.div_ceil(ENTER_TILE), groups];
        let block = Block { drawn, rows: size.rows(), groups: (0, groups), ending: 0, ..Block::of(size, drawn) };
        self.push(Step::Enter, block, tiles);
    }

    fn stem(&mut self, size: Size) -> Held {
        let [source, drawn] = [1, 0].map(|slot| Held { slot, rows: size.rows() });
        let groups_in = self.plan.passes[0].workgroups[2];
        self.convolve(Block { drawn, groups: (groups_in, self.groups), ending: RELU, ..Block::of(size, source) });
        drawn
    }

    /// The convolution from the level before to `rows` of this one.
    fn finer(&mut self, size: Size, source: Held, slot: usize, rows: Rows) -> Held {
        let drawn = Held { slot, rows };
        let coarse = Size { width: size.width / 2, height: size.height / 2 };
        let groups = (self.groups, self.groups);
        let block = Block { drawn, rows: rows.half(), groups, ending: 0, ..Block::of(coarse, source) };
        let tiles = self.tiles(block.size, block.rows, 4);
        self.push(Step::Convolve(Reading::Finer), block, tiles);
        drawn
    }

    /// `rows_when(n)` are the rows that are needed when n convolutions follow.
    fn blocks(&mut self, size: Size, x: Held, blocks: usize, rows_when: impl Fn(u32) -> Rows) {
        let mut left = 3 * blocks as u32 + 1;
        let mut rows = || {
            left -= 1;
            rows_when(left)
        };
        let groups = (self.groups, self.groups);
        for _ in 0..blocks {
            let a = Held { slot: (x.slot + 1) % SLOTS, rows: rows() };
            let b = Held { slot: (x.slot + 2) % SLOTS, rows: rows() };
            let c = rows();
            self.convolve(Block { drawn: a, rows: a.rows, groups, ending: RELU, ..Block::of(size, x) });
            self.convolve(Block { drawn: b, rows: b.rows, groups, ending: RELU, ..Block::of(size, a) });
            self.convolve(Block { drawn: x, rows: c, groups, ending: RELU | RESIDUAL, ..Block::of(size, b) });
        }
    }

    fn show(&mut self, size: Size, source: Held, band: Rows) {
        let block = Block { rows: band, groups: (self.groups, 1), ..Block::of(size, source) };
        self.push(Step::Show { first: band.first, rows: band.count }, block, [0; 3]);
    }

    fn convolve(&mut self, block: Block) {
        let tiles = self.tiles(block.size, block.rows, 1);
        self.push(Step::Convolve(Reading::Same), block, tiles);
    }

    fn tiles(&self, size: Size, rows: Rows, phases: u32) -> [u32; 3] {
        let slices = self.groups.div_ceil(2 * lanes(self.groups as usize * 4));
        [size.width.div_ceil(TILE.0), rows.count.div_ceil(TILE.1), slices * phases]
    }

    fn push(&mut self, step: Step, block: Block, workgroups: [u32; 3]) {
        let (source, drawn) = (block.source.slot, block.drawn.slot);
        if !matches!(step, Step::Show { .. }) {
            let zoom = if step == Step::Convolve(Reading::Finer) { 2 } else { 1 };
            let numbers = (block.size.width * zoom * block.drawn.rows.count * block.groups.1 * 4) as usize;
            self.plan.slots[drawn] = self.plan.slots[drawn].max(numbers);
        }
        let convolution = self.convolution;
        self.convolution += usize::from(step != Step::Enter);
        self.plan.passes.push(Pass { step, convolution, source, drawn, workgroups, block: block.bytes() });
    }
}

/// The uniform block.
struct Block {
    /// Of the picture that is read.
    size: Size,
    source: Held,
    drawn: Held,
    /// To work on, of the picture that is read.
    rows: Rows,
    /// Groups of channels in and out.
    groups: (u32, u32),
    ending: u32,
}

impl Block {
    fn of(size: Size, source: Held) -> Self {
        Self { size, source, drawn: source, rows: size.rows(), groups: (0, 0), ending: 0 }
    }

    fn bytes(&self) -> [u8; BLOCK_BYTES] {
        let (source, drawn) = (self.source.rows, self.drawn.rows);
        let (groups_in, groups_out) = self.groups;
        let words = [
            [self.size.width, source.first, source.count, drawn.first],
            [drawn.count, self.rows.first, self.rows.count, groups_in],
            [groups_out, self.ending, 1.0_f32.to_bits(), 0],
        ];
        let mut bytes = [0; BLOCK_BYTES];
        for (slot, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words.as_flattened()) {
            *slot = word.to_le_bytes();
        }
        bytes
    }
}
