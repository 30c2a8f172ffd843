//! The attention blocks of the UNet.

use candle_core::{Result, Tensor};

use crate::diffusion::ops::{
    Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, attention, conv2d_then, group_norm, layer_norm,
    linear, linear_then,
};
use crate::diffusion::weights::{LoadError, Scope};

/// Shape of a [`SpatialTransformer`].
#[derive(Clone, Copy, Debug)]
pub struct TransformerSettings {
    /// Channels of the picture, divisible by `heads`.
    pub channels: usize,
    /// Attention heads.
    pub heads: usize,
    /// Whether queries meet keys in f32, whatever the dtype.
    pub upcast_attention: bool,
    /// Channels of the context.
    pub context_channels: usize,
    /// Blocks one after the other.
    pub layers: usize,
    /// Groups of the normalisation before them.
    pub groups: usize,
    /// Whether the projections around the blocks are stored as matrices, not as 1×1 convolutions.
    pub linear_projection: bool,
}

/// Diffusers' `Transformer2DModel` over continuous input: every cell of the picture is a token.
#[derive(Debug)]
pub struct SpatialTransformer {
    norm: GroupNorm,
    project_in: Projection,
    blocks: Vec<TransformerBlock>,
    project_out: Projection,
}

/// A 1×1 convolution is the same product whichever way its weights are stored.
#[derive(Debug)]
enum Projection {
    Matrix(Linear),
    Convolution(Conv2d),
}

impl Projection {
    fn load(scope: &Scope, channels: usize, linear: bool) -> Load<Self> {
        Ok(if linear {
            Self::Matrix(scope.linear(channels, channels)?)
        } else {
            Self::Convolution(scope.conv2d(channels, channels, 1, 1)?)
        })
    }

    fn forward(&self, x: &Tensor, ending: Ending) -> Result<Tensor> {
        match self {
            Self::Matrix(matrix) => linear_then(x, matrix, ending),
            Self::Convolution(convolution) => conv2d_then(x, convolution, ending),
        }
    }
}

impl SpatialTransformer {
    /// Loads the normalisation, the projections and the blocks.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(scope: &Scope, settings: TransformerSettings) -> Load<Self> {
        let TransformerSettings { channels, layers, groups, linear_projection, .. } = settings;
        let blocks = scope.sub("transformer_blocks");
        Ok(Self {
            norm: scope.sub("norm").group_norm(channels, groups, 1e-6)?,
            project_in: Projection::load(&scope.sub("proj_in"), channels, linear_projection)?,
            blocks: (0..layers).map(|i| TransformerBlock::load(&blocks.sub(i), settings)).collect::<Load<_>>()?,
            project_out: Projection::load(&scope.sub("proj_out"), channels, linear_projection)?,
        })
    }

    /// `x` is `[batch, h, w, channels]`, `context` `[batch, tokens, context_channels]`; the shape of `x` comes back.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = x.dims4()?;
        let y = self.project_in.forward(&group_norm(x, &self.norm)?, Ending::default())?;
        let mut y = y.reshape((batch, height * width, channels))?;
        for block in &self.blocks {
            y = block.forward(&y, context)?;
        }
        self.project_out.forward(&y.reshape((batch, height, width, channels))?, Ending::plus(x))
    }
}

/// Diffusers' `BasicTransformerBlock`: self-attention, cross-attention and a gated feed-forward layer.
#[derive(Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    self_attention: Attention,
    norm2: LayerNorm,
    cross_attention: Attention,
    norm3: LayerNorm,
    expand: Linear,
    contract: Linear,
}

impl TransformerBlock {
    fn load(scope: &Scope, settings: TransformerSettings) -> Load<Self> {
        let TransformerSettings { channels, heads, context_channels, upcast_attention: upcast, .. } = settings;
        let heads = Heads { count: heads, causal: false, upcast };
        let norm = |name| scope.sub(name).layer_norm(channels, 1e-5);
        Ok(Self {
            norm1: norm("norm1")?,
            self_attention: Attention::load(&scope.sub("attn1"), channels, channels, heads)?,
            norm2: norm("norm2")?,
            cross_attention: Attention::load(&scope.sub("attn2"), channels, context_channels, heads)?,
            norm3: norm("norm3")?,
            expand: scope.sub("ff.net.0.proj").linear(channels, 8 * channels)?,
            contract: scope.sub("ff.net.2").linear(4 * channels, channels)?,
        })
    }

    fn forward(&self, x: &Tensor, context: &Tensor) -> Result<Tensor> {
        let y = layer_norm(x, &self.norm1)?;
        let x = self.self_attention.forward(&y, &y, x)?;
        let x = self.cross_attention.forward(&layer_norm(&x, &self.norm2)?, context, &x)?;
        let gated = Ending::activated(Activation::Geglu);
        let y = linear_then(&layer_norm(&x, &self.norm3)?, &self.expand, gated)?;
        linear_then(&y, &self.contract, Ending::plus(&x))
    }
}

/// Diffusers' `Attention` without bias on queries, keys and values.
#[derive(Debug)]
struct Attention {
    heads: Heads,
    queries: Linear,
    keys: Linear,
    values: Linear,
    out: Linear,
}

impl Attention {
    fn load(scope: &Scope, channels: usize, context_channels: usize, heads: Heads) -> Load<Self> {
        Ok(Self {
            heads,
            queries: scope.sub("to_q").linear_no_bias(channels, channels)?,
            keys: scope.sub("to_k").linear_no_bias(context_channels, channels)?,
            values: scope.sub("to_v").linear_no_bias(context_channels, channels)?,
            out: scope.sub("to_out.0").linear(channels, channels)?,
        })
    }

    /// What `x` reads in `context`, added to `residual`.
    fn forward(&self, x: &Tensor, context: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let q = linear(x, &self.queries)?;
        let k = linear(context, &self.keys)?;
        let v = linear(context, &self.values)?;
        linear_then(&attention(&q, &k, &v, self.heads)?, &self.out, Ending::plus(residual))
    }
}

type Load<T> = std::result::Result<T, LoadError>;
