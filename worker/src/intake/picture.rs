//! The fields of a request that go with an input image.

use sd_protocol::limits::{INPAINT_PADDING_PX_MAX, MASK_BLUR_PX_MAX};
use sd_protocol::{InpaintArea as Area, InpaintFill as Fill, InpaintRequest, JobRequest, OutpaintRequest, ResizeMode};

use super::Check;
use crate::diffusion::inpaint::{InpaintArea, InpaintFill, InpaintSettings};
use crate::diffusion::pixels::{Resize, Sides};
use crate::inputs::PictureSettings;
use crate::inputs::source::is_upload_id;

/// Share of the picture that is drawn anew where a request does not say it, as in diffusers' pipelines.
const STRENGTH_DEFAULT: f64 = 0.8;
const STRENGTH_MASKED_DEFAULT: f64 = 1.0;

/// What a job starts from. The pictures are ids of uploads, or files in base64.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureRequest {
    /// The picture.
    pub image: String,
    /// Where it is drawn anew.
    pub mask: Option<String>,
    /// What is done with it.
    pub settings: PictureSettings,
    /// The fields of the request, filled in.
    pub(super) understood: JobRequest,
}

impl PictureRequest {
    /// Whether the request itself holds the picture, and the mask.
    pub fn brings(&self) -> [bool; 2] {
        [!is_upload_id(&self.image), self.mask.as_deref().is_some_and(|mask| !is_upload_id(mask))]
    }
}

impl Check<'_> {
    /// The picture that a walk of `steps` starts from.
    pub(super) fn picture(&mut self, steps: u32) -> Option<PictureRequest> {
        let request = self.request;
        let Some(image) = request.image.clone() else {
            self.no_picture();
            return None;
        };
        let outpaint = request.outpaint.filter(|sides| *sides != OutpaintRequest::default());
        let is_masked = request.mask.is_some() || outpaint.is_some();
        if !is_masked {
            let without_mask = [("mask_blur", request.mask_blur.is_some()), ("inpaint", request.inpaint.is_some())];
            self.lonely(&without_mask, "goes with a `mask` or `outpaint`, and there is neither");
        }
        let default = if is_masked { STRENGTH_MASKED_DEFAULT } else { STRENGTH_DEFAULT };
        let strength = self.strength(request.strength.unwrap_or(default), steps);
        let resize = request.resize.unwrap_or_default();
        let mask_blur = self.faults.range("mask_blur", request.mask_blur.unwrap_or(0), 0, MASK_BLUR_PX_MAX);
        let inpaint = request.inpaint.unwrap_or_default();
        self.faults.range("inpaint.padding", inpaint.padding, 0, INPAINT_PADDING_PX_MAX);
        let sides = self.sides(outpaint.unwrap_or_default());
        let settings = PictureSettings {
            is_masked,
            strength,
            fill: fill(inpaint.fill),
            inpaint: InpaintSettings {
                area: area(&inpaint),
                mask_blur: mask_blur as f32,
                resize: fit(resize),
                outpaint: sides,
            },
        };
        let understood = JobRequest {
            image: Some(image.clone()),
            mask: request.mask.clone(),
            strength: Some(strength),
            resize: Some(resize),
            mask_blur: is_masked.then_some(mask_blur),
            inpaint: is_masked.then_some(inpaint),
            outpaint,
            ..JobRequest::default()
        };
        Some(PictureRequest { image, mask: request.mask.clone(), settings, understood })
    }

    /// A refiner goes on where the first model stops, so that the walk must begin before.
    pub(super) fn handover(&mut self, picture: Option<&PictureRequest>) {
        let (Some(refiner), Some(picture)) = (&self.request.refiner, picture) else { return };
        let strength = picture.settings.strength;
        if 1.0 - strength >= refiner.switch_at
            && !["refiner.switch_at", "strength"].iter().any(|field| self.faults.names(field))
        {
            let message = format!(
                "is {}, and with a `strength` of {strength} the walk begins at {:.2}: nothing is left for the first model",
                refiner.switch_at,
                1.0 - strength
            );
            self.faults.add("refiner.switch_at", message);
        }
    }

    fn no_picture(&mut self) {
        let request = self.request;
        let without_image = [
            ("mask", request.mask.is_some()),
            ("mask_blur", request.mask_blur.is_some()),
            ("strength", request.strength.is_some()),
            ("resize", request.resize.is_some()),
            ("inpaint", request.inpaint.is_some()),
            ("outpaint", request.outpaint.is_some()),
        ];
        self.lonely(&without_image, "goes with an `image`, and there is none");
    }

    /// Fields that mean nothing without another one.
    fn lonely(&mut self, fields: &[(&str, bool)], message: &str) {
        for (field, _) in fields.iter().filter(|(_, is_there)| *is_there) {
            self.faults.add(field, message.into());
        }
    }

    fn sides(&mut self, sides: OutpaintRequest) -> Sides {
        let most = self.limits.side_px_max;
        let mut side = |field, px| self.faults.range(field, px, 0, most);
        Sides {
            left: side("outpaint.left", sides.left),
            top: side("outpaint.top", sides.top),
            right: side("outpaint.right", sides.right),
            bottom: side("outpaint.bottom", sides.bottom),
        }
    }

    /// A strength that leaves at least one of `steps`.
    fn strength(&mut self, strength: f64, steps: u32) -> f64 {
        let strength = self.faults.range("strength", strength, 0.0, 1.0);
        if (strength * f64::from(steps)) as u32 == 0 && !self.faults.names("strength") {
            let least = (100.0 / f64::from(steps)).ceil() / 100.0;
            self.faults
                .add("strength", format!("is {strength}, which leaves none of {steps} steps; {least} leaves one"));
        }
        strength
    }
}

fn area(inpaint: &InpaintRequest) -> InpaintArea {
    match inpaint.area {
        Area::Whole => InpaintArea::Whole,
        Area::Masked => InpaintArea::Masked { padding: inpaint.padding },
    }
}

fn fill(fill: Fill) -> InpaintFill {
    match fill {
        Fill::Original => InpaintFill::Original,
        Fill::Noise => InpaintFill::Noise,
        Fill::Blank => InpaintFill::Blank,
    }
}

fn fit(resize: ResizeMode) -> Resize {
    match resize {
        ResizeMode::Fit => Resize::Fit,
        ResizeMode::Fill => Resize::Fill,
        ResizeMode::Stretch => Resize::Stretch,
    }
}
