//! Normalisations, and functions of every number.

use std::mem::MaybeUninit;

use crate::memory::{Output, Parts, with_scratch};
use crate::number::Number;
use crate::pool;
use crate::product::Activation;
use crate::simd::{self, Path, Simd, Work};

/// Numbers that a task reads twice, which stay in the second cache.
const CHUNK: usize = 16 << 10;

/// Group normalisation (Wu and He 2018).
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a, N> {
    /// `[channels]`
    pub weight: &'a [N],
    /// `[channels]`
    pub bias: &'a [N],
    /// A divisor of the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// Mean of a group of numbers, how many they are, and the sum of their squared distances from it.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Those of both (Chan, Golub and LeVeque 1979).
    fn and(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let distance = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + distance * other.count / count,
            squares: self.squares + other.squares + distance * distance * self.count * other.count / count,
        }
    }
}

/// [`Kernels::group_norm`](crate::Kernels::group_norm)
///
/// Statistics are made of parts that fit into a cache, each around its own mean, so that numbers far from zero keep
/// their digits and `x` is read from memory twice, not three times.
pub(crate) fn group_norm<N: Number>(
    path: Path,
    x: &[N],
    batch: usize,
    norm: GroupNorm<N>,
    activation: Activation,
) -> Vec<N> {
    let GroupNorm { weight, bias, groups, eps } = norm;
    let channels = weight.len();
    assert_eq!(bias.len(), channels, "every channel has a bias");
    assert!(x.len().is_multiple_of((batch * channels).max(1)), "{} numbers of {channels} channels", x.len());
    let positions = x.len() / (batch * channels).max(1);
    let rows = (CHUNK / channels.max(1)).clamp(1, positions.max(1));
    let chunks = positions.div_ceil(rows);
    let chunk = |task: usize| {
        let (item, chunk) = (task / chunks, task % chunks);
        let start = item * positions + chunk * rows;
        start * channels..(item * positions + positions.min((chunk + 1) * rows)) * channels
    };

    let mut moments = vec![Moments::default(); batch * chunks * groups];
    let moment_parts = Parts::of(&mut moments);
    pool::each(batch * chunks, |task| {
        // SAFETY: every task has its own groups.
        let to = unsafe { moment_parts.part(task * groups, groups) };
        path.run(Statistics { x: &x[chunk(task)], channels, to });
    });

    // For each channel of each item what is subtracted and what the rest is multiplied with.
    let (mut means, mut scales) = (vec![0.0; batch * channels], vec![0.0; batch * channels]);
    for (item, moments) in moments.chunks_exact((chunks * groups).max(1)).enumerate() {
        for group in 0..groups {
            let parts = moments.iter().skip(group).step_by(groups);
            let all = parts.copied().fold(Moments::default(), Moments::and);
            let scale = 1.0 / (all.squares / all.count + eps).sqrt();
            for channel in group * channels / groups..(group + 1) * channels / groups {
                means[item * channels + channel] = all.mean as f32;
                scales[item * channels + channel] = (scale * f64::from(weight[channel].to_f32())) as f32;
            }
        }
    }

    let mut output = Output::new(x.len());
    let parts = output.parts();
    pool::each(batch * chunks, |task| {
        let of_item = task / chunks * channels..(task / chunks + 1) * channels;
        let (mean, scale) = (&means[of_item.clone()], &scales[of_item]);
        let range = chunk(task);
        // SAFETY: every task has its own chunk.
        let to = unsafe { parts.part(range.start, range.len()) };
        path.run(Apply { x: &x[range], mean, scale, bias, activation, to });
    });
    // SAFETY: the tasks have written every chunk of every item.
    unsafe { output.written() }
}

/// The moments of each group of a chunk.
struct Statistics<'a, N> {
    x: &'a [N],
    channels: usize,
    to: &'a mut [Moments],
}

impl<N: Number> Work for Statistics<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, channels, to } = self;
        let groups = to.len();
        let of_group = |group: usize| group * channels / groups..(group + 1) * channels / groups;
        let total = |sums: &[f32], group: usize| sums[of_group(group)].iter().copied().map(f64::from).sum::<f64>();
        with_scratch::<f32, _>(
            2 * channels,
            #[inline(always)]
            |scratch| {
                let (sums, means) = scratch.split_at_mut(channels);
                sums.fill(0.0);
                for row in x.chunks_exact(channels) {
                    simd::change(
                        simd,
                        sums,
                        #[inline(always)]
                        |at, sum| simd.add(sum, simd::at(simd, row, at)),
                    );
                }
                for (group, to) in to.iter_mut().enumerate() {
                    let count = (x.len() / groups) as f64;
                    // The squares are taken around what f32 has of the mean, so that is what is kept.
                    let mean = (total(sums, group) / count) as f32;
                    *to = Moments { count, mean: f64::from(mean), squares: 0.0 };
                    means[of_group(group)].fill(mean);
                }
                sums.fill(0.0);
                for row in x.chunks_exact(channels) {
                    simd::change(
                        simd,
                        sums,
                        #[inline(always)]
                        |at, sum| {
                            let distance = simd.sub(simd::at(simd, row, at), simd::at(simd, means, at));
                            simd.mul_add(distance, distance, sum)
                        },
                    );
                }
                for (group, to) in to.iter_mut().enumerate() {
                    to.squares = total(sums, group);
                }
            },
        );
    }
}

