//! Compiles the kernels for GPUs, in builds that have any.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-env-changed=SD_CUDA_KERNELS");
    #[cfg(feature = "cuda")]
    ptx();
}

/// One file for each source. `SD_CUDA_KERNELS=named` leaves them empty, which is enough to check types where there is no
/// compiler of CUDA.
#[cfg(feature = "cuda")]
fn ptx() {
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    if std::env::var("SD_CUDA_KERNELS").is_ok_and(|what| what == "named") {
        for name in ["attention", "ending", "norm", "patches"] {
            std::fs::write(out.join(name).with_extension("ptx"), "").expect("cargo's own folder can be written");
        }
        return;
    }
    cudaforge::KernelBuilder::new()
        .source_dir("kernels")
        .out_dir(out)
        .arg("--expt-relaxed-constexpr")
        .arg("-std=c++17")
        .arg("-O3")
        .build_ptx()
        .expect("nvcc compiles the kernels; `cargo xtask cuda` brings it");
}
