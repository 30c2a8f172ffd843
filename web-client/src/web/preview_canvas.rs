//! The preview for JavaScript, without the page around it.

use sd_protocol::PreviewBasis;
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use super::canvas::{self, Backend, Surface};
use super::errors;

/// The types of frames, jobs and errors are exported beside the class; their file lies beside the module.
#[wasm_bindgen(typescript_custom_section)]
const PROTOCOL_TYPES: &str = "export type * from \"./protocol.js\";";

/// A canvas that shows the binary preview frames of a job.
///
/// ```js
/// const preview = await PreviewCanvas.create(canvas, JSON.stringify(accepted.preview));
/// socket.onmessage = ({ data }) => data instanceof ArrayBuffer && preview.draw(new Uint8Array(data));
/// ```
#[wasm_bindgen]
pub struct PreviewCanvas {
    canvas: HtmlCanvasElement,
    surface: Surface,
    basis: PreviewBasis,
    newest: Option<Vec<u8>>,
}

#[wasm_bindgen]
impl PreviewCanvas {
    /// Takes `canvas` over. `basis_json` is the `preview` of an `accepted` or `attached` frame; `backend` is
    /// `"auto"`, `"webgpu"` or `"canvas2d"`.
    ///
    /// # Errors
    /// When the basis cannot be read, the backend has no such name, or the one asked for is not usable here.
    pub async fn create(
        canvas: HtmlCanvasElement,
        basis_json: String,
        backend: Option<String>,
    ) -> Result<PreviewCanvas, JsValue> {
        let basis = serde_json::from_str(&basis_json).map_err(|fault| errors::to_js(&fault))?;
        let wish = match backend.as_deref() {
            None | Some("auto") => None,
            Some(name) => {
                Some(Backend::parse(name).ok_or_else(|| js_sys::Error::new("backend is auto, webgpu or canvas2d"))?)
            }
        };
        let surface = Surface::open(canvas.clone(), wish, || ()).await.map_err(|fault| errors::to_js(&fault))?;
        Ok(Self { canvas, surface, basis, newest: None })
    }

    /// What draws: `"webgpu"` or `"canvas2d"`.
    #[wasm_bindgen(getter)]
    pub fn backend(&self) -> String {
        self.surface.backend().name().to_owned()
    }

    /// Draws one whole binary frame; the canvas takes the size of the preview.
    ///
    /// # Errors
    /// When `frame` is no preview frame of this basis, or the GPU failed.
    pub fn draw(&mut self, frame: Vec<u8>) -> Result<(), JsValue> {
        self.surface.draw(&frame, &self.basis).map_err(|fault| errors::to_js(&fault))?;
        self.newest = Some(frame);
        Ok(())
    }

    /// What the canvas shows, as RGBA rows from the top; empty before the first frame.
    ///
    /// # Errors
    /// When the GPU or the canvas failed.
    #[wasm_bindgen(js_name = readPixels)]
    pub async fn read_pixels(&mut self) -> Result<Vec<u8>, JsValue> {
        let Some(frame) = &self.newest else { return Ok(Vec::new()) };
        // Drawn again, because a WebGPU canvas forgets its picture with the task that drew it.
        self.surface
            .draw(frame, &self.basis)
            .and_then(|()| canvas::read_pixels(&self.canvas))
            .map_err(|fault| errors::to_js(&fault))
    }
}
