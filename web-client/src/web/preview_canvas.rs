//! The preview for JavaScript, without the page around it.

use std::rc::Rc;

use js_sys::Promise;
use sd_protocol::PreviewBasis;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use web_sys::HtmlCanvasElement;

use super::canvas::{self, Backend, Surface};
use super::decoding::When;
use super::errors;
use crate::preview::choice::Choice;
use crate::preview::taesd::Decoder;

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
    drawn: Option<Choice>,
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
        let basis = sd_protocol::read(&basis_json).map_err(|fault| errors::to_js(&fault))?;
        let wish = match backend.as_deref() {
            None | Some("auto") => None,
            Some(name) => {
                Some(Backend::parse(name).ok_or_else(|| js_sys::Error::new("backend is auto, webgpu or canvas2d"))?)
            }
        };
        let surface = Surface::open(canvas.clone(), wish, || ()).await.map_err(|fault| errors::to_js(&fault))?;
        Ok(Self { canvas, surface, basis, newest: None, drawn: None })
    }

    /// What draws: `"webgpu"` or `"canvas2d"`.
    #[wasm_bindgen(getter)]
    pub fn backend(&self) -> String {
        self.surface.backend().name().to_owned()
    }

    /// What drew the newest frame: `"linear"` or `"decoder"`; undefined before the first.
    #[wasm_bindgen(getter)]
    pub fn drawn(&self) -> Option<String> {
        self.drawn.map(|drawn| drawn.name().to_owned())
    }

    /// Draws through a TAESD-type decoder from now on: `file` is what `GET /v1/models/{name}/preview-decoder`
    /// answered; without one the basis draws again. `when` is `"quick"`, only where the GPU decodes a preview well
    /// before the next one comes, which is the default, or `"always"`. A canvas without WebGPU goes on as before.
    ///
    /// # Errors
    /// When `file` is no decoder, or `when` has no such name.
    #[wasm_bindgen(js_name = setDecoder, unchecked_return_type = "Promise<void>")]
    pub fn set_decoder(&self, file: Option<Vec<u8>>, when: Option<String>) -> Result<Promise, JsValue> {
        let when = match when.as_deref() {
            None | Some("quick") => When::Quick,
            Some("always") => When::Always,
            Some(_) => return Err(js_sys::Error::new("when is quick or always").into()),
        };
        let decoder = file.map(|file| Decoder::read(&file)).transpose().map_err(|fault| errors::to_js(&fault))?;
        // No method of its own that awaits: frames are drawn while the decoder is compiled.
        let ready = self.surface.set_decoder(decoder.map(Rc::new), when);
        Ok(future_to_promise(async move {
            ready.await;
            Ok(JsValue::UNDEFINED)
        }))
    }

    /// Draws one whole binary frame; the canvas takes the size of the preview.
    ///
    /// # Errors
    /// When `frame` is no preview frame of this basis, or the GPU failed.
    pub fn draw(&mut self, frame: Vec<u8>) -> Result<(), JsValue> {
        self.surface.arrived();
        self.drawn = Some(self.surface.draw(&frame, &self.basis).map_err(|fault| errors::to_js(&fault))?);
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
            .and_then(|_| canvas::read_pixels(&self.canvas))
            .map_err(|fault| errors::to_js(&fault))
    }
}
