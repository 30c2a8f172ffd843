//! Classifier-free guidance (Ho and Salimans 2022).

use candle_core::Tensor;

use super::cancel::{CancelToken, Halt};
use super::nn::unet::Unet;

/// What the network is conditioned on, for a whole batch.
#[derive(Debug)]
pub enum Guidance {
    /// One evaluation a step: the prompt alone, `[batch, tokens, channels]`.
    Off {
        /// The encoded prompt.
        prompt: Tensor,
    },
    /// Both prompts in one evaluation of twice the batch.
    On {
        /// The negative prompts, then the prompts: `[2 · batch, tokens, channels]`.
        both: Tensor,
        /// How far to go from the one past the other.
        scale: f64,
    },
}

impl Guidance {
    /// Guidance towards `prompt` and away from `negative`, both `[1, tokens, channels]`, for `batch` pictures.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(prompt: &Tensor, negative: Option<&Tensor>, scale: f64, batch: usize) -> candle_core::Result<Self> {
        let prompt = prompt.repeat((batch, 1, 1))?;
        Ok(match negative {
            None => Self::Off { prompt },
            Some(negative) => Self::On { both: Tensor::cat(&[negative.repeat((batch, 1, 1))?, prompt], 0)?, scale },
        })
    }

    /// Whether a guidance scale asks for two evaluations.
    pub fn is_on(scale: f64) -> bool {
        scale > 1.0
    }

    /// What the network says of `sample`, `[batch, h, w, channels]`, under this guidance (equation 6, in diffusers'
    /// parametrisation: 1 is no guidance).
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn evaluate(&self, unet: &Unet, sample: &Tensor, timestep: f64, cancel: &CancelToken) -> Result<Tensor, Halt> {
        match self {
            Self::Off { prompt } => unet.forward(sample, timestep, prompt, cancel),
            Self::On { both, scale } => {
                let output = unet.forward(&Tensor::cat(&[sample, sample], 0)?, timestep, both, cancel)?;
                let batch = sample.dim(0)?;
                let (negative, prompt) = (output.narrow(0, 0, batch)?, output.narrow(0, batch, batch)?);
                Ok((&negative + ((prompt - &negative)? * *scale)?)?)
            }
        }
    }
}
