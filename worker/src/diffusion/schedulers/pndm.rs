//! Pseudo numerical methods for diffusion models (Liu et al. 2022, algorithm 2; diffusers' `PNDMScheduler`): a linear
//! multistep method over what the network says of the noise, begun with Runge–Kutta steps or, as Stable Diffusion has
//! it (`skip_prk_steps`), with one step of improved Euler.

use candle_core::{Result, Tensor};

use super::config::{Class, Prediction, SchedulerConfig, TimestepSpacing};
use super::schedule::Schedule;
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// Steps that Runge–Kutta begins with less one, each of four evaluations.
const RUNGE_KUTTA_STEPS: usize = 3;

/// See the module.
#[derive(Debug)]
pub struct Pndm {
    schedule: Schedule,
    /// The training step of each evaluation.
    timesteps: Vec<usize>,
    /// ᾱ of every training step.
    alphas: Vec<f64>,
    final_alpha: f64,
    stride: usize,
    /// Evaluations that Runge–Kutta takes.
    runge_kutta: usize,
    prediction: Prediction,
    /// Evaluations done, counted from where the walk began.
    done: usize,
    /// Outputs of the last steps, newest last.
    outputs: Vec<Tensor>,
    /// The sample that a step of several evaluations goes out from.
    start: Option<Tensor>,
    /// The weighted sum of the evaluations of a Runge–Kutta step.
    mixed: Option<Tensor>,
}

/// The least steps that a walk can have.
pub(super) fn steps_min(config: &SchedulerConfig) -> usize {
    if config.skip_prk_steps { 1 } else { RUNGE_KUTTA_STEPS + 1 }
}

impl Pndm {
    /// The walk that `spec` asks for.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let alphas = sigmas::alphas_cumprod(config, Class::PLAIN);
        let spacing = config.timestep_spacing_for(spec, TimestepSpacing::Leading);
        let visited = sigmas::whole_timesteps(config, spacing, spec.steps);
        let stride = config.num_train_timesteps / spec.steps;
        let mut timesteps;
        let runge_kutta;
        if config.skip_prk_steps {
            timesteps = visited;
            // The second one twice: the improved Euler step comes back to it.
            if let Some(&second) = timesteps.get(1) {
                timesteps.insert(1, second);
            }
            runge_kutta = 0;
        } else {
            timesteps = runge_kutta_timesteps(&visited, stride / 2);
            runge_kutta = timesteps.len();
            timesteps.extend(&visited[RUNGE_KUTTA_STEPS..]);
        }
        let final_alpha = if config.set_alpha_to_one.unwrap_or(false) { 1.0 } else { alphas[0] };
        let levels = timesteps.iter().map(|&timestep| alphas[timestep]).chain([final_alpha]);
        let levels = levels.map(sigmas::sigma_of_alpha).collect();
        let told = timesteps.iter().map(|&timestep| timestep as f64).collect();
        Self {
            schedule: Schedule::preserving(config, spec, told, levels),
            timesteps,
            alphas,
            final_alpha,
            stride,
            runge_kutta,
            prediction: config.prediction_type,
            done: 0,
            outputs: Vec::new(),
            start: None,
            mixed: None,
        }
    }

    /// Along `output` from one training step to another, which may lie below the first (equation 11).
    fn transfer(&self, sample: &Tensor, from: usize, to: Option<usize>, output: &Tensor) -> Result<Tensor> {
        let alpha = self.alphas[from];
        let alpha_to = to.map_or(self.final_alpha, |to| self.alphas[to]);
        let noise = self.prediction.noise_preserving(output, sample, alpha.sqrt(), (1.0 - alpha).sqrt())?;
        let scale = alpha * (1.0 - alpha_to).sqrt() + (alpha * (1.0 - alpha) * alpha_to).sqrt();
        (sample * (alpha_to / alpha).sqrt())? - (noise * ((alpha_to - alpha) / scale))?
    }

    /// One of the four evaluations of a Runge–Kutta step.
    fn runge_kutta(&mut self, timestep: usize, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        let stage = self.done % 4;
        let down = if self.done.is_multiple_of(2) { self.stride / 2 } else { 0 };
        let weight = if stage == 0 || stage == 3 { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let weighted = (output * weight)?;
        let mixed = match self.mixed.take() {
            Some(mixed) => (mixed + weighted)?,
            None => weighted,
        };
        if stage == 0 {
            self.outputs.push(output.clone());
            self.start = Some(sample.clone());
        }
        let along = if stage == 3 {
            mixed
        } else {
            self.mixed = Some(mixed);
            output.clone()
        };
        let from = self.timesteps[self.done / 4 * 4];
        let start = self.start.clone().unwrap_or_else(|| sample.clone());
        self.transfer(&start, from, timestep.checked_sub(down), &along)
    }

    /// One evaluation of the linear multistep method.
    fn multistep(&mut self, timestep: usize, output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        if self.done == 1 {
            // Back to the start of the first step, with the mean of both its ends.
            let start = self.start.take().unwrap_or_else(|| sample.clone());
            let mean = ((output + &self.outputs[0])? / 2.0)?;
            return self.transfer(&start, timestep + self.stride, Some(timestep), &mean);
        }
        if self.outputs.len() > 3 {
            self.outputs.remove(0);
        }
        self.outputs.push(output.clone());
        let weights: &[f64] = match self.outputs.len() {
            1 => {
                self.start = Some(sample.clone());
                &[1.0]
            }
            2 => &[-1.0 / 2.0, 3.0 / 2.0],
            3 => &[5.0 / 12.0, -16.0 / 12.0, 23.0 / 12.0],
            _ => &[-9.0 / 24.0, 37.0 / 24.0, -59.0 / 24.0, 55.0 / 24.0],
        };
        let mut along = output.zeros_like()?;
        for (output, &weight) in self.outputs.iter().zip(weights) {
            along = (along + (output * weight)?)?;
        }
        self.transfer(sample, timestep, timestep.checked_sub(self.stride), &along)
    }
}

/// Each of the first steps is evaluated at its start, twice half way and at its end, which is also the next start.
fn runge_kutta_timesteps(visited: &[usize], half: usize) -> Vec<usize> {
    let ends = visited[..=RUNGE_KUTTA_STEPS].windows(2);
    ends.flat_map(|pair| [pair[0], pair[1] + half, pair[1] + half, pair[1]]).collect()
}

impl Scheduler for Pndm {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let timestep = self.timesteps[step];
        let alpha = self.alphas[timestep];
        let denoised = self.prediction.denoised_preserving(output, sample, alpha.sqrt(), (1.0 - alpha).sqrt())?;
        let next = if self.done < self.runge_kutta {
            self.runge_kutta(timestep, output, sample)?
        } else {
            self.multistep(timestep, output, sample)?
        };
        self.done += 1;
        Ok(Stepped { next, denoised })
    }
}
