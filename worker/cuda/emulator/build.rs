//! Compiles the kernels for the CPU that runs the tests.

fn main() {
    println!("cargo::rerun-if-changed=all.cpp");
    println!("cargo::rerun-if-changed=emulator.cpp");
    println!("cargo::rerun-if-changed=emulator.hpp");
    println!("cargo::rerun-if-changed=../kernels");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").define("EMULATED", None).include(".").include("../kernels").file("all.cpp");
    // Kernels read several numbers of 16 bits as one of 32; a stack is switched, which no compiler knows of.
    build.flag("-fno-strict-aliasing").flag_if_supported("-Wno-psabi").opt_level(2);
    build.compile("sd-cuda-emulator");
}
