//! CLIP's text encoder (Radford et al. 2021; transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`).
//!
//! One network serves CLIP ViT-L (SD 1, SDXL) and OpenCLIP's ViT-H and ViT-bigG (SD 2, SDXL), which differ in
//! size, in the activation, and in whether a projection of the prompt as a whole comes with them.

use candle_core::{DType, Device, IndexOp, Tensor};
use serde::Deserialize;

use crate::diffusion::cancel::{CancelToken, Halt};
use crate::diffusion::ops::{
    self, Ending, Heads, LayerNorm, Linear, attention, layer_norm, linear, linear_then, together,
};
use crate::diffusion::weights::config::{self, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles, Scope, Weights};

/// `text_encoder/config.json`; absent keys have the defaults of transformers' `CLIPTextConfig`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    architectures: Vec<String>,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Channels of a token.
    pub hidden_size: usize,
    intermediate_size: usize,
    /// Layers, each of which [`HiddenLayer::FromEnd`] may stop before.
    pub num_hidden_layers: usize,
    num_attention_heads: usize,
    /// Longest prompt, in tokens.
    pub max_position_embeddings: usize,
    hidden_act: Activation,
    layer_norm_eps: f64,
    /// Channels of the pooled prompt, where the encoder has a projection.
    pub projection_dim: usize,
    eos_token_id: u32,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            architectures: Vec::new(),
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            projection_dim: 512,
            eos_token_id: 49407,
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
    ("architectures", &["\"CLIPTextModel\"", "\"CLIPTextModelWithProjection\""]),
    ("model_type", &["\"clip_text_model\""]),
    ("hidden_act", &["\"quick_gelu\"", "\"gelu\""]),
    ("use_attention_mask", &["false", "null"]),
];

/// `eos_token_id` of configurations from before transformers 4.31, which were wrong about it.
const LEGACY_EOS_TOKEN_ID: u32 = 2;

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

    /// Whether the configuration is one of a `CLIPTextModelWithProjection`, which pools.
    pub fn has_projection(&self) -> bool {
        self.architectures.iter().any(|name| name == "CLIPTextModelWithProjection")
    }

    /// Where each of a batch of prompts ends; see [`Self::end`].
    pub fn ends<'a>(&self, rows: impl IntoIterator<Item = &'a [u32]>) -> Vec<usize> {
        rows.into_iter().map(|ids| self.end(ids)).collect()
    }

    /// Where the prompt `ids` ends, the position that is pooled: the first token `eos_token_id`, or position 0
    /// without one. Configurations of the published models have an `eos_token_id` of 2 that means nothing; for
    /// them it is the first token of the highest id, as transformers has it.
    pub fn end(&self, ids: &[u32]) -> usize {
        let end = match self.eos_token_id {
            LEGACY_EOS_TOKEN_ID => ids.iter().max(),
            ref id => Some(id),
        };
        ids.iter().position(|id| Some(id) == end).unwrap_or(0)
    }
}

/// Which state of the encoder is the context of the UNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenLayer {
    /// The last, after the final normalisation.
    Last,
    /// One from before the end: transformers' `hidden_states[-(skip + 1)]`.
    FromEnd {
        /// Layers that are left out, at most all.
        skip: usize,
        /// Whether the final normalisation follows, as SD 1 and 2 have it under diffusers' `clip_skip`; not in SDXL.
        final_norm: bool,
    },
}

/// What the encoder says of prompts.
#[derive(Clone, Debug)]
pub struct TextEncoding {
    /// The chosen state of each token, `[batch, tokens, hidden_size]` f32.
    pub hidden: Tensor,
    /// The prompts as a whole, `[batch, projection_dim]` f32, where the encoder has a projection.
    pub pooled: Option<Tensor>,
}

/// The text encoder.
#[derive(Debug)]
pub struct ClipTextEncoder {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    projection: Option<Linear>,
    activation: Activation,
    dtype: DType,
}

#[derive(Debug)]
struct Layer {
    heads: Heads,
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
    /// Loads the encoder to compute in `dtype`. Names may begin with `text_model.`, as older transformers and those
    /// of encoders with a projection do.
    ///
    /// # Errors
    /// When a tensor does not fit.
    pub fn load(config: &ClipTextConfig, weights: &Weights, device: &Device, dtype: DType) -> Result<Self, LoadError> {
        let file = Scope::root(weights, device, dtype);
        let prefixed = weights.contains("text_model.final_layer_norm.weight");
        let root = if prefixed { file.sub("text_model") } else { Scope::root(weights, device, dtype) };
        let ClipTextConfig { hidden_size: width, vocab_size, max_position_embeddings, layer_norm_eps, .. } = *config;
        let embeddings = root.sub("embeddings");
        let layers = root.sub("encoder.layers");
        let has_projection = config.has_projection() || weights.contains("text_projection.weight");
        Ok(Self {
            tokens: embeddings.sub("token_embedding").tensor("weight", &[vocab_size, width])?,
            positions: embeddings.sub("position_embedding").tensor("weight", &[max_position_embeddings, width])?,
            layers: (0..config.num_hidden_layers)
                .map(|i| Layer::load(&layers.sub(i), config))
                .collect::<Result<_, _>>()?,
            final_norm: root.sub("final_layer_norm").layer_norm(width, layer_norm_eps)?,
            projection: has_projection
                .then(|| file.sub("text_projection").linear_no_bias(width, config.projection_dim))
                .transpose()?,
            activation: config.hidden_act,
            dtype,
        })
    }

