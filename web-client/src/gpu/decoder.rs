//! The passes of a TAESD-type decoder: `preview::taesd` plans them, here they are given to the GPU.

use sd_protocol::{Element, FrameHeader};

use super::latent::LatentTexture;
use super::linear;
use crate::preview::basis::{self, TextureLayout};
use crate::preview::sampling::CANVAS_SIDE_MAX;
use crate::preview::taesd::packing::{self, Reading};
use crate::preview::taesd::plan::{AFFINE_AT, BLOCK_BYTES, Pass, Plan, SLOT_NUMBERS, SLOTS, Step, lanes};
use crate::preview::taesd::{self, Decoder, Precision, Shape};

/// A decoder on a device.
pub(crate) struct GpuDecoder {
    device: wgpu::Device,
    queue: wgpu::Queue,
    shape: Shape,
    precision: Precision,
    enter: wgpu::ComputePipeline,
    same: wgpu::ComputePipeline,
    finer: wgpu::ComputePipeline,
    show: wgpu::RenderPipeline,
    /// Of each convolution.
    weights: Vec<wgpu::Buffer>,
    slot_numbers: usize,
    slots: [Option<wgpu::Buffer>; SLOTS],
    prepared: Option<Prepared>,
}

/// What latents of one size need.
struct Prepared {
    cells: (u32, u32),
    plan: Plan,
    /// The uniform blocks of the passes, `stride` bytes apart.
    blocks: wgpu::Buffer,
    /// Of all passes but the first, which reads a texture.
    bindings: Vec<wgpu::BindGroup>,
}

impl GpuDecoder {
    /// What this device keeps numbers in.
    pub(crate) fn precision(device: &wgpu::Device) -> Precision {
        if device.features().contains(wgpu::Features::SHADER_F16) { Precision::F16 } else { Precision::F32 }
    }

