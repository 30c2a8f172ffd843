//! What UNet and VAE share: residual blocks, up- and downsampling.

use candle_core::{Result, Tensor};

use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{
    Conv2d, Ending, GroupNorm, Linear, Padding, conv2d, conv2d_then, group_norm_silu, linear, upsample_conv2d,
};
use crate::diffusion::weights::{LoadError, Scope};

/// Settings that all residual blocks of a network share.
#[derive(Clone, Copy, Debug)]
pub struct ResnetSettings {
    /// Groups of both normalisations.
    pub groups: usize,
    /// Their ε.
    pub eps: f64,
    /// Channels of the time embedding, where there is one.
    pub time_channels: Option<usize>,
}

/// Diffusers' `ResnetBlock2D`, with `time_embedding_norm` "default".
#[derive(Debug)]
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    /// Loads a block from `inputs` to `outputs` channels.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(scope: &Scope, inputs: usize, outputs: usize, settings: ResnetSettings) -> Load<Self> {
        let ResnetSettings { groups, eps, time_channels } = settings;
        Ok(Self {
            norm1: scope.sub("norm1").group_norm(inputs, groups, eps)?,
            conv1: scope.sub("conv1").conv2d(inputs, outputs, 3, 1)?,
            time: time_channels.map(|time| scope.sub("time_emb_proj").linear(time, outputs)).transpose()?,
            norm2: scope.sub("norm2").group_norm(outputs, groups, eps)?,
            conv2: scope.sub("conv2").conv2d(outputs, outputs, 3, 1)?,
            shortcut: (inputs != outputs)
                .then(|| scope.sub("conv_shortcut").conv2d(inputs, outputs, 1, 1))
                .transpose()?,
        })
    }

    /// What the time embedding under its activation, `[…, time_channels]`, adds to the picture: `[…, outputs]`. Nothing
    /// where the block has no time.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn shift(&self, time: &Tensor) -> Result<Option<Tensor>> {
        self.time.as_ref().map(|projection| linear(time, projection)).transpose()
    }

    /// `x` is `[batch, h, w, inputs]`, `shift` `[batch, outputs]`, where a batch of one stands for any;
    /// `[batch, h, w, outputs]` comes back.
    ///
    /// # Errors
    /// When the token is set, or memory runs out.
    pub fn forward(
        &self,
        x: &Tensor,
        shift: Option<&Tensor>,
        cancel: &CancelToken,
    ) -> std::result::Result<Tensor, Halt> {
        cancel.checkpoint()?;
        let shifted = Ending { shift, ..Ending::default() };
        let y = group_norm_silu(x, &self.norm1)?;
        // The two convolutions are most of the time of a network.
        cancel.checkpoint()?;
        let y = conv2d_then(&y, &self.conv1, shifted)?;
        cancel.checkpoint()?;
        let y = group_norm_silu(&y, &self.norm2)?;
        cancel.checkpoint()?;
        let y = match &self.shortcut {
            Some(shortcut) => conv2d_then(&y, &self.conv2, Ending::plus(&conv2d(x, shortcut)?)),
            None => conv2d_then(&y, &self.conv2, Ending::plus(x)),
        };
        Ok(y?)
    }
}

/// Diffusers' `Upsample2D` with convolution.
#[derive(Debug)]
pub struct Upsample(Conv2d);

impl Upsample {
    /// Loads the convolution.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(scope: &Scope, channels: usize) -> Load<Self> {
        Ok(Self(scope.sub("conv").conv2d(channels, channels, 3, 1)?))
    }

    /// `[batch, h, w, channels]` into `[batch, height, width, channels]`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        upsample_conv2d(x, &self.0, [height, width], Ending::default())
    }
}

/// Diffusers' `Downsample2D` with convolution.
#[derive(Debug)]
pub struct Downsample(Conv2d);

impl Downsample {
    /// Loads the convolution. The UNet pads by one on every side, the VAE by one below and on the right.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(scope: &Scope, channels: usize, padding: Padding) -> Load<Self> {
        Ok(Self(scope.sub("conv").conv2d_padded(channels, channels, 3, 2, padding)?))
    }

    /// `[batch, h, w, channels]` into half the height and width: rounded up under the UNet's padding, down under
    /// the VAE's.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(x, &self.0)
    }
}

type Load<T> = std::result::Result<T, LoadError>;
