//! A canvas without a GPU: the oracle and `putImageData`.

use sd_protocol::PreviewBasis;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};

use super::canvas::SurfaceError;
use super::errors;
use crate::preview::oracle;

/// A 2D canvas that shows previews.
pub(crate) struct Flat {
    canvas: HtmlCanvasElement,
    context: CanvasRenderingContext2d,
}

impl Flat {
    /// Takes the canvas over.
    pub(crate) fn open(canvas: HtmlCanvasElement) -> Result<Self, SurfaceError> {
        let context = context_of(&canvas)?;
        Ok(Self { canvas, context })
    }

    /// Draws one frame; the canvas takes its size.
    pub(crate) fn draw(&self, frame: &[u8], basis: &PreviewBasis) -> Result<(), SurfaceError> {
        let drawn = oracle::draw(frame, basis)?;
        if (self.canvas.width(), self.canvas.height()) != (drawn.width, drawn.height) {
            self.canvas.set_width(drawn.width);
            self.canvas.set_height(drawn.height);
        }
        ImageData::new_with_u8_clamped_array_and_sh(Clamped(&drawn.rgba), drawn.width, drawn.height)
            .and_then(|data| self.context.put_image_data(&data, 0.0, 0.0))
            .map_err(|thrown| SurfaceError::Canvas(errors::message(&thrown)))
    }
}

/// The 2D context of a canvas that has no other kind yet.
pub(crate) fn context_of(canvas: &HtmlCanvasElement) -> Result<CanvasRenderingContext2d, SurfaceError> {
    canvas
        .get_context("2d")
        .map_err(|thrown| SurfaceError::Canvas(errors::message(&thrown)))?
        .and_then(|context| context.dyn_into().ok())
        .ok_or_else(|| SurfaceError::Canvas("it already has a context of another kind".into()))
}
