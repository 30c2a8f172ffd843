//! The preview for JavaScript: `Screen`, which the package's `PreviewCanvas` wraps. It survives a lost GPU.

use std::cell::RefCell;
use std::error::Error;
use std::rc::{Rc, Weak};

use js_sys::Promise;
use sd_protocol::PreviewBasis;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{future_to_promise, spawn_local};
use web_sys::{HtmlCanvasElement, ImageData};

use super::canvas::{Backend, Surface, SurfaceError};
use super::decoding::When;
use super::gpu::{Device, GpuError};
use super::{errors, flat, window};
use crate::preview::choice::Choice;
use crate::preview::pace::Pace;
use crate::preview::recovery::Losses;
use crate::preview::taesd::Decoder;

/// A canvas that shows the binary preview frames of a job.
#[wasm_bindgen]
pub struct Screen(Rc<RefCell<Inner>>);

struct Inner {
    canvas: HtmlCanvasElement,
    backend: Backend,
    /// `None` while a lost GPU is replaced.
    surface: Option<Surface>,
    losses: Losses,
    decoder: Option<(Rc<Decoder>, When)>,
    newest: Option<(Vec<u8>, PreviewBasis)>,
    pace: Pace,
    drawn: Option<Choice>,
}

#[wasm_bindgen]
impl Screen {
    /// Takes `canvas` over. `backend` is `"webgpu"`, `"canvas2d"`, or `"auto"`, the first of them that works.
    ///
    /// # Errors
    /// When there is no such backend, or the one asked for is not usable here.
    pub async fn create(canvas: HtmlCanvasElement, backend: String) -> Result<Screen, JsValue> {
        errors::report_panics();
        let wish = match &*backend {
            "auto" => None,
            name => {
                Some(Backend::parse(name).ok_or_else(|| js_sys::Error::new("backend is auto, webgpu or canvas2d"))?)
            }
        };
        let inner = Rc::new(RefCell::new(Inner::new(canvas)));
        open(&inner, wish).await.map_err(|fault| to_js(&fault))?;
        Ok(Self(inner))
    }

    /// What draws: `"webgpu"` or `"canvas2d"`.
    #[wasm_bindgen(getter)]
    pub fn backend(&self) -> String {
        self.0.borrow().backend.name().to_owned()
    }

    /// What drew the newest frame: `"linear"` or `"decoder"`; undefined before the first.
    #[wasm_bindgen(getter)]
    pub fn drawn(&self) -> Option<String> {
        self.0.borrow().drawn.map(|drawn| drawn.name().to_owned())
    }

    /// Another picture is shown from now on.
    pub fn begin(&self) {
        if let Some(surface) = &self.0.borrow().surface {
            surface.begin();
        }
    }

