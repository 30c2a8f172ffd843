//! Normalisations.

use sd_kernels::Activation;

use crate::launch::{Argument, BLOCK_BYTES_MAX, Launch, Module, Number, THREADS_MAX, WARP, int, known, size};

/// Numbers that a block takes of an item, about.
const PIECE_NUMBERS: usize = 1 << 13;
/// Most pieces of all items, about: enough to keep a GPU busy, and every block reads what was found of all of its item.
const PIECES_MAX: usize = 256;
/// Bytes of the moments of a group: count, mean, squared distances, all f32.
const MOMENTS_BYTES: usize = 12;
/// Threads of a block of group normalisation, about: pieces are few, and memory is to be kept busy.
const GROUP_THREADS: usize = 512;
/// Rows of a block of layer normalisation.
const LINES: usize = 4;

/// Group normalisation of `[batch, positions, channels]` (Wu and He 2018), then an activation.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    /// Items, each with its own statistics.
    pub batch: usize,
    /// Of an item.
    pub positions: usize,
    /// A multiple of the groups.
    pub channels: usize,
    /// Of channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// Not [`Activation::Geglu`].
    pub activation: Activation,
}

impl GroupNorm {
    /// Slots of the memory that launches name: what is normalised, `[batch, positions, channels]`.
    pub const X: usize = 0;
    /// `[channels]`
    pub const WEIGHT: usize = 1;
    /// `[channels]`
    pub const BIAS: usize = 2;
    /// f32, as many as [`Self::moments_len`] says.
    pub const MOMENTS: usize = 3;
    /// The result, of the size of [`Self::X`].
    pub const Y: usize = 4;

    fn pieces(&self) -> (usize, usize) {
        let numbers = self.positions * self.channels;
        let most = PIECES_MAX.div_ceil(self.batch.max(1)).max(PIECES_MAX / 16);
        let pieces = (numbers / PIECE_NUMBERS).clamp(1, most);
        let piece = self.positions.div_ceil(pieces).max(1);
        (self.positions.div_ceil(piece).max(1), piece)
    }

    /// Numbers of [`Self::MOMENTS`].
    pub fn moments_len(&self) -> usize {
        self.batch * self.pieces().0 * self.groups * MOMENTS_BYTES / size_of::<f32>()
    }

    /// One kernel after the other; nothing where the sizes are beyond them.
    pub fn launches(&self, number: Number) -> Option<[Launch; 2]> {
        let Self { batch, positions, channels, groups, eps, activation } = *self;
        let (width, wideness) = number.width(channels);
        let (pieces, piece) = self.pieces();
        let block = block(channels / width);
        let [lanes, lines] = block;
        let block_bytes = 2 * size_of::<f32>() * channels * lines;
        if block_bytes > BLOCK_BYTES_MAX || batch > u16::MAX.into() {
            return None;
        }
        let numbers = batch * positions * channels * number.bytes();
        let moments = self.moments_len() * size_of::<f32>();
        let memory = |slot, bytes| Argument::Memory { slot, bytes };
        let sizes = [int(positions)?, int(channels)?, int(groups)?, int(piece)?];
        let launch = |kernel: &str, bytes: usize, arguments: Vec<Argument>| Launch {
            module: Module::Norm,
            kernel: format!("{kernel}_{}_{wideness}", number.name()),
            grid: [size(pieces), size(batch), 1],
            block: [size(lanes), size(lines), 1],
            block_bytes: size(bytes),
            arguments,
        };
        let of_moments = [&[memory(Self::X, numbers), memory(Self::MOMENTS, moments)], &sizes[..]].concat();
        let weights = channels * number.bytes();
        let of_norm = [
            &[memory(Self::X, numbers), memory(Self::MOMENTS, moments), memory(Self::WEIGHT, weights)][..],
            &[memory(Self::BIAS, weights), memory(Self::Y, numbers)],
            &sizes[..],
            &[Argument::Float(eps), known(activation)],
        ]
        .concat();
        Some([
            launch("group_moments", block_bytes, of_moments),
            launch("group_norm", 2 * size_of::<f32>() * channels, of_norm),
        ])
    }
}

/// Threads for `packs` of channels by those for positions: whole warps, some [`GROUP_THREADS`].
fn block(packs: usize) -> [usize; 2] {
    let lanes = packs.clamp(1, GROUP_THREADS);
    // Lines that fill up the last warp.
    let together = WARP / gcd(lanes, WARP);
    let lines = (GROUP_THREADS / lanes / together).max(1) * together;
    if lanes * lines <= THREADS_MAX { [lanes, lines] } else { [lanes.next_multiple_of(WARP), 1] }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Layer normalisation of `[rows, channels]` (Ba et al. 2016).
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Each with its own statistics.
    pub rows: usize,
    /// Of a row.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// Slots of the memory that launches name: what is normalised, `[rows, channels]`.
    pub const X: usize = 0;
    /// `[channels]`
    pub const WEIGHT: usize = 1;
    /// `[channels]`
    pub const BIAS: usize = 2;
    /// The result, of the size of [`Self::X`].
    pub const Y: usize = 3;

    /// The kernel; nothing where the sizes are beyond it.
    pub fn launch(&self, number: Number) -> Option<Launch> {
        let Self { rows, channels, eps } = *self;
        let (_, wideness) = number.width(channels);
        let (numbers, weights) = (rows * channels * number.bytes(), channels * number.bytes());
        let memory = |slot, bytes| Argument::Memory { slot, bytes };
        let arguments = vec![
            memory(Self::X, numbers),
            memory(Self::WEIGHT, weights),
            memory(Self::BIAS, weights),
            memory(Self::Y, numbers),
            int(rows)?,
            int(channels)?,
            Argument::Float(eps),
        ];
        Some(Launch {
            module: Module::Norm,
            kernel: format!("layer_norm_{}_{wideness}", number.name()),
            grid: [size(rows.div_ceil(LINES)), 1, 1],
            block: [size(WARP), size(LINES), 1],
            block_bytes: 0,
            arguments,
        })
    }
}
