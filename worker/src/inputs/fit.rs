//! To the size of a job, with a sentence for the user wherever something had to give.

use super::decode::InputImage;
use crate::diffusion::inpaint::{InpaintArea, InpaintPlan, InpaintSettings};
use crate::diffusion::pixels::{Mask, Resize, Rgb, Sides};

/// The picture that image to image starts from, at `size`, and what to tell the user.
pub fn fit_image(image: &InputImage, resize: Resize, size: (u32, u32)) -> (Rgb, Vec<String>) {
    let warnings = misfit(image.size(), resize, size).into_iter().collect();
    (image.on_white().fitted(resize, size), warnings)
}

/// The plan of an inpainting job whose networks work at `size`, and what to tell the user.
///
/// Without `mask`, what is transparent in the picture is repainted, besides what outpainting adds.
pub fn plan_inpainting(
    image: &InputImage,
    mask: Option<&InputImage>,
    settings: &InpaintSettings,
    size: (u32, u32),
) -> (InpaintPlan, Vec<String>) {
    let mut warnings = Vec::new();
    if let Some(mask) = mask
        && mask.size() != image.size()
    {
        let ((mask_width, mask_height), (width, height)) = (mask.size(), image.size());
        warnings.push(format!(
            "the mask has {mask_width} × {mask_height} px and was stretched over the image's {width} × {height}"
        ));
    }
    if settings.area == InpaintArea::Whole {
        warnings.extend(misfit(settings.outpaint.around(image.size()), settings.resize, size));
    }
    let levels: Option<Mask> = mask.map(InputImage::as_mask).or_else(|| image.mask_of_transparency());
    let plan = InpaintPlan::new(&image.on_white(), levels.as_ref(), settings, size);
    if plan.is_empty() {
        let way_out =
            if settings.outpaint == Sides::default() { "paint what shall change white" } else { "grow it by more" };
        warnings.push(format!("the mask leaves nothing to repaint, so the image comes back as it was; {way_out}"));
    }
    (plan, warnings)
}

/// What happened to a picture of size `from` on its way to `to`.
fn misfit(from: (u32, u32), resize: Resize, to: (u32, u32)) -> Option<String> {
    let ((width, height), (to_width, to_height)) = (from, to);
    let is_same_shape = u64::from(width) * u64::from(to_height) == u64::from(height) * u64::from(to_width);
    let how = match resize {
        _ if from == to => return None,
        _ if is_same_shape => "scaled",
        Resize::Fit => "scaled and its edges drawn out",
        Resize::Fill => "scaled and cropped",
        Resize::Stretch => "stretched",
    };
    let way_out = match resize {
        Resize::Stretch if !is_same_shape => {
            "; resize \"fill\" would crop it instead, \"fit\" would draw its edges out"
        }
        _ => "",
    };
    Some(format!("the image has {width} × {height} px and was {how} to {to_width} × {to_height}{way_out}"))
}
