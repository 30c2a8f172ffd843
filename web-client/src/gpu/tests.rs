//! The shaders, on whatever adapter there is, against their oracles.

use sd_protocol::binary::PreviewPosition;
use sd_protocol::{FrameHeader, PreviewBasis, PreviewDtype, PreviewFrame};

use super::decoder::GpuDecoder;
use super::latent::LatentTexture;
use super::linear::Linear;
use crate::preview::oracle::{self, Drawn};
use crate::preview::taesd::{self, Decoder, Precision, examples};
use crate::preview::{Latent, sampling};

/// Most that a channel of a pixel may differ, of 255: a GPU rounds its own way.
const TOLERANCE: u8 = 2;

const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

struct Bench {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Bench {
    fn open() -> Self {
        Self::with(wgpu::Features::empty())
    }

    /// A device with those of the `features` that the adapter has.
    fn with(features: wgpu::Features) -> Self {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))
            .expect("a GPU or a software one, such as Debian's mesa-vulkan-drivers");
        println!("on {}", adapter.get_info().name);
        let features = features & adapter.features();
        let wish = wgpu::DeviceDescriptor { required_features: features, ..wgpu::DeviceDescriptor::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&wish)).unwrap();
        Self { device, queue }
    }

    fn upload(&self, frame: &[u8]) -> (FrameHeader, LatentTexture) {
        let header = FrameHeader::decode(frame).unwrap();
        let payload = &frame[sd_protocol::binary::HEADER_BYTES..];
        (header, LatentTexture::upload(None, &self.device, &self.queue, &header, payload))
    }

    /// What `draw` leaves in a target of this size.
    fn picture(&self, (width, height): (u32, u32), draw: impl FnOnce(&wgpu::TextureView)) -> Drawn {
        let target = self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: FORMAT,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        draw(&target.create_view(&wgpu::TextureViewDescriptor::default()));
        let row_bytes = (width * 4).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let copy = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: u64::from(row_bytes * height),
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row_bytes), rows_per_image: None };
        encoder.copy_texture_to_buffer(
            target.as_image_copy(),
            wgpu::TexelCopyBufferInfo { buffer: &copy, layout },
            target.size(),
        );
        self.queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
        self.wait();
        let bytes = copy.get_mapped_range(..).unwrap();
        let rgba = bytes.chunks_exact(row_bytes as usize).flat_map(|row| row[..width as usize * 4].to_vec()).collect();
        Drawn { width, height, rgba }
    }

    fn wait(&self) {
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    }

    fn decode(&self, gpu: &mut GpuDecoder, frame: &[u8]) -> Drawn {
        let (header, texture) = self.upload(frame);
        let size = gpu.prepare(&header).expect("a small picture fits");
        self.picture(size, |target| gpu.draw(&header, &texture, target))
    }
}

#[track_caller]
fn check(name: &str, drawn: &Drawn, expected: &Drawn) {
    assert_eq!((drawn.width, drawn.height), (expected.width, expected.height), "{name}");
    let worst = drawn.rgba.iter().zip(&expected.rgba).map(|(a, b)| a.abs_diff(*b)).max();
    println!("{name}: {worst:?}/255");
    assert!(worst <= Some(TOLERANCE), "{name}: {worst:?}/255 apart");
}

fn decodes_as_the_oracle(bench: &Bench, precision: Precision) {
    assert_eq!(GpuDecoder::precision(&bench.device), precision);
    let mut before: Option<(Decoder, GpuDecoder)> = None;
    for example in examples::all() {
        // Examples of one decoder share it, so that sizes follow each other as in a page.
        let (decoder, mut gpu) = before.filter(|(decoder, _)| *decoder == example.decoder).unwrap_or_else(|| {
            let gpu = GpuDecoder::new(&bench.device, &bench.queue, &example.decoder, precision, FORMAT);
            (example.decoder, gpu)
        });
        let drawn = bench.decode(&mut gpu, &example.frame);
        check(&example.name, &drawn, &taesd::oracle::draw(&example.frame, &decoder).unwrap());
        let golden = example.rgb.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, u8::MAX]).collect();
        check(&example.name, &drawn, &Drawn { rgba: golden, ..drawn });
        before = Some((decoder, gpu));
    }
}

