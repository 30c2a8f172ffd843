//! Every operation on a device beside [`reference`](mod@super::reference) in f32 on the CPU, at sizes of real networks: whether
//! this machine computes what it should, and how fast.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor};

use super::{Activation, Conv2d, Ending, GroupNorm, Heads, LayerNorm, Linear, Padding, reference};

/// Calls that a time is the mean of.
const CALLS: u32 = 10;

/// What was found of one operation.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its name in [`ops`](super), and what follows it.
    pub operation: &'static str,
    /// What it was called with.
    pub shape: String,
    /// `‖found − expected‖ / ‖expected‖`, where expected is computed in f32 from the same rounded numbers.
    pub distance: f64,
    /// How far it may be: rounding of the result, and of what is rounded on the way.
    pub distance_max: f64,
    /// Of a call.
    pub time: Duration,
    /// Floating-point operations of a call, where it is counted by these; a product and a sum are two.
    pub operations: u64,
}

impl Checked {
    /// Whether it is what it should be; a NaN is not.
    pub fn is_right(&self) -> bool {
        self.distance <= self.distance_max
    }
}

/// Computes everything in `dtype` on `device`, and tells what was found of one after the other.
///
/// # Errors
/// When the device cannot compute.
pub fn run(device: &Device, dtype: DType, tell: &mut dyn FnMut(Checked)) -> Result<()> {
    let mut check = Check { device, dtype, drawn: 0, tell };
    check.convolutions()?;
    check.products()?;
    check.normalisations()?;
    check.attention()
}

struct Check<'a> {
    device: &'a Device,
    dtype: DType,
    /// Numbers so far.
    drawn: usize,
    tell: &'a mut dyn FnMut(Checked),
}

/// A tensor in f32 on the CPU, and the same numbers on the device.
struct Pair {
    expected: Tensor,
    found: Tensor,
}

