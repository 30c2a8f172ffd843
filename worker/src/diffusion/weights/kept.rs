//! The layers of a loaded network, kept to build it again with patches.
//!
//! A network that was loaded from [`Weights`] leaves [`KeptLayers`] behind, which share its tensors. Loading it once
//! more from [`KeptLayers::with_patches`] reads no file: every layer is the same tensor again, and only those that a
//! patch names are made anew. Dropping the patched network is all there is to un-merging it.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::tensors::{Source, Tensors, Weights};
use crate::diffusion::ops::{Conv2d, Linear, Packed};

/// What a network asked its weights for.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Tensor(Tensor),
    Linear(Linear),
    Conv2d(Conv2d),
}

impl Layer {
    /// Its weight as kernels read it, where it is so.
    pub(super) fn packed(&self) -> Option<&Packed> {
        match self {
            Self::Tensor(_) => None,
            Self::Linear(linear) => linear.packed(),
            Self::Conv2d(conv) => conv.packed(),
        }
    }
}

/// By the path of the module, or the full name of a tensor that is no layer's.
pub(super) type Layers = HashMap<String, Layer>;

/// The layers of one network, in the tensors that it computes with.
#[derive(Clone, Debug)]
pub struct KeptLayers {
    pub(super) file: String,
    pub(super) tensors: Arc<Tensors>,
    pub(super) layers: Arc<Layers>,
}

/// A layer that can be patched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// The module's path as diffusers or transformers have it.
    pub path: String,
    /// Shape of its weight as torch stores it: `[out, in]`, or `[out, in, kernel, kernel]`.
    pub shape: Vec<usize>,
}

/// What is added to the weight of one layer: `scale · up · down`.
#[derive(Clone, Debug)]
pub struct Patch {
    /// `[rank, in · kernel · kernel]` f32
    pub down: Tensor,
    /// `[out, rank]` f32
    pub up: Tensor,
    /// α / rank, times the weight that was asked for.
    pub scale: f64,
}

/// Patches by the paths of layers; all of a layer's are summed.
#[derive(Clone, Debug, Default)]
pub struct Patches(HashMap<String, Vec<Patch>>);

impl KeptLayers {
    /// Every layer that can be patched, in no order.
    pub fn shapes(&self) -> Vec<LayerShape> {
        let shape = |layer: &Layer| match layer {
            Layer::Tensor(_) => None,
            Layer::Linear(linear) => linear.shape().ok().map(Vec::from),
            Layer::Conv2d(conv) => conv.shape().ok().map(Vec::from),
        };
        self.layers
            .iter()
            .filter_map(|(path, layer)| Some(LayerShape { path: path.clone(), shape: shape(layer)? }))
            .collect()
    }

    /// Weights that give the same layers, those of `patches` patched. Only the network that left the layers can be
    /// loaded from them, for the same device in the same type.
    pub fn with_patches(&self, patches: &Patches) -> Weights {
        Weights {
            file: self.file.clone(),
            tensors: Arc::clone(&self.tensors),
            source: Source::Kept { layers: Arc::clone(&self.layers), patches: patches.clone() },
        }
    }
}

impl Patches {
    /// Adds a patch of the layer at `path`.
    pub fn add(&mut self, path: impl Into<String>, patch: Patch) {
        self.0.entry(path.into()).or_default().push(patch);
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        for (path, patches) in others.0 {
            self.0.entry(path).or_default().extend(patches);
        }
    }

    /// Whether the layer at `path` is patched.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Whether no layer is patched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Layers that are patched.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// `layer` with what is added to it; untouched, it shares its tensors.
    pub(super) fn applied(&self, path: &str, layer: &Layer) -> Result<Layer> {
        let Some(patches) = self.0.get(path) else { return Ok(layer.clone()) };
        let (up, down) = joined(patches)?;
        match layer {
            Layer::Tensor(tensor) => Ok(Layer::Tensor(tensor.clone())),
            Layer::Linear(linear) => Ok(Layer::Linear(linear.plus_low_rank(&up, &down)?)),
            Layer::Conv2d(conv) => Ok(Layer::Conv2d(conv.plus_low_rank(&up, &down)?)),
        }
    }
}

/// Two matrices whose product is the sum of all patches: `[out, ranks]` and `[ranks, in · kernel · kernel]`.
fn joined(patches: &[Patch]) -> Result<(Tensor, Tensor)> {
    let ups: Vec<Tensor> = patches.iter().map(|patch| &patch.up * patch.scale).collect::<Result<_>>()?;
    let downs: Vec<&Tensor> = patches.iter().map(|patch| &patch.down).collect();
    Ok((Tensor::cat(&ups, 1)?, Tensor::cat(&downs, 0)?))
}
