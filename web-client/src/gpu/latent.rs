//! The payload of a preview frame in a texture.

use sd_protocol::{Element, FrameHeader};

use crate::preview::basis::{self, TextureLayout};

/// A texture that holds one latent after another, while they are of one shape.
pub(crate) struct LatentTexture {
    layout: TextureLayout,
    texture: wgpu::Texture,
    view: wgpu::TextureView,
}

impl LatentTexture {
    /// A texture of this layout, all zeros.
    pub(crate) fn new(device: &wgpu::Device, layout: TextureLayout) -> Self {
        let texture = device.create_texture(&wgpu::TextureDescriptor {
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
        Self { layout, texture, view }
    }

    /// The texture of `held`, or another one if its shape is another, with this payload.
    pub(crate) fn upload(
        held: Option<Self>,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Self {
        let layout = basis::texture_layout(header);
        let held = held.filter(|held| held.layout == layout).unwrap_or_else(|| Self::new(device, layout));
        queue.write_texture(
            held.texture.as_image_copy(),
            payload,
            wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(layout.row_bytes), rows_per_image: None },
            held.texture.size(),
        );
        held
    }

    pub(crate) fn view(&self) -> &wgpu::TextureView {
        &self.view
    }
}
