//! The picture that a job starts from: read and fitted before it is drawn, put together again after.

use sd_protocol::ErrorBody;

use crate::diffusion::inpaint::InpaintPlan;
use crate::diffusion::{ImageStart, MaskSpec};
use crate::inputs::{PictureSettings, UploadLease, fit_image, plan_inpainting};

/// The uploads of a job, which stay in place as long as it lives. Only their names wait with the job: pixels are
/// decoded when the engine comes to it.
#[derive(Debug)]
pub struct JobPicture {
    /// What it starts from.
    pub image: UploadLease,
    /// Where it is drawn anew.
    pub mask: Option<UploadLease>,
    /// What is done with it.
    pub settings: PictureSettings,
}

/// A picture that the network can start from.
pub(super) struct Prepared {
    pub(super) start: ImageStart,
    /// How what is drawn goes back into the picture, where only a part of it is.
    pub(super) plan: Option<InpaintPlan>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

impl JobPicture {
    /// Reads the uploads and fits them to a job of `size` px.
    pub(super) fn prepare(&self, size: (u32, u32)) -> Result<Prepared, ErrorBody> {
        let settings = &self.settings;
        let image = self.image.read()?;
        let mask = self.mask.as_ref().map(UploadLease::read).transpose()?;
        if !settings.is_masked {
            let (picture, warnings) = fit_image(&image, settings.inpaint.resize, size);
            let start = ImageStart { picture, strength: settings.strength, mask: None };
            return Ok(Prepared { start, plan: None, warnings });
        }
        let (plan, warnings) = plan_inpainting(&image, mask.as_ref(), &settings.inpaint, size);
        let mask = MaskSpec { mask: plan.mask().clone(), fill: settings.fill };
        let start = ImageStart { picture: plan.image().clone(), strength: settings.strength, mask: Some(mask) };
        Ok(Prepared { start, plan: Some(plan), warnings })
    }
}
