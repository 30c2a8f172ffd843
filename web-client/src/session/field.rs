//! The fields of the form: what they are called on the wire, and what they hold.

use sd_protocol::Limits;
use sd_protocol::limits::{CLIP_SKIP_MAX, LORA_WEIGHT_MAX, MASK_BLUR_PX_MAX, OUTPUT_QUALITY_MAX};

/// A field of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What to draw.
    Prompt,
    /// What to keep away from.
    NegativePrompt,
    /// A name from the catalogue.
    Model,
    /// px
    Width,
    /// px
    Height,
    /// Denoising steps.
    Steps,
    /// Classifier-free guidance.
    GuidanceScale,
    /// A name from the catalogue.
    Scheduler,
    /// A name from the catalogue.
    Sigmas,
    /// Empty: another one every time.
    Seed,
    /// Pictures.
    BatchSize,
    /// A model from the catalogue that ends the walk; empty: none.
    Refiner,
    /// Fraction of the walk after which the refiner takes over.
    SwitchAt,
    /// Layers of the text encoder to leave out.
    ClipSkip,
    /// How far guidance is pulled back to the contrast of the unguided prediction.
    GuidanceRescale,
    /// A name of an [`ImageFormat`](sd_protocol::ImageFormat).
    OutputFormat,
    /// How much of the picture a JPEG keeps.
    OutputQuality,
    /// How much of an input picture is drawn anew.
    Strength,
    /// px by which the mask is feathered.
    MaskBlur,
    /// `whole` or `masked`: what the network sees of a masked picture.
    InpaintArea,
    /// `original`, `noise` or `blank`: what lies under the mask.
    InpaintFill,
    /// How much of the LoRA at that place.
    LoraWeight(u8),
}

/// What a field should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// 0, 1, 2 …
    WholeNumber,
    /// 7.5
    Number,
    /// A number no less than the first and no more than the second.
    Within(i32, i32),
}

/// A field that holds something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misread {
    /// Where.
    pub field: Field,
    /// What it should hold.
    pub expected: Expected,
}

impl Field {
    /// Every field but those of LoRAs, in the order of the form.
    pub const ALL: [Self; 21] = [
        Self::Prompt,
        Self::NegativePrompt,
        Self::Model,
        Self::Width,
        Self::Height,
        Self::Steps,
        Self::GuidanceScale,
        Self::Scheduler,
        Self::Sigmas,
        Self::Seed,
        Self::BatchSize,
        Self::Refiner,
        Self::SwitchAt,
        Self::ClipSkip,
        Self::GuidanceRescale,
        Self::OutputFormat,
        Self::OutputQuality,
        Self::Strength,
        Self::MaskBlur,
        Self::InpaintArea,
        Self::InpaintFill,
    ];

    /// The name in a `JobRequest` and in the details of an error.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::NegativePrompt => "negative_prompt",
            Self::Model => "model",
            Self::Width => "width",
            Self::Height => "height",
            Self::Steps => "steps",
            Self::GuidanceScale => "guidance_scale",
            Self::Scheduler => "scheduler",
            Self::Sigmas => "sigmas",
            Self::Seed => "seed",
            Self::BatchSize => "batch_size",
            Self::Refiner => "refiner.model",
            Self::SwitchAt => "refiner.switch_at",
            Self::ClipSkip => "clip_skip",
            Self::GuidanceRescale => "guidance_rescale",
            Self::OutputFormat => "output.format",
            Self::OutputQuality => "output.quality",
            Self::Strength => "strength",
            Self::MaskBlur => "mask_blur",
            Self::InpaintArea => "inpaint.area",
            Self::InpaintFill => "inpaint.fill",
            Self::LoraWeight(_) => "loras",
        }
    }

    /// The field that an error detail names.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(indexed) = name.strip_prefix("loras[") {
            return indexed.split_once(']')?.0.parse().ok().map(Self::LoraWeight);
        }
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Whether the field holds words or a name.
    pub(super) fn is_text(self) -> bool {
        use Field::{
            InpaintArea, InpaintFill, Model, NegativePrompt, OutputFormat, Prompt, Refiner, Scheduler, Sigmas,
        };
        matches!(self, Prompt | NegativePrompt | Model | Scheduler | Sigmas | Refiner | OutputFormat)
            || matches!(self, InpaintArea | InpaintFill)
    }

    /// Whether the number that the field holds is a whole one.
    pub fn is_whole(self) -> bool {
        use Field::{GuidanceRescale, GuidanceScale, LoraWeight, Strength, SwitchAt};
        !matches!(self, GuidanceScale | GuidanceRescale | SwitchAt | LoraWeight(_) | Strength)
    }

    /// The bounds of the number that the field holds, where it alone decides.
    pub(super) fn bounds(self, limits: &Limits) -> Option<(i32, i32)> {
        let up_to = |low: i32, high: u32| Some((low, high.try_into().unwrap_or(i32::MAX)));
        match self {
            Self::Width | Self::Height => up_to(limits.side_px_min.try_into().unwrap_or(0), limits.side_px_max),
            Self::Steps => up_to(1, limits.steps_max),
            Self::GuidanceScale => Some((0, limits.guidance_scale_max as i32)),
            Self::BatchSize => up_to(1, limits.batch_size_max),
            Self::SwitchAt | Self::GuidanceRescale | Self::Strength => Some((0, 1)),
            Self::ClipSkip => up_to(0, CLIP_SKIP_MAX),
            Self::MaskBlur => up_to(0, MASK_BLUR_PX_MAX),
            Self::OutputQuality => up_to(1, OUTPUT_QUALITY_MAX.into()),
            Self::LoraWeight(_) => Some((-LORA_WEIGHT_MAX as i32, LORA_WEIGHT_MAX as i32)),
            _ => None,
        }
    }
}
