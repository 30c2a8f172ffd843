use candle_core::Device;
use sd_worker::diffusion::noise::{CpuGenerator, LatentNoise, Rng};

use super::golden_tensors;

/// Torch's vectorised logarithm and cosine differ from exact ones by this much.
const DIFFERENCE_MAX: f32 = 2e-6;

fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max)
}

#[test]
fn is_torchs_for_every_size_and_seed() {
    let goldens = golden_tensors("noise.safetensors");
    let fresh = goldens.iter().filter(|(name, _)| !name.starts_with("stream/"));
    let mut worst = 0f32;
    let mut count = 0;
    for (name, expected) in fresh {
        let (seed, size) = name.split_once('/').unwrap();
        let found = CpuGenerator::new(seed.parse().unwrap()).normals(size.parse().unwrap());
        let difference = difference(&found, &expected.to_vec1().unwrap());
        assert!(difference <= DIFFERENCE_MAX, "seed {seed}, size {size}: {difference:e}");
        worst = worst.max(difference);
        count += 1;
    }
    assert!(count > 40, "{count} goldens");
    println!("noise of {count} sizes and seeds: at most {worst:e} from torch");
}

#[test]
fn goes_on_where_the_call_before_stopped() {
    let goldens = golden_tensors("noise.safetensors");
    let mut generator = CpuGenerator::new(7);
    let mut calls = 0;
    while let Some(expected) = goldens.get(&format!("stream/{calls}")) {
        let expected = expected.to_vec1().unwrap();
        let difference = difference(&generator.normals(expected.len()), &expected);
        assert!(difference <= DIFFERENCE_MAX, "call {calls}: {difference:e}");
        calls += 1;
    }
    assert_eq!(calls, 7);
}

#[test]
fn of_a_batch_is_that_of_its_seeds() {
    for rng in Rng::ALL {
        let draw = |seed, batch| {
            let mut noise = LatentNoise::new(rng, seed, batch, (6, 5, 4), &Device::Cpu);
            // As image to image does: first the posterior of the encoder, then the latents.
            [noise.draw().unwrap(), noise.draw().unwrap()]
        };
        let (both, alone) = (draw(10, 2), draw(11, 1));
        assert_eq!(both[0].dims(), [2, 6, 5, 4], "{rng:?}");
        assert_eq!(both[1].dims(), [2, 6, 5, 4], "{rng:?}");
        for (both, alone) in both.iter().zip(&alone) {
            let of_item = both.get(1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(of_item, alone.flatten_all().unwrap().to_vec1::<f32>().unwrap(), "{rng:?}");
        }
    }
}
