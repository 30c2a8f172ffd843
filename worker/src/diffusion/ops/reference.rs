//! Every operation on candle tensor operations: plain enough to be the oracle, the same on any device.

use candle_core::{D, DType, Result, Tensor};

use super::{Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, Padding, SCRATCH_BYTES_MAX};

/// [`conv2d_then`](super::conv2d_then). Patches are gathered for a strip of output rows at a time and multiplied with the
/// weights.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn conv2d(x: &Tensor, conv: &Conv2d, ending: Ending) -> Result<Tensor> {
    let Conv2d { kernel, stride, padding: Padding { before, behind }, .. } = *conv;
    let weight = conv.weight.rows()?;
    if (kernel, stride, before, behind) == (1, 1, 0, 0) {
        return then(matmul_bias(x, &weight, conv.bias.as_ref())?, ending);
    }
    let (batch, height, width, channels) = x.dims4()?;
    let (padded_height, padded_width) = (before + height + behind, before + width + behind);
    if padded_height < kernel || padded_width < kernel {
        candle_core::bail!("a {kernel}×{kernel} kernel does not fit into {height}×{width}")
    }
    let out_height = (padded_height - kernel) / stride + 1;
    let out_width = (padded_width - kernel) / stride + 1;
    // Enough zeros behind the last patch for a strided one to be a narrow and a reshape.
    let zeros_behind =
        |size: usize, out: usize| (kernel - 1 + out * stride).max(before + size + behind) - size - before;
    let padded = x.pad_with_zeros(1, before, zeros_behind(height, out_height))?.pad_with_zeros(
        2,
        before,
        zeros_behind(width, out_width),
    )?;

    let row_bytes = batch * out_width * kernel * kernel * channels * x.dtype().size_in_bytes();
    let strip_rows = (SCRATCH_BYTES_MAX / row_bytes).clamp(1, out_height);
    let mut strips = Vec::with_capacity(out_height.div_ceil(strip_rows));
    for row in (0..out_height).step_by(strip_rows) {
        let rows = strip_rows.min(out_height - row);
        let patches = patches(&padded, conv, row, rows, out_width)?;
        strips.push(matmul_bias(&patches, &weight, conv.bias.as_ref())?);
    }
    let whole = if strips.len() == 1 { strips.swap_remove(0) } else { Tensor::cat(&strips, 1)? };
    then(whole, ending)
}

/// [`upsample_conv2d`](super::upsample_conv2d), one after the other.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn upsample_conv2d(x: &Tensor, conv: &Conv2d, [height, width]: [usize; 2], ending: Ending) -> Result<Tensor> {
    conv2d(&upsample_nearest(x, height, width)?, conv, ending)
}

/// What follows `y`.
pub(super) fn then(y: Tensor, ending: Ending) -> Result<Tensor> {
    let Ending { shift, residual, activation } = ending;
    let y = match shift {
        // [batch, out] as [batch, 1, …, out]
        Some(shift) => {
            let mut dims = vec![1; y.rank()];
            (dims[0], dims[y.rank() - 1]) = shift.dims2()?;
            y.broadcast_add(&shift.reshape(dims)?)?
        }
        None => y,
    };
    let y = if activation == Activation::Geglu { geglu(&y)? } else { y };
    let y = match residual {
        Some(residual) => (y + residual)?,
        None => y,
    };
    match activation {
        Activation::Identity | Activation::Geglu => Ok(y),
        Activation::Relu => relu(&y),
        Activation::Silu => silu(&y),
        Activation::QuickGelu => quick_gelu(&y),
        Activation::GeluErf => gelu_erf(&y),
    }
}

/// The patches under output rows `row..row + rows`: `[batch, rows, out_width, kernel · kernel · in]`.
fn patches(padded: &Tensor, conv: &Conv2d, row: usize, rows: usize, out_width: usize) -> Result<Tensor> {
    let (batch, _, _, channels) = padded.dims4()?;
    let Conv2d { kernel, stride, .. } = *conv;
    let shape = (batch, rows, out_width, kernel * kernel * channels);
    let patches = Tensor::zeros(shape, padded.dtype(), padded.device())?;
    for y in 0..kernel {
        let lines = every(padded, 1, row * stride + y, rows, stride)?;
        for x in 0..kernel {
            let shifted = every(&lines, 2, x, out_width, stride)?.contiguous()?;
            patches.slice_set(&shifted, 3, (y * kernel + x) * channels)?;
        }
    }
    Ok(patches)
}

