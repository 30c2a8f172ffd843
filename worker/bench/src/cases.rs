//! What is computed.

use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    /// The benchmark that it belongs to, and its shape.
    pub(crate) name: String,
    /// What it is.
    #[serde(flatten)]
    pub(crate) work: Work,
    /// Times that are taken of every engine.
    #[serde(skip)]
    pub(crate) repeats: usize,
}

/// What an engine is asked for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "work")]
pub(crate) enum Work {
    /// A convolution with bias that keeps a picture's size.
    Conv2d { batch: usize, size: usize, inputs: usize, outputs: usize, kernel: usize },
    /// A product with bias.
    Linear { rows: usize, inputs: usize, outputs: usize },
    /// One evaluation of Stable Diffusion 1.5's UNet.
    Unet { batch: usize, size: usize },
}

impl Work {
    /// Floating-point operations, where they are known.
    pub(crate) fn operations(&self) -> Option<f64> {
        match *self {
            Self::Conv2d { batch, size, inputs, outputs, kernel } => {
                Some(2.0 * (batch * size * size * inputs * outputs * kernel * kernel) as f64)
            }
            Self::Linear { rows, inputs, outputs } => Some(2.0 * (rows * inputs * outputs) as f64),
            // Counted from the configuration.
            Self::Unet { batch, size: 64 } => Some(0.803e12 * batch as f64),
            Self::Unet { .. } => None,
        }
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

/// Every case; `quick` ones are small and repeated less.
pub(crate) fn all(quick: bool) -> Vec<Case> {
    let repeats = if quick { 5 } else { 15 };
    let convolutions = CONVOLUTIONS.map(|[size, inputs, outputs, kernel]| Case {
        name: format!("C0 conv {kernel}×{kernel}, {size}×{size}, {inputs}→{outputs}"),
        work: Work::Conv2d { batch: 1, size, inputs, outputs, kernel },
        repeats,
    });
    let products = PRODUCTS.map(|[rows, inputs, outputs]| Case {
        name: format!("C0 linear, {rows} rows, {inputs}→{outputs}"),
        work: Work::Linear { rows, inputs, outputs },
        repeats,
    });
    let size = if quick { 32 } else { 64 };
    let networks = [("C1", 1), ("C2", 2)].map(|(id, batch)| Case {
        name: format!("{id} UNet {size}×{size}, batch {batch}"),
        work: Work::Unet { batch, size },
        repeats: if quick { 3 } else { 5 },
    });
    convolutions.into_iter().chain(products).chain(networks).collect()
}

/// What the UNet is told of the noise in its latents.
pub(crate) const TIMESTEP: f64 = 501.0;
/// Tokens and channels of its context.
pub(crate) const CONTEXT: [usize; 2] = [77, 768];