    /// Compiles the passes and uploads the weights. `format` as of [`linear::Linear::new`].
    pub(crate) fn new(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        decoder: &Decoder,
        precision: Precision,
        format: wgpu::TextureFormat,
    ) -> Self {
        let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("taesd.wgsl"),
            source: wgpu::ShaderSource::Wgsl(taesd::shader(precision).into()),
        });
        let compute = |entry, constants: &[(&str, f64)]| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry),
                layout: None,
                module: &shader,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants,
                    ..wgpu::PipelineCompilationOptions::default()
                },
                cache: None,
            })
        };
        let lanes = f64::from(lanes(decoder.shape().channels));
        let convolve = |reading: Reading| {
            let (side, zoom) = (reading.side() as f64, reading.zoom() as f64);
            compute("convolve", &[("side", side), ("zoom", zoom), ("lanes", lanes)])
        };
        let weights = decoder.convolutions().map(|(convolution, reading)| {
            let bytes = packing::pack(convolution, reading, precision);
            let buffer = new_buffer(device, bytes.len(), wgpu::BufferUsages::STORAGE);
            queue.write_buffer(&buffer, 0, &bytes);
            buffer
        });
        Self {
            device: device.clone(),
            queue: queue.clone(),
            shape: decoder.shape().clone(),
            precision,
            enter: compute("enter", &[]),
            same: convolve(Reading::Same),
            finer: convolve(Reading::Finer),
            show: linear::full_screen(device, &shader, "show", format),
            weights: weights.collect(),
            slot_numbers: SLOT_NUMBERS,
            slots: [const { None }; SLOTS],
            prepared: None,
        }
    }

    /// Makes room for latents of this size. Returns the size of their pictures in px; `None` if the latent has too few
    /// channels, or a picture so large would take more memory than a preview is worth.
    pub(crate) fn prepare(&mut self, header: &FrameHeader) -> Option<(u32, u32)> {
        if usize::from(header.channels) < self.shape.latent_channels {
            return None;
        }
        self.make_room(u32::from(header.width), u32::from(header.height))
    }

    /// Decodes what `texture` holds, of the size that was prepared last, into `target`.
    pub(crate) fn draw(&self, header: &FrameHeader, texture: &LatentTexture, target: &wgpu::TextureView) {
        self.run(texture, basis::texel_affine(header), Some(target));
    }

    /// Decodes a blank latent of `side` × `side` cells into no picture.
    pub(crate) fn rehearse(&mut self, side: u32) {
        let width = side * self.shape.latent_channels.div_ceil(4) as u32;
        let layout = TextureLayout { element: Element::F16, width, height: side, row_bytes: width * 8 };
        let blank = LatentTexture::new(&self.device, layout);
        if self.make_room(side, side).is_some() {
            self.run(&blank, (1.0, 0.0), None);
        }
    }

    /// With such slots, so that small pictures are drawn in bands as well.
    #[cfg(test)]
    pub(super) fn with_slots(self, slot_numbers: usize) -> Self {
        Self { slot_numbers, ..self }
    }

    fn make_room(&mut self, width: u32, height: u32) -> Option<(u32, u32)> {
        if self.prepared.as_ref().is_none_or(|prepared| prepared.cells != (width, height)) {
            let plan = Plan::new(&self.shape, width, height, self.slot_numbers);
            let limits = self.device.limits();
            let bytes = plan.slot_bytes_max(self.precision) as u64;
            let side = plan.width.max(plan.height);
            if bytes > limits.max_storage_buffer_binding_size || side > CANVAS_SIDE_MAX {
                return None;
            }
            for (slot, &numbers) in self.slots.iter_mut().zip(&plan.slots) {
                // The sizes of storage are whole vectors; a slot that no pass uses is bound all the same.
                let bytes = numbers.max(4) * self.precision.size_bytes();
                if slot.as_ref().is_none_or(|held| held.size() < bytes as u64) {
                    *slot = Some(new_buffer(&self.device, bytes, wgpu::BufferUsages::STORAGE));
                }
            }
            self.prepared = Some(self.bind((width, height), plan));
        }
        self.prepared.as_ref().map(|prepared| (prepared.plan.width, prepared.plan.height))
    }

    fn bind(&self, cells: (u32, u32), plan: Plan) -> Prepared {
        let stride = self.stride();
        let mut bytes = vec![0; plan.passes.len() * stride];
        for (slot, pass) in bytes.chunks_exact_mut(stride).zip(&plan.passes) {
            slot[..BLOCK_BYTES].copy_from_slice(&pass.block);
        }
        let blocks = new_buffer(&self.device, bytes.len(), wgpu::BufferUsages::UNIFORM);
        self.queue.write_buffer(&blocks, 0, &bytes);
        let layouts = [&self.same, &self.finer].map(|pipeline| pipeline.get_bind_group_layout(0));
        let show = self.show.get_bind_group_layout(0);
        let bind = |(number, pass): (usize, &Pass)| {
            let layout = match pass.step {
                Step::Convolve(Reading::Finer) => &layouts[1],
                Step::Enter | Step::Convolve(Reading::Same) => &layouts[0],
                Step::Show { .. } => &show,
            };
            let block = block(&blocks, number * stride);
            let source = self.slot(1, pass.source);
            let weights = entry(2, self.weights[pass.convolution].as_entire_binding());
            match pass.step {
                Step::Show { .. } => self.group(layout, &[block, source, weights]),
                _ => self.group(layout, &[block, source, weights, self.slot(3, pass.drawn)]),
            }
        };
        let bindings = plan.passes.iter().enumerate().skip(1).map(bind).collect();
        Prepared { cells, plan, blocks, bindings }
    }

    fn run(&self, texture: &LatentTexture, (scale, offset): (f32, f32), target: Option<&wgpu::TextureView>) {
        let Some(Prepared { plan, blocks, bindings, .. }) = &self.prepared else { return };
        let affine = [scale.to_le_bytes(), offset.to_le_bytes()];
        self.queue.write_buffer(blocks, AFFINE_AT as u64, affine.as_flattened());
        let latent = wgpu::BindingResource::TextureView(texture.view());
        let enter = self.group(
            &self.enter.get_bind_group_layout(0),
            &[block(blocks, 0), self.slot(3, plan.passes[0].drawn), entry(4, latent)],
        );

        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut passes = plan.passes.iter().zip([&enter].into_iter().chain(bindings)).peekable();
        let mut load = wgpu::LoadOp::Clear(wgpu::Color::BLACK);
        while passes.peek().is_some() {
            let mut compute = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let mut shown = None;
            for (pass, bindings) in passes.by_ref() {
                let pipeline = match pass.step {
                    Step::Enter => &self.enter,
                    Step::Convolve(Reading::Same) => &self.same,
                    Step::Convolve(Reading::Finer) => &self.finer,
                    Step::Show { first, rows } => {
                        shown = Some((first, rows, bindings));
                        break;
                    }
                };
                let [x, y, z] = pass.workgroups;
                compute.set_pipeline(pipeline);
                compute.set_bind_group(0, bindings, &[]);
                compute.dispatch_workgroups(x, y, z);
            }
            drop(compute);
            if let (Some((first, rows, bindings)), Some(target)) = (shown, target) {
                let mut render = linear::begin(&mut encoder, target, load);
                render.set_pipeline(&self.show);
                render.set_bind_group(0, bindings, &[]);
                render.set_scissor_rect(0, first, plan.width, rows);
                render.draw(0..3, 0..1);
                load = wgpu::LoadOp::Load;
            }
        }
        self.queue.submit([encoder.finish()]);
    }

    fn slot(&self, binding: u32, slot: usize) -> wgpu::BindGroupEntry<'_> {
        let buffer = self.slots[slot].as_ref().expect("room was made for every slot");
        entry(binding, buffer.as_entire_binding())
    }

    fn group(&self, layout: &wgpu::BindGroupLayout, entries: &[wgpu::BindGroupEntry<'_>]) -> wgpu::BindGroup {
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("decoder"), layout, entries })
    }

    fn stride(&self) -> usize {
        BLOCK_BYTES.next_multiple_of(self.device.limits().min_uniform_buffer_offset_alignment as usize)
    }
}

fn block(blocks: &wgpu::Buffer, offset: usize) -> wgpu::BindGroupEntry<'_> {
    let size = wgpu::BufferSize::new(BLOCK_BYTES as u64);
    entry(0, wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: blocks, offset: offset as u64, size }))
}

fn entry(binding: u32, resource: wgpu::BindingResource<'_>) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource }
}

fn new_buffer(device: &wgpu::Device, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("decoder"),
        size: bytes as u64,
        usage: usage | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}
