//! What a walk is given besides latents, and what the layers take of it.

use candle_core::{DType, Device, Result, Tensor};

use super::config::{AdditionConfig, UnetConfig};
use crate::diffusion::nn::time::{Sinusoids, TimeEmbedding};
use crate::diffusion::nn::transformer::KeysValues;
use crate::diffusion::weights::{LoadError, Scope};

/// What the network is conditioned on, besides the timesteps. Tensors may be of any float dtype.
#[derive(Clone, Debug)]
pub struct UnetInput {
    /// Text, `[items, tokens, cross_attention_dim]`.
    pub context: Tensor,
    /// What SDXL is given besides; exactly where [`UnetConfig::addition`] is there.
    pub added: Option<AddedConditioning>,
    /// [`guidance_scale_embedding`](crate::diffusion::nn::time::guidance_scale_embedding), `[items or 1,
    /// time_cond_proj_dim]`; only where [`UnetConfig::time_cond_proj_dim`] is there, and it may be left out.
    pub guidance_embedding: Option<Tensor>,
}

/// SDXL's conditioning on the prompt as a whole and on sizes (Podell et al. 2023, section 2.2; diffusers'
/// `added_cond_kwargs`).
#[derive(Clone, Debug)]
pub struct AddedConditioning {
    /// The pooled prompt, `[items, projection_dim]`.
    pub text_embeds: Tensor,
    /// `[items, 6]` f32: height and width of the original, top and left of the crop, height and width of the target.
    /// The refiner has `[items, 5]`: an aesthetic score in place of the target.
    pub time_ids: Tensor,
}

impl UnetInput {
    /// Several inputs of one network as items of one, in their order.
    ///
    /// # Errors
    /// When they are not of one network, or memory runs out.
    pub fn cat(inputs: &[&Self]) -> Result<Self> {
        let all = |part: fn(&Self) -> Option<&Tensor>| {
            let parts: Vec<&Tensor> = inputs.iter().filter_map(|input| part(input)).collect();
            if parts.is_empty() { Ok(None) } else { Tensor::cat(&parts, 0).map(Some) }
        };
        let contexts: Vec<&Tensor> = inputs.iter().map(|input| &input.context).collect();
        let text_embeds = all(|input| input.added.as_ref().map(|added| &added.text_embeds))?;
        let time_ids = all(|input| input.added.as_ref().map(|added| &added.time_ids))?;
        Ok(Self {
            context: Tensor::cat(&contexts, 0)?,
            added: text_embeds.zip(time_ids).map(|(text_embeds, time_ids)| AddedConditioning { text_embeds, time_ids }),
            guidance_embedding: all(|input| input.guidance_embedding.as_ref())?,
        })
    }
}

impl From<Tensor> for UnetInput {
    /// Text alone.
    fn from(context: Tensor) -> Self {
        Self { context, added: None, guidance_embedding: None }
    }
}

/// What the layers of a network take of a [`UnetInput`], for every step of a walk: the text has met the matrices of keys
/// and values, and the time embedding those of the residual blocks.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// Of all layers, one after the other: `[steps, items or 1, channels]`.
    shifts: Tensor,
    /// In the order of the walk through the network.
    layers: Vec<LayerConditioning>,
}

/// What one layer takes.
#[derive(Clone, Debug)]
struct LayerConditioning {
    /// Channels of its shift.
    channels: usize,
    /// For each block of the attention, where the layer has one.
    texts: Vec<KeysValues>,
}

/// What one layer takes at one of the steps, for a batch.
#[derive(Debug)]
pub(super) struct LayerInput {
    /// `[batch or 1, channels]`
    pub(super) shift: Tensor,
    /// For each block of the attention, `[batch, tokens, channels]`.
    pub(super) texts: Vec<KeysValues>,
}

impl Conditioning {
    /// Of the shifts, `[steps, items or 1, channels]`, and the texts of each layer.
    pub(super) fn new(layers: Vec<(Tensor, Vec<KeysValues>)>) -> Result<Self> {
        let (shifts, texts): (Vec<_>, Vec<_>) = layers.into_iter().unzip();
        let layer = |(shift, texts): (&Tensor, _)| Ok(LayerConditioning { channels: shift.dim(2)?, texts });
        let layers = shifts.iter().zip(texts).map(layer).collect::<Result<_>>()?;
        Ok(Self { shifts: Tensor::cat(&shifts, 2)?, layers })
    }

    /// That of one of the items. It shares their memory.
    ///
    /// # Errors
    /// When there is no such item.
    pub fn item(&self, index: usize) -> Result<Self> {
        let is_shared = self.shifts.dim(1)? == 1;
        let shifts = if is_shared { self.shifts.clone() } else { self.shifts.narrow(1, index, 1)? };
        let layer = |layer: &LayerConditioning| {
            let texts = layer.texts.iter().map(|text| text.map(|x| x.narrow(0, index, 1))).collect::<Result<_>>()?;
            Ok(LayerConditioning { texts, ..*layer })
        };
        Ok(Self { shifts, layers: self.layers.iter().map(layer).collect::<Result<_>>()? })
    }

    /// All that the layers take at `step`: the same tensors at every step, but for the first.
    pub(super) fn at(&self, step: usize) -> Result<Vec<Tensor>> {
        let texts = self.layers.iter().flat_map(|layer| &layer.texts).flat_map(KeysValues::tensors);
        Ok([self.shifts.get(step)?].into_iter().chain(texts.cloned()).collect())
    }

