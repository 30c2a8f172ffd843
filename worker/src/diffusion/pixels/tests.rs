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
        let values = Tensor::new(&[0.0, value, 0.0], &Device::Cpu).unwrap();
        assert!(matches!(bytes_on_device(&values), Err(GenerateError::NotFinite)), "{value}");
    }
}

#[test]
fn bytes_are_the_same_wherever_they_are_made() {
    // Every byte, what lies half between two, and what is beyond.
    let values: Vec<f32> = (-40..=1100).map(|quarter| quarter as f32 / 510.0 - 1.0).collect();
    let expected: Vec<u8> = values.iter().map(|value| byte(*value).unwrap()).collect();
    let tensor = Tensor::from_slice(&values, values.len(), &Device::Cpu).unwrap();
    assert_eq!(bytes_on_device(&tensor).unwrap(), expected);
}
