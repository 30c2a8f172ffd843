//! `unet/config.json`.

use serde::Deserialize;

use crate::diffusion::nn::transformer::TransformerSettings;
use crate::diffusion::weights::config::{self, PerBlock, Settled};
use crate::diffusion::weights::{LoadError, ModelFiles};

/// The shape of a UNet, its lists resolved to one entry per level.
#[derive(Clone, Debug)]
pub struct UnetConfig {
    /// Side of the latents that the model was trained with.
    pub sample_size: Option<usize>,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// Channels of the text.
    pub cross_attention_dim: usize,
    /// What SDXL is conditioned on besides text; nothing in SD 1 and 2.
    pub addition: Option<AdditionConfig>,
    /// Channels of the embedding of the guidance scale, in networks that were distilled with it (LCM).
    pub time_cond_proj_dim: Option<usize>,
    pub(super) flip_sin_to_cos: bool,
    pub(super) freq_shift: f32,
    pub(super) norm_num_groups: usize,
    pub(super) norm_eps: f64,
    use_linear_projection: bool,
    upcast_attention: bool,
    /// From the finest resolution to the coarsest; never empty.
    pub(super) blocks: Vec<BlockConfig>,
}

/// The size of the conditioning of `addition_embed_type` "text_time".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdditionConfig {
    /// Sinusoids of each of the `time_ids` (`addition_time_embed_dim`).
    pub time_embed_dim: usize,
    /// Channels of the pooled prompt and all those sinusoids (`projection_class_embeddings_input_dim`).
    pub input_dim: usize,
}

impl AdditionConfig {
    /// How many `time_ids` the network wants beside a pooled prompt of `projection_dim` channels, or nothing where
    /// that does not come out even: 6 in SDXL, 5 in its refiner.
    pub fn time_ids(&self, projection_dim: usize) -> Option<usize> {
        let rest = self.input_dim.checked_sub(projection_dim)?;
        rest.is_multiple_of(self.time_embed_dim).then_some(rest / self.time_embed_dim)
    }
}

/// One level of resolution.
#[derive(Clone, Debug)]
pub(super) struct BlockConfig {
    pub(super) channels: usize,
    /// Residual blocks on the way down; the way up has one more.
    pub(super) layers: usize,
    pub(super) down_attends: bool,
    pub(super) up_attends: bool,
    heads: usize,
    transformer_layers: usize,
}

/// The file as it stands; absent keys have the defaults of diffusers.
#[derive(Deserialize)]
#[serde(default)]
struct Raw {
    sample_size: Option<PerBlock<usize>>,
    in_channels: usize,
    out_channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: PerBlock<usize>,
    norm_num_groups: usize,
    norm_eps: f64,
    cross_attention_dim: PerBlock<usize>,
    transformer_layers_per_block: PerBlock<usize>,
    attention_head_dim: PerBlock<usize>,
    use_linear_projection: bool,
    upcast_attention: Option<bool>,
    addition_embed_type: Option<String>,
    addition_time_embed_dim: Option<usize>,
    projection_class_embeddings_input_dim: Option<usize>,
    time_cond_proj_dim: Option<usize>,
}

impl Default for Raw {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: names(&[DOWN_ATTENDS, DOWN_ATTENDS, DOWN_ATTENDS, DOWN]),
            up_block_types: names(&[UP, UP_ATTENDS, UP_ATTENDS, UP_ATTENDS]),
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: PerBlock::Same(2),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: PerBlock::Same(1280),
            transformer_layers_per_block: PerBlock::Same(1),
            attention_head_dim: PerBlock::Same(8),
            use_linear_projection: false,
            upcast_attention: None,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
            time_cond_proj_dim: None,
        }
    }
}

const DOWN: &str = "DownBlock2D";
const DOWN_ATTENDS: &str = "CrossAttnDownBlock2D";
const UP: &str = "UpBlock2D";
const UP_ATTENDS: &str = "CrossAttnUpBlock2D";

/// Every other argument of diffusers' constructor that changes the computation.
const SETTLED: &[Settled] = &[
    ("_class_name", &["\"UNet2DConditionModel\""]),
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("addition_embed_type", &["null", "\"text_time\""]),
    ("attention_type", &["\"default\""]),
    ("center_input_sample", &["false"]),
    ("class_embed_type", &["null"]),
    ("class_embeddings_concat", &["false"]),
    ("conv_in_kernel", &["3"]),
    ("conv_out_kernel", &["3"]),
    ("cross_attention_norm", &["null"]),
    ("down_block_types", &["\"DownBlock2D\"", "\"CrossAttnDownBlock2D\""]),
    ("downsample_padding", &["1"]),
    ("dual_cross_attention", &["false"]),
    ("encoder_hid_dim", &["null"]),
    ("encoder_hid_dim_type", &["null"]),
    ("mid_block_only_cross_attention", &["null", "false"]),
    ("mid_block_scale_factor", &["1", "1.0"]),
    ("mid_block_type", &["\"UNetMidBlock2DCrossAttn\""]),
    ("num_class_embeds", &["null"]),
    ("num_attention_heads", &["null"]),
    ("only_cross_attention", &["false"]),
    ("resnet_out_scale_factor", &["1", "1.0"]),
    ("resnet_skip_time_act", &["false"]),
    ("resnet_time_scale_shift", &["\"default\""]),
    ("reverse_transformer_layers_per_block", &["null"]),
    ("time_embedding_act_fn", &["null"]),
    ("time_embedding_dim", &["null"]),
    ("time_embedding_type", &["\"positional\""]),
    ("timestep_post_act", &["null"]),
    ("up_block_types", &["\"UpBlock2D\"", "\"CrossAttnUpBlock2D\""]),
];

