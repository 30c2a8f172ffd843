//! What a GPU is told, and how: in builds with the feature `cuda`.
//!
//! | module | what it holds |
//! |---|---|
//! | `device` | opens a GPU and keeps its memory at hand |
//! | `launches` | starts kernels |
//! | `convolution` | convolutions of cuDNN, where that is installed |
//! | `product` | products of cuBLASLt, with what is added to them |
//! | `recording` | what a GPU was told, to be told again at once: CUDA graphs |
//! | `arrival` | numbers on their way to the machine's memory while the GPU goes on |
//!
//! # Invariants
//! * All of a device is told to one stream, by one thread at a time; only `arrival` has a stream beside it, and waits by
//!   events. So nothing else is tracked.

mod arrival;
mod convolution;
mod device;
mod launches;
mod product;
mod recording;

pub use arrival::{Arrival, Arrivals};
pub use convolution::{Convolution, computes, convolve};
pub use device::{give_back, open};
pub use launches::{Made, run};
pub use product::{Factors, Product, multiplies, multiply};
pub use recording::{Recording, record};
