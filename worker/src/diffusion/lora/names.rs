//! What the layers of a network are called in each dialect: computed from their paths, so that no name is guessed.

use std::collections::HashMap;

use super::Network;
use super::key::Module;
use crate::diffusion::weights::LayerShape;

/// The layers of a network by every name that a file may have for them.
pub(super) struct Names<'a> {
    by_name: HashMap<Module, &'a LayerShape>,
}

impl<'a> Names<'a> {
    /// Names the layers of `network`. `walks_geglu` says whether cloneofsimo's walk counted the feed-forward layers.
    pub(super) fn of(network: Network, layers: &'a [LayerShape], walks_geglu: bool) -> Self {
        let blocks = ResnetsPerBlock::count(layers);
        let mut by_name = HashMap::new();
        for layer in layers {
            let path = without_prefix(&layer.path).to_owned();
            by_name.insert(Module::Flat(path.replace('.', "_")), layer);
            if network == Network::Unet
                && let Some(original) = blocks.original_path(&path)
            {
                by_name.insert(Module::Flat(original.replace('.', "_")), layer);
            }
            by_name.insert(Module::Path(path), layer);
        }
        for (place, layer) in walk(network, layers, walks_geglu).into_iter().enumerate() {
            by_name.insert(Module::Nth(place), layer);
        }
        Self { by_name }
    }

    /// The layer that a file calls `module`.
    pub(super) fn find(&self, module: &Module) -> Option<&'a LayerShape> {
        let module = match module {
            Module::Path(path) => Module::Path(without_prefix(path).to_owned()),
            Module::Flat(flat) => Module::Flat(flat.strip_prefix("text_model_").unwrap_or(flat).to_owned()),
            Module::Nth(place) => Module::Nth(*place),
        };
        self.by_name.get(&module).copied()
    }
}

/// Text encoders have their paths below `text_model`, or not, as the version of transformers was.
fn without_prefix(path: &str) -> &str {
    path.strip_prefix("text_model.").unwrap_or(path)
}

/// What the original layout's numbers of blocks follow from.
struct ResnetsPerBlock {
    /// On the way down, the same in every block of the models that have such names.
    down: usize,
    /// Whether block *i* of the way up attends, which moves its upsampler by one.
    up_attends: Vec<bool>,
}

impl ResnetsPerBlock {
    fn count(layers: &[LayerShape]) -> Self {
        let mut counts = Self { down: 0, up_attends: Vec::new() };
        for layer in layers {
            let parts: Vec<&str> = layer.path.split('.').collect();
            match parts.as_slice() {
                ["down_blocks", _, "resnets", resnet, ..] => {
                    counts.down = counts.down.max(number(resnet).map_or(0, |resnet| resnet + 1));
                }
                ["up_blocks", block, kind, ..] => {
                    let Some(block) = number(block) else { continue };
                    if counts.up_attends.len() <= block {
                        counts.up_attends.resize(block + 1, false);
                    }
                    counts.up_attends[block] |= *kind == "attentions";
                }
                _ => {}
            }
        }
        counts
    }

    /// The path in the original layout (`openaimodel.UNetModel`, which SDXL's LoRA files name) of the layer that is
    /// at `path` in diffusers.
    fn original_path(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split('.').collect();
        // One block more than residual blocks: the downsampler on the way down, the longer list on the way up.
        let blocks = self.down + 1;
        match parts.as_slice() {
            ["conv_in"] => Some("input_blocks.0.0".into()),
            ["conv_out"] => Some("out.2".into()),
            ["time_embedding", layer] => Some(format!("time_embed.{}", sequential(layer)?)),
            ["add_embedding", layer] => Some(format!("label_emb.0.{}", sequential(layer)?)),
            ["down_blocks", block, "downsamplers", "0", "conv"] => {
                Some(format!("input_blocks.{}.0.op", blocks * (number(block)? + 1)))
            }
            ["down_blocks", block, kind, layer, rest @ ..] => {
                let place = 1 + blocks * number(block)? + number(layer)?;
                Some(format!("input_blocks.{place}.{}", inside(kind, rest)?))
            }
            ["mid_block", "resnets", layer, rest @ ..] => {
                Some(format!("middle_block.{}.{}", 2 * number(layer)?, resnet_layer(rest)?))
            }
            ["mid_block", "attentions", "0", rest @ ..] => Some(format!("middle_block.1.{}", rest.join("."))),
            ["up_blocks", block, "upsamplers", "0", "conv"] => {
                let block = number(block)?;
                let place = if *self.up_attends.get(block)? { 2 } else { 1 };
                Some(format!("output_blocks.{}.{place}.conv", blocks * block + self.down))
            }
            ["up_blocks", block, kind, layer, rest @ ..] => {
                let place = blocks * number(block)? + number(layer)?;
                Some(format!("output_blocks.{place}.{}", inside(kind, rest)?))
            }
            _ => None,
        }
    }
}

/// A residual block or a transformer, as places 0 and 1 of an original block.
fn inside(kind: &str, rest: &[&str]) -> Option<String> {
    match kind {
        "resnets" => Some(format!("0.{}", resnet_layer(rest)?)),
        "attentions" => Some(format!("1.{}", rest.join("."))),
        _ => None,
    }
}

fn resnet_layer(rest: &[&str]) -> Option<&'static str> {
    match rest {
        ["conv1"] => Some("in_layers.2"),
        ["time_emb_proj"] => Some("emb_layers.1"),
        ["conv2"] => Some("out_layers.3"),
        ["conv_shortcut"] => Some("skip_connection"),
        _ => None,
    }
}

/// Two layers with an activation between them.
fn sequential(layer: &str) -> Option<usize> {
    match layer {
        "linear_1" => Some(0),
        "linear_2" => Some(2),
        _ => None,
    }
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// The layers that cloneofsimo's trainer adapts, in the order in which torch's `modules()` met them: down, up, mid;
/// attention, feed-forward, attention; in CLIP keys, values, queries, out.
fn walk(network: Network, layers: &[LayerShape], walks_geglu: bool) -> Vec<&LayerShape> {
    let order: &[&str] = match network {
        Network::Unet => {
            &["down_blocks", "up_blocks", "mid_block", "attn1", "ff", "attn2", "to_q", "to_k", "to_v", "to_out"]
        }
        Network::TextEncoder | Network::TextEncoder2 => &["k_proj", "v_proj", "q_proj", "out_proj"],
    };
    let is_walked = |path: &str| match network {
        Network::Unet => {
            path.contains(".attn1.") || path.contains(".attn2.") || (walks_geglu && path.ends_with(".ff.net.0.proj"))
        }
        Network::TextEncoder | Network::TextEncoder2 => path.contains(".self_attn."),
    };
    let rank = |path: &str| -> Vec<usize> {
        let place = |part: &str| number(part).or_else(|| order.iter().position(|name| *name == part));
        path.split('.').map(|part| place(part).unwrap_or(0)).collect()
    };
    let mut walked: Vec<&LayerShape> = layers.iter().filter(|layer| is_walked(&layer.path)).collect();
    walked.sort_by_cached_key(|layer| rank(&layer.path));
    walked
}
