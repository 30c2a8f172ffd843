//! Every kernel at sizes of Stable Diffusion 1.5, in each type of numbers, on every instruction set that this machine has:
//! `cargo bench -p sd-kernels`, on `RAYON_NUM_THREADS` threads. Items are floating-point operations of products, and else
//! numbers that are read; of a convolution they are those of the plain sums.

use std::fmt::Debug;
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use half::bf16;
use sd_kernels::{Activation, Attention, Ending, GroupNorm, Kernels, Path, Window, WinogradMatrix, winograd_conv2d};

/// Rows, depth, columns.
const PRODUCTS: [[usize; 3]; 4] = [[4096, 320, 320], [4096, 320, 2560], [1024, 640, 640], [77, 768, 640]];
/// Side, channels in and out, kernel.
const CONVOLUTIONS: [[usize; 4]; 4] = [[64, 320, 320, 3], [32, 640, 640, 3], [8, 1280, 1280, 3], [64, 320, 320, 1]];
/// Queries, keys, channels of each of eight heads.
const ATTENTIONS: [[usize; 3]; 4] = [[4096, 4096, 40], [1024, 1024, 80], [4096, 77, 40], [64, 64, 160]];
/// Positions, channels.
const NORMS: [[usize; 2]; 3] = [[4096, 320], [1024, 640], [65536, 128]];
const ACTIVATIONS: [Activation; 4] = [Activation::Relu, Activation::Silu, Activation::QuickGelu, Activation::GeluErf];

fn main() {
    // Some take half a second each on the slowest path.
    divan::Divan::default().max_time(Duration::from_millis(500)).config_with_args().main();
}

/// Each of `sizes` on each instruction set.
fn everywhere<T: Copy + Debug>(sizes: impl IntoIterator<Item = T>) -> Vec<(Path, T)> {
    let sizes = sizes.into_iter();
    sizes.flat_map(|size| Path::available().iter().map(move |path| (*path, size))).collect()
}

/// Numbers of about unit size that are neither equal nor zero.
fn numbers<N: Kernels>(count: usize) -> Vec<N> {
    (0..count).map(|at| N::from_f32((at % 251) as f32 / 125.0 - 0.99)).collect()
}

fn measure<N>(bencher: Bencher, items: usize, kernel: impl Fn() -> Vec<N>) {
    bencher.counter(ItemsCount::new(items)).bench_local(|| black_box(kernel()));
}

#[divan::bench(types = [f32, bf16], args = everywhere(PRODUCTS))]
fn linear<N: Kernels>(bencher: Bencher, (path, [rows, depth, columns]): (Path, [usize; 3])) {
    product::<N>(bencher, path, [rows, depth, columns], Activation::Identity);
}

#[divan::bench(types = [f32, bf16], args = everywhere(PRODUCTS))]
fn linear_geglu<N: Kernels>(bencher: Bencher, (path, size): (Path, [usize; 3])) {
    product::<N>(bencher, path, size, Activation::Geglu);
}

fn product<N: Kernels>(bencher: Bencher, path: Path, [rows, depth, columns]: [usize; 3], activation: Activation) {
    let (x, bias) = (numbers::<N>(rows * depth), numbers::<N>(columns));
    let weights = N::pack(&numbers::<N>(columns * depth), columns, depth, 1);
    let ending = Ending { bias: Some(&bias), activation, ..Ending::default() };
    measure(bencher, 2 * rows * depth * columns, || N::linear(path, &x, &weights, ending));
}

#[divan::bench(types = [f32, bf16], args = everywhere(CONVOLUTIONS))]
fn conv2d<N: Kernels>(bencher: Bencher, (path, [side, inputs, outputs, kernel]): (Path, [usize; 4])) {
    convolution::<N>(bencher, path, [side, side], inputs, outputs, kernel);
}

/// A picture of which every pixel stands for four, as the networks make it larger.
#[divan::bench(types = [f32, bf16], args = everywhere([[32, 640]]))]
fn conv2d_upsampled<N: Kernels>(bencher: Bencher, (path, [side, channels]): (Path, [usize; 2])) {
    convolution::<N>(bencher, path, [side, 2 * side], channels, channels, 3);
}

