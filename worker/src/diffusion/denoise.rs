//! The loop from noise to a clean latent.

use candle_core::Tensor;

use super::cancel::{CancelToken, Halt};
use super::guidance::Guidance;
use super::nn::unet::Unet;
use super::noise::LatentNoise;
use super::pipeline::{GenerateError, Observer, StepView};
use super::schedulers::{Scheduler, Stepped};

/// Walks `scheduler` from fresh noise, telling `observer` after every step. The clean latents come back:
/// `[batch, h, w, channels]` f32, unit variance.
///
/// # Errors
/// When the token is set or memory runs out.
pub fn denoise(
    unet: &Unet,
    scheduler: &mut dyn Scheduler,
    guidance: &Guidance,
    noise: &mut LatentNoise,
    cancel: &CancelToken,
    observer: &mut dyn Observer,
) -> Result<Tensor, Halt> {
    let steps = scheduler.steps();
    let mut sample = (noise.draw()? * scheduler.initial_sigma())?;
    for step in 0..steps {
        cancel.checkpoint()?;
        let input = scheduler.scale_input(&sample, step)?;
        let output = guidance.evaluate(unet, &input, scheduler.timestep(step), cancel)?;
        let Stepped { next, denoised } = scheduler.advance(step, &output, &sample, &mut || noise.draw())?;
        sample = next;
        observer.stepped(&StepView {
            step: step as u32 + 1,
            steps: steps as u32,
            sigma: scheduler.sigma(step + 1),
            denoised: &|| copy_off_device(&denoised),
        });
    }
    Ok(sample)
}

fn copy_off_device(latents: &Tensor) -> Result<Vec<f32>, GenerateError> {
    Ok(latents.flatten_all()?.to_vec1()?)
}