/// A chunk, normalised.
struct Apply<'a, N> {
    x: &'a [N],
    mean: &'a [f32],
    scale: &'a [f32],
    bias: &'a [N],
    activation: Activation,
    to: &'a mut [MaybeUninit<N>],
}

impl<N: Number> Work for Apply<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, mean, scale, bias, activation, to } = self;
        let channels = mean.len();
        for (from, to) in x.chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
            simd::fill(
                simd,
                to,
                #[inline(always)]
                |at| {
                    let centred = simd.sub(simd::at(simd, from, at), simd::at(simd, mean, at));
                    let scaled = simd.mul_add(centred, simd::at(simd, scale, at), simd::at(simd, bias, at));
                    activation.of::<N, S>(simd, scaled)
                },
            );
        }
    }
}

/// [`Kernels::layer_norm`](crate::Kernels::layer_norm)
pub(crate) fn layer_norm<N: Number>(path: Path, x: &[N], weight: &[N], bias: &[N], eps: f64) -> Vec<N> {
    let channels = weight.len();
    assert_eq!(bias.len(), channels, "every channel has a bias");
    assert!(x.len().is_multiple_of(channels.max(1)), "{} numbers of {channels} channels", x.len());
    let mut output = Output::new(x.len());
    let parts = output.parts();
    let chunk = (CHUNK / channels.max(1)).max(1) * channels;
    pool::each(x.len().div_ceil(chunk.max(1)), |task| {
        let range = task * chunk..x.len().min((task + 1) * chunk);
        // SAFETY: every task has its own rows.
        let to = unsafe { parts.part(range.start, range.len()) };
        path.run(LayerNorm { x: &x[range], weight, bias, eps: eps as f32, to });
    });
    // SAFETY: the tasks have written every row.
    unsafe { output.written() }
}

struct LayerNorm<'a, N> {
    x: &'a [N],
    weight: &'a [N],
    bias: &'a [N],
    eps: f32,
    to: &'a mut [MaybeUninit<N>],
}

impl<N: Number> Work for LayerNorm<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, weight, bias, eps, to } = self;
        let channels = weight.len();
        for (x, to) in x.chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
            let mut sum = simd.splat(0.0);
            simd::each(
                simd,
                x,
                #[inline(always)]
                |x| sum = simd.add(sum, x),
            );
            let mean = simd.splat(simd.sum(sum) / channels as f32);
            let whole = channels / S::LANES * S::LANES;
            let mut squares = simd.splat(0.0);
            simd::each(
                simd,
                &x[..whole],
                #[inline(always)]
                |x| {
                    let centred = simd.sub(x, mean);
                    squares = simd.mul_add(centred, centred, squares);
                },
            );
            let of_rest = |x: &N| (x.to_f32() - simd.to_array(mean)[0]).powi(2);
            let squares = simd.sum(squares) + x[whole..].iter().map(of_rest).sum::<f32>();
            let scale = simd.splat(1.0 / (squares / channels as f32 + eps).sqrt());
            simd::fill(
                simd,
                to,
                #[inline(always)]
                |at| {
                    let scaled = simd.mul(simd.sub(simd::at(simd, x, at), mean), scale);
                    simd.mul_add(scaled, simd::at(simd, weight, at), simd::at(simd, bias, at))
                },
            );
        }
    }
}

/// [`Kernels::activate`](crate::Kernels::activate)
pub(crate) fn activate<N: Number>(path: Path, x: &[N], activation: Activation) -> Vec<N> {
    assert_ne!(activation, Activation::Geglu, "gating is a matter of two numbers");
    let mut output = Output::new(x.len());
    let parts = output.parts();
    pool::each(x.len().div_ceil(CHUNK), |task| {
        let range = task * CHUNK..x.len().min((task + 1) * CHUNK);
        // SAFETY: every task has its own chunk.
        let to = unsafe { parts.part(range.start, range.len()) };
        path.run(Activate { x: &x[range], activation, to });
    });
    // SAFETY: the tasks have written every chunk.
    unsafe { output.written() }
}

struct Activate<'a, N> {
    x: &'a [N],
    activation: Activation,
    to: &'a mut [MaybeUninit<N>],
}

impl<N: Number> Work for Activate<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, activation, to } = self;
        simd::fill(
            simd,
            to,
            #[inline(always)]
            |at| activation.of::<N, S>(simd, simd::at(simd, x, at)),
        );
    }
}
