//! Original names of tensors → names of diffusers (diffusers' `single_file_utils`).
//!
//! The original networks number their blocks in one list; diffusers groups them by resolution. Where a group ends is
//! read off the names: after the block that downsamples or upsamples. Nothing here depends on a configuration.

use std::collections::HashSet;

use crate::diffusion::weights::header::TensorEntry;

/// A scheme of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `openaimodel.UNetModel`
    Unet,
    /// `autoencoder.AutoencoderKL`
    Vae,
    /// transformers' `CLIPTextModel`: the names of diffusers already.
    Clip,
    /// open_clip's text transformer
    OpenClip,
}

/// The names of one network.
pub(super) enum Names {
    Unet(UnetBlocks),
    Vae { levels: usize },
    Clip,
    OpenClip,
}

impl Layout {
    /// Reads from `names` what the translation depends on.
    pub(super) fn names<'a>(self, names: impl Iterator<Item = &'a str>) -> Names {
        match self {
            Self::Unet => Names::Unet(UnetBlocks::new(&names.collect())),
            Self::Vae => {
                let level = |name: &str| name.strip_prefix("decoder.up.")?.split('.').next()?.parse::<usize>().ok();
                Names::Vae { levels: names.filter_map(level).max().map_or(0, |last| last.saturating_add(1)) }
            }
            Self::Clip => Names::Clip,
            Self::OpenClip => Names::OpenClip,
        }
    }
}

impl Names {
    /// What the tensor `name` is in diffusers: usually one tensor, three for a fused projection, none for what
    /// diffusers does not have.
    pub(super) fn place(&self, name: &str, entry: &TensorEntry) -> Vec<(String, TensorEntry)> {
        let parts: Vec<&str> = name.split('.').collect();
        let one = |name: Option<String>, entry: TensorEntry| name.map(|name| (name, entry)).into_iter().collect();
        match self {
            Self::Unet(blocks) => one(blocks.name(&parts), entry.clone()),
            Self::Vae { levels } => {
                let is_attention = parts.contains(&"attn_1");
                one(vae(&parts, *levels), if is_attention { entry.without_window() } else { entry.clone() })
            }
            Self::Clip => one(Some(name.into()), entry.clone()),
            Self::OpenClip => open_clip(&parts, entry),
        }
    }
}

/// For each number of the two lists, the block of diffusers and the layer in it.
pub(super) struct UnetBlocks {
    input: Vec<(usize, usize)>,
    output: Vec<(usize, usize)>,
}

impl UnetBlocks {
    fn new(names: &HashSet<&str>) -> Self {
        let groups = |list: &str, first: usize, ends: &[&str]| {
            let count = names
                .iter()
                .filter_map(|name| name.strip_prefix(list)?.split('.').next()?.parse::<usize>().ok())
                .max()
                .map_or(0, |last| last.saturating_add(1));
            // Longer numbers than there are tensors would be a file made to exhaust the memory.
            let mut places = vec![(0, 0); first.min(count)];
            let (mut block, mut layer) = (0, 0);
            for number in first..count.min(names.len()) {
                places.push((block, layer));
                layer += 1;
                if ends.iter().any(|end| names.contains(format!("{list}{number}.{end}.weight").as_str())) {
                    (block, layer) = (block + 1, 0);
                }
            }
            places
        };
        Self {
            // The first of the list is diffusers' `conv_in`.
            input: groups("input_blocks.", 1, &["0.op"]),
            output: groups("output_blocks.", 0, &["1.conv", "2.conv"]),
        }
    }

