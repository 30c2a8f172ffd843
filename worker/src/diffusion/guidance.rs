//! Classifier-free guidance (Ho and Salimans 2022).

use candle_core::{Result, Tensor};

use super::cancel::{CancelToken, Halt};
use super::nn::unet::{Unet, UnetInput};
use super::spec::GuidanceSpec;

/// What steers a walk.
#[derive(Debug)]
pub struct Guidance {
    prompt: UnetInput,
    guided: Option<Guided>,
}

#[derive(Debug)]
struct Guided {
    /// The negative prompts, then the prompts, so that one evaluation of twice the batch answers both.
    both: UnetInput,
    spec: GuidanceSpec,
}

impl Guidance {
    /// Towards `prompt` and away from `negative`, where there is one; both are for a batch.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(prompt: UnetInput, negative: Option<&UnetInput>, spec: GuidanceSpec) -> Result<Self> {
        let both = negative.map(|negative| UnetInput::cat(&[negative, &prompt])).transpose()?;
        Ok(Self { guided: both.map(|both| Guided { both, spec }), prompt })
    }

    /// Whether a guidance scale asks for two evaluations.
    pub fn is_on(scale: f64) -> bool {
        scale > 1.0
    }

    /// What the network says of `sample`, `[batch, h, w, channels]`, at `progress` of the walk, `[0, 1)` (equation
    /// 6, in diffusers' parametrisation: 1 is no guidance).
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn evaluate(
        &self,
        unet: &Unet,
        sample: &Tensor,
        timestep: f64,
        progress: f64,
        cancel: &CancelToken,
    ) -> std::result::Result<Tensor, Halt> {
        let Some(Guided { both, spec }) = self.guided.as_ref().filter(|guided| guided.reaches(progress)) else {
            return unet.forward(sample, timestep, &self.prompt, cancel);
        };
        let output = unet.forward(&Tensor::cat(&[sample, sample], 0)?, timestep, both, cancel)?;
        let batch = sample.dim(0)?;
        let (negative, prompt) = (output.narrow(0, 0, batch)?, output.narrow(0, batch, batch)?);
        let guided = (&negative + ((&prompt - &negative)? * spec.scale)?)?;
        if spec.rescale > 0.0 { Ok(rescaled(&guided, &prompt, spec.rescale)?) } else { Ok(guided) }
    }
}

impl Guided {
    fn reaches(&self, progress: f64) -> bool {
        let (start, end) = self.spec.interval;
        (start..end).contains(&progress)
    }
}

/// Brings the contrast of `guided` back towards that of `prompt` (Lin et al. 2024, equations 15 and 16; diffusers'
/// `rescale_noise_cfg`). Each picture of the batch has its own deviation, over all its numbers.
fn rescaled(guided: &Tensor, prompt: &Tensor, amount: f64) -> Result<Tensor> {
    let deviation = |x: &Tensor| x.flatten_from(1)?.var_keepdim(1)?.sqrt()?.reshape(((), 1, 1, 1));
    let factor = deviation(prompt)?.broadcast_div(&deviation(guided)?)?;
    guided.broadcast_mul(&factor.affine(amount, 1.0 - amount)?)
}