    /// The vectors of tokens before positions are added, where those of textual inversion take their places:
    /// `ids`, `[batch, tokens]` u32 below `vocab_size`, into `[batch, tokens, hidden_size]` f32.
    ///
    /// # Errors
    /// When an id is too large or memory runs out.
    pub fn embed(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        self.tokens.index_select(&ids.flatten_all()?, 0)?.reshape((batch, tokens, ()))?.to_dtype(DType::F32)
    }

    /// Encodes prompts of `embedded` tokens, `[batch, tokens, hidden_size]`, that end at positions `ends`, one for
    /// each of the batch (see [`ClipTextConfig::end`]).
    ///
    /// # Errors
    /// When the token is set, there are fewer layers than `layer` skips, or memory runs out.
    pub fn forward(
        &self,
        embedded: &Tensor,
        ends: &[usize],
        layer: HiddenLayer,
        cancel: &CancelToken,
    ) -> Result<TextEncoding, Halt> {
        together(embedded.device(), || {
            let (_, tokens, _) = embedded.dims3()?;
            let all = self.layers.len();
            let (chosen, chosen_is_normed) = match layer {
                HiddenLayer::Last => (all, true),
                HiddenLayer::FromEnd { skip, final_norm } if skip <= all => (all - skip, final_norm),
                HiddenLayer::FromEnd { skip, .. } => return Err(too_few_layers(all, skip).into()),
            };
            // Pooling reads the last layer, whichever one is chosen.
            let needed = if self.projection.is_some() { all } else { chosen };

            let mut x = embedded.to_dtype(self.dtype)?.broadcast_add(&self.positions.narrow(0, 0, tokens)?)?;
            let mut hidden = x.clone();
            for (index, layer) in self.layers[..needed].iter().enumerate() {
                cancel.checkpoint()?;
                x = layer.forward(&x, self.activation)?;
                if index + 1 == chosen {
                    hidden = x.clone();
                }
            }
            if chosen_is_normed {
                hidden = layer_norm(&hidden, &self.final_norm)?;
            }
            let pooled = match &self.projection {
                Some(projection) => Some(linear(&self.at_ends(&x, ends)?, projection)?.to_dtype(DType::F32)?),
                None => None,
            };
            Ok(TextEncoding { hidden: hidden.to_dtype(DType::F32)?, pooled })
        })
    }

    /// The normed tokens at `ends`: `[batch, tokens, hidden_size]` into `[batch, hidden_size]`.
    fn at_ends(&self, x: &Tensor, ends: &[usize]) -> candle_core::Result<Tensor> {
        let batch = x.dim(0)?;
        if ends.len() != batch {
            candle_core::bail!("{batch} prompts have {} ends", ends.len())
        }
        let rows: Vec<Tensor> =
            ends.iter().enumerate().map(|(item, &end)| x.i((item, end))).collect::<Result<_, _>>()?;
        layer_norm(&Tensor::stack(&rows, 0)?, &self.final_norm)
    }
}

fn too_few_layers(layers: usize, skip: usize) -> candle_core::Error {
    candle_core::Error::Msg(format!("a text encoder of {layers} layers cannot skip {skip}"))
}

impl Layer {
    fn load(scope: &Scope, config: &ClipTextConfig) -> Result<Self, LoadError> {
        let width = config.hidden_size;
        let project = |name| scope.sub("self_attn").sub(name).linear(width, width);
        Ok(Self {
            heads: Heads { count: config.num_attention_heads, causal: true, upcast: false },
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
        let x = linear_then(&attention(&q, &k, &v, self.heads)?, &self.out, Ending::plus(x))?;
        let activation = match activation {
            Activation::QuickGelu => ops::Activation::QuickGelu,
            Activation::Gelu => ops::Activation::GeluErf,
        };
        let y = linear_then(&layer_norm(&x, &self.norm2)?, &self.expand, Ending::activated(activation))?;
        linear_then(&y, &self.contract, Ending::plus(&x))
    }
}
