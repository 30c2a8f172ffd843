//! Normalisations, and functions of every number.

use std::ops::Range;

use crate::memory::{Output, Parts, with_scratch};
use crate::pool;
use crate::product::Activation;
use crate::simd::{self, Path, Simd, Work};

/// Numbers that a task reads twice, which stay in the second cache.
const CHUNK: usize = 16 << 10;

/// Group normalisation (Wu and He 2018).
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm<'a> {
    /// `[channels]`
    pub weight: &'a [f32],
    /// `[channels]`
    pub bias: &'a [f32],
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

/// Normalises `x`, `[batch, positions, channels]`, over groups of channels and all positions, then applies `activation`.
///
/// Statistics are made of parts that fit into a cache, each around its own mean, so that numbers far from zero keep
/// their digits and `x` is read from memory twice, not three times.
///
/// # Panics
/// When `x` has another size.
pub fn group_norm(path: Path, x: &[f32], batch: usize, norm: GroupNorm, activation: Activation) -> Vec<f32> {
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
    let moment_parts = SharedMoments(moments.as_mut_ptr());
    pool::each(batch * chunks, |task| {
        // SAFETY: `moments` is there, and every task has its own groups.
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
                scales[item * channels + channel] = (scale * f64::from(weight[channel])) as f32;
            }
        }
    }

    let mut output = Output::new(x.len());
    let parts = output.parts();
    pool::each(batch * chunks, |task| {
        let of_item = task / chunks * channels..(task / chunks + 1) * channels;
        let (mean, scale) = (&means[of_item.clone()], &scales[of_item]);
        path.run(Apply { x, range: chunk(task), mean, scale, bias, activation, parts });
    });
    // SAFETY: the tasks have written every chunk of every item.
    unsafe { output.written() }
}

/// The right to write to disjoint moments.
#[derive(Clone, Copy)]
struct SharedMoments(*mut Moments);

// SAFETY: it gives access through `part` alone, whose callers promise that no two parts overlap.
unsafe impl Sync for SharedMoments {}

impl SharedMoments {
    /// # Safety
    /// `len` moments are there from `start`, and no two parts that are alive at once overlap.
    unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [Moments] {
        // SAFETY: the caller says so.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// The moments of each group of a chunk.
struct Statistics<'a> {
    x: &'a [f32],
    channels: usize,
    to: &'a mut [Moments],
}

impl Work for Statistics<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, channels, to } = self;
        let groups = to.len();
        let of_group = |group: usize| group * channels / groups..(group + 1) * channels / groups;
        let total = |sums: &[f32], group: usize| sums[of_group(group)].iter().copied().map(f64::from).sum::<f64>();
        with_scratch(
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
struct Apply<'a> {
    x: &'a [f32],
    range: Range<usize>,
    mean: &'a [f32],
    scale: &'a [f32],
    bias: &'a [f32],
    activation: Activation,
    parts: Parts,
}

impl Work for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, range, mean, scale, bias, activation, parts } = self;
        let channels = mean.len();
        // SAFETY: the output is there, and every task has its own chunk.
        let to = unsafe { parts.part(range.start, range.len()) };
        for (from, to) in x[range].chunks_exact(channels).zip(to.chunks_exact_mut(channels)) {
            simd::fill(
                simd,
                to,
                #[inline(always)]
                |at| {
                    let centred = simd.sub(simd::at(simd, from, at), simd::at(simd, mean, at));
                    let scaled = simd.mul_add(centred, simd::at(simd, scale, at), simd::at(simd, bias, at));
                    activation.of(simd, scaled)
                },
            );
        }
    }
}

/// Normalises each row of `x`, `[rows, channels]` (Ba et al. 2016).
///
/// # Panics
/// When `x` has no whole number of rows.
pub fn layer_norm(path: Path, x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f32> {
    let channels = weight.len();
    assert_eq!(bias.len(), channels, "every channel has a bias");
    assert!(x.len().is_multiple_of(channels.max(1)), "{} numbers of {channels} channels", x.len());
    let mut output = Output::new(x.len());
    let parts = output.parts();
    let chunk = (CHUNK / channels.max(1)).max(1) * channels;
    pool::each(x.len().div_ceil(chunk.max(1)), |task| {
        let range = task * chunk..x.len().min((task + 1) * chunk);
        // SAFETY: the output is there, and every task has its own rows.
        let to = unsafe { parts.part(range.start, range.len()) };
        path.run(LayerNorm { x: &x[range], weight, bias, eps: eps as f32, to });
    });
    // SAFETY: the tasks have written every row.
    unsafe { output.written() }
}

struct LayerNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    to: &'a mut [f32],
}

impl Work for LayerNorm<'_> {
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
            simd::fill(
                simd,
                to,
                #[inline(always)]
                |at| simd.sub(simd::at(simd, x, at), mean),
            );
            let mut squares = simd.splat(0.0);
            simd::each(
                simd,
                to,
                #[inline(always)]
                |x| squares = simd.mul_add(x, x, squares),
            );
            let scale = simd.splat(1.0 / (simd.sum(squares) / channels as f32 + eps).sqrt());
            simd::change(
                simd,
                to,
                #[inline(always)]
                |at, x| simd.mul_add(simd.mul(x, scale), simd::at(simd, weight, at), simd::at(simd, bias, at)),
            );
        }
    }
}

/// `activation` of every number.
///
/// # Panics
/// For [`Activation::Geglu`], which is of two numbers.
pub fn activate(path: Path, x: &[f32], activation: Activation) -> Vec<f32> {
    assert_ne!(activation, Activation::Geglu, "gating is a matter of two numbers");
    let mut output = Output::new(x.len());
    let parts = output.parts();
    pool::each(x.len().div_ceil(CHUNK), |task| {
        let range = task * CHUNK..x.len().min((task + 1) * CHUNK);
        // SAFETY: the output is there, and every task has its own chunk.
        let to = unsafe { parts.part(range.start, range.len()) };
        to.copy_from_slice(&x[range]);
        path.run(Activate { to, activation });
    });
    // SAFETY: the tasks have written every chunk.
    unsafe { output.written() }
}

struct Activate<'a> {
    to: &'a mut [f32],
    activation: Activation,
}

impl Work for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { to, activation } = self;
        simd::change(
            simd,
            to,
            #[inline(always)]
            |_, x| activation.of(simd, x),
        );
    }
}
