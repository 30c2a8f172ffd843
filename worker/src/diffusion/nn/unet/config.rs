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
    pub(super) flip_sin_to_cos: bool,
    pub(super) freq_shift: f32,
    pub(super) norm_num_groups: usize,
    pub(super) norm_eps: f64,
    use_linear_projection: bool,
    /// From the finest resolution to the coarsest; never empty.
    pub(super) blocks: Vec<BlockConfig>,
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
    cross_attention_dim: usize,
    transformer_layers_per_block: PerBlock<usize>,
    attention_head_dim: PerBlock<usize>,
    num_attention_heads: Option<PerBlock<usize>>,
    use_linear_projection: bool,
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
            cross_attention_dim: 1280,
            transformer_layers_per_block: PerBlock::Same(1),
            attention_head_dim: PerBlock::Same(8),
            num_attention_heads: None,
            use_linear_projection: false,
        }
    }
}

const DOWN: &str = "DownBlock2D";
const DOWN_ATTENDS: &str = "CrossAttnDownBlock2D";
const UP: &str = "UpBlock2D";
const UP_ATTENDS: &str = "CrossAttnUpBlock2D";

/// Every other argument of diffusers' constructor that changes the computation.
const SETTLED: &[Settled] = &[
    ("act_fn", &["\"silu\"", "\"swish\""]),
    ("addition_embed_type", &["null"]),
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
    ("only_cross_attention", &["false"]),
    ("resnet_out_scale_factor", &["1", "1.0"]),
    ("resnet_skip_time_act", &["false"]),
    ("resnet_time_scale_shift", &["\"default\""]),
    ("reverse_transformer_layers_per_block", &["null"]),
    ("time_cond_proj_dim", &["null"]),
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
        let blocks = raw
            .blocks()
            .map_err(|(key, value, supported)| config::unsupported(files, path, key, &value, &supported))?;
        let sample_size = match raw.sample_size {
            Some(PerBlock::Same(side)) => Some(side),
            Some(PerBlock::Each(sides)) => sides.into_iter().max(),
            None => None,
        };
        Ok(Self {
            sample_size,
            in_channels: raw.in_channels,
            out_channels: raw.out_channels,
            cross_attention_dim: raw.cross_attention_dim,
            flip_sin_to_cos: raw.flip_sin_to_cos,
            freq_shift: raw.freq_shift,
            norm_num_groups: raw.norm_num_groups,
            norm_eps: raw.norm_eps,
            use_linear_projection: raw.use_linear_projection,
            blocks,
        })
    }

    /// The attention of a level.
    pub(super) fn transformer(&self, block: &BlockConfig) -> TransformerSettings {
        TransformerSettings {
            channels: block.channels,
            heads: block.heads,
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
            setting.resolve(count).ok_or_else(|| refusal(key, format!("{setting:?}"), one_each.clone()))
        };
        let layers = each("layers_per_block", &self.layers_per_block)?;
        let transformer_layers = each("transformer_layers_per_block", &self.transformer_layers_per_block)?;
        // What diffusers calls the dimension of a head is the number of heads, in every published SD model.
        let heads = match &self.num_attention_heads {
            Some(heads) => each("num_attention_heads", heads)?,
            None => each("attention_head_dim", &self.attention_head_dim)?,
        };
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