/// `count` slices of dimension `dim` of a rank 4 tensor: `start, start + stride, …`.
fn every(x: &Tensor, dim: usize, start: usize, count: usize, stride: usize) -> Result<Tensor> {
    if stride == 1 {
        return x.narrow(dim, start, count);
    }
    let mut dims = x.dims().to_vec();
    dims[dim] = count;
    dims.insert(dim + 1, stride);
    x.narrow(dim, start, count * stride)?.reshape(dims)?.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)
}

/// [`linear_then`](super::linear_then).
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn linear(x: &Tensor, linear: &Linear, ending: Ending) -> Result<Tensor> {
    then(matmul_bias(x, &linear.weight.rows()?, linear.bias.as_ref())?, ending)
}

fn matmul_bias(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (inputs, outputs) = weight.dims2()?;
    let mut dims = x.dims().to_vec();
    if dims.last() != Some(&inputs) {
        candle_core::bail!("{inputs} channels are expected, not {dims:?}")
    }
    let y = x.reshape(((), inputs))?.matmul(weight)?;
    let y = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    dims.pop();
    dims.push(outputs);
    y.reshape(dims)
}

/// Group normalisation of `[batch, …, channels]` (Wu and He 2018); statistics in f32.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn group_norm(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    let dims = x.dims().to_vec();
    let (batch, channels) = (x.dim(0)?, x.dim(D::Minus1)?);
    let x = x.reshape((batch, (), channels))?;
    let x32 = x.to_dtype(DType::F32)?;
    let centered = x32.broadcast_sub(&group_mean(&x32, norm.groups)?)?;
    let variance = group_mean(&centered.sqr()?, norm.groups)?;
    let scale = (variance + norm.eps)?.sqrt()?.recip()?.broadcast_mul(&norm.weight.to_dtype(DType::F32)?)?;
    let y = centered.broadcast_mul(&scale)?.broadcast_add(&norm.bias.to_dtype(DType::F32)?)?;
    y.to_dtype(x.dtype())?.reshape(dims)
}

/// The mean of each group, repeated for each of its channels: `[batch, positions, channels]` into
/// `[batch, 1, channels]`. The sum over positions is a product with ones, which candle has a fast path for.
fn group_mean(x: &Tensor, groups: usize) -> Result<Tensor> {
    let (batch, positions, channels) = x.dims3()?;
    let ones = Tensor::ones((batch, 1, positions), DType::F32, x.device())?;
    let sums = ones.matmul(x)?.reshape((batch, groups, channels / groups))?.sum_keepdim(2)?;
    (sums / (positions * channels / groups) as f64)?
        .broadcast_as((batch, groups, channels / groups))?
        .reshape((batch, 1, channels))
}

/// [`group_norm`], then [`silu`].
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn group_norm_silu(x: &Tensor, norm: &GroupNorm) -> Result<Tensor> {
    silu(&group_norm(x, norm)?)
}

/// Layer normalisation over the last dimension (Ba et al. 2016); statistics in f32.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn layer_norm(x: &Tensor, norm: &LayerNorm) -> Result<Tensor> {
    let x32 = x.to_dtype(DType::F32)?;
    let centered = x32.broadcast_sub(&x32.mean_keepdim(D::Minus1)?)?;
    let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
    let y = centered.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    let y = y.broadcast_mul(&norm.weight.to_dtype(DType::F32)?)?.broadcast_add(&norm.bias.to_dtype(DType::F32)?)?;
    y.to_dtype(x.dtype())
}

