//! Torch's CUDA generator: what `torch.Generator("cuda")` gives diffusers on a GPU.
//!
//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") under cuRAND's Box–Muller.
//! `torch.randn` runs one GPU thread per number: thread *i* is subsequence *i* of the seed, takes the first of the
//! four normals of one counter, and each call moves the counter on by one. A tensor with more numbers than the GPU
//! holds threads (40 960 on a T4, 221 184 on an A100) wraps around there into the other three normals, and so differs
//! between models of GPU; here it never wraps, as on a GPU that is large enough.

/// Multipliers of the two halves of a round.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// What the key grows by from round to round: the golden ratio and √3 − 1.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: u32 = 10;

/// cuRAND's `CURAND_2POW32_INV` and `CURAND_2POW32_INV_2PI`.
const UNIT: f32 = 2.328_306_4e-10;
const ANGLE: f32 = UNIT * 6.283_185_5;

/// The generator of one image.
#[derive(Clone, Debug)]
pub struct CudaGenerator {
    key: [u32; 2],
    /// Calls so far: the low half of the counter.
    calls: u64,
}

impl CudaGenerator {
    /// `torch.Generator("cuda").manual_seed(seed)`, which looks at all 64 bits.
    pub fn new(seed: u64) -> Self {
        Self { key: halves(seed), calls: 0 }
    }

    /// `torch.randn(count, generator=self)`, f32.
    pub fn normals(&mut self, count: usize) -> Vec<f32> {
        let [low, high] = halves(self.calls);
        self.calls += 1;
        let normal = |subsequence: u64| {
            let [index_low, index_high] = halves(subsequence);
            let [x, y, ..] = philox4x32([low, high, index_low, index_high], self.key);
            first_normal(x, y)
        };
        (0..count as u64).map(normal).collect()
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Philox4x32-10: four random words for a counter and a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [first_low, first_high] = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [second_low, second_high] = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [second_high ^ counter[1] ^ key[0], second_low, first_high ^ counter[3] ^ key[1], first_low];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The first number of cuRAND's `_curand_box_muller`. The uniforms are f32 with one rounding each, as the GPU fuses
/// multiplication and addition; near a uniform of 1 the logarithm would show any other rounding.
fn first_normal(x: u32, y: u32) -> f32 {
    let uniform = (x as f32).mul_add(UNIT, UNIT / 2.0);
    let angle = (y as f32).mul_add(ANGLE, ANGLE / 2.0);
    let radius = (-2.0 * f64::from(uniform).ln()).sqrt();
    (radius * f64::from(angle).sin()) as f32
}
