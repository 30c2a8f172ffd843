//! CLIP's text encoder (Radford et al. 2021; transformers' `CLIPTextModel`).

use candle_core::{Device, Tensor};
use serde::Deserialize;

use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{LayerNorm, Linear, attention, gelu_erf, layer_norm, linear, quick_gelu};
use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles, Scope, Weights};

/// `text_encoder/config.json`; absent keys have the defaults of transformers' `CLIPTextConfig`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Channels of a token.
    pub hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    /// Longest prompt, in tokens.
    pub max_position_embeddings: usize,
    hidden_act: Activation,
    layer_norm_eps: f64,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Activation {
    QuickGelu,
    Gelu,
}

const SETTLED: &[Settled] = &[
    ("model_type", &["\"clip_text_model\""]),
    ("hidden_act", &["\"quick_gelu\"", "\"gelu\""]),
    ("use_attention_mask", &["false", "null"]),
];

impl ClipTextConfig {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// When it is missing, no such JSON, or asks for what is not implemented.
    pub fn read(files: &ModelFiles, path: &str) -> Result<Self, LoadError> {
        let config: Self = config::read(files, path, SETTLED)?;
        let heads = config.num_attention_heads;
        if heads == 0 || !config.hidden_size.is_multiple_of(heads) {
            let supported = format!("a divisor of `hidden_size` {}", config.hidden_size);
            return Err(config::unsupported(files, path, "num_attention_heads", &heads, &supported));
        }
        Ok(config)
    }
}

/// The text encoder.
#[derive(Debug)]
pub struct ClipTextEncoder {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    activation: Activation,
}

#[derive(Debug)]
struct Layer {
    heads: usize,
    norm1: LayerNorm,
    queries: Linear,
    keys: Linear,
    values: Linear,
    out: Linear,
    norm2: LayerNorm,
    expand: Linear,
    contract: Linear,
}

impl ClipTextEncoder {
    /// Loads the encoder. Names may begin with `text_model.`, as older transformers write them.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &ClipTextConfig, weights: &Weights, device: &Device) -> Result<Self, LoadError> {
        let root = Scope::root(weights, device);
        let root = if weights.contains("text_model.final_layer_norm.weight") { root.sub("text_model") } else { root };
        let ClipTextConfig { hidden_size: width, vocab_size, max_position_embeddings, layer_norm_eps, .. } = *config;
        let embeddings = root.sub("embeddings");
        let layers = root.sub("encoder.layers");
        Ok(Self {
            tokens: embeddings.sub("token_embedding").tensor("weight", &[vocab_size, width])?,
            positions: embeddings.sub("position_embedding").tensor("weight", &[max_position_embeddings, width])?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(&layers.sub(i), config))
                .collect::<Result<_, _>>()?,
            final_norm: root.sub("final_layer_norm").layer_norm(width, layer_norm_eps)?,
            activation: config.hidden_act,
        })
    }

    /// The last hidden state after the final normalisation, `[batch, tokens, hidden_size]`, of `ids`,
    /// `[batch, tokens]` u32 below `vocab_size`.
    ///
    /// # Errors
    /// When the token is set or memory runs out.
    pub fn forward(&self, ids: &Tensor, cancel: &CancelToken) -> Result<Tensor, Halt> {
        let (batch, tokens) = ids.dims2()?;
        let embedded = self.tokens.index_select(&ids.flatten_all()?, 0)?.reshape((batch, tokens, ()))?;
        let mut x = embedded.broadcast_add(&self.positions.narrow(0, 0, tokens)?)?;
        for layer in &self.layers {
            cancel.checkpoint()?;
            x = layer.forward(&x, self.activation)?;
        }
        Ok(layer_norm(&x, &self.final_norm)?)
    }
}

impl Layer {
    fn load(scope: &Scope, config: &ClipTextConfig) -> Result<Self, LoadError> {
        let width = config.hidden_size;
        let project = |name| scope.sub("self_attn").sub(name).linear(width, width);
        Ok(Self {
            heads: config.num_attention_heads,
            norm1: scope.sub("layer_norm1").layer_norm(width, config.layer_norm_eps)?,
            queries: project("q_proj")?,
            keys: project("k_proj")?,
            values: project("v_proj")?,
            out: project("out_proj")?,
            norm2: scope.sub("layer_norm2").layer_norm(width, config.layer_norm_eps)?,
            expand: scope.sub("mlp.fc1").linear(width, config.intermediate_size)?,
            contract: scope.sub("mlp.fc2").linear(config.intermediate_size, width)?,
        })
    }

    fn forward(&self, x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
        let y = layer_norm(x, &self.norm1)?;
        let (q, k, v) = (linear(&y, &self.queries)?, linear(&y, &self.keys)?, linear(&y, &self.values)?);
        let x = (linear(&attention(&q, &k, &v, self.heads, true)?, &self.out)? + x)?;
        let y = linear(&layer_norm(&x, &self.norm2)?, &self.expand)?;
        let y = match activation {
            Activation::QuickGelu => quick_gelu(&y)?,
            Activation::Gelu => gelu_erf(&y)?,
        };
        linear(&y, &self.contract)? + x
    }
}
