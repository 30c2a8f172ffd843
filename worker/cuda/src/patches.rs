//! The patches of convolutions.

use sd_kernels::Window;

use crate::launch::{Argument, Launch, Module, Number, int};

/// The patches under some rows of what a window makes.
#[derive(Clone, Copy, Debug)]
pub struct Patches {
    /// It, and the pictures that it goes over.
    pub window: Window,
    /// Rows: the first, and how many.
    pub rows: [usize; 2],
}

impl Patches {
    /// Slots of the memory that the launch names: `[batch, height, width, channels]`.
    pub const X: usize = 0;
    /// The result, `[batch, rows, width', kernel, kernel, channels]`.
    pub const Y: usize = 1;

    /// The kernel; nothing where the sizes are beyond it, or the window does not fit.
    pub fn launch(&self, number: Number) -> Option<Launch> {
        let Self { window, rows: [first, rows] } = *self;
        let Window { batch, size: [height, width], seen, channels, kernel, stride, padding: [before, _] } = window;
        let [_, out_width] = window.places()?;
        let (pack, wideness) = number.width(channels);
        let made = batch * rows * out_width * kernel * kernel * channels;
        let memory = |slot, numbers| Argument::Memory { slot, bytes: numbers * number.bytes() };
        let sizes = [batch, height, width, channels, seen[0], seen[1], kernel, stride, before, out_width, first, rows];
        let mut arguments = vec![memory(Self::X, batch * height * width * channels), memory(Self::Y, made)];
        for size in sizes {
            arguments.push(int(size)?);
        }
        let kernel = format!("patches_{}_{wideness}", number.name());
        Some(Launch::over(made / pack, Module::Patches, kernel, arguments))
    }
}
