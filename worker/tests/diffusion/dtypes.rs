//! Pictures of networks in 16 bits, held against diffusers' of the same seeds in f32.

use candle_core::{DType, Device};
use sd_worker::diffusion::{Placement, families};

use super::finished;
use super::pictures::{Case, files};

/// Mean difference of a byte from the picture in f32.
const MEAN_DIFFERENCE_MAX: f64 = 2.0;

fn half() -> Placement {
    Placement { device: Device::Cpu, dtype: DType::F16 }
}

#[test]
fn pictures_in_f16_are_near_those_in_f32() {
    for case in Case::all() {
        let files = files(&case.model);
        let info = families::inspect(&files).unwrap();
        let mut pipeline = families::load(&files, &[], &half()).unwrap();
        let drawn = finished(pipeline.as_mut(), &case.spec(&info)).pictures;
        let found: Vec<u8> = drawn.iter().flat_map(|picture| picture.rgb.iter().copied()).collect();
        let differences: Vec<u8> = found.iter().zip(case.expected()).map(|(f, e)| f.abs_diff(e)).collect();
        let mean = differences.iter().copied().map(f64::from).sum::<f64>() / differences.len() as f64;
        println!("{}: {mean:.2}/255 on average, at most {}/255", case.file, differences.iter().max().unwrap());
        assert!(mean > 0.0, "{} was drawn in f32", case.file);
        assert!(mean <= MEAN_DIFFERENCE_MAX, "{}: {mean}", case.file);
    }
}

#[test]
fn weights_take_the_memory_of_their_type() {
    let bytes = |placement: &Placement| families::measure(&files("sd1"), placement).unwrap();
    let numbers = |name: &str| -> u64 {
        let weights = candle_core::safetensors::load(super::golden("sd1").join(name), &Device::Cpu).unwrap();
        weights.values().map(|tensor| tensor.elem_count() as u64).sum()
    };
    let vae = numbers("vae/diffusion_pytorch_model.safetensors");
    let others = numbers("unet/diffusion_pytorch_model.safetensors") + numbers("text_encoder/model.safetensors");
    assert_eq!(bytes(&Placement::cpu()), 4 * (others + vae));
    // The autoencoder's configuration says `force_upcast`.
    assert_eq!(bytes(&half()), 2 * others + 4 * vae);
}
