//! The WebGPU half of a preview canvas: one texture upload and one pass a frame.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use sd_protocol::{Element, PreviewBasis};
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlCanvasElement;
use wgpu::{CurrentSurfaceTexture, SurfaceConfiguration};

use super::canvas::SurfaceError;
use super::errors;
use crate::preview::Latent;
use crate::preview::basis::{self, TextureLayout, UNIFORM_BYTES};

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

/// A WebGPU canvas that shows previews.
pub(crate) struct Gpu {
    surface: wgpu::Surface<'static>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::RenderPipeline,
    uniforms: wgpu::Buffer,
    configuration: SurfaceConfiguration,
    side_px_max: u32,
    latent: Option<LatentTexture>,
    is_lost: Rc<Cell<bool>>,
}

struct LatentTexture {
    layout: TextureLayout,
    texture: wgpu::Texture,
    bindings: wgpu::BindGroup,
}

impl Gpu {
    /// Takes the canvas over. Touches it only after a device was found, so that it can still become a 2D canvas.
    pub(crate) async fn open(canvas: HtmlCanvasElement, on_lost: impl FnOnce() + 'static) -> Result<Self, GpuError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::BROWSER_WEBGPU,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions::default())
            .await
            .map_err(|fault| GpuError::NoAdapter(fault.to_string()))?;
        let (device, queue) =
            adapter.request_device(&wgpu::DeviceDescriptor::default()).await.map_err(GpuError::NoDevice)?;
        let is_lost = Rc::new(Cell::new(false));
        let flag = is_lost.clone();
        watch(&device, move || {
            flag.set(true);
            on_lost();
        });

        let surface = instance.create_surface(wgpu::SurfaceTarget::Canvas(canvas)).map_err(GpuError::NoContext)?;
        let mut configuration = surface.get_default_config(&adapter, 1, 1).ok_or(GpuError::NoFormat)?;
        // The basis yields sRGB-encoded values already: a format that encodes would do it twice.
        configuration.format = configuration.format.remove_srgb_suffix();
        let pipeline = pipeline(&device, configuration.format);
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("preview basis"),
            size: UNIFORM_BYTES as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let side_px_max = device.limits().max_texture_dimension_2d;
        Ok(Self { surface, device, queue, pipeline, uniforms, configuration, side_px_max, latent: None, is_lost })
    }

    /// Draws one frame; the canvas takes its size.
    pub(crate) fn draw(&mut self, frame: &[u8], basis: &PreviewBasis) -> Result<(), SurfaceError> {
        let latent = Latent::new(frame, basis)?;
        if self.is_lost.get() {
            return Err(GpuError::Lost.into());
        }
        self.resize(&latent)?;
        self.queue.write_buffer(&self.uniforms, 0, &basis::uniforms(&latent));
        let bindings = self.upload(&latent);
        self.paint(&bindings)?;
        Ok(())
    }

    /// Resolves when the GPU has done what it was given, or is gone.
    pub(crate) fn drawn(&self) -> impl Future<Output = ()> + use<> {
        let (done, drawn) = oneshot::channel();
        // Nobody may be waiting any more by then.
        self.queue.on_submitted_work_done(move || {
            done.send(()).ok();
        });
        async move { drawn.await.unwrap_or_default() }
    }

    fn resize(&mut self, latent: &Latent<'_>) -> Result<(), GpuError> {
        let (width, height) = latent.canvas_size();
        if width.max(height).max(basis::texture_layout(latent).width) > self.side_px_max {
            return Err(GpuError::TooLarge(width, height));
        }
        let configured = self.surface.get_configuration().is_some();
        if !configured || (self.configuration.width, self.configuration.height) != (width, height) {
            (self.configuration.width, self.configuration.height) = (width, height);
            self.surface.configure(&self.device, &self.configuration);
        }
        Ok(())
    }

    /// Copies the payload into its texture, byte for byte.
    fn upload(&mut self, latent: &Latent<'_>) -> wgpu::BindGroup {
        let layout = basis::texture_layout(latent);
        let held = match self.latent.take() {
            Some(held) if held.layout == layout => held,
            _ => self.latent_texture(layout),
        };
        self.queue.write_texture(
            held.texture.as_image_copy(),
            latent.payload(),
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(layout.row_bytes), rows_per_image: None },
            held.texture.size(),
        );
        let bindings = held.bindings.clone();
        self.latent = Some(held);
        bindings
    }

    fn latent_texture(&self, layout: TextureLayout) -> LatentTexture {
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("preview latent"),
            size: wgpu::Extent3d { width: layout.width, height: layout.height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: match layout.element {
                Element::F16 => wgpu::TextureFormat::Rgba16Float,
                Element::U8 => wgpu::TextureFormat::Rgba8Unorm,
            },
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("preview"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: self.uniforms.as_entire_binding() },
            ],
        });
        LatentTexture { layout, texture, bindings }
    }

    fn paint(&self, bindings: &wgpu::BindGroup) -> Result<(), GpuError> {
        let target = match self.surface.get_current_texture() {
            CurrentSurfaceTexture::Success(target) | CurrentSurfaceTexture::Suboptimal(target) => target,
            // Nobody can see the canvas now; the next frame or the next look draws again.
            CurrentSurfaceTexture::Timeout | CurrentSurfaceTexture::Occluded => return Ok(()),
            CurrentSurfaceTexture::Outdated | CurrentSurfaceTexture::Lost | CurrentSurfaceTexture::Validation => {
                return Err(GpuError::Lost);
            }
        };
        let view = target.texture.create_view(&wgpu::TextureViewDescriptor::default());
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("preview"),
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store },
            })],
            ..wgpu::RenderPassDescriptor::default()
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, bindings, &[]);
        pass.draw(0..3, 0..1);
        drop(pass);
        self.queue.submit([encoder.finish()]);
        self.queue.present(target);
        Ok(())
    }
}

impl Drop for Gpu {
    /// Gives the GPU's memory back now; left to the browser's collector, a page that opens many canvases runs out.
    fn drop(&mut self) {
        self.device.destroy();
    }
}

fn pipeline(device: &wgpu::Device, format: wgpu::TextureFormat) -> wgpu::RenderPipeline {
    let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("basis.wgsl"),
        source: wgpu::ShaderSource::Wgsl(basis::SHADER.into()),
    });
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("preview"),
        layout: None,
        vertex: wgpu::VertexState {
            module: &shader,
            entry_point: Some("cover"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: &shader,
            entry_point: Some("paint"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    })
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
