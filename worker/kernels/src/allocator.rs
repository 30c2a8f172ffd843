//! Memory that results lie in, for programs that make [`Allocator`] their global one: kept from kernel to kernel, and given
//! back when nothing is computed.
//!
//! A step of a network asks for the same large pieces of memory again and again; the system's allocator would give each back
//! and have it cleared anew.

use std::ffi::c_long;
use std::time::Duration;

use libmimalloc_sys::{mi_collect, mi_option_set, mi_option_t};
pub use mimalloc::MiMalloc as Allocator;

/// Time that memory is kept for the next who asks. Memory that is free at the end of it goes back to the system, so that it
/// is longer than a step of most networks takes.
pub const KEPT: Duration = Duration::from_secs(10);

/// mimalloc's `mi_option_purge_delay`, which its Rust crate leaves out: in milliseconds.
const PURGE_DELAY: mi_option_t = 15;

/// Keeps freed memory for [`KEPT`] from now on, which is ten times what the allocator does by itself. To be called before
/// there is a second thread, which may be reading what is written here.
pub fn keep_freed() {
    let delay = c_long::try_from(KEPT.as_millis()).expect("some seconds are few milliseconds");
    // SAFETY: the option is one that there is, and takes any number.
    unsafe { mi_option_set(PURGE_DELAY, delay) }
}

/// Gives all memory back that is free and was this thread's, and all that no thread has.
pub fn give_back() {
    // SAFETY: it frees nothing that anybody holds, and may be called at any time by any thread.
    unsafe { mi_collect(true) }
}
