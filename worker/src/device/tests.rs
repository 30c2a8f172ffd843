use clap::ValueEnum as _;

use super::driver::CudaVersion;
use super::gpu::{Fault, caught, dtype_or_default, tried};
use super::*;

#[test]
fn the_cpu_computes_in_f32_unless_told_otherwise() {
    let dtype_of = |asked| open(DeviceChoice::Cpu, asked).map(|devices| devices[0].placement.dtype);
    assert_eq!(dtype_of(Dtype::Auto), Ok(DType::F32));
    assert_eq!(dtype_of(Dtype::F16), Ok(DType::F16));
    assert_eq!(dtype_of(Dtype::Bf16), Ok(DType::BF16));
    let info = &open(DeviceChoice::Cpu, Dtype::Auto).unwrap()[0].info;
    assert_eq!((info.name.as_str(), info.dtype, info.memory_bytes), ("cpu", Dtype::F32, None));
}

#[test]
fn types_have_one_name_in_flags_and_files() {
    for dtype in Dtype::value_variants() {
        let name = dtype.to_string();
        assert_eq!(Dtype::from_str(&name, false).as_ref(), Ok(dtype));
        assert_eq!(serde_json::from_value::<Dtype>(name.into()).unwrap(), *dtype);
    }
}

#[test]
fn devices_are_asked_for_by_name() {
    let check = |text: &str, expected: Option<DeviceChoice>| {
        assert_eq!(text.parse().ok(), expected, "{text}");
        assert_eq!(serde_json::from_value::<DeviceChoice>(text.into()).ok(), expected, "{text}");
    };
    check("auto", Some(DeviceChoice::Auto));
    check("cpu", Some(DeviceChoice::Cpu));
    check("cuda", Some(DeviceChoice::Cuda(None)));
    check("cuda:1", Some(DeviceChoice::Cuda(Some(1))));
    check("metal", Some(DeviceChoice::Metal));
    for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "metal:0"] {
        check(wrong, None);
    }
    assert!("gpu".parse::<DeviceChoice>().unwrap_err().to_string().contains("cuda:0"));
}

#[test]
fn a_device_that_is_not_there_is_a_sentence() {
    for (choice, name) in [(DeviceChoice::Cuda(None), "cuda"), (DeviceChoice::Metal, "metal")] {
        match open(choice, Dtype::Auto) {
            Ok(devices) => assert!(devices[0].info.name.starts_with(name), "this machine has one"),
            Err(error) => {
                let refusal = error.to_string();
                assert!(refusal.starts_with(&format!("--device {name} is not possible: ")), "{refusal}");
                assert!(refusal.ends_with("use --device cpu"), "{refusal}");
            }
        }
    }
    assert!(!open(DeviceChoice::Auto, Dtype::F32).unwrap().is_empty(), "something draws everywhere");
}

#[test]
fn gpus_compute_in_half_precision_unless_told_otherwise() {
    assert_eq!(dtype_or_default(Dtype::Auto), Dtype::F16);
    assert_eq!(dtype_or_default(Dtype::F32), Dtype::F32);
}

#[test]
fn panics_of_bindings_are_messages() {
    assert_eq!(caught(|| 1), Ok(1));
    assert_eq!(caught(|| -> i32 { panic!("no {}", "library") }), Err("no library".into()));
    assert_eq!(caught(|| -> i32 { panic!("plain") }), Err("plain".into()));
}

#[test]
fn a_device_shows_that_it_computes() {
    for dtype in [Dtype::F32, Dtype::F16] {
        assert!(tried(|| Ok(Device::Cpu), dtype).is_ok(), "{dtype}");
    }
    let faulty = tried(|| candle_core::bail!("no power"), Dtype::F32).unwrap_err();
    assert!(matches!(&faulty, Fault::Error(text) if text.starts_with("no power")), "{faulty:?}");
    let faulty = tried(|| panic!("no library"), Dtype::F32).unwrap_err();
    assert_eq!(faulty, Fault::Panic("no library".into()));
}

#[test]
fn what_drivers_say_becomes_a_way_out() {
    let check = |text: &str, expected: &str| {
        let found = CudaVersion(13020).driver_error("cuda:1", "GTX 1060", text).to_string();
        assert!(found.starts_with("--device cuda:1 is not possible: ") && found.contains(expected), "{text}: {found}");
    };
    let old = "too old for CUDA 13.2, which this worker was built with. Update the driver";
    check("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"…\") when loading affine", old);
    check("DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU, \"…\")", "GTX 1060 cannot run the kernels");
    check("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "its memory is full");
    check("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", "its memory is full");
    check(
        "DriverError(CUDA_ERROR_ECC_UNCORRECTABLE, \"…\")\n   0: a frame",
        "CUDA_ERROR_ECC_UNCORRECTABLE, \"…\"); mend",
    );
}

#[test]
fn missing_libraries_are_named() {
    let of = |panic: &str| CudaVersion(13000).library_error("cuda:1", panic);
    let missing =
        |library: &str| of(&format!("Unable to dynamically load the \"{library}\" shared library - searched"));
    assert_eq!(missing("cuda"), DeviceError::NoDriver);
    assert!(missing("cublas").to_string().contains("the library libcublas.so was not found. Install the CUDA 13.0"));
    assert!(of("Expected symbol in library").to_string().contains("Expected symbol"));
}
