//! Classifier-free guidance (Ho and Salimans 2022).

use candle_core::{Result, Tensor};

use super::cancel::{CancelToken, Halt};
use super::nn::unet::{Conditioning, Unet, UnetInput};
use super::spec::GuidanceSpec;

/// What steers a walk, as the layers of its network take it.
#[derive(Debug)]
pub struct Guidance {
    prompt: Conditioning,
    guided: Option<Guided>,
}

#[derive(Debug)]
struct Guided {
    negative: Conditioning,
    /// The negative prompt, then the prompt, so that one evaluation of twice the batch answers both.
    both: Conditioning,
    spec: GuidanceSpec,
}

/// The evaluation that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// What the network is shown, `[batch, h, w, channels]`.
    pub sample: &'a Tensor,
    /// Counts the timesteps of the walk.
    pub step: usize,
    /// Of the walk, `[0, 1)`.
    pub progress: f64,
}

impl Guidance {
    /// Through `unet` at `timesteps`, towards `prompt` and away from `negative`, where there is one; both are of one item.
    ///
    /// # Errors
    /// When the token is set, the network is conditioned on something else, or memory runs out.
    pub fn new(
        unet: &Unet,
        timesteps: &[f64],
        prompt: &UnetInput,
        negative: Option<&UnetInput>,
        spec: GuidanceSpec,
        cancel: &CancelToken,
    ) -> std::result::Result<Self, Halt> {
        let Some(negative) = negative else {
            return Ok(Self { prompt: unet.condition(prompt, timesteps, cancel)?, guided: None });
        };
        let both = unet.condition(&UnetInput::cat(&[negative, prompt])?, timesteps, cancel)?;
        let (negative, prompt) = (both.item(0)?, both.item(1)?);
        Ok(Self { prompt, guided: Some(Guided { negative, both, spec }) })
    }

    /// Whether a guidance scale asks for two evaluations.
    pub fn is_on(scale: f64) -> bool {
        scale > 1.0
    }

    /// What the network says (equation 6, in diffusers' parametrisation: 1 is no guidance).
    ///
    /// With a `glimpse`, which is told what the network says of the prompt, that comes first and the negative prompt after
    /// it. It is the same to the last bit where [`Unet::keeps_items_apart`], and takes some percent longer: weights are
    /// read twice.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn evaluate(
        &self,
        unet: &Unet,
        Evaluation { sample, step, progress }: Evaluation,
        cancel: &CancelToken,
        glimpse: Option<&mut dyn FnMut(&Tensor)>,
    ) -> std::result::Result<Tensor, Halt> {
        let Some(Guided { negative, both, spec }) = self.guided.as_ref().filter(|guided| guided.reaches(progress))
        else {
            return unet.forward(sample, step, &self.prompt, cancel);
        };
        let (negative, prompt) = if let Some(glimpse) = glimpse {
            let prompt = unet.forward(sample, step, &self.prompt, cancel)?;
            glimpse(&prompt);
            (unet.forward(sample, step, negative, cancel)?, prompt)
        } else {
            let output = unet.forward(&Tensor::cat(&[sample, sample], 0)?, step, both, cancel)?;
            let batch = sample.dim(0)?;
            (output.narrow(0, 0, batch)?, output.narrow(0, batch, batch)?)
        };
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