impl Check<'_> {
    fn distance_max(&self) -> f64 {
        match self.dtype {
            DType::F32 => 1e-5,
            DType::F16 => 2e-3,
            _ => 1.6e-2,
        }
    }

    /// Numbers that look random, in `[-size, size)`, as the dtype has them.
    fn drawn(&mut self, shape: &[usize], size: f32) -> Result<Pair> {
        let first = self.drawn;
        self.drawn += shape.iter().product::<usize>();
        let number = |at: usize| {
            let mixed = (at as u32 ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b1);
            let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b);
            ((mixed ^ mixed >> 13) as f32 / (1_u32 << 31) as f32 - 1.0) * size
        };
        let rounded = Tensor::from_iter((first..self.drawn).map(number), &Device::Cpu)?;
        let rounded = rounded.reshape(shape)?.to_dtype(self.dtype)?;
        Ok(Pair { expected: rounded.to_dtype(DType::F32)?, found: rounded.to_device(self.device)? })
    }

    fn compare(
        &mut self,
        (operation, shape, operations): (&'static str, String, u64),
        expected: impl FnOnce() -> Result<Tensor>,
        found: impl Fn() -> Result<Tensor>,
    ) -> Result<()> {
        let numbers = |x: Tensor| x.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (found_numbers, expected) = (numbers(found()?)?, numbers(expected()?)?);
        self.device.synchronize()?;
        let started = Instant::now();
        for _ in 0..CALLS {
            found()?;
        }
        self.device.synchronize()?;
        let time = started.elapsed() / CALLS;
        let squares =
            |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>().sqrt();
        let apart = squares(&mut found_numbers.iter().zip(&expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
        let is_whole = found_numbers.len() == expected.len();
        let distance = apart / squares(&mut expected.iter().map(|e| f64::from(*e)));
        let distance = if is_whole { distance } else { f64::INFINITY };
        let distance_max = self.distance_max();
        (self.tell)(Checked { operation, shape, distance, distance_max, time, operations });
        Ok(())
    }

    fn convolutions(&mut self) -> Result<()> {
        let (same, behind) = (Padding::same(3), Padding { before: 0, behind: 1 });
        for ([batch, side], [inputs, outputs], [kernel, stride], padding, grow) in [
            ([2, 64], [4, 320], [3, 1], same, 1),
            ([2, 64], [320, 320], [3, 1], same, 1),
            ([2, 32], [640, 640], [3, 1], same, 1),
            ([2, 16], [1280, 1280], [3, 1], same, 1),
            ([2, 8], [2560, 1280], [3, 1], same, 1),
            ([2, 64], [320, 320], [3, 2], same, 1),
            ([2, 16], [640, 640], [3, 1], same, 2),
            ([2, 64], [320, 320], [1, 1], Padding::same(1), 1),
            ([1, 64], [128, 128], [3, 2], behind, 1),
            ([1, 128], [256, 128], [3, 1], same, 1),
            ([1, 128], [128, 3], [3, 1], same, 1),
            ([1, 13], [36, 20], [3, 1], same, 1),
        ] {
            let size = 1.0 / ((inputs * kernel * kernel) as f32).sqrt();
            let (x, weight) =
                (self.drawn(&[batch, side, side, inputs], 1.0)?, self.drawn(&[outputs, inputs, kernel, kernel], size)?);
            let (bias, shift) = (self.drawn(&[outputs], 1.0)?, self.drawn(&[batch, outputs], 1.0)?);
            let layer = |weight: &Tensor, bias: &Tensor| Conv2d::new(weight, Some(bias.clone()), stride, padding);
            let (there, here) = (layer(&weight.expected, &bias.expected)?, layer(&weight.found, &bias.found)?);
            let seen = [grow * side; 2];
            let ending = |shift| Ending { shift: Some(shift), activation: Activation::Silu, ..Ending::default() };
            let expected = || reference::upsample_conv2d(&x.expected, &there, seen, ending(&shift.expected));
            let out_side = (grow * side + padding.before + padding.behind - kernel) / stride + 1;
            let operations = 2 * batch * out_side * out_side * outputs * inputs * kernel * kernel;
            let shape = format!("[{batch}, {side}, {side}, {inputs}] → {outputs}, {kernel}×{kernel}/{stride}");
            if grow == 1 {
                let found = || super::conv2d_then(&x.found, &here, ending(&shift.found));
                self.compare(("conv2d", shape, operations as u64), expected, found)?;
            } else {
                let found = || super::upsample_conv2d(&x.found, &here, seen, ending(&shift.found));
                self.compare(("upsample_conv2d", shape, operations as u64), expected, found)?;
            }
        }
        Ok(())
    }

    fn products(&mut self) -> Result<()> {
        for (rows, inputs, outputs, name, activation) in [
            (8192, 320, 320, "linear", Activation::Identity),
            (8192, 320, 2560, "linear, GEGLU", Activation::Geglu),
            (2048, 2560, 640, "linear", Activation::Identity),
            (512, 1280, 10240, "linear, GEGLU", Activation::Geglu),
            (512, 5120, 1280, "linear", Activation::Identity),
            (154, 768, 3072, "linear, quick GELU", Activation::QuickGelu),
            (154, 1280, 5120, "linear, GELU", Activation::GeluErf),
            (77, 36, 20, "linear, ReLU", Activation::Relu),
        ] {
            let x = self.drawn(&[1, rows, inputs], 1.0)?;
            let weight = self.drawn(&[outputs, inputs], 1.0 / (inputs as f32).sqrt())?;
            let bias = self.drawn(&[outputs], 1.0)?;
            let made = if activation == Activation::Geglu { outputs / 2 } else { outputs };
            let residual = self.drawn(&[1, rows, made], 1.0)?;
            let layer = |weight: &Tensor, bias: &Tensor| Linear::new(weight, Some(bias.clone()));
            let (there, here) = (layer(&weight.expected, &bias.expected)?, layer(&weight.found, &bias.found)?);
            let ending = |residual| Ending { activation, ..Ending::plus(residual) };
            self.compare(
                (name, format!("[{rows}, {inputs}] → {outputs}"), 2 * (rows * inputs * outputs) as u64),
                || reference::linear(&x.expected, &there, ending(&residual.expected)),
                || super::linear_then(&x.found, &here, ending(&residual.found)),
            )?;
        }
        Ok(())
    }

    fn normalisations(&mut self) -> Result<()> {
        for (batch, positions, channels, groups) in
            [(2, 4096, 320, 32), (2, 1024, 1920, 32), (2, 64, 2560, 32), (1, 65_536, 128, 32), (1, 33, 36, 4)]
        {
            let x = self.drawn(&[batch, positions, channels], 2.0)?;
            let (weight, bias) = (self.drawn(&[channels], 1.0)?, self.drawn(&[channels], 1.0)?);
            let layer = |weight: &Tensor, bias: &Tensor| GroupNorm::new(weight.clone(), bias.clone(), groups, 1e-5);
            let (there, here) = (layer(&weight.expected, &bias.expected)?, layer(&weight.found, &bias.found)?);
            let shape = format!("[{batch}, {positions}, {channels}], {groups} groups");
            let plain = || reference::group_norm(&x.expected, &there);
            self.compare(("group_norm", shape.clone(), 0), plain, || super::group_norm(&x.found, &here))?;
            let silu = || reference::group_norm_silu(&x.expected, &there);
            self.compare(("group_norm_silu", shape, 0), silu, || super::group_norm_silu(&x.found, &here))?;
            let layer = |weight: &Tensor, bias: &Tensor| LayerNorm::new(weight.clone(), bias.clone(), 1e-5);
            let (there, here) = (layer(&weight.expected, &bias.expected), layer(&weight.found, &bias.found));
            let expected = || reference::layer_norm(&x.expected, &there);
            let shape = format!("[{batch}, {positions}, {channels}]");
            self.compare(("layer_norm", shape, 0), expected, || super::layer_norm(&x.found, &here))?;
        }
        Ok(())
    }

    fn attention(&mut self) -> Result<()> {
        for (batch, queries, keys, count, channels, causal) in [
            (2, 4096, 4096, 8, 40, false),
            (2, 1024, 1024, 8, 80, false),
            (2, 256, 256, 8, 160, false),
            (1, 4096, 4096, 10, 64, false),
            (2, 4096, 77, 8, 40, false),
            (2, 256, 77, 8, 160, false),
            (2, 77, 77, 12, 64, true),
            (1, 333, 200, 2, 128, false),
            (1, 1024, 1024, 1, 512, false),
        ] {
            let of = |check: &mut Self, tokens| check.drawn(&[batch, tokens, count * channels], 1.7);
            let (q, k, v) = (of(self, queries)?, of(self, keys)?, of(self, keys)?);
            let heads = Heads { count, causal, upcast: true };
            let name = if causal { "attention, causal" } else { "attention" };
            self.compare(
                (
                    name,
                    format!("{batch} × {queries} queries, {keys} keys, {count} heads of {channels}"),
                    4 * (batch * queries * keys * count * channels) as u64,
                ),
                || reference::attention(&q.expected, &k.expected, &v.expected, heads),
                || super::attention(&q.found, &k.found, &v.found, heads),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(dtype: DType, work: impl FnOnce(&mut Check) -> Result<()>) -> Vec<Checked> {
        let mut all = Vec::new();
        let mut tell = |checked| all.push(checked);
        work(&mut Check { device: &Device::Cpu, dtype, drawn: 0, tell: &mut tell }).unwrap();
        all
    }

    #[test]
    fn what_is_right_is_told_from_what_is_not() {
        let one = |x: f32| Tensor::new(&[x, 2.0], &Device::Cpu);
        let of = |found: f32, dtype| {
            checked(dtype, |check| check.compare(("sum", "[2]".into(), 0), || one(1.0), || one(found))).swap_remove(0)
        };
        assert!(of(1.0, DType::F32).is_right() && of(1.01, DType::BF16).is_right());
        assert!(!of(1.01, DType::F32).is_right() && !of(1.1, DType::BF16).is_right());
        assert!(!of(f32::NAN, DType::BF16).is_right());
        let longer = checked(DType::F32, |check| {
            check.compare(("sum", "[2]".into(), 0), || one(1.0), || Tensor::ones(3, DType::F32, &Device::Cpu))
        });
        assert!(!longer[0].is_right());
    }

    #[test]
    fn this_cpu_normalises_as_it_should() {
        for dtype in [DType::F32, DType::BF16] {
            let all = checked(dtype, |check| check.normalisations());
            assert_eq!(all.len(), 15);
            assert!(all.iter().all(Checked::is_right), "{all:?}");
        }
    }
}
