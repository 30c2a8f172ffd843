//! What computes as it is told: nothing is worth noting for another time, and there is nothing to wait for.

use candle_core::{Device, Result, Tensor};

use crate::diffusion::cancel::Halt;

/// Notes what a device is told for inputs of some shapes, to tell it again at once: here nothing.
#[derive(Debug, Default)]
pub struct Recorder(());

impl Recorder {
    /// What `work` makes of `inputs`.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run(
        &self,
        inputs: &[Tensor],
        work: impl Fn(&[Tensor]) -> std::result::Result<Tensor, Halt>,
    ) -> std::result::Result<Tensor, Halt> {
        work(inputs)
    }
}

/// A way to the machine's memory: here everything is there.
#[derive(Debug)]
pub struct Arrivals;

/// Numbers that are there.
#[derive(Debug)]
pub struct Arrival(Tensor);

impl Arrivals {
    /// From `device`.
    ///
    /// # Errors
    /// None.
    pub fn new(_device: &Device) -> Result<Self> {
        Ok(Self)
    }

    /// How many may be on their way while the device goes on.
    pub fn ahead(&self) -> usize {
        0
    }

    /// Computes `x`, f32.
    ///
    /// # Errors
    /// What went wrong on the device.
    pub fn expect(&self, x: &Tensor) -> Result<Arrival> {
        // Apple's GPUs are told and do not compute before they are waited for.
        x.device().synchronize()?;
        Ok(Arrival(x.clone()))
    }
}

impl Arrival {
    /// Waits until everything is computed that the device was told before this.
    ///
    /// # Errors
    /// None.
    pub fn wait(&self) -> Result<()> {
        Ok(())
    }

    /// The numbers.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        self.0.flatten_all()?.to_vec1()
    }
}
