//! Weights as files hold them.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::memory::{Output, with_scratch};
use crate::number::Number;
use crate::pool;

/// Numbers as a file holds them: little-endian, one after the other, beginning at any byte.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// Four bytes each.
    F32(&'a [u8]),
    /// Two bytes each, IEEE half precision.
    F16(&'a [u8]),
    /// Two bytes each, the upper half of an f32.
    Bf16(&'a [u8]),
}

/// Halves that are brought to where numbers may begin at a time.
const CHUNK: usize = 512;
/// Numbers that a task converts.
const TASK: usize = 1 << 16;

impl Stored<'_> {
    /// How many there are; what is left of a last number does not count.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(bytes) => bytes.len() / 4,
            Self::F16(bytes) | Self::Bf16(bytes) => bytes.len() / 2,
        }
    }

    /// All of them, each the nearest.
    pub fn to_numbers<N: Number>(&self) -> Vec<N> {
        let len = self.len();
        let mut output = Output::new(len);
        let parts = output.parts();
        pool::each(len.div_ceil(TASK), |task| {
            let range = task * TASK..len.min((task + 1) * TASK);
            // SAFETY: every task has its own numbers.
            let to = unsafe { parts.part(range.start, range.len()) };
            with_scratch(range.len(), |wide| {
                self.widen(range, wide);
                for (to, &mut from) in to.iter_mut().zip(wide) {
                    to.write(N::from_f32(from));
                }
            });
        });
        // SAFETY: the tasks have written every number.
        unsafe { output.written() }
    }

    /// Writes those of `range` as f32, which every type fits into.
    pub(crate) fn widen(&self, range: Range<usize>, to: &mut [f32]) {
        match self {
            Self::F32(bytes) => {
                for (to, from) in to.iter_mut().zip(bytes[4 * range.start..4 * range.end].as_chunks().0) {
                    *to = f32::from_le_bytes(*from);
                }
            }
            Self::F16(bytes) => {
                let mut halves = [f16::ZERO; CHUNK];
                for (to, from) in to.chunks_mut(CHUNK).zip(bytes[2 * range.start..2 * range.end].chunks(2 * CHUNK)) {
                    let halves = &mut halves[..to.len()];
                    for (half, from) in halves.iter_mut().zip(from.as_chunks().0) {
                        *half = f16::from_le_bytes(*from);
                    }
                    halves.convert_to_f32_slice(to);
                }
            }
            Self::Bf16(bytes) => {
                for (to, from) in to.iter_mut().zip(bytes[2 * range.start..2 * range.end].as_chunks().0) {
                    *to = bf16::from_le_bytes(*from).to_f32();
                }
            }
        }
    }
}
