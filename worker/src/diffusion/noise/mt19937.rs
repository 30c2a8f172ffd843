//! Torch's CPU generator: what `torch.Generator("cpu")` gives diffusers.
//!
//! MT19937 (Matsumoto and Nishimura 1998) and the two normal transforms of torch's `normal_kernel`: a vectorised
//! Box–Muller over blocks of 16 from f32 uniforms, and a scalar one from f64 uniforms for fewer than 16 numbers.

use std::f64::consts::TAU;

const STATE: usize = 624;
const BLOCK: usize = 16;

/// The generator of one image.
#[derive(Clone, Debug)]
pub struct CpuGenerator {
    state: [u32; STATE],
    index: usize,
    /// The second number of the last scalar pair.
    spare: Option<f64>,
}

impl CpuGenerator {
    /// `torch.Generator("cpu").manual_seed(seed)`, which looks at the low 32 bits.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; STATE];
        state[0] = seed as u32;
        for i in 1..STATE {
            let before: u32 = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, index: STATE, spare: None }
    }

    /// `torch.randn(count, generator=self)`, f32: a call of its own, as the transform depends on the count.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.scalar_normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform32()).collect();
        values.chunks_exact_mut(BLOCK).for_each(transform);
        if !count.is_multiple_of(BLOCK) {
            // Torch draws the last block afresh, over numbers that may already be transformed.
            let tail = &mut values[count - BLOCK..];
            tail.fill_with(|| self.uniform32());
            transform(tail);
        }
        values
    }

    /// In `[0, 1)`, with 24 bits.
    fn uniform32(&mut self) -> f32 {
        (self.next_u32() & 0x00ff_ffff) as f32 / 16_777_216.0
    }

    /// In `[0, 1)`, with 53 bits.
    fn uniform64(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let bits = (high << 32) | u64::from(self.next_u32());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    fn scalar_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let angle = TAU * self.uniform64();
        let radius = (-2.0 * (-self.uniform64()).ln_1p()).sqrt();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    fn next_u32(&mut self) -> u32 {
        if self.index == STATE {
            self.refill();
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..STATE {
            let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let twist = (mixed >> 1) ^ if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % STATE] ^ twist;
        }
        self.index = 0;
    }
}

/// Sixteen uniforms into sixteen normals: the first eight are radii, the second eight angles.
fn transform(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * f64::from(1.0 - *first).ln()).sqrt();
        let angle = TAU * f64::from(*second);
        *first = (radius * angle.cos()) as f32;
        *second = (radius * angle.sin()) as f32;
    }
}
