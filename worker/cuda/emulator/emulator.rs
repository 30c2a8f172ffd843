//! Kernels that are written for GPUs, run on a CPU: the same source, compiled as C++. Threads of a block take turns where
//! they wait for each other, and blocks follow each other, so that numbers are those of a GPU up to their order.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

unsafe extern "C" {
    fn emulate(
        name: *const c_char,
        grid: *const u32,
        block: *const u32,
        memory_bytes: u32,
        arguments: *mut *mut c_void,
    ) -> c_int;
}

/// There is one GPU.
static GPU: Mutex<()> = Mutex::new(());

/// Runs a kernel on `grid` blocks of `block` threads, of which each block has `memory_bytes` of its own. `arguments` point
/// to the arguments.
///
/// # Errors
/// When there is no kernel of that name.
///
/// # Safety
/// The arguments are as many as the kernel's, of the same types, and what they point to is as large as it expects.
pub unsafe fn run(
    name: &str,
    grid: [u32; 3],
    block: [u32; 3],
    memory_bytes: u32,
    arguments: &mut [*mut c_void],
) -> Result<(), String> {
    let c_name = CString::new(name).map_err(|error| error.to_string())?;
    let _turn = GPU.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the name ends, grid and block are three numbers each, and the arguments are as the caller promises.
    let found =
        unsafe { emulate(c_name.as_ptr(), grid.as_ptr(), block.as_ptr(), memory_bytes, arguments.as_mut_ptr()) };
    if found == 0 { Err(format!("there is no kernel {name}")) } else { Ok(()) }
}
