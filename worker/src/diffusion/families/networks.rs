//! The networks that a LoRA can change, and how they are built again with one.
//!
//! What was loaded stays; a network with LoRAs shares every tensor that they leave alone, so that building it
//! costs one product of each layer that they change, and leaving them out again costs nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::diffusion::embeddings::{Embedding, TextEncoder};
use crate::diffusion::lora::{Fit, Lora, Network, TrainedWords, unmatched_warning};
use crate::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder};
use crate::diffusion::nn::unet::{Unet, UnetConfig};
use crate::diffusion::placement::Placement;
use crate::diffusion::recent::{Recent, Reuse};
use crate::diffusion::spec::LoraChoice;
use crate::diffusion::weights::{KeptLayers, LoadError, ModelFiles, Patches, Weights};

/// Combinations of LoRAs that stay merged.
const COMBINATIONS_MAX: usize = 3;

/// Networks that compute together.
#[derive(Debug)]
pub(super) struct Networks {
    /// In the order of their channels in the UNet's context.
    pub(super) encoders: Arc<Vec<ClipTextEncoder>>,
    pub(super) unet: Unet,
    /// Words that the LoRAs bring with them.
    pub(super) words: Vec<(String, Arc<Embedding>)>,
    /// The LoRAs that change `encoders`.
    pub(super) text_loras: Vec<LoraFile>,
    /// What the LoRAs in them leave to say.
    pub(super) warnings: Vec<String>,
}

/// A LoRA as it lies on the disk: another file in its place is another LoRA.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LoraFile {
    choice: LoraChoice,
    /// Nothing where the file cannot be looked at, which opening it will tell.
    written: Option<(u64, SystemTime)>,
}

impl LoraFile {
    fn of(choice: &LoraChoice) -> Self {
        let written = std::fs::metadata(&choice.path).and_then(|file| Ok((file.len(), file.modified()?)));
        Self { choice: choice.clone(), written: written.ok() }
    }
}

/// The networks of a model as they were trained, and the last few combinations of LoRAs with them.
#[derive(Debug)]
pub(super) struct Adaptable {
    trained: Trained,
    merged: Recent<Vec<LoraFile>, Arc<Networks>>,
}

/// What networks with LoRAs are built from.
#[derive(Debug)]
struct Trained {
    placement: Placement,
    text: Vec<(TextEncoder, ClipTextConfig, KeptLayers)>,
    unet: (UnetConfig, KeptLayers),
    plain: Arc<Networks>,
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
        placement: &Placement,
    ) -> Result<Self, LoadError> {
        let Placement { device, dtype } = placement;
        let (mut encoders, mut kept) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len()));
        for (encoder, config) in text {
            let weights = Weights::open(files, encoder.folder(), "model")?;
            encoders.push(ClipTextEncoder::load(&config, &weights, device, *dtype)?);
            kept.push((encoder, config, weights.keep()));
        }
        let weights = Weights::open(files, Network::Unet.folder(), "diffusion_pytorch_model")?;
        let plain = Networks {
            encoders: Arc::new(encoders),
            unet: Unet::load(&unet, &weights, device, *dtype)?,
            words: Vec::new(),
            text_loras: Vec::new(),
            warnings: Vec::new(),
        };
        let (unet, plain) = ((unet, weights.keep()), Arc::new(plain));
        let trained = Trained { placement: placement.clone(), text: kept, unet, plain };
        Ok(Self { trained, merged: Recent::new(COMBINATIONS_MAX) })
    }

    /// The networks with `loras` merged in.
    ///
    /// # Errors
    /// When a LoRA cannot be read or does not fit.
    pub(super) fn with(&mut self, loras: &[LoraChoice]) -> Result<Arc<Networks>, LoadError> {
        if loras.is_empty() {
            return Ok(Arc::clone(&self.trained.plain));
        }
        let Self { trained, merged } = self;
        let loras: Vec<LoraFile> = loras.iter().map(LoraFile::of).collect();
        merged.get_or_make(loras, 1, |loras| trained.merge(loras).map(Arc::new))
    }

    /// How often a combination was at hand since the last time that this was asked.
    pub(super) fn take_reuse(&mut self) -> Reuse {
        self.merged.take_reuse()
    }
}

/// A LoRA that is being merged.
struct Opened<'a> {
    file: &'a LoraFile,
    lora: Lora,
}