    fn name(&self, parts: &[&str]) -> Option<String> {
        let place = |list: &[(usize, usize)], number: &str| list.get(number.parse::<usize>().ok()?).copied();
        Some(match parts {
            ["time_embed", "0", end] => format!("time_embedding.linear_1.{end}"),
            ["time_embed", "2", end] => format!("time_embedding.linear_2.{end}"),
            ["label_emb", "0", "0", end] => format!("add_embedding.linear_1.{end}"),
            ["label_emb", "0", "2", end] => format!("add_embedding.linear_2.{end}"),
            ["out", "0", end] => format!("conv_norm_out.{end}"),
            ["out", "2", end] => format!("conv_out.{end}"),
            ["input_blocks", "0", "0", end] => format!("conv_in.{end}"),
            ["input_blocks", number, rest @ ..] => {
                let (block, layer) = place(&self.input, number)?;
                match rest {
                    ["0", "op", end] => format!("down_blocks.{block}.downsamplers.0.conv.{end}"),
                    ["0", rest @ ..] => format!("down_blocks.{block}.resnets.{layer}.{}", unet_resnet(rest)?),
                    ["1", rest @ ..] => format!("down_blocks.{block}.attentions.{layer}.{}", rest.join(".")),
                    _ => return None,
                }
            }
            ["middle_block", "0", rest @ ..] => format!("mid_block.resnets.0.{}", unet_resnet(rest)?),
            ["middle_block", "1", rest @ ..] => format!("mid_block.attentions.0.{}", rest.join(".")),
            ["middle_block", "2", rest @ ..] => format!("mid_block.resnets.1.{}", unet_resnet(rest)?),
            ["output_blocks", number, rest @ ..] => {
                let (block, layer) = place(&self.output, number)?;
                match rest {
                    ["0", rest @ ..] => format!("up_blocks.{block}.resnets.{layer}.{}", unet_resnet(rest)?),
                    ["1" | "2", "conv", end] => format!("up_blocks.{block}.upsamplers.0.conv.{end}"),
                    ["1", rest @ ..] => format!("up_blocks.{block}.attentions.{layer}.{}", rest.join(".")),
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

fn unet_resnet(parts: &[&str]) -> Option<String> {
    Some(match parts {
        ["in_layers", "0", end] => format!("norm1.{end}"),
        ["in_layers", "2", end] => format!("conv1.{end}"),
        ["emb_layers", "1", end] => format!("time_emb_proj.{end}"),
        ["out_layers", "0", end] => format!("norm2.{end}"),
        ["out_layers", "3", end] => format!("conv2.{end}"),
        ["skip_connection", end] => format!("conv_shortcut.{end}"),
        _ => return None,
    })
}

fn vae(parts: &[&str], levels: usize) -> Option<String> {
    let resnet = |name: &str| if name == "nin_shortcut" { "conv_shortcut".to_owned() } else { name.to_owned() };
    Some(match parts {
        ["quant_conv" | "post_quant_conv", _] => parts.join("."),
        ["encoder" | "decoder", "conv_in" | "conv_out", _] => parts.join("."),
        [side @ ("encoder" | "decoder"), "norm_out", end] => format!("{side}.conv_norm_out.{end}"),
        [side @ ("encoder" | "decoder"), "mid", "attn_1", name, end] => {
            let name = match *name {
                "norm" => "group_norm",
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "proj_out" => "to_out.0",
                _ => return None,
            };
            format!("{side}.mid_block.attentions.0.{name}.{end}")
        }
        [side @ ("encoder" | "decoder"), "mid", block, name, end] => {
            let number = match *block {
                "block_1" => 0,
                "block_2" => 1,
                _ => return None,
            };
            format!("{side}.mid_block.resnets.{number}.{}.{end}", resnet(name))
        }
        ["encoder", "down", level, "block", layer, name, end] => {
            format!("encoder.down_blocks.{level}.resnets.{layer}.{}.{end}", resnet(name))
        }
        ["encoder", "down", level, "downsample", "conv", end] => {
            format!("encoder.down_blocks.{level}.downsamplers.0.conv.{end}")
        }
        // The original decoder numbers its levels from the finest, diffusers from the coarsest.
        ["decoder", "up", level, rest @ ..] => {
            let block = levels.checked_sub(level.parse::<usize>().ok()?.checked_add(1)?)?;
            match rest {
                ["block", layer, name, end] => {
                    format!("decoder.up_blocks.{block}.resnets.{layer}.{}.{end}", resnet(name))
                }
                ["upsample", "conv", end] => format!("decoder.up_blocks.{block}.upsamplers.0.conv.{end}"),
                _ => return None,
            }
        }
        _ => return None,
    })
}

fn open_clip(parts: &[&str], entry: &TensorEntry) -> Vec<(String, TensorEntry)> {
    let one = |name: String| vec![(name, entry.clone())];
    match parts {
        ["positional_embedding"] => one("text_model.embeddings.position_embedding.weight".into()),
        ["token_embedding", "weight"] => one("text_model.embeddings.token_embedding.weight".into()),
        ["ln_final", end] => one(format!("text_model.final_layer_norm.{end}")),
        ["text_projection"] => vec![("text_projection.weight".into(), entry.transposed())],
        ["transformer", "resblocks", number, rest @ ..] => {
            let layer = format!("text_model.encoder.layers.{number}");
            match rest {
                ["ln_1", end] => one(format!("{layer}.layer_norm1.{end}")),
                ["ln_2", end] => one(format!("{layer}.layer_norm2.{end}")),
                ["mlp", "c_fc", end] => one(format!("{layer}.mlp.fc1.{end}")),
                ["mlp", "c_proj", end] => one(format!("{layer}.mlp.fc2.{end}")),
                ["attn", "out_proj", end] => one(format!("{layer}.self_attn.out_proj.{end}")),
                ["attn", fused @ ("in_proj_weight" | "in_proj_bias")] => {
                    let end = fused.trim_start_matches("in_proj_");
                    let parts = ["q_proj", "k_proj", "v_proj"].into_iter().zip(entry.thirds());
                    parts.map(|(part, entry)| (format!("{layer}.self_attn.{part}.{end}"), entry)).collect()
                }
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}
