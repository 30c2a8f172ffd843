//! Which shapes fit together, for every path that has kernels of its own.

use candle_core::{D, Result, Tensor};
use sd_kernels::{Activation, Attention, Window};

use super::{Conv2d, Ending, Heads, Linear, Padding};

/// The window of `conv` over `x`, `[batch, height, width, in]`, seen at another size, and the dimensions of what it makes:
/// `[batch, height', width', out]`.
///
/// # Errors
/// When the channels are others, or the window does not fit.
pub(super) fn convolution(x: &Tensor, conv: &Conv2d, seen: [usize; 2]) -> Result<(Window, Vec<usize>)> {
    let (batch, height, width, channels) = x.dims4()?;
    let Conv2d { stride, padding: Padding { before, behind }, .. } = *conv;
    let [outputs, inputs, kernel, _] = conv.shape()?;
    if inputs != channels {
        candle_core::bail!("{inputs} channels are expected, not {channels}")
    }
    let (size, padding) = ([height, width], [before, behind]);
    let window = Window { batch, size, seen, channels, kernel, stride, padding };
    let Some([out_height, out_width]) = window.places() else {
        candle_core::bail!("a {kernel}×{kernel} kernel does not fit into {}×{}", seen[0], seen[1])
    };
    Ok((window, vec![batch, out_height, out_width, outputs]))
}

/// The dimensions of the product of `x`, `[…, in]`: `[…, out]`.
///
/// # Errors
/// When the channels are others.
pub(super) fn product(x: &Tensor, linear: &Linear) -> Result<Vec<usize>> {
    let [outputs, inputs] = linear.shape()?;
    let mut dims = x.dims().to_vec();
    if dims.pop() != Some(inputs) {
        candle_core::bail!("{inputs} channels are expected, not {:?}", x.dims())
    }
    dims.push(outputs);
    Ok(dims)
}

/// The dimensions of what an ending makes of sums of `dims`: half the channels where they are gated.
///
/// # Errors
/// When a shift or a residual is of another size.
pub(super) fn ended(dims: &[usize], ending: Ending) -> Result<Vec<usize>> {
    let mut made = dims.to_vec();
    let (Some(&batch), Some(columns)) = (dims.first(), made.last_mut()) else {
        candle_core::bail!("a product has rows and columns")
    };
    let width = *columns;
    if ending.activation == Activation::Geglu {
        if !width.is_multiple_of(2) {
            candle_core::bail!("GEGLU wants an even number of channels, not {width}")
        }
        *columns = width / 2;
    }
    if let Some(shift) = ending.shift
        && !matches!(shift.dims(), &[items, wide] if (items == 1 || items == batch) && wide == width)
    {
        candle_core::bail!("a shift of {:?} is not for {batch} items of {width} channels", shift.dims())
    }
    if let Some(residual) = ending.residual
        && residual.dims() != made
    {
        candle_core::bail!("{:?} is not added to {made:?}", residual.dims())
    }
    Ok(made)
}

/// The channels of `x`, which are those of `weight`, `[channels]`.
///
/// # Errors
/// When they are not.
pub(super) fn channels(x: &Tensor, weight: &Tensor) -> Result<usize> {
    let channels = weight.dims1()?;
    if x.dim(D::Minus1)? != channels {
        candle_core::bail!("{channels} channels are expected, not {:?}", x.dims())
    }
    Ok(channels)
}

/// How queries, keys and values meet.
///
/// # Errors
/// When they do not.
pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Attention> {
    let (batch, queries, channels) = q.dims3()?;
    let keys = k.dim(1)?;
    let Heads { count: heads, causal, .. } = heads;
    if [k.dims(), v.dims()] != [[batch, keys, channels]; 2] || keys == 0 || !channels.is_multiple_of(heads.max(1)) {
        candle_core::bail!("{heads} heads do not read {:?} by {:?} with {:?}", k.dims(), v.dims(), q.dims())
    }
    Ok(Attention { batch, queries, keys, heads, channels: channels / heads.max(1), causal })
}
