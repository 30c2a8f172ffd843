//! The patches of convolutions.

use crate::launch::{Argument, Launch, Module, Number, int};

/// The patches under some rows of a convolution's output, of pictures seen at another size between zeros.
#[derive(Clone, Copy, Debug)]
pub struct Patches {
    /// Pictures.
    pub batch: usize,
    /// Height and width of a picture.
    pub size: [usize; 2],
    /// What they are seen at, by nearest neighbours: cell *i* reads `⌊i · size / seen⌋`.
    pub seen: [usize; 2],
    /// Of a pixel.
    pub channels: usize,
    /// Side of a patch.
    pub kernel: usize,
    /// Pixels from a patch to the next.
    pub stride: usize,
    /// Zeros above and on the left.
    pub before: usize,
    /// Patches of a row.
    pub out_width: usize,
    /// Rows: the first, and how many.
    pub rows: [usize; 2],
}

impl Patches {
    /// Slots of the memory that the launch names: `[batch, height, width, channels]`.
    pub const X: usize = 0;
    /// The result, `[batch, rows, out_width, kernel, kernel, channels]`.
    pub const Y: usize = 1;

    /// The kernel; nothing where the sizes are beyond it.
    pub fn launch(&self, number: Number) -> Option<Launch> {
        let Self { batch, size: [height, width], seen, channels, kernel, stride, before, out_width, rows } = *self;
        let (pack, wideness) = number.width(channels);
        let made = batch * rows[1] * out_width * kernel * kernel * channels;
        let memory = |slot, numbers| Argument::Memory { slot, bytes: numbers * number.bytes() };
        let sizes =
            [batch, height, width, channels, seen[0], seen[1], kernel, stride, before, out_width, rows[0], rows[1]];
        let mut arguments = vec![memory(Self::X, batch * height * width * channels), memory(Self::Y, made)];
        for size in sizes {
            arguments.push(int(size)?);
        }
        let kernel = format!("patches_{}_{wideness}", number.name());
        Some(Launch::over(made / pack, Module::Patches, kernel, arguments))
    }
}
