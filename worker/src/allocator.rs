//! The memory that pictures are computed in: kept while there is something to draw, given back when there is not.

pub use sd_kernels::allocator::{KEPT, give_back, keep_freed};

#[global_allocator]
static ALLOCATOR: sd_kernels::allocator::Allocator = sd_kernels::allocator::Allocator;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::resident_bytes;

    const LARGE_BYTES: u64 = 256 << 20;

    #[test]
    fn freed_memory_is_kept_until_it_is_given_back() {
        keep_freed();
        let before = resident_bytes();
        drop(std::hint::black_box(vec![1_u8; LARGE_BYTES as usize]));
        assert!(resident_bytes() >= before + LARGE_BYTES, "it is kept");
        give_back();
        assert!(resident_bytes() < before + LARGE_BYTES / 4, "it is given back");
    }
}
