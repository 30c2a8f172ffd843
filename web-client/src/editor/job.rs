//! What a request says of a picture, its mask and its frame.

use sd_protocol::limits::{SIDE_PX_MAX, SIDE_PX_MIN, SIDE_PX_MULTIPLE};
use sd_protocol::{ErrorBody, ErrorCode, ErrorDetail, JobRequest};

use super::document::Document;

/// How much larger than its own pictures, in pixels, a model may be asked to draw before a picture is scaled down.
const PIXELS_MAX: f32 = 2.25;

impl Document {
    /// Whether something in the frame is masked.
    pub fn is_masked(&self) -> bool {
        !self.mask().is_empty(self.frame().crop(self.size()))
    }

    /// Width and height of a job that draws what is in the frame: as it is where the model can, or else as large as the
    /// model's own pictures, in whole latent cells.
    pub fn job_size(&self, native: (u32, u32)) -> (u32, u32) {
        let frame = self.frame().rect(self.size());
        let (width, height) = (frame.width as f32, frame.height as f32);
        let (pixels, own) = (width * height, native.0 as f32 * native.1 as f32);
        let scale = if pixels > own * PIXELS_MAX { (own / pixels).sqrt() } else { 1.0 };
        let side = |px: f32| {
            let cells = (px * scale / SIDE_PX_MULTIPLE as f32).round() as u32;
            (cells * SIDE_PX_MULTIPLE).clamp(SIDE_PX_MIN, SIDE_PX_MAX)
        };
        (side(width), side(height))
    }
}

/// Fits a request that the form made to its picture; without one, what goes with a picture leaves it. The ids of the
/// uploads are for the caller to add.
pub fn complete(request: &mut JobRequest, picture: Option<&Document>) {
    request.outpaint = picture.and_then(|document| document.frame().outpaint());
    if picture.is_none() {
        request.strength = None;
    }
    if request.outpaint.is_none() && !picture.is_some_and(Document::is_masked) {
        request.mask_blur = None;
        request.inpaint = None;
    }
}

/// Whether the worker refused a job for nothing but its pictures, which newer ones have pushed out.
pub fn is_upload_gone(error: &ErrorBody) -> bool {
    let of_picture = |detail: &ErrorDetail| ["image", "mask"].contains(&detail.field.as_str());
    error.code == ErrorCode::UploadNotFound
        || error.code == ErrorCode::InvalidRequest && !error.details.is_empty() && error.details.iter().all(of_picture)
}
