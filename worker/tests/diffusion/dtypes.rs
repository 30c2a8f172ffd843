//! Pictures of networks in 16 bits, held against diffusers' of the same seeds in f32.

use candle_core::{DType, Device};
use sd_worker::diffusion::{Placement, families};

use super::finished;
use super::pictures::{Case, files};

/// Mean difference of a byte from the picture in f32.
const MEAN_DIFFERENCES_MAX: [(DType, f64); 2] = [(DType::F16, 2.0), (DType::BF16, 4.0)];

fn half() -> Placement {
    Placement { device: Device::Cpu, dtype: DType::F16 }
}

#[test]
fn pictures_in_16_bits_are_near_those_in_f32() {
    for (case, (dtype, mean_difference_max)) in
        Case::all().into_iter().flat_map(|case| MEAN_DIFFERENCES_MAX.map(|of_dtype| (case.clone(), of_dtype)))
    {
        let files = files(&case.model);
        let info = families::inspect(&files).unwrap();
        let mut pipeline = families::load(&files, &[], &Placement { device: Device::Cpu, dtype }).unwrap();
        let drawn = finished(pipeline.as_mut(), &case.spec(&info)).pictures;
        let found: Vec<u8> = drawn.iter().flat_map(|picture| picture.rgb.iter().copied()).collect();
        let differences: Vec<u8> = found.iter().zip(case.expected()).map(|(f, e)| f.abs_diff(e)).collect();
        let mean = differences.iter().copied().map(f64::from).sum::<f64>() / differences.len() as f64;
        println!(
            "{} in {dtype:?}: {mean:.2}/255 on average, at most {}/255",
            case.file,
            differences.iter().max().unwrap()
        );
        assert!(mean > 0.0, "{} was drawn in f32", case.file);
        assert!(mean <= mean_difference_max, "{}: {mean}", case.file);
    }
}

#[test]
fn weights_take_the_memory_of_their_type() {
    let bytes = |model: &str, placement: &Placement| families::measure(&files(model), placement).unwrap();
    let numbers = |name: &str| -> u64 {
        let weights = candle_core::safetensors::load(super::golden("sd1").join(name), &Device::Cpu).unwrap();
        weights.values().map(|tensor| tensor.elem_count() as u64).sum()
    };
    let vae = numbers("vae/diffusion_pytorch_model.safetensors");
    let others = numbers("unet/diffusion_pytorch_model.safetensors") + numbers("text_encoder/model.safetensors");
    assert_eq!(bytes("sd1", &Placement::cpu()), 4 * (others + vae));
    // The autoencoder's configuration says `force_upcast`.
    assert_eq!(bytes("sd1", &half()), 2 * others + 4 * vae);
    // Wider convolutions in f32 keep 16 numbers for each window of nine, so that they do with fewer multiplications.
    let bf16 = Placement { device: Device::Cpu, dtype: DType::BF16 };
    let times = bytes("builtin", &Placement::cpu()) as f64 / bytes("builtin", &bf16) as f64;
    assert!(times > 2.1 && times < 2.0 * 16.0 / 9.0, "{times}");
}
