//! Inpainting and outpainting around the network: what it is given, and how what it draws comes back into the picture.
//!
//! Follows diffusers' `StableDiffusionInpaintPipeline` with its `VaeImageProcessor` (`get_crop_region`, `preprocess`,
//! `apply_overlay`): the mask is blurred first; where the blurred mask is black the picture comes back byte for byte,
//! where it is grey old and new blend, and what reaches half of white is repainted by the network.

use candle_core::{Device, Result, Tensor};

use super::pipeline::Picture;
use super::pixels::{Mask, Rect, Resize, Rgb, Sides};

/// Level from which a pixel counts as white to the network: diffusers' `binarize` at 0.5.
const WHITE_MIN: u8 = 128;

/// What of the picture is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InpaintArea {
    /// All of it; the result has the size of the job.
    #[default]
    Whole,
    /// Only a rectangle around the mask, at the full size of the job; the result has the size of the input.
    Masked {
        /// px of the input that the network sees around the mask.
        padding: u32,
    },
}

/// What the walk starts from where the mask is white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InpaintFill {
    /// The picture.
    #[default]
    Original,
    /// Noise in place of the picture's latents (A1111's "latent noise").
    Noise,
    /// Zeros in place of the picture's latents (A1111's "latent nothing").
    Blank,
}

impl InpaintFill {
    /// The clean latents that the walk starts from: `latents`, `[batch, h, w, channels]`, changed where `mask`,
    /// `[1, h, w, 1]` of zeros and ones, is one. `noise` has the shape of `latents`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn apply(self, latents: &Tensor, mask: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let kept = latents.broadcast_mul(&(1.0 - mask)?)?;
        match self {
            Self::Original => Ok(latents.clone()),
            Self::Noise => kept + noise.broadcast_mul(mask)?,
            Self::Blank => Ok(kept),
        }
    }
}

/// How a picture is inpainted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InpaintSettings {
    /// What of it is drawn.
    pub area: InpaintArea,
    /// Standard deviation of the Gaussian that softens the mask, px of the input; 0 leaves it sharp.
    pub mask_blur: f32,
    /// How the picture comes to the size of the job, for [`InpaintArea::Whole`].
    pub resize: Resize,
    /// px of the input that the picture grows by; they are white in the mask.
    pub outpaint: Sides,
}

/// A picture that is to be inpainted.
#[derive(Clone, Debug)]
pub struct InpaintPlan {
    /// What comes back where the mask is black.
    canvas: Rgb,
    /// Of the canvas: how much of what is drawn comes in.
    blend: Mask,
    /// Of the canvas: what is drawn.
    crop: Rect,
    network_image: Rgb,
    network_mask: Mask,
}

impl InpaintPlan {
    /// Plans to redraw `image` where `mask` is white, in networks of `size` px. Without a mask only what
    /// [`InpaintSettings::outpaint`] adds is white; one of another size than the image is stretched over it.
    pub fn new(image: &Rgb, mask: Option<&Mask>, settings: &InpaintSettings, size: (u32, u32)) -> Self {
        let blend = grown_mask(image.size(), mask, settings.outpaint).blurred(settings.mask_blur);
        let canvas = image.extended(settings.outpaint);
        match settings.area {
            InpaintArea::Whole => {
                let (canvas, blend) = (canvas.fitted(settings.resize, size), blend.fitted(settings.resize, size));
                let (network_image, network_mask) = (canvas.clone(), binarized(blend.clone()));
                Self { canvas, blend, crop: Rect::whole(size), network_image, network_mask }
            }
            InpaintArea::Masked { padding } => {
                let crop = crop_region(&blend, size, padding);
                let network_image = canvas.crop(crop).fitted(Resize::Fit, size);
                let network_mask = binarized(blend.crop(crop).fitted(Resize::Fit, size));
                Self { canvas, blend, crop, network_image, network_mask }
            }
        }
    }

    /// What the network's latents start from, at the size of the job.
    pub fn image(&self) -> &Rgb {
        &self.network_image
    }

    /// What the network repaints, at the size of the job: 255 or 0.
    pub fn mask(&self) -> &Mask {
        &self.network_mask
    }

    /// Whether nothing is repainted, so that the picture comes back as it was.
    pub fn is_empty(&self) -> bool {
        self.network_mask.values().iter().all(|&level| level == 0)
    }

    /// Width and height of what comes back, in px.
    pub fn finished_size(&self) -> (u32, u32) {
        self.canvas.size()
    }

