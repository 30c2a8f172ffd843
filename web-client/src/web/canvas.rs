//! A canvas that shows preview frames, on the GPU or without one.

use sd_protocol::PreviewBasis;
use wasm_bindgen::JsCast;
use web_sys::HtmlCanvasElement;

use super::flat::{self, Flat};
use super::gpu::{Gpu, GpuError};
use super::{errors, page};
use crate::preview::FrameError;

/// What draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The shader.
    WebGpu,
    /// The oracle.
    Canvas2d,
}

impl Backend {
    /// The name in `?preview=` and in `data-backend`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebGpu => "webgpu",
            Self::Canvas2d => "canvas2d",
        }
    }

    /// The backend of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::WebGpu, Self::Canvas2d].into_iter().find(|backend| backend.name() == name)
    }
}

/// Why a preview is not on the canvas.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurfaceError {
    /// The bytes are not a frame of this job.
    #[error("the preview cannot be drawn")]
    Frame(#[from] FrameError),
    /// WebGPU is missing or failed.
    #[error("WebGPU is not usable here")]
    Gpu(#[from] GpuError),
    /// The 2D canvas failed.
    #[error("the canvas is not usable: {0}")]
    Canvas(String),
}

/// A canvas that shows preview frames.
pub(crate) enum Surface {
    /// Through WebGPU.
    Gpu(Box<Gpu>),
    /// Through a 2D context.
    Flat(Flat),
}

impl Surface {
    /// Takes `canvas` over: with `wish`, or with WebGPU where that works and the 2D canvas elsewhere.
    ///
    /// `on_lost` is called at most once, if the GPU is lost later; the canvas can then be opened again.
    pub(crate) async fn open(
        canvas: HtmlCanvasElement,
        wish: Option<Backend>,
        on_lost: impl FnOnce() + 'static,
    ) -> Result<Self, SurfaceError> {
        if wish == Some(Backend::Canvas2d) {
            return Flat::open(canvas).map(Self::Flat);
        }
        match Gpu::open(canvas.clone(), on_lost).await {
            Ok(gpu) => Ok(Self::Gpu(Box::new(gpu))),
            // Without a device the canvas is still untouched; once it has a context it keeps its kind.
            Err(GpuError::NoAdapter(_) | GpuError::NoDevice(_)) if wish.is_none() => Flat::open(canvas).map(Self::Flat),
            Err(fault) => Err(fault.into()),
        }
    }

    /// What draws.
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Gpu(_) => Backend::WebGpu,
            Self::Flat(_) => Backend::Canvas2d,
        }
    }

    /// Resolves when what was drawn so far is drawn.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let drawn = match self {
            Self::Gpu(gpu) => Some(gpu.drawn()),
            Self::Flat(_) => None,
        };
        async move {
            if let Some(drawn) = drawn {
                drawn.await;
            }
        }
    }

    /// Draws one whole binary frame; the canvas takes the size that `preview::sampling` gives it.
    pub(crate) fn draw(&mut self, frame: &[u8], basis: &PreviewBasis) -> Result<(), SurfaceError> {
        match self {
            Self::Gpu(gpu) => gpu.draw(frame, basis),
            Self::Flat(flat) => flat.draw(frame, basis),
        }
    }
}

/// What `canvas` shows, as RGBA rows from the top. A WebGPU canvas holds its picture only until the task that
/// drew it ends.
pub(crate) fn read_pixels(canvas: &HtmlCanvasElement) -> Result<Vec<u8>, SurfaceError> {
    let read = || {
        let copy: HtmlCanvasElement = page::window()
            .document()
            .expect("the window has a document")
            .create_element("canvas")?
            .dyn_into()
            .expect("a canvas element is one");
        copy.set_width(canvas.width());
        copy.set_height(canvas.height());
        let context = flat::context_of(&copy).map_err(|fault| errors::to_js(&fault))?;
        context.draw_image_with_html_canvas_element(canvas, 0.0, 0.0)?;
        context.get_image_data(0.0, 0.0, f64::from(canvas.width()), f64::from(canvas.height()))
    };
    read().map(|data| data.data().0).map_err(|thrown| SurfaceError::Canvas(errors::message(&thrown)))
}
