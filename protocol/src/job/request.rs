//! A job as it is asked for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::JobId;
use super::options::{
    InpaintRequest, LoraRequest, OnDisconnect, OutpaintRequest, OutputOptions, PreviewOptions, RefinerRequest,
    ResizeMode, Rng, Supersede,
};
use crate::error::{ErrorBody, ErrorDetail};
use crate::fields;
#[cfg(feature = "schema")]
use crate::limits::{
    BATCH_SIZE_MAX, CLIP_SKIP_MAX, GUIDANCE_SCALE_MAX, LANE_BYTES_MAX, LORAS_MAX, MASK_BLUR_PX_MAX, PRIORITY_MAX,
    PROMPT_BYTES_MAX, SIDE_PX_MAX, SIDE_PX_MIN, SIDE_PX_MULTIPLE, STEPS_MAX,
};

/// What a client asks for. Everything but the prompt has a default; in a [`JobView`](super::view::JobView) every field
/// that has a default is filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(extend("required" = ["prompt"])))]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The client's own id: a repeated submit with the same body finds the first job again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// A name from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What to draw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(required, length(max = PROMPT_BYTES_MAX)))]
    pub prompt: Option<String>,
    /// What guidance pushes away from. None is not the same as an empty one to SDXL, so that it stays absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = PROMPT_BYTES_MAX)))]
    pub negative_prompt: Option<String>,
    /// px, a multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = SIDE_PX_MIN, max = SIDE_PX_MAX), extend("multipleOf" = SIDE_PX_MULTIPLE)))]
    pub width: Option<u32>,
    /// px, a multiple of 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = SIDE_PX_MIN, max = SIDE_PX_MAX), extend("multipleOf" = SIDE_PX_MULTIPLE)))]
    pub height: Option<u32>,
    /// Denoising steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = STEPS_MAX)))]
    pub steps: Option<u32>,
    /// Classifier-free guidance; 1 turns it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = GUIDANCE_SCALE_MAX)))]
    pub guidance_scale: Option<f32>,
    /// Seed of the first image; image *n* of the batch uses `seed + n`. Absent: drawn and reported.
    /// Below 2^53, so that JavaScript reads back what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = 9_007_199_254_740_991_u64)))]
    pub seed: Option<u64>,
    /// Images of this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = BATCH_SIZE_MAX)))]
    pub batch_size: Option<u32>,
    /// A name from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// A name from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigmas: Option<String>,
    /// η of DDIM (0 is deterministic) and TCD in `[0, 1]`; other schedulers ignore it, and a warning says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub eta: Option<f32>,
    /// Whose stream of noise a seed names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rng: Option<Rng>,
    /// How far guidance is pulled back to the contrast of the unguided prediction, in `[0, 1]` (Lin et al. 2024).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub guidance_rescale: Option<f32>,
    /// The part of the walk that is guided, as fractions of its steps from the noisy end; `[0, 1]` is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<[f64; 2]>,
    /// Layers of the text encoder that the prompt leaves out at its end (diffusers' `clip_skip`: 0 is none, 1 the last
    /// one). The negative prompt leaves out none, as in diffusers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = CLIP_SKIP_MAX)))]
    pub clip_skip: Option<u32>,
    /// LoRAs to merge into the model, each with its weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = LORAS_MAX)))]
    pub loras: Option<Vec<LoraRequest>>,
    /// SDXL: size that the training picture is said to have had, `[height, width]` in px as in diffusers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_size: Option<[u32; 2]>,
    /// SDXL: how the training picture is said to have been cropped, `[top, left]` in px.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crops_coords_top_left: Option<[u32; 2]>,
    /// SDXL: size that the picture is said to have, `[height, width]` in px.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_size: Option<[u32; 2]>,
    /// SDXL refiner: how pleasing the picture is said to be, 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10)))]
    pub aesthetic_score: Option<f32>,
    /// SDXL refiner: the same for the negative prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10)))]
    pub negative_aesthetic_score: Option<f32>,
    /// A second model for the last part of the walk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refiner: Option<RefinerRequest>,
    /// Image to start from: the id of an upload, or the file itself in base64 (also as a `data:` URL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How much of `image` is drawn anew, in `[0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1)))]
    pub strength: Option<f64>,
    /// How an `image` of another shape is fitted to width × height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<ResizeMode>,
    /// Where `image` is drawn anew (white) and where it stays (black); given as `image` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// How far the border of the mask is softened, in px.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = MASK_BLUR_PX_MAX)))]
    pub mask_blur: Option<u32>,
    /// How the masked part is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inpaint: Option<InpaintRequest>,
    /// How far the picture grows beyond `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outpaint: Option<OutpaintRequest>,
    /// What previews to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewOptions>,
    /// How pictures are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputOptions>,
    /// Jobs of one credential that name the same lane follow each other, as the strokes of one canvas do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = LANE_BYTES_MAX)))]
    pub lane: Option<String>,
    /// Which older jobs of the lane this one ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersede: Option<Supersede>,
    /// What becomes of the job when the WebSocket that submitted it goes away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disconnect: Option<OnDisconnect>,
    /// Order among the waiting jobs of one credential, -10 to 10; a higher one is drawn first. Credentials take turns,
    /// whatever their priorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = -PRIORITY_MAX, max = PRIORITY_MAX)))]
    pub priority: Option<i32>,
}

impl JobRequest {
    /// Reads a request and collects *every* field that is unknown or of the wrong type, not only the first. What
    /// could be read is in the request, so that the rest can be checked in the same breath.
    ///
    /// # Errors
    /// `malformed_json` when `value` is no object.
    pub fn from_json(value: Value) -> Result<(Self, Vec<ErrorDetail>), ErrorBody> {
        fields::read(value, "a job is a JSON object such as {\"prompt\": \"a red balloon\"}")
    }
}
