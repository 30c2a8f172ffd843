use candle_core::Device;

use super::*;

fn pictures(values: &[f32]) -> Result<Vec<Picture>, GenerateError> {
    let shape = (1, 1, values.len() / 3, 3);
    pictures_from_decoded(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap())
}

#[test]
fn bytes_are_clamped_and_rounded_half_to_even() {
    // 0.5 · 255 is 127.5, which numpy rounds to 128; 2/255 − 1 is the byte 1 exactly.
    let found = pictures(&[-1.0, 1.0, 0.0, -7.0, 7.0, 2.0 / 255.0 - 1.0]).unwrap();
    assert_eq!(found, [Picture { width: 2, height: 1, rgb: vec![0, 255, 128, 0, 255, 1] }]);
}

#[test]
fn what_is_no_number_is_no_picture() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(matches!(pictures(&[0.0, value, 0.0]), Err(GenerateError::NotFinite)), "{value}");
    }
}
