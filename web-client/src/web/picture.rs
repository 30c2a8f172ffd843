//! Pictures that people bring: decoded, shown, and written as PNG.

use futures_channel::oneshot;
use sd_protocol::limits::SIDE_PX_MAX;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, CanvasRenderingContext2d, HtmlCanvasElement, ImageBitmap, ImageData};

use super::canvas::{Element, SurfaceError};
use super::{errors, flat, window};
use crate::editor::{Mask, Rect};

/// What a mask looks like over a picture: a colour and how much it covers where the mask is full.
const TINT: [u8; 4] = [112, 108, 255, 158];

/// A picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PictureError {
    /// The browser cannot read the file.
    #[error("the browser cannot decode the file: {0}")]
    Decode(String),
    /// A canvas failed.
    #[error("the picture cannot be drawn")]
    Canvas(#[from] SurfaceError),
    /// A PNG could not be written.
    #[error("the browser could not write a PNG")]
    Encode,
}

/// A picture in memory, no side longer than a job's may be.
pub(crate) struct Picture(HtmlCanvasElement);

impl Picture {
    /// Decodes any file that the browser can, upright and in sRGB.
    pub(crate) async fn decode(file: &Blob) -> Result<Self, PictureError> {
        let decoded = async {
            let bitmap = JsFuture::from(window::window().create_image_bitmap_with_blob(file)?).await?;
            bitmap.dyn_into::<ImageBitmap>()
        };
        let bitmap = decoded.await.map_err(|thrown| PictureError::Decode(errors::message(&thrown)))?;
        let (width, height) = (bitmap.width(), bitmap.height());
        let scale = (f64::from(SIDE_PX_MAX) / f64::from(width.max(height).max(1))).min(1.0);
        let side = |px: u32| (f64::from(px) * scale).round().max(1.0);
        let (width, height) = (side(width), side(height));
        let (canvas, context) = blank(width as u32, height as u32)?;
        context
            .draw_image_with_image_bitmap_and_dw_and_dh(&bitmap, 0.0, 0.0, width, height)
            .map_err(|thrown| PictureError::Decode(errors::message(&thrown)))?;
        bitmap.close();
        Ok(Self(canvas))
    }

    /// Width and height, in px.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.0.width(), self.0.height())
    }

    /// Shows it on a canvas, which takes its size.
    pub(crate) fn show(&self, on: &Element) -> Result<(), PictureError> {
        on.set_width(self.0.width());
        on.set_height(self.0.height());
        draw(&flat::context_of(on)?, &self.0, 0.0, 0.0)
    }

    /// A part of it, as it is now.
    pub(crate) fn part(&self, part: Rect) -> Result<Self, PictureError> {
        let (canvas, context) = blank(part.width, part.height)?;
        draw(&context, &self.0, -f64::from(part.x), -f64::from(part.y))?;
        Ok(Self(canvas))
    }

    /// A part of a mask, white where the picture is drawn anew.
    pub(crate) fn of_mask(mask: &Mask, part: Rect) -> Result<Self, PictureError> {
        let (canvas, context) = blank(part.width, part.height)?;
        put(&context, &mask.rgba(part, |level| [level, level, level, u8::MAX]), part, (0, 0))?;
        Ok(Self(canvas))
    }

    /// Its file, without loss.
    pub(crate) async fn png(&self) -> Result<Blob, PictureError> {
        let (tell, written) = oneshot::channel();
        let written_to = Closure::once_into_js(move |blob: JsValue| {
            tell.send(blob).ok();
        });
        self.0.to_blob(written_to.unchecked_ref()).map_err(|_| PictureError::Encode)?;
        written.await.ok().and_then(|blob| blob.dyn_into().ok()).ok_or(PictureError::Encode)
    }
}

/// Shows what changed of a mask on a canvas, which takes the size of the picture.
pub(crate) fn show_mask(mask: &Mask, size: (u32, u32), changed: Rect, on: &Element) -> Result<(), PictureError> {
    if (on.width(), on.height()) != size {
        on.set_width(size.0);
        on.set_height(size.1);
    }
    if changed.is_empty() {
        return Ok(());
    }
    let [red, green, blue, most] = TINT;
    let colour = |level: u8| [red, green, blue, (u16::from(level) * u16::from(most) / 255) as u8];
    put(&flat::context_of(on)?, &mask.rgba(changed, colour), changed, (changed.x, changed.y))
}

fn blank(width: u32, height: u32) -> Result<(HtmlCanvasElement, CanvasRenderingContext2d), PictureError> {
    let canvas = window::new_canvas();
    canvas.set_width(width);
    canvas.set_height(height);
    let context = flat::context_of(&canvas)?;
    Ok((canvas, context))
}

fn draw(context: &CanvasRenderingContext2d, picture: &HtmlCanvasElement, x: f64, y: f64) -> Result<(), PictureError> {
    Ok(context.draw_image_with_html_canvas_element(picture, x, y).map_err(failed)?)
}

fn put(context: &CanvasRenderingContext2d, rgba: &[u8], part: Rect, at: (i32, i32)) -> Result<(), PictureError> {
    let data = ImageData::new_with_u8_clamped_array_and_sh(wasm_bindgen::Clamped(rgba), part.width, part.height);
    Ok(data.and_then(|data| context.put_image_data(&data, at.0.into(), at.1.into())).map_err(failed)?)
}

fn failed(thrown: JsValue) -> SurfaceError {
    SurfaceError::Canvas(errors::message(&thrown))
}