/// Of [`CONVOLUTIONS`], those that it is made for, and one of a picture that grows.
#[divan::bench(args = everywhere([[64, 64, 320, 320], [32, 32, 640, 640], [32, 64, 640, 640]]))]
fn winograd(bencher: Bencher, (path, [side, seen, channels, outputs]): (Path, [usize; 4])) {
    let x = numbers::<f32>(side * side * channels);
    let weights = WinogradMatrix::new(&numbers::<f32>(outputs * channels * 9), outputs, channels);
    let window = Window { batch: 1, size: [side; 2], seen: [seen; 2], channels, kernel: 3, stride: 1, padding: [1; 2] };
    let operations = 2 * seen * seen * 9 * channels * outputs;
    measure(bencher, operations, || winograd_conv2d(path, &x, window, &weights, Ending::default()));
}

fn convolution<N: Kernels>(
    bencher: Bencher,
    path: Path,
    [side, seen]: [usize; 2],
    channels: usize,
    outputs: usize,
    kernel: usize,
) {
    let (depth, padding) = (kernel * kernel * channels, [kernel / 2; 2]);
    let x = numbers::<N>(side * side * channels);
    let weights = N::pack(&numbers::<N>(outputs * depth), outputs, depth, kernel * kernel);
    let window = Window { batch: 1, size: [side; 2], seen: [seen; 2], channels, kernel, stride: 1, padding };
    let operations = 2 * seen * seen * depth * outputs;
    measure(bencher, operations, || N::conv2d(path, &x, window, &weights, Ending::default()));
}

#[divan::bench(types = [f32, bf16], args = everywhere(ATTENTIONS))]
fn attention<N: Kernels>(bencher: Bencher, (path, [queries, keys, channels]): (Path, [usize; 3])) {
    let heads = 8;
    let q = numbers::<N>(queries * heads * channels);
    let (k, v) = (numbers::<N>(keys * heads * channels), numbers::<N>(keys * heads * channels));
    let shape = Attention { batch: 1, queries, keys, heads, channels, causal: false };
    measure(bencher, 4 * queries * keys * heads * channels, || N::attention(path, &q, &k, &v, shape));
}

#[divan::bench(types = [f32, bf16], args = everywhere(NORMS))]
fn group_norm_silu<N: Kernels>(bencher: Bencher, (path, [positions, channels]): (Path, [usize; 2])) {
    let x = numbers::<N>(positions * channels);
    let (weight, bias) = (numbers::<N>(channels), numbers::<N>(channels));
    let norm = GroupNorm { weight: &weight, bias: &bias, groups: 32, eps: 1e-5 };
    measure(bencher, x.len(), || N::group_norm(path, &x, 1, norm, Activation::Silu));
}

#[divan::bench(types = [f32, bf16], args = everywhere(NORMS))]
fn layer_norm<N: Kernels>(bencher: Bencher, (path, [positions, channels]): (Path, [usize; 2])) {
    let x = numbers::<N>(positions * channels);
    let (weight, bias) = (numbers::<N>(channels), numbers::<N>(channels));
    measure(bencher, x.len(), || N::layer_norm(path, &x, &weight, &bias, 1e-5));
}

#[divan::bench(types = [f32, bf16], args = everywhere(ACTIVATIONS))]
fn activate<N: Kernels>(bencher: Bencher, (path, activation): (Path, Activation)) {
    let x = numbers::<N>(1 << 20);
    measure(bencher, x.len(), || N::activate(path, &x, activation));
}

#[divan::bench(types = [f32, bf16], args = PRODUCTS)]
fn pack<N: Kernels>(bencher: Bencher, [_, depth, columns]: [usize; 3]) {
    let weights = numbers::<N>(columns * depth);
    bencher.counter(ItemsCount::new(weights.len())).bench_local(|| black_box(N::pack(&weights, columns, depth, 1)));
}