    /// The picture with what was drawn in it. Where the blurred mask is black it is the canvas, byte for byte.
    pub fn finish(&self, drawn: &Picture) -> Picture {
        let Some(drawn) = Rgb::from_picture(drawn) else { return self.canvas.clone().into_picture() };
        // The way back of `fitted(Fit)`: the bars are what hangs over.
        let drawn = drawn.fitted(Resize::Fill, (self.crop.width, self.crop.height));
        let mut finished = self.canvas.clone();
        let blended = Rgb::from_fn(drawn.size(), |x, y| {
            let at = (self.crop.x + x, self.crop.y + y);
            let ([level], new, old) = (self.blend.pixel(at.0, at.1), drawn.pixel(x, y), self.canvas.pixel(at.0, at.1));
            std::array::from_fn(|channel| blended(old[channel], new[channel], level))
        });
        finished.paste(&blended, i64::from(self.crop.x), i64::from(self.crop.y));
        finished.into_picture()
    }
}

/// The mask of the latents, whose cells have `latent_scale` px on a side: `[1, h, w, 1]` f32 of zeros and ones. A cell
/// is what its first pixel is, as `torch.nn.functional.interpolate` picks the nearest.
///
/// # Errors
/// When memory runs out.
pub fn latent_mask(mask: &Mask, latent_scale: u32, device: &Device) -> Result<Tensor> {
    let (width, height) = (mask.width() / latent_scale, mask.height() / latent_scale);
    let cell = |at: u32| level(mask.pixel(at % width * latent_scale, at / width * latent_scale));
    Tensor::from_vec((0..width * height).map(cell).collect(), (1, height as usize, width as usize, 1), device)
}

/// The mask of the pixels: `[1, height, width, 1]` f32 of zeros and ones.
///
/// # Errors
/// When memory runs out.
pub fn pixel_mask(mask: &Mask, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = mask.values().iter().map(|&value| level([value])).collect();
    Tensor::from_vec(values, (1, mask.height() as usize, mask.width() as usize, 1), device)
}

fn level([value]: [u8; 1]) -> f32 {
    f32::from(u8::from(value >= WHITE_MIN))
}

/// Between `old` at level 0 and `new` at level 255, both exact.
fn blended(old: u8, new: u8, level: u8) -> u8 {
    let (old, new, level) = (u32::from(old), u32::from(new), u32::from(level));
    ((old * (255 - level) + new * level + 127) / 255) as u8
}

/// `mask` over a picture of `size`, white in what is added to its sides.
fn grown_mask(size: (u32, u32), mask: Option<&Mask>, outpaint: Sides) -> Mask {
    let inner = match mask {
        Some(mask) => mask.resized(size),
        None => Mask::from_fn(size, |_, _| [0]),
    };
    if outpaint == Sides::default() {
        return inner;
    }
    let mut grown = Mask::from_fn(outpaint.around(size), |_, _| [u8::MAX]);
    grown.paste(&inner, i64::from(outpaint.left), i64::from(outpaint.top));
    grown
}

fn binarized(mask: Mask) -> Mask {
    mask.map(|level| if level >= WHITE_MIN { u8::MAX } else { 0 })
}

/// The rectangle around what is not black, `padding` px wider on each side and as far as the mask reaches in the
/// shape of `width` × `height` (diffusers' `get_crop_region`); all of a black mask.
fn crop_region(mask: &Mask, (width, height): (u32, u32), padding: u32) -> Rect {
    let columns = |x: u32| (0..mask.height()).any(|y| mask.pixel(x, y) != [0]);
    let rows = |y: u32| mask_row_is_marked(mask, y);
    let extent = |length: u32, is_marked: &dyn Fn(u32) -> bool| {
        let first = (0..length).find(|&at| is_marked(at))?;
        let last = (0..length).rev().find(|&at| is_marked(at))?;
        Some((i64::from(first.saturating_sub(padding)), i64::from(last.saturating_add(padding).min(length - 1) + 1)))
    };
    let (Some(x), Some(y)) = (extent(mask.width(), &columns), extent(mask.height(), &rows)) else {
        return Rect::whole(mask.size());
    };
    let (own_width, own_height) = ((x.1 - x.0) as f64, (y.1 - y.0) as f64);
    let ratio = f64::from(width) / f64::from(height);
    let (x, y) = if own_width / own_height > ratio {
        (x, widened(y, own_width / ratio, mask.height()))
    } else {
        (widened(x, own_height * ratio, mask.width()), y)
    };
    let side = |(start, end): (i64, i64)| (start as u32, (end - start) as u32);
    let ((x, width), (y, height)) = (side(x), side(y));
    Rect { x, y, width, height }
}

fn mask_row_is_marked(mask: &Mask, y: u32) -> bool {
    (0..mask.width()).any(|x| mask.pixel(x, y) != [0])
}

/// `start..end` with the same middle and the length `wanted`, moved and at last cut to lie within `0..limit`.
fn widened((mut start, mut end): (i64, i64), wanted: f64, limit: u32) -> (i64, i64) {
    let limit = i64::from(limit);
    let missing = (wanted - (end - start) as f64) as i64;
    start -= missing / 2;
    end += missing - missing / 2;
    if end > limit {
        start -= end - limit;
        end = limit;
    }
    if start < 0 {
        end -= start;
        start = 0;
    }
    (start, end.min(limit))
}

#[cfg(test)]
mod tests;
