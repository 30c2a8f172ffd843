//! The attention blocks of the UNet.

use candle_core::{Result, Tensor};

use crate::diffusion::cancel::{CancelToken, Halt};
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

    /// What each block reads in `context`, `[items, tokens, context_channels]`: the same whatever the picture is.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn read(&self, context: &Tensor) -> Result<Vec<KeysValues>> {
        self.blocks.iter().map(|block| block.cross_attention.read(context)).collect()
    }

    /// `x` is `[batch, h, w, channels]`, `texts` what [`read`](Self::read) made of a context of that batch; the shape of
    /// `x` comes back.
    ///
    /// # Errors
    /// When the token is set, the texts are those of another network, or memory runs out.
    pub fn forward(&self, x: &Tensor, texts: &[KeysValues], cancel: &CancelToken) -> std::result::Result<Tensor, Halt> {
        let (batch, height, width, channels) = x.dims4()?;
        let y = self.project_in.forward(&group_norm(x, &self.norm)?, Ending::default())?;
        let mut y = y.reshape((batch, height * width, channels))?;
        for (block, text) in self.blocks.iter().zip(texts) {
            cancel.checkpoint()?;
            y = block.forward(&y, text)?;
        }
        Ok(self.project_out.forward(&y.reshape((batch, height, width, channels))?, Ending::plus(x))?)
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

    fn forward(&self, x: &Tensor, text: &KeysValues) -> Result<Tensor> {
        let y = layer_norm(x, &self.norm1)?;
        let x = self.self_attention.forward(&y, &self.self_attention.read(&y)?, x)?;
        let x = self.cross_attention.forward(&layer_norm(&x, &self.norm2)?, text, &x)?;
        let gated = Ending::activated(Activation::Geglu);
        let y = linear_then(&layer_norm(&x, &self.norm3)?, &self.expand, gated)?;
        linear_then(&y, &self.contract, Ending::plus(&x))
    }
}

/// What queries meet and what they get of it, both `[items, tokens, channels]`.
#[derive(Clone, Debug)]
pub struct KeysValues {
    keys: Tensor,
    values: Tensor,
}

impl KeysValues {
    /// Of one size.
    ///
    /// # Errors
    /// When they are not.
    pub fn new(keys: Tensor, values: Tensor) -> Result<Self> {
        if keys.dims() != values.dims() {
            candle_core::bail!("keys of {:?} have no values of {:?}", keys.dims(), values.dims())
        }
        Ok(Self { keys, values })
    }

    /// Keys, then values.
    pub fn tensors(&self) -> [&Tensor; 2] {
        [&self.keys, &self.values]
    }

    /// Both, changed alike.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { keys: change(&self.keys)?, values: change(&self.values)? })
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

    /// What there is to read in `context`.
    fn read(&self, context: &Tensor) -> Result<KeysValues> {
        Ok(KeysValues { keys: linear(context, &self.keys)?, values: linear(context, &self.values)? })
    }

    /// What `x` reads, added to `residual`.
    fn forward(&self, x: &Tensor, KeysValues { keys, values }: &KeysValues, residual: &Tensor) -> Result<Tensor> {
        let queries = linear(x, &self.queries)?;
        linear_then(&attention(&queries, keys, values, self.heads)?, &self.out, Ending::plus(residual))
    }
}

type Load<T> = std::result::Result<T, LoadError>;