    /// Draws one whole binary frame, now or as soon as the one before is on the screen, unless a newer one comes until
    /// then. `basis` is the JSON of the `PreviewBasis` of its job. The canvas takes the size of the preview.
    ///
    /// # Errors
    /// When `frame` is no preview frame of this basis.
    pub fn draw(&self, frame: Vec<u8>, basis: &str) -> Result<(), JsValue> {
        let basis = sd_protocol::read(basis).map_err(|fault| to_js(&fault))?;
        let mut inner = self.0.borrow_mut();
        if let Some(surface) = &inner.surface {
            surface.arrived();
        }
        inner.newest = Some((frame, basis));
        if !inner.pace.came() {
            return Ok(());
        }
        let drawn = inner.draw();
        drop(inner);
        keep_up(Rc::downgrade(&self.0));
        match drawn {
            Err(fault @ SurfaceError::Frame(_)) => Err(to_js(&fault)),
            // A lost GPU is replaced, and draws the frame then.
            Err(fault) => {
                errors::warn(&fault);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Draws through a TAESD-type decoder from now on: `file` is what `GET /v1/models/{name}/preview-decoder`
    /// answered; without one the basis draws again. `when` is `"quick"`, only where the GPU decodes a preview well
    /// before the next one comes, or `"always"`. A canvas without WebGPU goes on as before.
    ///
    /// # Errors
    /// When `file` is no decoder, or `when` has no such name.
    #[wasm_bindgen(js_name = setDecoder, unchecked_return_type = "Promise<void>")]
    pub fn set_decoder(&self, file: Option<Vec<u8>>, when: &str) -> Result<Promise, JsValue> {
        let when = match when {
            "quick" => When::Quick,
            "always" => When::Always,
            _ => return Err(js_sys::Error::new("when is quick or always").into()),
        };
        let decoder = file.map(|file| Decoder::read(&file)).transpose().map_err(|fault| to_js(&fault))?;
        let mut inner = self.0.borrow_mut();
        inner.decoder = decoder.map(|decoder| (Rc::new(decoder), when));
        let ready = inner.decode();
        Ok(future_to_promise(async move {
            if let Some(ready) = ready {
                ready.await;
            }
            Ok(JsValue::UNDEFINED)
        }))
    }

    /// What the canvas shows; undefined before the first frame, and while a lost GPU is replaced.
    ///
    /// # Errors
    /// When the GPU or the canvas failed.
    #[wasm_bindgen(js_name = readPixels)]
    pub fn read_pixels(&self) -> Result<Option<ImageData>, JsValue> {
        let mut inner = self.0.borrow_mut();
        // Drawn again, because a WebGPU canvas forgets its picture with the task that drew it.
        let is_drawn = inner.draw().map_err(|fault| to_js(&fault))?;
        if is_drawn { pixels(&inner.canvas).map(Some) } else { Ok(None) }
    }
}

impl Inner {
    fn new(canvas: HtmlCanvasElement) -> Self {
        Self {
            canvas,
            backend: Backend::Canvas2d,
            surface: None,
            losses: Losses::default(),
            decoder: None,
            newest: None,
            pace: Pace::default(),
            drawn: None,
        }
    }

    /// Draws the newest frame. Returns whether there is one, and something to draw it with.
    fn draw(&mut self) -> Result<bool, SurfaceError> {
        let (Some(surface), Some((frame, basis))) = (&mut self.surface, &self.newest) else { return Ok(false) };
        match surface.draw(frame, basis) {
            Ok(drawn) => self.drawn = Some(drawn),
            Err(fault) => {
                if let SurfaceError::Frame(_) = fault {
                    self.newest = None;
                }
                return Err(fault);
            }
        }
        if self.backend == Backend::WebGpu {
            self.losses.drew();
        }
        Ok(true)
    }

    /// Gives the surface its decoder; resolves when that can draw.
    fn decode(&self) -> Option<impl Future<Output = ()> + use<>> {
        let (decoder, when) = self.decoder.clone().unzip();
        self.surface.as_ref().map(|surface| surface.set_decoder(decoder, when.unwrap_or(When::Quick)))
    }
}

/// Takes the canvas over: with `wish`, or with WebGPU where that works and the 2D canvas elsewhere.
async fn open(inner: &Rc<RefCell<Inner>>, wish: Option<Backend>) -> Result<(), SurfaceError> {
    let canvas = inner.borrow().canvas.clone();
    let surface = match wish {
        Some(Backend::Canvas2d) => Surface::flat(canvas)?,
        _ => match request(Rc::downgrade(inner)).await {
            Ok(device) => Surface::gpu(canvas, device)?,
            // Without a device the canvas is still untouched; once it has a context it keeps its kind.
            Err(GpuError::NoAdapter(_) | GpuError::NoDevice(_)) if wish.is_none() => Surface::flat(canvas)?,
            Err(fault) => return Err(fault.into()),
        },
    };
    let mut inner = inner.borrow_mut();
    inner.backend = surface.backend();
    inner.surface = Some(surface);
    Ok(())
}

/// A device whose loss is repaired.
async fn request(inner: Weak<RefCell<Inner>>) -> Result<Device, GpuError> {
    Device::request(move || {
        if let Some(here) = inner.upgrade() {
            here.borrow_mut().surface = None;
            replace_later(&here);
        }
    })
    .await
}

/// Asks for another device when it is worth it. The canvas keeps its kind, so that nothing else can draw until then.
fn replace_later(inner: &Rc<RefCell<Inner>>) {
    let Some(delay_ms) = inner.borrow_mut().losses.lost() else { return };
    let weak = Rc::downgrade(inner);
    window::after(delay_ms, move || spawn_local(replace(weak)));
}

async fn replace(weak: Weak<RefCell<Inner>>) {
    let device = request(weak.clone()).await;
    let Some(inner) = weak.upgrade() else { return };
    let canvas = inner.borrow().canvas.clone();
    let opened = device.map_err(SurfaceError::from).and_then(|device| Surface::gpu(canvas, device));
    let redrawn = opened.and_then(|surface| {
        let mut inner = inner.borrow_mut();
        inner.surface = Some(surface);
        if let Some(ready) = inner.decode() {
            spawn_local(ready);
        }
        inner.draw()
    });
    if let Err(fault) = redrawn {
        errors::warn(&fault);
        inner.borrow_mut().surface = None;
        replace_later(&inner);
    }
}

/// Waits for the screen, and draws what has come in the meantime.
fn keep_up(weak: Weak<RefCell<Inner>>) {
    spawn_local(async move {
        loop {
            let settled = weak.upgrade().and_then(|inner| inner.borrow().surface.as_ref().map(Surface::settled));
            if let Some(settled) = settled {
                settled.await;
            }
            window::next_frame().await;
            let Some(inner) = weak.upgrade() else { return };
            let mut inner = inner.borrow_mut();
            if !inner.pace.shown() {
                return;
            }
            inner.pace.came();
            if let Err(fault) = inner.draw() {
                errors::warn(&fault);
            }
        }
    });
}

/// What `canvas` shows, in the task that drew it.
fn pixels(canvas: &HtmlCanvasElement) -> Result<ImageData, JsValue> {
    let copy = window::new_canvas();
    copy.set_width(canvas.width());
    copy.set_height(canvas.height());
    let context = flat::context_of(&copy).map_err(|fault| to_js(&fault))?;
    context.draw_image_with_html_canvas_element(canvas, 0.0, 0.0)?;
    context.get_image_data(0.0, 0.0, f64::from(canvas.width()), f64::from(canvas.height()))
}

/// An error for JavaScript, with everything that led to it.
fn to_js(fault: &dyn Error) -> JsValue {
    js_sys::Error::new(&errors::chain(fault)).into()
}