    /// What each layer takes of `tensors`, which are those of [`at`](Self::at), for `batch` pictures.
    pub(super) fn layers(&self, tensors: &[Tensor], batch: usize) -> Result<Vec<LayerInput>> {
        let Some((shifts, mut texts)) = tensors.split_first() else {
            candle_core::bail!("nothing to be conditioned on")
        };
        let mut first = 0;
        let mut layers = Vec::with_capacity(self.layers.len());
        for LayerConditioning { channels, texts: own } in &self.layers {
            let shift = shifts.narrow(1, first, *channels)?.contiguous()?;
            first += channels;
            // One row stands for any batch.
            let shift = if shift.dim(0)? == 1 { shift } else { spread(&shift, batch)? };
            let (taken, left) = texts.split_at(2 * own.len());
            texts = left;
            let both =
                taken.chunks_exact(2).map(|both| KeysValues::new(spread(&both[0], batch)?, spread(&both[1], batch)?));
            layers.push(LayerInput { shift, texts: both.collect::<Result<_>>()? });
        }
        Ok(layers)
    }
}

/// `x`, `[items, …]`, as `[batch, …]`: each item for as many pictures in a row.
fn spread(x: &Tensor, batch: usize) -> Result<Tensor> {
    let items = x.dim(0)?;
    if items == batch {
        return Ok(x.clone());
    }
    if !batch.is_multiple_of(items) {
        candle_core::bail!("{batch} pictures cannot share what {items} of them are conditioned on")
    }
    let dims = x.dims().to_vec();
    let many = [&[items, batch / items], &dims[1..]].concat();
    x.unsqueeze(1)?.broadcast_as(many)?.reshape([&[batch], &dims[1..]].concat())
}

/// The layers that make the time embedding.
#[derive(Debug)]
pub(super) struct ConditionEmbedding {
    sinusoids: Sinusoids,
    layers: TimeEmbedding,
    addition: Option<AddedEmbedding>,
    device: Device,
    dtype: DType,
}

/// Diffusers' `add_time_proj` and `add_embedding`, of `addition_embed_type` "text_time".
#[derive(Debug)]
struct AddedEmbedding {
    sinusoids: Sinusoids,
    layers: TimeEmbedding,
}

impl ConditionEmbedding {
    pub(super) fn load(root: &Scope, config: &UnetConfig) -> Load<Self> {
        let (inputs, outputs) = (config.blocks[0].channels, config.time_channels());
        let time = root.sub("time_embedding");
        Ok(Self {
            sinusoids: sinusoids(root, config, inputs)?,
            layers: TimeEmbedding::load(&time, inputs, outputs, config.time_cond_proj_dim)?,
            addition: config.addition.map(|addition| AddedEmbedding::load(root, config, addition)).transpose()?,
            device: root.device().clone(),
            dtype: root.dtype(),
        })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// `[steps, items or 1, 4 · block_out_channels[0]]` in the dtype of the network.
    pub(super) fn forward(&self, timesteps: &[f64], input: &UnetInput) -> Result<Tensor> {
        let timesteps = Tensor::from_iter(timesteps.iter().map(|&timestep| timestep as f32), &self.device)?;
        let sinusoids = self.sinusoids.forward(&timesteps)?.to_dtype(self.dtype)?.unsqueeze(1)?;
        let guidance = input.guidance_embedding.as_ref().map(|embedding| embedding.to_dtype(self.dtype)).transpose()?;
        let time = self.layers.forward(&sinusoids, guidance.as_ref())?;
        match (&self.addition, &input.added) {
            (None, None) => Ok(time),
            (Some(addition), Some(added)) => time.broadcast_add(&addition.forward(added, self.dtype)?),
            (Some(_), None) => candle_core::bail!("this network wants a pooled prompt and sizes"),
            (None, Some(_)) => candle_core::bail!("this network knows no pooled prompt and no sizes"),
        }
    }
}

/// `channels` sinusoids as the configuration has all of them.
fn sinusoids(root: &Scope, config: &UnetConfig, channels: usize) -> Load<Sinusoids> {
    Sinusoids::new(channels, config.flip_sin_to_cos, config.freq_shift, root.device())
        .map_err(|source| root.failed(source))
}

impl AddedEmbedding {
    fn load(root: &Scope, config: &UnetConfig, addition: AdditionConfig) -> Load<Self> {
        let AdditionConfig { time_embed_dim, input_dim } = addition;
        Ok(Self {
            sinusoids: sinusoids(root, config, time_embed_dim)?,
            layers: TimeEmbedding::load(&root.sub("add_embedding"), input_dim, config.time_channels(), None)?,
        })
    }

    /// `[items, 4 · block_out_channels[0]]`
    fn forward(&self, added: &AddedConditioning, dtype: DType) -> Result<Tensor> {
        let items = added.text_embeds.dim(0)?;
        let times = self.sinusoids.forward(&added.time_ids.to_dtype(DType::F32)?)?.reshape((items, ()))?;
        let both = Tensor::cat(&[&added.text_embeds.to_dtype(DType::F32)?, &times], 1)?.to_dtype(dtype)?;
        self.layers.forward(&both, None)
    }
}

type Load<T> = std::result::Result<T, LoadError>;