/// Multi-head attention (Vaswani et al. 2017, equation 1): `q` is `[batch, queries, heads · d]`, `k` and `v` are
/// `[batch, keys, heads · d]`, the result is `[batch, queries, heads · d]`.
///
/// Scores exist for a strip of queries at a time; the softmax is in f32.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads) -> Result<Tensor> {
    let Heads { count: heads, causal, upcast } = heads;
    let (batch, queries, channels) = q.dims3()?;
    let keys = k.dim(1)?;
    let score_dtype = if upcast { DType::F32 } else { q.dtype() };
    let scale = 1.0 / ((channels / heads) as f64).sqrt();
    let by_head = |x: &Tensor, item: usize| -> Result<Tensor> {
        let x = x.get(item)?;
        x.reshape((x.dim(0)?, heads, channels / heads))?.transpose(0, 1)?.contiguous()
    };
    let strip = (SCRATCH_BYTES_MAX / (heads * keys * DType::F32.size_in_bytes())).clamp(1, queries);
    let mut items = Vec::with_capacity(batch);
    for item in 0..batch {
        let q = (by_head(q, item)?.to_dtype(score_dtype)? * scale)?;
        let keys_t = by_head(k, item)?.to_dtype(score_dtype)?.t()?.contiguous()?;
        let values = by_head(v, item)?;
        let mut strips = Vec::with_capacity(queries.div_ceil(strip));
        for start in (0..queries).step_by(strip) {
            let rows = strip.min(queries - start);
            let mut scores = q.narrow(1, start, rows)?.contiguous()?.matmul(&keys_t)?.to_dtype(DType::F32)?;
            if causal {
                scores = scores.broadcast_add(&causal_mask(start, rows, keys, q.device())?)?;
            }
            let weights = candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(values.dtype())?;
            strips.push(weights.matmul(&values)?);
        }
        let joined = if strips.len() == 1 { strips.swap_remove(0) } else { Tensor::cat(&strips, 1)? };
        items.push(joined.transpose(0, 1)?.reshape((1, queries, channels))?);
    }
    Tensor::cat(&items, 0)
}

/// 0 where a query may look and −∞ where it may not: `[rows, keys]` for queries `start..start + rows`.
fn causal_mask(start: usize, rows: usize, keys: usize, device: &candle_core::Device) -> Result<Tensor> {
    let mask: Vec<f32> = (start..start + rows)
        .flat_map(|query| (0..keys).map(move |key| if key <= query { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (rows, keys), device)
}

/// Gated GELU (Shazeer 2020): the first half of the channels times the GELU of the second, `[…, 2c]` into `[…, c]`.
///
/// # Errors
/// When the channels are odd or memory runs out.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    let [value, gate] = halves.as_slice() else { candle_core::bail!("GEGLU wants an even number of channels") };
    value.mul(&gelu_erf(gate)?)
}

/// `x · Φ(x)` with the exact normal distribution function (Hendrycks and Gimpel 2016).
///
/// # Errors
/// When memory runs out.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}

/// `x · sigmoid(1.702 x)`, the approximation that CLIP was trained with.
///
/// # Errors
/// When memory runs out.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x.mul(&candle_nn::ops::sigmoid(&(x * 1.702)?)?)
}

/// `x · sigmoid(x)`
///
/// # Errors
/// When memory runs out.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// `max(x, 0)`
///
/// # Errors
/// When memory runs out.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.relu()
}

/// Nearest neighbour: `[batch, h, w, c]` into `[batch, height, width, c]`; cell *i* reads `⌊i · h / height⌋`.
///
/// # Errors
/// When memory runs out.
pub fn upsample_nearest(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (batch, h, w, channels) = x.dims4()?;
    if height == 2 * h && width == 2 * w {
        return x
            .reshape((batch, h, 1, w, 1, channels))?
            .broadcast_as((batch, h, 2, w, 2, channels))?
            .reshape((batch, height, width, channels));
    }
    let sources = |to: usize, from: usize| -> Result<Tensor> {
        Tensor::from_iter((0..to).map(|i| (i * from / to) as u32), x.device())
    };
    x.index_select(&sources(height, h)?, 1)?.index_select(&sources(width, w)?, 2)
}
