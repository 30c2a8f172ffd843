//! A canvas that shows preview frames, on the GPU or without one.

use std::rc::Rc;

use sd_protocol::PreviewBasis;
use web_sys::HtmlCanvasElement;

use super::decoding::When;
use super::flat::Flat;
use super::gpu::{Device, Gpu, GpuError};
use crate::preview::FrameError;
use crate::preview::choice::Choice;
use crate::preview::taesd::Decoder;

/// The element that a surface takes over, for views that make one.
#[cfg(feature = "page")]
pub(crate) type Element = HtmlCanvasElement;

/// What draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The shaders.
    WebGpu,
    /// The linear map in plain Rust.
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
    /// Takes `canvas` over without a GPU.
    pub(crate) fn flat(canvas: HtmlCanvasElement) -> Result<Self, SurfaceError> {
        Flat::open(canvas).map(Self::Flat)
    }

    /// Takes `canvas` over with this device.
    pub(crate) fn gpu(canvas: HtmlCanvasElement, device: Device) -> Result<Self, SurfaceError> {
        Ok(Self::Gpu(Box::new(Gpu::open(canvas, device)?)))
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

    /// Draws through this decoder `when` it says so, where there is a GPU; resolves when that can begin.
    pub(crate) fn set_decoder(&self, decoder: Option<Rc<Decoder>>, when: When) -> impl Future<Output = ()> + use<> {
        let ready = match self {
            Self::Gpu(gpu) => Some(gpu.set_decoder(decoder, when)),
            Self::Flat(_) => None,
        };
        async move {
            if let Some(ready) = ready {
                ready.await;
            }
        }
    }

    /// Another picture is shown from now on.
    pub(crate) fn begin(&self) {
        if let Self::Gpu(gpu) = self
            && let Some(decoding) = gpu.decoding()
        {
            decoding.begin();
        }
    }

    /// A preview of the picture came, whether or not it is drawn.
    pub(crate) fn arrived(&self) {
        if let Self::Gpu(gpu) = self
            && let Some(decoding) = gpu.decoding()
        {
            decoding.arrived();
        }
    }

    /// Draws one whole binary frame; the canvas takes the size of the picture. Returns what drew it.
    pub(crate) fn draw(&mut self, frame: &[u8], basis: &PreviewBasis) -> Result<Choice, SurfaceError> {
        match self {
            Self::Gpu(gpu) => gpu.draw(frame, basis),
            Self::Flat(flat) => flat.draw(frame, basis).map(|()| Choice::Linear),
        }
    }
}
