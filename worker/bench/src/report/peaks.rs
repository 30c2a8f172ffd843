//! What a core can do at most, in each type of number.

use sd_kernels::{Path, peak, peak_bf16};
use serde::Serialize;

use crate::cases::Dtype;

/// Floating-point operations of one thread in registers alone.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Peak {
    pub(crate) dtype: Dtype,
    /// The instructions that do them.
    pub(crate) instructions: &'static str,
    /// In units of 10⁹ a second.
    pub(crate) gflops: f64,
}

/// One for each type, with the instructions that our kernels use.
pub(super) fn measured() -> Vec<Peak> {
    let path = Path::detected();
    let of = |dtype, operations: f64| Peak { dtype, instructions: path.name(), gflops: operations / 1e9 };
    vec![of(Dtype::Fp32, peak(path)), of(Dtype::Bf16, peak_bf16(path))]
}

/// The highest for a type of number.
pub(super) fn highest(peaks: &[Peak], dtype: Dtype) -> Option<f64> {
    let of_type = peaks.iter().filter(|peak| peak.dtype == dtype);
    of_type.map(|peak| peak.gflops).max_by(f64::total_cmp)
}

impl std::fmt::Display for Peak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dtype, instructions, gflops } = self;
        write!(f, "Peak of one thread in {}, measured with {instructions}: {gflops:.0} GFLOP/s", dtype.name())
    }
}
