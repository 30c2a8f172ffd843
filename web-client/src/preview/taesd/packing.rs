//! How the weights of a convolution lie in the buffer that its pass reads.
//!
//! Four channels are one `vec4`. First come the biases, then 4×4 matrices from four channels to four, each as its four
//! columns, in the order in which a pass walks: `[phase, group of inputs, column of taps, row of taps, group of
//! outputs]`. Channels that pad a group have zeros.

use half::f16;

use super::{Convolution, Decoder, Precision};

/// What a pass does with a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// 3×3 taps on pixels.
    Same,
    /// 3×3 taps on pixels that each stand for four. Of the four pixels that come out of one, each sees only 2×2
    /// different ones, so it has a kernel of 2×2 sums of taps: 4/9 of the work, and nothing is upsampled in memory.
    Finer,
}

impl Reading {
    /// Taps along one side of a kernel.
    pub fn side(self) -> usize {
        match self {
            Self::Same => 3,
            Self::Finer => 2,
        }
    }

    /// Pixels along one side that come out of one.
    pub fn zoom(self) -> usize {
        match self {
            Self::Same => 1,
            Self::Finer => 2,
        }
    }
}

impl Decoder {
    /// All convolutions in the order of their first passes.
    pub fn convolutions(&self) -> impl Iterator<Item = (&Convolution, Reading)> {
        let last = self.levels.len() - 1;
        let levels = self.levels.iter().enumerate().flat_map(move |(at, level)| {
            let end = if at == last { Reading::Same } else { Reading::Finer };
            let blocks = level.blocks.iter().flatten().map(|convolution| (convolution, Reading::Same));
            blocks.chain([(&level.end, end)])
        });
        [(&self.stem, Reading::Same)].into_iter().chain(levels)
    }
}

/// The bytes of the buffer, little-endian.
pub fn pack(convolution: &Convolution, reading: Reading, precision: Precision) -> Vec<u8> {
    let numbers = numbers(convolution, reading).into_iter();
    match precision {
        Precision::F32 => numbers.flat_map(f32::to_le_bytes).collect(),
        Precision::F16 => numbers.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
    }
}

fn numbers(convolution: &Convolution, reading: Reading) -> Vec<f32> {
    let &Convolution { inputs, outputs, ref weight, ref bias } = convolution;
    let (groups_in, groups_out) = (inputs.div_ceil(4), outputs.div_ceil(4));
    let (side, zoom) = (reading.side(), reading.zoom());
    let mut numbers = vec![0.0; groups_out * 4];
    numbers[..outputs].copy_from_slice(bias);
    for phase in 0..zoom * zoom {
        for group_in in 0..groups_in {
            for (column, row) in (0..side).flat_map(|column| (0..side).map(move |row| (column, row))) {
                let columns = taps(reading, phase % zoom, column);
                let rows = taps(reading, phase / zoom, row);
                for (group_out, input, output) in (0..groups_out)
                    .flat_map(|group| (0..4).flat_map(move |input| (0..4).map(move |output| (group, input, output))))
                {
                    let (input, output) = (group_in * 4 + input, group_out * 4 + output);
                    let kernel = (output * inputs + input) * 9;
                    let is_there = input < inputs && output < outputs;
                    let sum = |row: &usize| columns.iter().map(|column| weight[kernel + row * 3 + column]).sum::<f32>();
                    numbers.push(if is_there { rows.iter().map(sum).sum() } else { 0.0 });
                }
            }
        }
    }
    numbers
}

/// Along one axis, the taps of the 3×3 kernel that fall on the same pixel.
///
/// The even one of two pixels sees the one before and twice its own origin, the odd one twice its origin and the next.
fn taps(reading: Reading, phase: usize, at: usize) -> &'static [usize] {
    match (reading, phase, at) {
        (Reading::Same, _, 0) | (Reading::Finer, 0, 0) => &[0],
        (Reading::Same, _, 1) => &[1],
        (Reading::Finer, 0, _) => &[1, 2],
        (Reading::Finer, _, 0) => &[0, 1],
        (Reading::Same, ..) | (Reading::Finer, ..) => &[2],
    }
}
