//! The loop from noise to a clean latent.

use std::collections::VecDeque;
use std::ops::Range;

use candle_core::Tensor;

use super::cancel::{CancelToken, Halt};
use super::guidance::{Evaluation, Guidance};
use super::nn::unet::Unet;
use super::noise::LatentNoise;
use super::ops::{Arrival, Arrivals};
use super::pipeline::{GenerateError, Observer, StepView};
use super::schedulers::{Scheduler, Stepped};

/// How the loop keeps to a picture. All tensors are f32 and channels last.
#[derive(Debug)]
pub enum Inpainting {
    /// There is none.
    Off,
    /// After every step, what the mask leaves out is put back at the noise level of the next one (diffusers'
    /// `StableDiffusionInpaintPipeline` with a UNet of four channels; Lugmayr et al. 2022 without resampling).
    Repaint {
        /// `[1, h, w, 1]`: 1 is drawn, 0 is kept.
        mask: Tensor,
        /// Clean latents of the picture, `[batch, h, w, channels]`.
        clean: Tensor,
        /// The noise that the walk began with, in the same shape.
        noise: Tensor,
    },
    /// The network sees the mask and the rest of the picture beside the sample, `[batch, h, w, 1 + channels]`
    /// (a UNet of nine channels).
    Channels(Tensor),
}

/// Everything that a walk needs beside its sample.
pub struct Walk<'a> {
    /// The network.
    pub unet: &'a Unet,
    /// Where the walk goes.
    pub scheduler: &'a mut dyn Scheduler,
    /// What steers it.
    pub guidance: &'a Guidance,
    /// How it keeps to a picture.
    pub inpainting: &'a Inpainting,
    /// What a scheduler that adds noise draws from.
    pub noise: &'a mut LatentNoise,
    /// How the observer gets to see what comes out.
    pub arrivals: &'a Arrivals,
    /// The step that the observer counts from: all that comes before it was never asked for.
    pub origin: usize,
    /// Read before every step and between the blocks of the network.
    pub cancel: &'a CancelToken,
}

impl Walk<'_> {
    /// Walks the steps of `range` from `sample`, `[batch, h, w, channels]` f32 with the noise of the first of them,
    /// and tells `observer` after each. The sample after the last one comes back.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn run(
        &mut self,
        mut sample: Tensor,
        range: Range<usize>,
        observer: &mut dyn Observer,
    ) -> Result<Tensor, Halt> {
        let steps = self.scheduler.steps();
        let mut told = VecDeque::with_capacity(self.arrivals.ahead() + 1);
        for step in range {
            self.cancel.checkpoint()?;
            let mut input = self.scheduler.scale_input(&sample, step)?;
            if let Inpainting::Channels(beside) = self.inpainting {
                input = Tensor::cat(&[&input, beside], 3)?;
            }
            let progress = step as f64 / steps as f64;
            let evaluation = Evaluation { sample: &input, step, progress };
            let (origin, scheduler) = (self.origin, &*self.scheduler);
            // It takes half as long as the step, and most of the time to a first preview is waiting for that.
            let is_glimpsed = step == origin && self.unet.keeps_items_apart() && observer.wants_glimpse();
            let mut glimpse = |prompt: &Tensor| {
                observer.glimpsed(&StepView {
                    step: 0,
                    steps: (steps - origin) as u32,
                    sigma: scheduler.sigma(step),
                    denoised: &|| copy_off_device(&scheduler.estimate(step, prompt, &sample)?),
                });
            };
            let glimpse = is_glimpsed.then_some(&mut glimpse as &mut dyn FnMut(&Tensor));
            let output = self.guidance.evaluate(self.unet, evaluation, self.cancel, glimpse)?;
            let noise = &mut *self.noise;
            let Stepped { next, denoised } = self.scheduler.advance(step, &output, &sample, &mut || noise.draw())?;
            sample = self.kept(next, step + 1)?;
            told.push_back((step, self.arrivals.expect(&denoised)?));
            // A step that is announced, and a token that is read, are of what is done; a GPU is told the next step before.
            while told.len() > self.arrivals.ahead() {
                self.announce(&mut told, observer)?;
            }
        }
        while !told.is_empty() {
            self.announce(&mut told, observer)?;
        }
        Ok(sample)
    }

    /// Waits for the first of `told`, and tells `observer`.
    fn announce(&self, told: &mut VecDeque<(usize, Arrival)>, observer: &mut dyn Observer) -> candle_core::Result<()> {
        let Some((step, denoised)) = told.pop_front() else { return Ok(()) };
        denoised.wait()?;
        observer.stepped(&StepView {
            step: (step + 1 - self.origin) as u32,
            steps: (self.scheduler.steps() - self.origin) as u32,
            sigma: self.scheduler.sigma(step + 1),
            denoised: &|| Ok(denoised.numbers()?),
        });
        Ok(())
    }

    /// `sample` before `step`, with the kept part of the picture put back.
    fn kept(&self, sample: Tensor, step: usize) -> candle_core::Result<Tensor> {
        let Inpainting::Repaint { mask, clean, noise } = self.inpainting else { return Ok(sample) };
        let is_clean = step == self.scheduler.steps();
        let picture = if is_clean { clean.clone() } else { self.scheduler.add_noise(clean, noise, step)? };
        let outside = mask.affine(-1.0, 1.0)?;
        sample.broadcast_mul(mask)? + picture.broadcast_mul(&outside)?
    }
}

fn copy_off_device(latents: &Tensor) -> Result<Vec<f32>, GenerateError> {
    Ok(latents.flatten_all()?.to_vec1()?)
}
