//! DPM++ SDE of k-diffusion (Lu et al. 2022, algorithm 1 with noise; diffusers' `DPMSolverSDEScheduler`): a half step,
//! then the whole step with what the network says there, each with the noise that a Brownian path gains over it.

use candle_core::{Result, Tensor};

use super::brownian::BrownianPath;
use super::config::{Class, Prediction, SchedulerConfig};
use super::schedule::{Bounds, Schedule, Visited};
use super::sigmas::TrainingSigmas;
use super::{Noise, ScheduleSpec, Scheduler, Stepped, sigmas};

/// See the module.
#[derive(Debug)]
pub struct DpmSde {
    schedule: Schedule,
    prediction: Prediction,
    seed: u64,
    /// Largest and smallest sigma of the whole walk, between which the noise is a path in sigma.
    range: (f32, f32),
    /// The sample before a step, while the step waits for its second evaluation.
    begun: Option<Tensor>,
}

impl DpmSde {
    /// The walk that `spec` asks for; image *n* of a batch has the path of `spec.seed + n`.
    pub fn new(config: &SchedulerConfig, spec: &ScheduleSpec) -> Self {
        let training = TrainingSigmas::new(config, Class::TWO_STAGE);
        let visited = Visited::exploding(config, spec, &training, Bounds::NotForKarras);
        let sigmas: Vec<f64> = visited.sigmas.windows(2).map(|pair| half_way(pair[0], pair[1])).collect();
        let timesteps = sigmas.iter().map(|&sigma| training.timestep_of(sigma)).collect();
        let range = (visited.sigmas[0] as f32, visited.sigmas[visited.sigmas.len() - 1] as f32);
        let schedule = Schedule::two_stage(config, spec, &visited, &Visited { timesteps, sigmas });
        Self { schedule, prediction: config.prediction_type, seed: spec.seed, range, begun: None }
    }

    /// Unit noise for the way from one sigma down to another, in the shape of `sample`.
    ///
    /// The path is as steep as noise can be: a millionth in sigma moves it by a thousandth. Diffusers asks for it at
    /// what is left of sigma after a logarithm and an exponential in f32, and so does this; but torch's own are not
    /// always the nearest f32, and not the same on every processor.
    fn noise(&self, from: f64, to: f64, sample: &Tensor) -> Result<Tensor> {
        let gains: Vec<Tensor> = (0..sample.dim(0)?)
            .map(|item| {
                let path =
                    BrownianPath::new(self.seed.wrapping_add(item as u64), self.range.1.into(), self.range.0.into());
                path.gain(to, from, &sample.narrow(0, item, 1)?)
            })
            .collect::<Result<_>>()?;
        // Down the path, so that what it gains is what it loses.
        Tensor::cat(&gains, 0)? / -(from - to).sqrt()
    }
}

/// −t in f32 of a sigma e⁻ᵗ.
fn logarithm(sigma: f64) -> f32 {
    f64::from(sigma as f32).ln() as f32
}

/// A sigma after its logarithm was taken and undone in f32.
fn in_f32(sigma: f64) -> f64 {
    f64::from(f64::from(logarithm(sigma)).exp() as f32)
}

/// The sigma half way between two in their logarithm, in f32.
fn half_way(from: f64, to: f64) -> f64 {
    let (from, to) = (logarithm(from), logarithm(to));
    f64::from(f64::from(from + (to - from) * 0.5).exp() as f32)
}

impl Scheduler for DpmSde {
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn advance(&mut self, step: usize, output: &Tensor, sample: &Tensor, _noise: &mut Noise<'_>) -> Result<Stepped> {
        let denoised = self.prediction.denoised_exploding(output, sample, self.sigma(step))?;
        let to = self.sigma(step + 1);
        if to == 0.0 {
            return Ok(Stepped { next: denoised.clone(), denoised });
        }
        let (from, start, reached) = match self.begun.take() {
            None => {
                self.begun = Some(sample.clone());
                (self.sigma(step), sample.clone(), to)
            }
            Some(start) => (self.sigma(step - 1), start, in_f32(to)),
        };
        let (down, up) = sigmas::ancestral(from, to);
        let kept = down / from;
        let without_noise = ((start * kept)? + (&denoised * (1.0 - kept))?)?;
        let next = (without_noise + (self.noise(in_f32(from), reached, sample)? * up)?)?;
        Ok(Stepped { next, denoised })
    }
}
