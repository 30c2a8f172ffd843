//! The decoder in plain Rust, layer after layer: what the passes of the GPU must show.

use sd_protocol::PreviewFrame;

use super::{Convolution, Decoder};
use crate::preview::FrameError;
use crate::preview::oracle::{Drawn, byte_from_unit};

/// Draws a whole binary frame, `scale` pixels along a side of each of its cells.
///
/// # Errors
/// When `frame` is no preview frame, or has fewer channels than the decoder reads.
pub fn draw(frame: &[u8], decoder: &Decoder) -> Result<Drawn, FrameError> {
    let frame = PreviewFrame::decode(frame)?;
    let (channels, wanted) = (usize::from(frame.header().channels), decoder.shape().latent_channels);
    if channels < wanted {
        return Err(FrameError::DecoderChannels { channels, wanted });
    }
    let (width, height) = (usize::from(frame.header().width), usize::from(frame.header().height));
    let values = frame.values().chunks_exact(channels).flat_map(|cell| &cell[..wanted]).map(|x| clamp(*x)).collect();
    let picture = layers(decoder, Grid { width, height, values });

    let rgba = picture.values.as_chunks::<3>().0.iter().flat_map(|pixel| {
        let [red, green, blue] = pixel.map(byte_from_unit);
        [red, green, blue, u8::MAX]
    });
    Ok(Drawn { width: picture.width as u32, height: picture.height as u32, rgba: rgba.collect() })
}

/// The first line of `DecoderTiny.forward`.
fn clamp(x: f32) -> f32 {
    (x / 3.0).tanh() * 3.0
}

/// `[height, width, channels]`
struct Grid {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

/// RGB in [0, 1], not clamped yet. diffusers maps it to [-1, 1] at the end, and back for a picture.
fn layers(decoder: &Decoder, latent: Grid) -> Grid {
    let mut x = relu(convolve(&latent, &decoder.stem));
    for (at, level) in decoder.levels.iter().enumerate() {
        for [a, b, c] in &level.blocks {
            let mut sum = convolve(&relu(convolve(&relu(convolve(&x, a)), b)), c);
            sum.values.iter_mut().zip(&x.values).for_each(|(sum, x)| *sum += x);
            x = relu(sum);
        }
        if at + 1 < decoder.levels.len() {
            x = upsample(&x);
        }
        x = convolve(&x, &level.end);
    }
    x
}

fn relu(mut grid: Grid) -> Grid {
    grid.values.iter_mut().for_each(|x| *x = x.max(0.0));
    grid
}

/// Every pixel becomes four.
fn upsample(grid: &Grid) -> Grid {
    let channels = grid.values.len() / (grid.width * grid.height);
    let rows = grid.values.chunks_exact(grid.width * channels);
    let values = rows.flat_map(|row| [row; 2]).flat_map(|row| row.chunks_exact(channels).flat_map(|pixel| [pixel; 2]));
    Grid { width: grid.width * 2, height: grid.height * 2, values: values.flatten().copied().collect() }
}

fn convolve(grid: &Grid, convolution: &Convolution) -> Grid {
    let &Convolution { inputs, outputs, ref weight, ref bias } = convolution;
    // [3, 3, inputs, outputs], so that the inner loop goes through memory in order.
    let mut taps = vec![0.0; weight.len()];
    for output in 0..outputs {
        for input in 0..inputs {
            for tap in 0..9 {
                taps[(tap * inputs + input) * outputs + output] = weight[(output * inputs + input) * 9 + tap];
            }
        }
    }
    let mut values = Vec::with_capacity(grid.width * grid.height * outputs);
    for y in 0..grid.height {
        for x in 0..grid.width {
            let first = values.len();
            values.extend_from_slice(bias);
            let sums = &mut values[first..];
            for tap in 0..9 {
                let (column, row) = ((x + tap % 3).wrapping_sub(1), (y + tap / 3).wrapping_sub(1));
                if column >= grid.width || row >= grid.height {
                    continue;
                }
                let pixel = &grid.values[(row * grid.width + column) * inputs..][..inputs];
                for (value, weights) in pixel.iter().zip(taps[tap * inputs * outputs..].chunks_exact(outputs)) {
                    sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += value * weight);
                }
            }
        }
    }
    Grid { width: grid.width, height: grid.height, values }
}