#[test]
fn the_decoder_draws_what_its_oracle_and_diffusers_draw() {
    decodes_as_the_oracle(&Bench::open(), Precision::F32);
}

#[test]
fn the_decoder_does_so_in_half_precision_where_the_adapter_has_it() {
    let bench = Bench::with(wgpu::Features::SHADER_F16);
    let has_f16 = bench.device.features().contains(wgpu::Features::SHADER_F16);
    decodes_as_the_oracle(&bench, if has_f16 { Precision::F16 } else { Precision::F32 });
}

#[test]
fn bands_meet_without_a_seam() {
    let bench = Bench::open();
    for config in [
        "{\"decoder_block_out_channels\": [8, 8, 8, 8]}",
        "{\"decoder_block_out_channels\": [12, 12, 12], \"num_decoder_blocks\": [1, 1, 0]}",
    ] {
        let decoder = Decoder::read(&examples::file(config)).unwrap();
        let gpu = || GpuDecoder::new(&bench.device, &bench.queue, &decoder, Precision::F32, FORMAT);
        let frame = examples::frame(7, 19, 4);
        let whole = bench.decode(&mut gpu(), &frame);
        for slot_numbers in [0, 8192, 20_000] {
            let drawn = bench.decode(&mut gpu().with_slots(slot_numbers), &frame);
            assert!(drawn == whole, "{config} with slots of {slot_numbers} numbers");
        }
    }
}

#[test]
fn latents_of_bytes_and_repeated_pictures_are_decoded() {
    let bench = Bench::open();
    let decoder = Decoder::read(&examples::file(
        r#"{"decoder_block_out_channels": [8, 8], "num_decoder_blocks": [1, 1], "latent_channels": 6}"#,
    ))
    .unwrap();
    let mut gpu = GpuDecoder::new(&bench.device, &bench.queue, &decoder, Precision::F32, FORMAT);
    let position = PreviewPosition { step: 1, steps: 4, batch_index: 1, batch_size: 2 };
    for (width, height) in [(5, 9), (16, 4), (5, 9), (33, 17)] {
        let latent = PreviewFrame::decode(&examples::frame(width, height, 8)).unwrap().values();
        let frame = PreviewFrame::pack(position, width, height, &latent, PreviewDtype::U8).encode(1);
        gpu.rehearse(3);
        let drawn = bench.decode(&mut gpu, &frame);
        check(&format!("{width}×{height}"), &drawn, &taesd::oracle::draw(&frame, &decoder).unwrap());
    }
    let frame = examples::frame(4, 4, 4);
    assert_eq!(gpu.prepare(&FrameHeader::decode(&frame).unwrap()), None, "the decoder reads six channels");
}

#[test]
fn the_linear_map_draws_what_its_oracle_draws() {
    let bench = Bench::open();
    for (width, height, channels) in [(9, 6, 4), (17, 9, 3), (40, 24, 16)] {
        let rows = (0..channels).map(|c| c as f32).map(|c| [0.3 * (c * 2.0).cos(), 0.2 * c.sin(), 0.03]).collect();
        let basis = PreviewBasis { rows, bias: [0.5, 0.45, 0.4] };
        let frame = examples::frame(width, height, channels);
        let latent = Latent::new(&frame, &basis).unwrap();
        let (_, texture) = bench.upload(&frame);
        let linear = Linear::new(&bench.device, FORMAT);
        let drawn = bench.picture(sampling::canvas_size(width, height), |target| {
            linear.draw(&bench.device, &bench.queue, &latent, &texture, target);
        });
        check(&format!("{width}×{height}×{channels}"), &drawn, &oracle::draw(&frame, &basis).unwrap());
    }
}