impl UnetConfig {
    /// Reads the configuration at `path`.
    ///
    /// # Errors
    /// When it is missing, no such JSON, or asks for what is not implemented.
    pub fn read(files: &ModelFiles, path: &str) -> Result<Self, LoadError> {
        let raw: Raw = config::read(files, path, SETTLED)?;
        Self::from_raw(&raw)
            .map_err(|(key, value, supported)| config::unsupported(files, path, key, &value, &supported))
    }

    fn from_raw(raw: &Raw) -> Result<Self, Refusal> {
        let sample_size = match &raw.sample_size {
            Some(PerBlock::Same(side)) => Some(*side),
            Some(PerBlock::Each(sides)) => sides.iter().copied().max(),
            Some(PerBlock::Other(other)) => {
                return Err(("sample_size", other.to_string(), "one side, or height and width".into()));
            }
            None => None,
        };
        Ok(Self {
            sample_size,
            in_channels: raw.in_channels,
            out_channels: raw.out_channels,
            cross_attention_dim: raw.cross_attention_dim()?,
            addition: raw.addition()?,
            time_cond_proj_dim: raw.time_cond_proj_dim,
            flip_sin_to_cos: raw.flip_sin_to_cos,
            freq_shift: raw.freq_shift,
            norm_num_groups: raw.norm_num_groups,
            norm_eps: raw.norm_eps,
            use_linear_projection: raw.use_linear_projection,
            upcast_attention: raw.upcast_attention.unwrap_or(false),
            blocks: raw.blocks()?,
        })
    }

    /// Channels of the time embedding.
    pub(super) fn time_channels(&self) -> usize {
        4 * self.blocks[0].channels
    }

    /// The attention of a level.
    pub(super) fn transformer(&self, block: &BlockConfig) -> TransformerSettings {
        TransformerSettings {
            channels: block.channels,
            heads: block.heads,
            upcast_attention: self.upcast_attention,
            context_channels: self.cross_attention_dim,
            layers: block.transformer_layers,
            groups: self.norm_num_groups,
            linear_projection: self.use_linear_projection,
        }
    }
}

/// A key, its value, and what would have been understood.
type Refusal = (&'static str, String, String);

impl Raw {
    fn cross_attention_dim(&self) -> Result<usize, Refusal> {
        let levels = self.cross_attention_dim.resolve(self.block_out_channels.len());
        match levels.as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|channels| channels == first) => Ok(*first),
            _ => {
                let found = self.cross_attention_dim.to_string();
                Err(("cross_attention_dim", found, "one number, the same for every block".into()))
            }
        }
    }

    fn addition(&self) -> Result<Option<AdditionConfig>, Refusal> {
        if self.addition_embed_type.is_none() {
            return Ok(None);
        }
        let positive = |key, number: Option<usize>| match number {
            Some(number) if number > 0 => Ok(number),
            _ => {
                let found = number.map_or("null".into(), |number| number.to_string());
                Err((key, found, "a positive number beside the `addition_embed_type` \"text_time\"".into()))
            }
        };
        Ok(Some(AdditionConfig {
            time_embed_dim: positive("addition_time_embed_dim", self.addition_time_embed_dim)?,
            input_dim: positive("projection_class_embeddings_input_dim", self.projection_class_embeddings_input_dim)?,
        }))
    }

    fn blocks(&self) -> Result<Vec<BlockConfig>, Refusal> {
        let count = self.block_out_channels.len();
        let refusal = |key, found: String, supported: String| (key, found, supported);
        let one_each = format!("one value for each of the {count} `block_out_channels`");
        if count == 0 {
            return Err(refusal("block_out_channels", "[]".into(), "one number or more".into()));
        }
        for (key, types) in [("down_block_types", &self.down_block_types), ("up_block_types", &self.up_block_types)] {
            if types.len() != count {
                return Err(refusal(key, format!("{types:?}"), one_each));
            }
        }
        let each = |key, setting: &PerBlock<usize>| {
            setting.resolve(count).ok_or_else(|| refusal(key, setting.to_string(), one_each.clone()))
        };
        let layers = each("layers_per_block", &self.layers_per_block)?;
        let transformer_layers = each("transformer_layers_per_block", &self.transformer_layers_per_block)?;
        // What diffusers calls the dimension of a head is the number of heads, in every published SD model.
        let heads = each("attention_head_dim", &self.attention_head_dim)?;
        (0..count)
            .map(|i| {
                let channels = self.block_out_channels[i];
                if heads[i] == 0 || !channels.is_multiple_of(heads[i]) {
                    return Err(refusal(
                        "attention_head_dim",
                        heads[i].to_string(),
                        format!("a divisor of {channels}"),
                    ));
                }
                Ok(BlockConfig {
                    channels,
                    layers: layers[i],
                    down_attends: self.down_block_types[i] == DOWN_ATTENDS,
                    up_attends: self.up_block_types[count - 1 - i] == UP_ATTENDS,
                    heads: heads[i],
                    transformer_layers: transformer_layers[i],
                })
            })
            .collect()
    }
}
