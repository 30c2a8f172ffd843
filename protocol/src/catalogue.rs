//! What a worker can do, as data: clients build their menus from it.

use serde::{Deserialize, Serialize};

use crate::access::Quota;
use crate::limits::Limits;

/// A name from a table of the worker, with the label that people know it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamedEntry {
    /// The value of the request field.
    pub name: String,
    /// What a person reads in a menu, as the field's tools write it ("DPM++ 2M").
    pub label: String,
}

/// Everything that may be asked for by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Catalogue {
    /// Models; the first is the default.
    pub models: Vec<ModelEntry>,
    /// Values of `scheduler`.
    pub schedulers: Vec<SchedulerEntry>,
    /// Values of `sigmas`.
    pub sigmas: Vec<NamedEntry>,
    /// Values of `name` in `loras`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<String>,
    /// Names that stand for textual-inversion embeddings in a prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embeddings: Vec<String>,
}

impl Catalogue {
    /// The spacings of sigmas that go with a scheduler; none when there is no such scheduler.
    pub fn sigmas_of(&self, scheduler: &str) -> impl Iterator<Item = &NamedEntry> {
        let entry = self.schedulers.iter().find(|entry| entry.name == scheduler);
        self.sigmas.iter().filter(move |sigmas| entry.is_some_and(|entry| entry.sigmas.contains(&sigmas.name)))
    }
}

/// The body of `GET /v1/models`: what may be asked for by name, and within which bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelsView {
    /// The names.
    #[serde(flatten)]
    pub catalogue: Catalogue,
    /// The bounds.
    pub limits: Limits,
    /// What draws; several draw a job each at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceEntry>,
    /// Those of the credential that asks, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// A processor that draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceEntry {
    /// `cpu`, `cuda:0`, `metal`, …
    pub name: String,
    /// What its maker calls it.
    pub label: String,
    /// The type that networks compute in there: `f32`, `f16`, `bf16`.
    pub dtype: String,
    /// Memory of its own; nothing where it shares the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A sampler, and the spacings of sigmas that it can walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SchedulerEntry {
    /// The value of the request field.
    pub name: String,
    /// What a person reads in a menu.
    pub label: String,
    /// Names from `sigmas` of the catalogue that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sigmas: Vec<String>,
}

/// One model of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelEntry {
    /// The value of the request field `model`.
    pub name: String,
    /// How the model is built: `sd`, …
    pub family: String,
    /// What a request that leaves a field out gets.
    pub defaults: ModelDefaults,
    /// Channels of a latent.
    pub latent_channels: u8,
    /// Pixels along one side of a latent cell.
    pub latent_scale: u32,
    /// How a latent becomes a rough picture.
    pub preview: PreviewBasis,
    /// Where a decoder for better previews lies, of models that have one: the path of a safetensors file with the
    /// decoder of an `AutoencoderTiny` (TAESD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview_decoder: Option<String>,
    /// Prompts that show what the model can draw.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

/// What a request that leaves a field out gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModelDefaults {
    /// px
    pub width: u32,
    /// px
    pub height: u32,
    /// Denoising steps.
    pub steps: u32,
    /// Guidance scale.
    pub guidance_scale: f32,
    /// A name from `schedulers` of the catalogue.
    pub scheduler: String,
    /// A name from `sigmas` of the catalogue.
    pub sigmas: String,
}

/// A linear map from the channels of a clean latent to display RGB (sRGB-encoded, `[0, 1]` after clamping):
/// `rgb = bias + Σ latent[c] · rows[c]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PreviewBasis {
    /// One RGB row per latent channel.
    pub rows: Vec<[f32; 3]>,
    /// RGB of the zero latent.
    pub bias: [f32; 3],
}
