//! What follows a product.

use sd_kernels::Activation;

use crate::launch::{Argument, Launch, Module, Number, int, known};

/// Bias, shift, gate, residual and activation of `[rows, columns]` sums, in this order.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Of the sums and the result.
    pub rows: usize,
    /// Of the result; the sums have twice as many under [`Activation::Geglu`].
    pub columns: usize,
    /// Whether [`Self::BIAS`] is there.
    pub has_bias: bool,
    /// Items of [`Self::SHIFT`], a divisor of the rows, or one for all of them; none where nothing is shifted.
    pub shift_items: usize,
    /// Whether [`Self::RESIDUAL`] is there.
    pub has_residual: bool,
    /// Applied at last, but [`Activation::Geglu`] before the residual is added.
    pub activation: Activation,
}

impl Ending {
    /// Slots of the memory that the launch names: `[rows, width]`.
    pub const SUMS: usize = 0;
    /// `[width]`
    pub const BIAS: usize = 1;
    /// `[items, width]`
    pub const SHIFT: usize = 2;
    /// `[rows, columns]`
    pub const RESIDUAL: usize = 3;
    /// The result, `[rows, columns]`.
    pub const Y: usize = 4;

    /// Columns of the sums.
    pub fn width(&self) -> usize {
        self.columns * if self.activation == Activation::Geglu { 2 } else { 1 }
    }

    /// The kernel; nothing where the sizes are beyond it.
    pub fn launch(&self, number: Number) -> Option<Launch> {
        let Self { rows, columns, has_bias, shift_items, has_residual, activation } = *self;
        let (pack, wideness) = number.width(columns);
        let (width, made) = (self.width() * number.bytes(), rows * columns * number.bytes());
        let memory = |is_there, slot, bytes| if is_there { Argument::Memory { slot, bytes } } else { Argument::Null };
        let arguments = vec![
            memory(true, Self::SUMS, rows * width),
            memory(has_bias, Self::BIAS, width),
            memory(shift_items > 0, Self::SHIFT, shift_items * width),
            memory(has_residual, Self::RESIDUAL, made),
            memory(true, Self::Y, made),
            int(rows)?,
            int(columns)?,
            int(rows.div_ceil(shift_items.max(1)))?,
            Argument::Int((shift_items > 1).into()),
            known(activation),
        ];
        // What they are called with twice is beyond them as well.
        int(self.width())?;
        let kernel = format!("ending_{}_{wideness}", number.name());
        Some(Launch::over(rows * columns / pack, Module::Ending, kernel, arguments))
    }
}
