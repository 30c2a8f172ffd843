//! Attention.

use sd_kernels::Attention;

use crate::launch::{Argument, Launch, Module, Number, int, size};

/// Queries of a block.
const QUERIES: usize = 64;
/// Threads of a block: four warps, each with a quarter of the queries.
const THREADS: usize = 128;
/// Keys that are met at a time.
const KEYS: usize = 64;
/// Numbers behind a row in the memory of a block.
const APART: usize = 8;
/// Channels of a head that there are kernels for; smaller heads are filled up with zeros.
const WIDTHS: [usize; 8] = [16, 32, 48, 64, 80, 96, 128, 160];
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
    let Attention { batch, queries, keys, heads, channels, causal } = shape;
    let width = WIDTHS.into_iter().find(|width| *width >= channels)?;
    let most = usize::from(u16::MAX);
    if number == Number::F32 || channels == 0 || !channels.is_multiple_of(PACK) || keys == 0 {
        return None;
    }
    if heads > most || batch > most {
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
        kernel: format!("attention_{}_{width}", number.name()),
        grid: [size(queries.div_ceil(QUERIES)), size(heads), size(batch)],
        block: [size(THREADS), 1, 1],
        block_bytes: size(2 * KEYS * (width + APART) * number.bytes()),
        arguments,
    })
}
