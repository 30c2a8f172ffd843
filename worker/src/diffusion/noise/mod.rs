//! Torch's generators, so that a seed means the same noise here as in diffusers, whatever the device.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mt19937`] | `torch.Generator("cpu")` |
//! | [`philox`] | `torch.Generator("cuda")` |
//!
//! [`LatentNoise`] holds one generator per image and hands out tensors.

pub mod mt19937;
pub mod philox;

use candle_core::{Device, Result, Tensor};

pub use self::mt19937::CpuGenerator;
pub use self::philox::CudaGenerator;

/// Which of torch's generators a seed is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rng {
    /// `torch.Generator("cpu")`
    #[default]
    Cpu,
    /// `torch.Generator("cuda")`
    Philox,
}

impl Rng {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Philox];
}

/// The generator of one image.
#[derive(Debug)]
enum Generator {
    Cpu(Box<CpuGenerator>),
    Cuda(CudaGenerator),
}

impl Generator {
    fn new(rng: Rng, seed: u64) -> Self {
        match rng {
            Rng::Cpu => Self::Cpu(Box::new(CpuGenerator::new(seed))),
            Rng::Philox => Self::Cuda(CudaGenerator::new(seed)),
        }
    }

    fn normals(&mut self, count: usize) -> Vec<f32> {
        match self {
            Self::Cpu(generator) => generator.normals(count),
            Self::Cuda(generator) => generator.normals(count),
        }
    }
}

/// The generators of a batch: item *n* draws from `seed + n`, as diffusers' list of generators.
#[derive(Debug)]
pub struct LatentNoise {
    generators: Vec<Generator>,
    /// `(height, width, channels)` of a latent.
    shape: (usize, usize, usize),
    device: Device,
}

impl LatentNoise {
    /// Generators for `batch` latents of `height` × `width` × `channels`.
    pub fn new(
        rng: Rng,
        seed: u64,
        batch: usize,
        (height, width, channels): (usize, usize, usize),
        device: &Device,
    ) -> Self {
        let generators = (0..batch as u64).map(|item| Generator::new(rng, seed.wrapping_add(item))).collect();
        Self { generators, shape: (height, width, channels), device: device.clone() }
    }

    /// The next noise of every generator in the shape of the latents: `[batch, height, width, channels]` f32, unit
    /// variance.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn draw(&mut self) -> Result<Tensor> {
        let (height, width, channels) = self.shape;
        // Diffusers draws `[channels, height, width]`, one image after the other.
        let count = channels * height * width;
        let numbers: Vec<f32> = self.generators.iter_mut().flat_map(|generator| generator.normals(count)).collect();
        let shape = (self.generators.len(), channels, height, width);
        Tensor::from_vec(numbers, shape, &self.device)?.permute((0, 2, 3, 1))?.contiguous()
    }
}
