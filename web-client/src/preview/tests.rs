use sd_protocol::binary::PreviewPosition;
use sd_protocol::{PreviewBasis, PreviewDtype, PreviewFrame};

use super::{FrameError, Latent, basis, oracle, sampling};

const POSITION: PreviewPosition = PreviewPosition { step: 1, steps: 4, batch_index: 0, batch_size: 1 };

fn latent_basis(channels: usize) -> PreviewBasis {
    let rows = (0..channels).map(|c| c as f32).map(|c| [0.3 * (c * 2.0).cos(), 0.2 * c.sin(), 0.03]).collect();
    PreviewBasis { rows, bias: [0.5, 0.45, 0.4] }
}

/// A latent that is smooth, spans both signs and differs in every channel.
fn latent(width: u16, height: u16, channels: usize) -> Vec<f32> {
    let (width, height) = (usize::from(width), usize::from(height));
    (0..width * height * channels)
        .map(|i| {
            let (x, y, c) = (i / channels % width, i / channels / width, i % channels);
            ((x as f32 * 0.7 + c as f32).sin() + (y as f32 * 0.4).cos()) * 1.5
        })
        .collect()
}

/// The shader's formula written down once more, without separating the axes: 16 cells for every pixel, read
/// from the bytes of the uniform block and of the texture.
fn draw_as_shader(frame: &[u8], map: &PreviewBasis) -> Vec<u8> {
    let latent = Latent::new(frame, map).unwrap();
    let block = basis::uniforms(&latent);
    let word = |at: usize| [block[at], block[at + 1], block[at + 2], block[at + 3]];
    let number = |at: usize| u32::from_le_bytes(word(at)) as usize;
    let float = |at: usize| f32::from_le_bytes(word(at));
    let (cells_x, cells_y, groups, cell_px) = (number(0), number(4), number(8), number(12) as u32);
    let layout = basis::texture_layout(latent.header());
    let texel = |at: usize| match layout.element {
        sd_protocol::Element::F16 => {
            half::f16::from_le_bytes([latent.payload()[at * 2], latent.payload()[at * 2 + 1]]).to_f32()
        }
        sd_protocol::Element::U8 => f32::from(latent.payload()[at]) / 255.0,
    };
    let mut rgba = Vec::new();
    for y in 0..cells_y as u32 * cell_px {
        for x in 0..cells_x as u32 * cell_px {
            let across = sampling::taps(x, cell_px, cells_x as u16);
            let down = sampling::taps(y, cell_px, cells_y as u16);
            for rgb in 0..3 {
                let mut sum = 0.0;
                for (cell_y, weight_y) in down.cells.iter().zip(down.weights) {
                    for (cell_x, weight_x) in across.cells.iter().zip(across.weights) {
                        let mut value = float(16 + rgb * 4);
                        for channel in 0..groups * 4 {
                            let at = cell_y * (layout.row_bytes as usize / layout.element.size_bytes())
                                + cell_x * groups * 4
                                + channel;
                            value += texel(at) * float(32 + channel * 16 + rgb * 4);
                        }
                        sum += weight_x * weight_y * value;
                    }
                }
                rgba.push((sum.clamp(0.0, 1.0) * 255.0).round() as u8);
            }
            rgba.push(255);
        }
    }
    rgba
}

#[track_caller]
fn check_same_picture(width: u16, height: u16, channels: usize, dtype: PreviewDtype) {
    let map = latent_basis(channels);
    let frame = PreviewFrame::pack(POSITION, width, height, &latent(width, height, channels), dtype).encode(7);
    let drawn = oracle::draw(&frame, &map).unwrap();
    assert_eq!((drawn.width, drawn.height), sampling::canvas_size(width, height));
    let expected = draw_as_shader(&frame, &map);
    assert_eq!(drawn.rgba.len(), expected.len());
    let worst = drawn.rgba.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1), "{worst:?} of 255 apart");
    let spread = drawn.rgba.iter().step_by(4).max().unwrap() - drawn.rgba.iter().step_by(4).min().unwrap();
    assert!(spread > 100, "the test latent must span the display range, it spans {spread}");
}

#[test]
fn shader_block_and_oracle_agree() {
    check_same_picture(9, 6, 4, PreviewDtype::F16);
    check_same_picture(9, 6, 4, PreviewDtype::U8);
    check_same_picture(5, 8, 16, PreviewDtype::F16);
    check_same_picture(5, 8, 16, PreviewDtype::U8);
    check_same_picture(4, 4, 3, PreviewDtype::U8);
}

#[test]
fn flat_latent_is_its_own_colour() {
    let rows = vec![[0.1, 0.0, 0.03], [0.15, -0.08, 0.03], [0.2, -0.16, 0.03], [0.25, -0.24, 0.03]];
    let map = PreviewBasis { rows, bias: [0.5, 0.45, 0.4] };
    let flat: Vec<f32> = [1.0, -1.0, 0.5, 0.0].repeat(12);
    let drawn = oracle::draw(&PreviewFrame::pack(POSITION, 4, 3, &flat, PreviewDtype::F16).encode(1), &map).unwrap();
    // 0.5 + 0.1 − 0.15 + 0.1 = 0.55, 0.45 + 0.08 − 0.08 = 0.45, 0.4 + 0.03 − 0.03 + 0.015 = 0.415
    assert_eq!((drawn.width, drawn.height), (32, 24));
    for pixel in drawn.rgba.chunks_exact(4) {
        assert_eq!(pixel, [140, 115, 106, 255]);
    }
}

#[test]
fn weights_sum_to_one_and_mirror() {
    for px in [1, 2, 4, 8] {
        for pixel in 0..6 * px {
            let here = sampling::taps(pixel, px, 6);
            assert!((here.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            // `last` reads the same cells from the other end.
            let mirrored = sampling::taps(6 * px - 1 - pixel, px, 6);
            let spread = |taps: sampling::Taps, flip: bool| {
                let mut line = [0.0_f32; 6];
                for (cell, weight) in taps.cells.into_iter().zip(taps.weights) {
                    line[if flip { 5 - cell } else { cell }] += weight;
                }
                line
            };
            for (a, b) in spread(here, false).into_iter().zip(spread(mirrored, true)) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn canvas_grows_with_the_picture_and_no_further() {
    assert_eq!(sampling::canvas_size(32, 32), (256, 256));
    assert_eq!(sampling::canvas_size(128, 96), (1024, 768));
    assert_eq!(sampling::canvas_size(129, 64), (516, 256));
    assert_eq!(sampling::canvas_size(256, 256), (1024, 1024));
    assert_eq!(sampling::canvas_size(u16::MAX, 1), (65535, 1));
}

#[test]
fn frames_that_do_not_fit_are_named() {
    let frame = PreviewFrame::pack(POSITION, 2, 2, &[0.0; 16], PreviewDtype::F16).encode(1);
    let fault = oracle::draw(&frame, &latent_basis(5)).unwrap_err();
    assert_eq!(fault, FrameError::Channels { channels: 4, rows: 5 });
    assert!(matches!(oracle::draw(&frame[..40], &latent_basis(4)), Err(FrameError::Decode(_))));
}

#[test]
fn shader_and_rust_count_the_same_channels() {
    assert!(basis::SHADER.contains(&format!("array<vec4<f32>, {}>", super::CHANNELS_MAX)));
}
