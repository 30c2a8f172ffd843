use candle_core::Device;

use super::*;

#[test]
fn bands_make_the_picture_that_is_made_at_once() {
    for blocks in [vec![1, 2], vec![1]] {
        let config = TinyConfig {
            latent_channels: 4,
            decoder_block_out_channels: vec![8; blocks.len()],
            num_decoder_blocks: blocks,
        };
        let tensors = config.shapes().into_iter().map(|(name, shape)| {
            let values = (0..shape.iter().product::<usize>()).map(|at| (at as f32 * 0.7).sin() / 4.0).collect();
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        });
        let decoder = TinyDecoder::new(&config, &tensors.collect()).unwrap();
        let latents: Vec<f32> = (0..2 * 41 * 5 * 4).map(|at| (at as f32 * 0.3).sin() * 2.0).collect();
        let latents = Tensor::from_vec(latents, (2, 41, 5, 4), &Device::Cpu).unwrap();
        let decode = |band_bytes| {
            let decoded = decoder.decode_in_bands(&latents, &CancelToken::default(), band_bytes).unwrap();
            decoded.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (whole, banded) = (decode(usize::MAX), decode(0));
        assert_eq!(whole.len(), banded.len());
        let furthest = whole.iter().zip(&banded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-5, "{furthest}");
        assert!(whole.iter().any(|value| value.abs() > 0.05), "the picture is not empty");
    }
}

#[test]
fn a_set_token_ends_a_decode() {
    let config = TinyConfig { decoder_block_out_channels: vec![4], num_decoder_blocks: vec![0], ..Default::default() };
    let zeros = |(name, shape)| (name, Tensor::zeros::<Vec<usize>>(shape, DType::F32, &Device::Cpu).unwrap());
    let decoder = TinyDecoder::new(&config, &config.shapes().into_iter().map(zeros).collect()).unwrap();
    let latents = Tensor::zeros((1, 2, 2, 4), DType::F32, &Device::Cpu).unwrap();
    let cancel = CancelToken::default();
    assert!(decoder.decode(&latents, &cancel).is_ok());
    cancel.cancel();
    assert!(matches!(decoder.decode(&latents, &cancel), Err(Halt::Canceled)));
}
