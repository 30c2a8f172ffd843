//! The parts of a request that are more than a number or a name.

use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
use crate::limits::{INPAINT_PADDING_PX_MAX, LORA_WEIGHT_MAX, OUTPUT_QUALITY_MAX, SIDE_PX_MAX};

/// What previews a submitter wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PreviewMode {
    /// The predicted clean latent, decoded by the client.
    Latent,
    /// A PNG of it at its own size, one pixel for each cell, made by the worker with the linear map of the model
    /// (`preview` in the catalogue). Costs the worker next to nothing.
    Rgb,
    /// A JPEG at full size, made by the worker with the model's `preview_decoder` on a CPU; as `rgb` shows it, where
    /// the model has none. A worker that is too slow for every step leaves steps out.
    Jpeg,
    /// No previews.
    None,
}

/// How the numbers of a preview latent are written; pictures have their own formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PreviewDtype {
    /// IEEE half precision, as computed.
    F16,
    /// One byte each: `value = q·scale + offset`, half the size.
    U8,
}

/// The `preview` field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PreviewOptions {
    /// What is sent.
    pub mode: PreviewMode,
    /// A preview after every so many steps; the last step always has one, as a picture if it is ready before the images
    /// are. Every step (1) may begin with a preview of step 0, when half of the first step is done.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub every: u32,
    /// How it is written.
    pub dtype: PreviewDtype,
}

impl Default for PreviewOptions {
    fn default() -> Self {
        Self { mode: PreviewMode::Latent, every: 1, dtype: PreviewDtype::F16 }
    }
}

/// How a picture is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// Without loss.
    #[default]
    Png,
    /// With loss, as `quality` says.
    Jpeg,
    /// Without loss, and smaller than PNG.
    Webp,
}

impl ImageFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::Webp];

    /// What the name of a file ends in.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
        }
    }

    /// Whether it is the format that is meant where none is named.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The `output` field of a request. A file holds the parameters of its picture, whatever its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OutputOptions {
    /// The format of the files.
    pub format: ImageFormat,
    /// How much of the picture a JPEG keeps, 1 to 100.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = OUTPUT_QUALITY_MAX)))]
    pub quality: u8,
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self { format: ImageFormat::Png, quality: 90 }
    }
}

/// Whose stream of noise a seed names. Both are computed by the worker, so that a seed means the same everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rng {
    /// Torch's CPU generator (Mersenne Twister).
    #[default]
    Cpu,
    /// Torch's CUDA generator (Philox).
    Philox,
}

/// How an image is brought to another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// All of it is kept and the bars are filled.
    Fit,
    /// All of the picture is covered, and what hangs over is cut off.
    #[default]
    Fill,
    /// Width and height are scaled apart.
    Stretch,
}

/// Which part of the picture the network sees while it inpaints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InpaintArea {
    /// The whole picture.
    #[default]
    Whole,
    /// The masked part with `padding` px around it, drawn at the full size of the job and scaled back.
    Masked,
}

/// What lies under the mask before the first step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InpaintFill {
    /// What the image shows there.
    #[default]
    Original,
    /// Noise alone.
    Noise,
    /// The zero latent, noised.
    Blank,
}

/// The `inpaint` field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct InpaintRequest {
    /// What the network sees.
    pub area: InpaintArea,
    /// px around the masked part, where the area is `masked`.
    #[cfg_attr(feature = "schema", schemars(range(max = INPAINT_PADDING_PX_MAX)))]
    pub padding: u32,
    /// What lies under the mask.
    pub fill: InpaintFill,
}

impl Default for InpaintRequest {
    fn default() -> Self {
        Self { area: InpaintArea::Whole, padding: 32, fill: InpaintFill::Original }
    }
}

/// The `outpaint` field of a request: px that the picture grows on each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct OutpaintRequest {
    /// px
    #[cfg_attr(feature = "schema", schemars(range(max = SIDE_PX_MAX)))]
    pub left: u32,
    /// px
    #[cfg_attr(feature = "schema", schemars(range(max = SIDE_PX_MAX)))]
    pub top: u32,
    /// px
    #[cfg_attr(feature = "schema", schemars(range(max = SIDE_PX_MAX)))]
    pub right: u32,
    /// px
    #[cfg_attr(feature = "schema", schemars(range(max = SIDE_PX_MAX)))]
    pub bottom: u32,
}

/// One of the `loras` of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoraRequest {
    /// A name from the catalogue.
    pub name: String,
    /// How much of it; 1 is as it was trained, negative pushes away.
    #[serde(default = "LoraRequest::full_weight")]
    #[cfg_attr(feature = "schema", schemars(range(min = -LORA_WEIGHT_MAX, max = LORA_WEIGHT_MAX)))]
    pub weight: f32,
}

impl LoraRequest {
    fn full_weight() -> f32 {
        1.0
    }
}

/// The `refiner` field of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RefinerRequest {
    /// A name from the catalogue, of a model with the same latent space.
    pub model: String,
    /// Fraction of the walk after which it takes over, in `(0, 1)`.
    #[serde(default = "RefinerRequest::switch_at_default")]
    #[cfg_attr(feature = "schema", schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1)))]
    pub switch_at: f64,
}

impl RefinerRequest {
    fn switch_at_default() -> f64 {
        0.8
    }
}

/// Which older jobs of its lane a job ends when it is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Supersede {
    /// None.
    #[default]
    None,
    /// Those that wait.
    Queued,
    /// Those that wait and the one that is drawn: the newest job is the only one.
    Running,
}

/// What becomes of a job when the WebSocket that submitted it goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It goes on, and waits for whoever asks for it.
    #[default]
    Keep,
    /// It is canceled.
    Cancel,
}
