//! What is computed.

use serde::{Deserialize, Serialize};

/// One line of the set, in one type of number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    /// The benchmark that it belongs to: C0, C1, …
    pub(crate) id: &'static str,
    /// What it is, with its shape.
    pub(crate) name: String,
    /// In what weights are held and multiplied.
    pub(crate) dtype: Dtype,
    #[serde(flatten)]
    pub(crate) work: Work,
    /// Times that are taken of every engine.
    #[serde(skip)]
    pub(crate) repeats: usize,
    /// Numbers of threads that the engines take turns with; that of the run where there are none.
    #[serde(skip)]
    pub(crate) threads: Vec<usize>,
}

/// A type of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    /// 32 bits.
    Fp32,
    /// 16 bits with the range of 32; sums are in f32.
    Bf16,
}

impl Dtype {
    pub(crate) const ALL: [Self; 2] = [Self::Fp32, Self::Bf16];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        }
    }

    /// Relative L2 distance from fp32 torch that an output may have.
    pub(crate) fn distance_max(self) -> f64 {
        match self {
            Self::Fp32 => 1e-4,
            Self::Bf16 => 2e-2,
        }
    }

    pub(crate) fn bytes(self) -> f64 {
        match self {
            Self::Fp32 => 4.0,
            Self::Bf16 => 2.0,
        }
    }
}

/// What an engine is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "work")]
pub(crate) enum Work {
    /// A convolution with bias that keeps a picture's size.
    Conv2d { batch: usize, size: usize, inputs_channels: usize, outputs_channels: usize, kernel: usize },
    /// A product with bias.
    Linear { rows: usize, inputs_channels: usize, outputs_channels: usize },
    /// One evaluation of Stable Diffusion 1.5's UNet.
    Unet { batch: usize, size: usize },
    /// Its autoencoder's decoder, from latents of this size.
    Vae { size: usize },
}

impl Work {
    /// Floating-point operations, where they are known.
    pub(crate) fn operations(&self) -> Option<f64> {
        match *self {
            Self::Conv2d { batch, size, inputs_channels, outputs_channels, kernel } => {
                Some(2.0 * (batch * size * size * inputs_channels * outputs_channels * kernel * kernel) as f64)
            }
            Self::Linear { rows, inputs_channels, outputs_channels } => {
                Some(2.0 * (rows * inputs_channels * outputs_channels) as f64)
            }
            // Counted from the configurations.
            Self::Unet { batch, size: 64 } => Some(0.803e12 * batch as f64),
            Self::Vae { size: 64 } => Some(2.51e12),
            Self::Unet { .. } | Self::Vae { .. } => None,
        }
    }

    /// Weights of a network.
    pub(crate) fn parameters(&self) -> f64 {
        match self {
            Self::Unet { .. } => 859.5e6,
            Self::Vae { .. } => 49.5e6,
            Self::Conv2d { .. } | Self::Linear { .. } => 0.0,
        }
    }

    /// Whether it is more than one operation.
    pub(crate) fn is_network(&self) -> bool {
        matches!(self, Self::Unet { .. } | Self::Vae { .. })
    }
}

/// Size, channels in and out, and side of the kernel of the convolutions that take most of SD 1.5's time, and of its VAE.
const CONVOLUTIONS: [[usize; 4]; 8] = [
    [64, 320, 320, 3],
    [64, 960, 320, 3],
    [32, 640, 640, 3],
    [16, 1280, 1280, 3],
    [8, 1280, 1280, 3],
    [64, 320, 320, 1],
    [128, 512, 512, 3],
    [256, 256, 256, 3],
];

/// Rows, channels in and out of its products.
const PRODUCTS: [[usize; 3]; 5] =
    [[4096, 320, 320], [4096, 320, 2560], [4096, 1280, 320], [1024, 640, 640], [77, 768, 640]];

/// Every case of operations and networks; `quick` ones are smaller, fewer and repeated less.
pub(crate) fn all(quick: bool, threads: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let every = if quick { 2 } else { 1 };
    for work in operations().step_by(every).filter(|work| !quick || work.operations() < Some(2e10)) {
        let repeats = if quick { 5 } else { 9 };
        for dtype in Dtype::ALL {
            cases.push(Case { id: "C0", name: work.to_string(), dtype, work, repeats, threads: Vec::new() });
        }
    }
    let size = if quick { 32 } else { 64 };
    let repeats = if quick { 2 } else { 5 };
    let networks = [
        ("C1", Work::Unet { batch: 1, size }),
        ("C2", Work::Unet { batch: 2, size }),
        ("C4", Work::Vae { size }),
        ("C10", Work::Unet { batch: 1, size }),
    ];
    for (id, work) in networks.into_iter().filter(|(id, _)| !quick || ["C1", "C4"].contains(id)) {
        let threads = match id {
            "C10" if threads < 2 => continue,
            "C10" => vec![1, 2],
            _ => Vec::new(),
        };
        // The decoder in fp32 takes everyone longest.
        let dtypes = if quick && id == "C4" { &[Dtype::Bf16][..] } else { &Dtype::ALL };
        for &dtype in dtypes {
            cases.push(Case { id, name: work.to_string(), dtype, work, repeats, threads: threads.clone() });
        }
    }
    cases
}

fn operations() -> impl Iterator<Item = Work> {
    let convolutions = CONVOLUTIONS.map(|[size, inputs_channels, outputs_channels, kernel]| Work::Conv2d {
        batch: 1,
        size,
        inputs_channels,
        outputs_channels,
        kernel,
    });
    let products = PRODUCTS.map(|[rows, inputs_channels, outputs_channels]| Work::Linear {
        rows,
        inputs_channels,
        outputs_channels,
    });
    convolutions.into_iter().chain(products)
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Conv2d { size, inputs_channels, outputs_channels, kernel, .. } => {
                write!(f, "conv {kernel}×{kernel}, {size}×{size}, {inputs_channels}→{outputs_channels}")
            }
            Self::Linear { rows, inputs_channels, outputs_channels } => {
                write!(f, "linear, {rows} rows, {inputs_channels}→{outputs_channels}")
            }
            Self::Unet { batch, size } => write!(f, "UNet {size}×{size}, batch {batch}"),
            Self::Vae { size } => write!(f, "VAE decode to {} px", 8 * size),
        }
    }
}

/// What the UNet is told of the noise in its latents.
pub(crate) const TIMESTEP: f64 = 501.0;
/// Tokens and channels of its context.
pub(crate) const CONTEXT: [usize; 2] = [77, 768];