impl Trained {
    /// Every shape of every LoRA is compared before the first matrix is read.
    fn merge(&self, files: &[LoraFile]) -> Result<Networks, LoadError> {
        let loras = files.iter().map(|file| Ok(Opened { file, lora: open(&file.choice)? }));
        let loras = loras.collect::<Result<Vec<_>, LoadError>>()?;
        let fit = |network: Network, kept: &KeptLayers| {
            let shapes = kept.shapes();
            loras.iter().map(|opened| opened.lora.fit(network, &shapes)).collect::<Result<Vec<_>, LoadError>>()
        };
        let text = self.text.iter().map(|(encoder, _, kept)| fit(network_of(*encoder), kept));
        let text = text.collect::<Result<Vec<_>, LoadError>>()?;
        let unet = fit(Network::Unet, &self.unet.1)?;

        let changes_text = |lora: usize| text.iter().any(|fits| !fits[lora].is_empty());
        let text_loras: Vec<LoraFile> =
            (0..loras.len()).filter(|&lora| changes_text(lora)).map(|lora| files[lora].clone()).collect();
        let encoders = if text_loras.is_empty() {
            Arc::clone(&self.plain.encoders)
        } else {
            let merged = self.text.iter().zip(&text).map(|((_, config, kept), fits)| {
                let patched = kept.with_patches(&self.patches(&loras, fits)?);
                ClipTextEncoder::load(config, &patched, &self.placement.device, self.placement.dtype)
            });
            Arc::new(merged.collect::<Result<_, LoadError>>()?)
        };
        let (config, kept) = &self.unet;
        let patched = kept.with_patches(&self.patches(&loras, &unet)?);
        let mut warnings = Vec::new();
        let mut words = Vec::new();
        for (at, opened) in loras.iter().enumerate() {
            let fits = text.iter().chain([&unet]).map(|fits| &fits[at]);
            warnings.extend(self.warnings(opened, fits));
            words.extend(self.words(opened, &mut warnings)?);
        }
        let unet = Unet::load(config, &patched, &self.placement.device, self.placement.dtype)?;
        Ok(Networks { encoders, unet, words, text_loras, warnings })
    }

    /// What all `loras` change in one network, each with its `fits`.
    fn patches(&self, loras: &[Opened], fits: &[Fit]) -> Result<Patches, LoadError> {
        let mut all = Patches::default();
        for (Opened { file, .. }, fit) in loras.iter().zip(fits) {
            all.extend(fit.patches(file.choice.weight, &self.placement.device)?);
        }
        Ok(all)
    }

    /// What the user should hear of a LoRA that `fits` the networks so.
    fn warnings<'a>(&self, opened: &'a Opened<'a>, fits: impl Iterator<Item = &'a Fit<'a>>) -> Vec<String> {
        let name = &opened.file.choice.name;
        let left = opened.lora.unread().iter().chain(fits.flat_map(Fit::unmatched));
        let left: Vec<String> = left.cloned().collect();
        let is_here = |network: &Network| {
            *network == Network::Unet || self.text.iter().any(|(encoder, ..)| network_of(*encoder) == *network)
        };
        let foreign = opened.lora.networks().into_iter().filter(|network| !is_here(network)).map(|network| {
            format!("The LoRA “{name}” also changes {}, which this model does not have.", network.folder())
        });
        unmatched_warning(name, &left).into_iter().chain(foreign).collect()
    }

    /// The words that a LoRA brings; those that cannot be used become `warnings`.
    fn words(&self, opened: &Opened, warnings: &mut Vec<String>) -> Result<Vec<(String, Arc<Embedding>)>, LoadError> {
        let encoders: Vec<_> = self.text.iter().map(|(encoder, config, _)| (*encoder, config.hidden_size)).collect();
        let TrainedWords { words, unusable } = opened.lora.words(&encoders, &self.placement.device)?;
        let name = &opened.file.choice.name;
        warnings.extend(unusable.into_iter().map(|(word, reason)| {
            format!("The LoRA “{name}” brings the word “{word}”, which is read as plain text here: {reason}.")
        }));
        Ok(words)
    }
}

fn open(choice: &LoraChoice) -> Result<Lora, LoadError> {
    let (folder, file) = folder_and_file(&choice.path);
    Lora::open(&folder, &file)
}

/// A lone file as a file of its folder.
pub(super) fn folder_and_file(path: &Path) -> (ModelFiles, String) {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    (ModelFiles::folder(path.parent().map(Path::to_owned).unwrap_or_default()), file)
}
