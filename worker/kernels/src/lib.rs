//! The arithmetic of diffusion networks on a CPU, in f32 and in bf16, over plain slices, channels last.
//!
//! | module | what it holds |
//! |---|---|
//! | `kernels` | what this crate can, for each type of numbers: [`Kernels`] |
//! | `linear` | matrix products and convolutions |
//! | `padded` | pictures between zeros, in which patches lie as a convolution reads them |
//! | `winograd` | convolutions of 3×3 with fewer multiplications |
//! | `attention` | attention with a running softmax |
//! | `norm` | normalisations, and functions of every number |
//! | `product` | how both are cut for caches and threads, and what follows a sum: bias, shift, residual, activation |
//! | `number` | f32 and bf16 |
//! | `pack` | weights in the order in which products read them |
//! | `stored` | weights as files hold them |
//! | `tile` | the innermost product, in registers |
//! | `math` | exponentials and what networks make of them |
//! | [`peak`](mod@peak) | what a core can do at most |
//! | `simd` | vectors of each instruction set, and the choice among them at run time |
//! | `pool` | tasks on threads |
//! | `memory` | aligned, reused and shared memory |
//! | [`allocator`] | memory of results, kept between kernels |
//!
//! # Invariants
//! * A result does not depend on the number of threads: every number is made by one thread, in an order that sizes alone
//!   decide.
//! * In bf16 what is read and written is rounded, nothing between: sums, statistics and functions are f32.
//! * Threads are those of the rayon pool that a kernel is called in; [`together`] keeps them awake between kernels. A task
//!   starts no tasks.
//! * Scratch memory belongs to a thread and is used again; what a kernel allocates is its result.
//! * Sizes are checked where a kernel is entered. `unsafe` is in here and nowhere above: intrinsics, whose proof is the
//!   type of a vector; pointers of the innermost product; parts of an output that threads share; numbers in shared bytes; and calls of the allocator.
//! * Knows no tensors, no files and no models.

pub mod allocator;
mod attention;
mod kernels;
mod linear;
mod math;
mod memory;
mod norm;
mod number;
mod pack;
mod padded;
pub mod peak;
mod pool;
mod product;
mod simd;
mod stored;
mod tile;
mod winograd;

pub use attention::Attention;
pub use kernels::Kernels;
pub use linear::Window;
pub use memory::SharedBytes;
pub use norm::GroupNorm;
pub use number::Number;
pub use pack::{PANEL, PackedMatrix};
pub use peak::{peak, peak_bf16};
pub use pool::together;
pub use product::{Activation, Ending, Shift};
pub use simd::Path;
pub use stored::Stored;
pub use winograd::{WinogradMatrix, winograd_conv2d};
