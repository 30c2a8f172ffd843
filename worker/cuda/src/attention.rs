//! Attention.

use sd_kernels::Attention;

use crate::launch::{Argument, Launch, Module, Number, WARP, int, size};

/// Queries that a warp holds together.
const STRIP: usize = 16;
/// Warps of a block.
const WARPS: usize = 4;
/// Keys that are met at a time.
const KEYS: usize = 64;
/// Numbers behind a row in the memory of a block.
const APART: usize = 8;
/// Channels of a head that there are kernels for; smaller heads are filled up with zeros.
const WIDTHS: [usize; 8] = [16, 32, 48, 64, 80, 96, 128, 160];
/// Most channels of a head whose warps have two strips, so that every key is read once for both.
const TWO_STRIPS_WIDTH_MAX: usize = 64;
/// Fewest keys and blocks for that: what is gained is few reads, and half as many blocks keep a GPU less busy.
const TWO_STRIPS_MIN: [usize; 2] = [2048, 200];
/// Channels that are read together.
const PACK: usize = 8;

/// Slots of the memory that the launch names: `[batch, queries, heads, channels]`.
pub const Q: usize = 0;
/// `[batch, keys, heads, channels]`
pub const K: usize = 1;
/// Of the size of [`K`].
pub const V: usize = 2;
/// The result, of the size of [`Q`].
pub const Y: usize = 3;

/// The kernel of attention with a running softmax (Vaswani et al. 2017; Dao 2023); nothing for f32, and where the sizes are
/// beyond it.
pub fn launch(shape: Attention, number: Number) -> Option<Launch> {
    let Attention { batch, queries, keys, heads, .. } = shape;
    let [keys_min, blocks_min] = TWO_STRIPS_MIN;
    let is_large = keys >= keys_min && blocks(queries, 2) * heads * batch >= blocks_min;
    let two = is_large.then(|| launch_in_strips(shape, number, 2)).flatten();
    two.or_else(|| launch_in_strips(shape, number, 1))
}

fn blocks(queries: usize, strips: usize) -> usize {
    queries.div_ceil(strips * STRIP * WARPS)
}

/// The kernel whose warps have so many strips of queries; nothing where there is none.
pub fn launch_in_strips(shape: Attention, number: Number, strips: usize) -> Option<Launch> {
    let Attention { batch, queries, keys, heads, channels, causal } = shape;
    let width = WIDTHS.into_iter().find(|width| *width >= channels)?;
    let most = usize::from(u16::MAX);
    if number == Number::F32 || channels == 0 || !channels.is_multiple_of(PACK) || keys == 0 {
        return None;
    }
    if heads > most || batch > most || !(1..=2).contains(&strips) || strips == 2 && width > TWO_STRIPS_WIDTH_MAX {
        return None;
    }
    let memory = |slot, tokens| Argument::Memory { slot, bytes: batch * tokens * heads * channels * number.bytes() };
    let arguments = vec![
        memory(Q, queries),
        memory(K, keys),
        memory(V, keys),
        memory(Y, queries),
        int(queries)?,
        int(keys)?,
        int(channels)?,
        Argument::Int(causal.into()),
        Argument::Float((channels as f32).sqrt().recip()),
    ];
    Some(Launch {
        module: Module::Attention,
        kernel: format!("attention_{}_{width}_{strips}", number.name()),
        grid: [size(blocks(queries, strips)), size(heads), size(batch)],
        block: [size(WARPS * WARP), 1, 1],
        // Keys and values that are met, and those that are on their way.
        block_bytes: size(2 * 2 * KEYS * (width + APART) * number.bytes()),
        arguments,
    })
}
