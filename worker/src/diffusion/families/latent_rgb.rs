//! Published linear maps from a latent space to RGB, for models that bring none of their own.

use super::card::PreviewBasis;

/// A latent space, told apart by the factor that brings its latents to unit variance.
struct LatentSpace {
    scaling_factor: f64,
    /// One row per channel, to RGB in `[-1, 1]`.
    factors: [[f32; 3]; 4],
    bias: [f32; 3],
}

/// As published with ComfyUI's latent formats. The first stands in for spaces that are not here.
const PUBLISHED: [LatentSpace; 2] = [
    LatentSpace {
        scaling_factor: 0.18215,
        factors: [
            [0.3512, 0.2297, 0.3227],
            [0.3250, 0.4974, 0.2350],
            [-0.2829, 0.1762, 0.2721],
            [-0.2120, -0.2616, -0.7177],
        ],
        bias: [0.0; 3],
    },
    LatentSpace {
        scaling_factor: 0.13025,
        factors: [
            [0.3651, 0.4232, 0.4341],
            [-0.2533, -0.0042, 0.1068],
            [0.1076, 0.1111, -0.0362],
            [-0.3165, -0.2492, -0.2188],
        ],
        bias: [0.1084, -0.0175, -0.0011],
    },
];

/// The map of the latent space with this scaling factor, brought from `[-1, 1]` to `[0, 1]`.
pub(super) fn published(scaling_factor: f64) -> PreviewBasis {
    let matches = |space: &&LatentSpace| (space.scaling_factor - scaling_factor).abs() < 1e-6;
    let space = PUBLISHED.iter().find(matches).unwrap_or(&PUBLISHED[0]);
    PreviewBasis {
        rows: space.factors.iter().map(|row| row.map(|factor| factor / 2.0)).collect(),
        bias: space.bias.map(|bias| bias / 2.0 + 0.5),
    }
}
