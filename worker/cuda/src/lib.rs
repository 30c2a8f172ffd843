//! The arithmetic of diffusion networks on NVIDIA GPUs, channels last, in f32, f16 and bf16: kernels of its own for what
//! CUDA's libraries have none for (normalisations, what follows a product, patches of convolutions, attention), and the
//! calls of those that they have.
//!
//! | module | what it holds |
//! |---|---|
//! | [`launch`] | what a GPU is told: a kernel, its blocks and threads, its arguments |
//! | [`norm`] [`ending`] [`patches`] [`attention`] | the launches of each operation, from its sizes |
//! | `gpu` | opens a GPU, starts kernels, calls cuDNN and cuBLASLt, in builds with the feature `cuda` |
//!
//! The kernels themselves lie in `kernels/`, in CUDA's C++. They compile for GPUs with `nvcc`, and for any CPU with
//! `emulator/`, where tests hold every one of them against plain sums: sizes, order of arguments and indices are the same
//! there.
//!
//! # Invariants
//! * Sums, statistics and functions are in f32; what is read and written is rounded, nothing between. Scores of attention
//!   are weights of 16 bits before they meet values.
//! * A launch says how large each memory is that it reads or writes, and none is started on a smaller one.
//! * Shapes are those of [`sd_kernels`]. Knows no files and no models; `gpu` alone knows tensors.

pub mod attention;
pub mod ending;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod launch;
pub mod norm;
pub mod patches;

pub use launch::{Argument, Launch, Module, Number};
