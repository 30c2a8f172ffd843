//! The networks that a LoRA can change, and how they are built again with one.
//!
//! What was loaded stays; a network with LoRAs shares every tensor that they leave alone, so that building it
//! costs one product of each layer that they change, and leaving them out again costs nothing.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};

use crate::diffusion::embeddings::TextEncoder;
use crate::diffusion::lora::recent::Recent;
use crate::diffusion::lora::{Lora, Network, unmatched_warning};
use crate::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder};
use crate::diffusion::nn::unet::{Unet, UnetConfig};
use crate::diffusion::spec::LoraChoice;
use crate::diffusion::weights::{KeptLayers, LoadError, ModelFiles, Patches, Weights};

/// Networks that compute together.
#[derive(Debug)]
pub(super) struct Networks {
    /// In the order of their channels in the UNet's context.
    pub(super) encoders: Vec<ClipTextEncoder>,
    pub(super) unet: Unet,
    /// What the LoRAs in them leave to say.
    pub(super) warnings: Vec<String>,
}

/// The networks of a model as they were trained, and the last few combinations of LoRAs with them.
#[derive(Debug)]
pub(super) struct Adaptable {
    device: Device,
    dtype: DType,
    text: Vec<(Network, ClipTextConfig, KeptLayers)>,
    unet: (UnetConfig, KeptLayers),
    plain: Arc<Networks>,
    merged: Recent<Vec<LoraChoice>, Arc<Networks>>,
}

/// The network of a text encoder, as LoRAs name it.
fn network_of(encoder: TextEncoder) -> Network {
    match encoder {
        TextEncoder::First => Network::TextEncoder,
        TextEncoder::Second => Network::TextEncoder2,
    }
}

impl Adaptable {
    /// Reads the weights of the text encoders and the UNet.
    ///
    /// # Errors
    /// When a file is missing or does not fit, or the device has no room.
    pub(super) fn load(
        files: &ModelFiles,
        text: Vec<(TextEncoder, ClipTextConfig)>,
        unet: UnetConfig,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, LoadError> {
        let (mut encoders, mut kept) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
        for (encoder, config) in text {
            let weights = Weights::open(files, encoder.folder(), "model")?;
            encoders.push(ClipTextEncoder::load(&config, &weights, device, dtype)?);
            kept.push((network_of(encoder), config, weights.keep()));
        }
        let weights = Weights::open(files, Network::Unet.folder(), "diffusion_pytorch_model")?;
        let plain = Networks { encoders, unet: Unet::load(&unet, &weights, device, dtype)?, warnings: Vec::new() };
        let unet = (unet, weights.keep());
        let plain = Arc::new(plain);
        Ok(Self { device: device.clone(), dtype, text: kept, unet, plain, merged: Recent::default() })
    }

    /// The networks with `loras` merged in.
    ///
    /// # Errors
    /// When a LoRA cannot be read or does not fit.
    pub(super) fn with(&mut self, loras: &[LoraChoice]) -> Result<Arc<Networks>, LoadError> {
        if loras.is_empty() {
            return Ok(Arc::clone(&self.plain));
        }
        let Self { device, dtype, text, unet, merged, .. } = self;
        merged.get_or_build(loras.to_vec(), |loras| build(loras, text, unet, device, *dtype).map(Arc::new)).cloned()
    }
}

fn build(
    choices: &[LoraChoice],
    text: &[(Network, ClipTextConfig, KeptLayers)],
    (unet_config, unet): &(UnetConfig, KeptLayers),
    device: &Device,
    dtype: DType,
) -> Result<Networks, LoadError> {
    let loras = choices.iter().map(|choice| Ok((choice, open(choice, device)?)));
    let loras = loras.collect::<Result<Vec<_>, LoadError>>()?;
    let mut left: Vec<Vec<String>> = loras.iter().map(|(_, lora)| lora.unread().to_vec()).collect();
    let mut patched = |network: Network, kept: &KeptLayers| {
        let (shapes, mut all) = (kept.shapes(), Patches::default());
        for ((choice, lora), left) in loras.iter().zip(&mut left) {
            let (patches, unmatched) = lora.patches_for(network, &shapes, choice.weight)?;
            all.extend(patches);
            left.extend(unmatched);
        }
        Ok::<_, LoadError>(kept.with_patches(&all))
    };
    let encoders = text
        .iter()
        .map(|(network, config, kept)| ClipTextEncoder::load(config, &patched(*network, kept)?, device, dtype));
    let encoders = encoders.collect::<Result<_, LoadError>>()?;
    let unet = Unet::load(unet_config, &patched(Network::Unet, unet)?, device, dtype)?;
    let known = |network: &Network| *network == Network::Unet || text.iter().any(|(other, ..)| other == network);
    let mut warnings: Vec<String> = Vec::new();
    for ((choice, lora), left) in loras.iter().zip(&left) {
        warnings.extend(unmatched_warning(&choice.name, left));
        let foreign = lora.networks().into_iter().filter(|network| !known(network));
        warnings.extend(foreign.map(|network| {
            format!("The LoRA “{}” also changes {}, which this model does not have.", choice.name, network.folder())
        }));
    }
    Ok(Networks { encoders, unet, warnings })
}

fn open(choice: &LoraChoice, device: &Device) -> Result<Lora, LoadError> {
    let (folder, file) = folder_and_file(&choice.path);
    Lora::open(&folder, &file, device)
}

/// A lone file as a file of its folder.
pub(super) fn folder_and_file(path: &Path) -> (ModelFiles, String) {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    (ModelFiles::folder(path.parent().map(Path::to_owned).unwrap_or_default()), file)
}
