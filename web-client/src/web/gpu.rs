//! The WebGPU half of a preview canvas: a device, the canvas's surface, and what draws into it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::mpsc;
use futures_util::StreamExt;
use sd_protocol::PreviewBasis;
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlCanvasElement;
use wgpu::{CurrentSurfaceTexture, SurfaceConfiguration};

use super::canvas::SurfaceError;
use super::decoding::{self, Decoding, When};
use super::errors;
use crate::gpu::latent::LatentTexture;
use crate::gpu::linear::Linear;
use crate::preview::choice::Choice;
use crate::preview::taesd::Decoder;
use crate::preview::{Latent, basis};

/// Why the GPU does not draw.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GpuError {
    /// The browser has no WebGPU, or no adapter for it.
    #[error("no adapter: {0}")]
    NoAdapter(String),
    /// The adapter gave no device.
    #[error("no device")]
    NoDevice(#[source] wgpu::RequestDeviceError),
    /// The canvas gave no WebGPU context.
    #[error("no WebGPU context")]
    NoContext(#[source] wgpu::CreateSurfaceError),
    /// The surface offers no format.
    #[error("the canvas and the adapter share no format")]
    NoFormat,
    /// The picture is larger than a texture may be.
    #[error("{0}×{1} px is more than this GPU draws")]
    TooLarge(u32, u32),
    /// The device is gone, or the canvas gave no texture to draw into.
    #[error("the GPU is lost; open the canvas again")]
    Lost,
    /// The device reported this after the fact.
    #[error("the device failed: {0}")]
    Device(String),
}

/// A device that no canvas has yet.
pub(crate) struct Device {
    instance: wgpu::Instance,
    adapter: wgpu::Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    is_lost: Rc<Cell<bool>>,
}

impl Device {
    /// Asks the browser for one. `on_lost` is called at most once, if it is lost later.
    pub(crate) async fn request(on_lost: impl FnOnce() + 'static) -> Result<Self, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::BROWSER_WEBGPU,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions::default())
            .await
            .map_err(|fault| GpuError::NoAdapter(fault.to_string()))?;
        let wish = wgpu::DeviceDescriptor {
            required_features: adapter.features() & wgpu::Features::SHADER_F16,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = adapter.request_device(&wish).await.map_err(GpuError::NoDevice)?;
        let is_lost = Rc::new(Cell::new(false));
        let flag = is_lost.clone();
        watch(&device, move || {
            flag.set(true);
            on_lost();
        });
        Ok(Self { instance, adapter, device, queue, is_lost })
    }
}

/// A WebGPU canvas that shows previews.
pub(crate) struct Gpu {
    surface: wgpu::Surface<'static>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    linear: Linear,
    decoding: Rc<RefCell<Option<Rc<Decoding>>>>,
    configuration: SurfaceConfiguration,
    side_px_max: u32,
    latent: Option<LatentTexture>,
    is_lost: Rc<Cell<bool>>,
}

impl Gpu {
    /// Takes the canvas over.
    pub(crate) fn open(canvas: HtmlCanvasElement, device: Device) -> Result<Self, GpuError> {
        let Device { instance, adapter, device, queue, is_lost } = device;
        let surface = instance.create_surface(wgpu::SurfaceTarget::Canvas(canvas)).map_err(GpuError::NoContext)?;
        let mut configuration = surface.get_default_config(&adapter, 1, 1).ok_or(GpuError::NoFormat)?;
        // The shaders yield sRGB-encoded values already: a format that encodes would do it twice.
        configuration.format = configuration.format.remove_srgb_suffix();
        let linear = Linear::new(&device, configuration.format);
        let side_px_max = device.limits().max_texture_dimension_2d;
        let decoding = Rc::default();
        Ok(Self { surface, device, queue, linear, decoding, configuration, side_px_max, latent: None, is_lost })
    }

    /// Draws through this decoder from now on, as soon as it is compiled and `when` says so; resolves then.
    pub(crate) fn set_decoder(&self, decoder: Option<Rc<Decoder>>, when: When) -> impl Future<Output = ()> + use<> {
        self.decoding.take();
        let (device, queue, format) = (self.device.clone(), self.queue.clone(), self.configuration.format);
        let here = Rc::downgrade(&self.decoding);
        async move {
            let Some(decoder) = decoder else { return };
            let opened = Decoding::open(&device, &queue, &decoder, format, when).await;
            if let Some(here) = here.upgrade() {
                here.replace(opened);
            }
        }
    }

    /// The decoder, once it is compiled.
    pub(super) fn decoding(&self) -> Option<Rc<Decoding>> {
        self.decoding.borrow().clone()
    }

    /// Draws one frame; the canvas takes its size.
    pub(crate) fn draw(&mut self, frame: &[u8], basis: &PreviewBasis) -> Result<Choice, SurfaceError> {
        let latent = Latent::new(frame, basis)?;
        if self.is_lost.get() {
            return Err(GpuError::Lost.into());
        }
        let header = latent.header();
        let chosen = self.decoding().and_then(|decoding| Some((decoding.choose(header)?, decoding)));
        let size = chosen.as_ref().map_or_else(|| latent.canvas_size(), |(size, _)| *size);
        self.resize(size, basis::texture_layout(header).width)?;
        let texture = LatentTexture::upload(self.latent.take(), &self.device, &self.queue, header, latent.payload());
        if let Some(target) = self.target()? {
            let view = target.texture.create_view(&wgpu::TextureViewDescriptor::default());
            match &chosen {
                Some((_, decoding)) => decoding.draw(header, &texture, &view),
                None => self.linear.draw(&self.device, &self.queue, &latent, &texture, &view),
            }
            self.queue.present(target);
        }
        self.latent = Some(texture);
        Ok(if chosen.is_some() { Choice::Decoder } else { Choice::Linear })
    }

    /// Resolves when the GPU has done what it was given, or is gone.
    pub(crate) fn drawn(&self) -> impl Future<Output = ()> + use<> {
        decoding::work_done(&self.queue)
    }

    fn resize(&mut self, (width, height): (u32, u32), texels: u32) -> Result<(), GpuError> {
        if width.max(height).max(texels) > self.side_px_max {
            return Err(GpuError::TooLarge(width, height));
        }
        let configured = self.surface.get_configuration().is_some();
        if !configured || (self.configuration.width, self.configuration.height) != (width, height) {
            (self.configuration.width, self.configuration.height) = (width, height);
            self.surface.configure(&self.device, &self.configuration);
        }
        Ok(())
    }

    /// What to draw into; `None` while nobody can see the canvas: the next frame or the next look draws again.
    fn target(&self) -> Result<Option<wgpu::SurfaceTexture>, GpuError> {
        match self.surface.get_current_texture() {
            CurrentSurfaceTexture::Success(target) | CurrentSurfaceTexture::Suboptimal(target) => Ok(Some(target)),
            CurrentSurfaceTexture::Timeout | CurrentSurfaceTexture::Occluded => Ok(None),
            CurrentSurfaceTexture::Outdated | CurrentSurfaceTexture::Lost | CurrentSurfaceTexture::Validation => {
                Err(GpuError::Lost)
            }
        }
    }
}

impl Drop for Gpu {
    /// Gives the GPU's memory back now; left to the browser's collector, a page that opens many canvases runs out.
    fn drop(&mut self) {
        self.device.destroy();
    }
}

/// Calls `on_lost` once, when the device is lost or fails in a way that nobody caught.
fn watch(device: &wgpu::Device, on_lost: impl FnOnce() + 'static) {
    let (trouble, mut troubles) = mpsc::channel(1);
    // The callbacks must be `Send`, `on_lost` is not: a channel stands between them. A full one means that the
    // first trouble is still on its way, and the first is enough.
    let report = move |message: String| drop(trouble.clone().try_send(message));
    let report_error = report.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            report(message);
        }
    });
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| report_error(error.to_string())));
    spawn_local(async move {
        if let Some(message) = troubles.next().await {
            errors::warn(&GpuError::Device(message));
            on_lost();
        }
    });
}
