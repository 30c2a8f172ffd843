//! Gaussian blur of masks as Pillow's `GaussianBlur` does it, which diffusers' `VaeImageProcessor.blur` calls: three
//! box blurs along each axis (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box
//! filtering"), each to bytes.

use super::raster::Mask;

/// Box blurs along each axis.
const PASSES: u32 = 3;
/// Bits of a weight behind the point.
const WEIGHT_BITS: u32 = 24;

/// How far from where it was a blur of `sigma` px moves anything, in px.
pub fn reach(sigma: f32) -> u32 {
    if sigma > 0.0 { PASSES * (BoxFilter::new(sigma).radius + 1) } else { 0 }
}

impl Mask {
    /// It under a Gaussian of standard deviation `sigma` px, which is Pillow's radius; not above 0 leaves it as it is.
    pub fn blurred(&self, sigma: f32) -> Self {
        if sigma.is_nan() || sigma <= 0.0 {
            return self.clone();
        }
        let filter = BoxFilter::new(sigma);
        let (width, height) = self.size();
        let mut turned = vec![0; self.values().len()];
        for (y, row) in self.values().chunks_exact(width as usize).enumerate() {
            let blurred = filter.passes(row.to_vec());
            blurred.iter().enumerate().for_each(|(x, &level)| turned[x * height as usize + y] = level);
        }
        let mut values = vec![0; turned.len()];
        for (x, column) in turned.chunks_exact(height as usize).enumerate() {
            let blurred = filter.passes(column.to_vec());
            blurred.iter().enumerate().for_each(|(y, &level)| values[y * width as usize + x] = level);
        }
        Self::new(width, height, values).expect("turned twice, it has as many levels as before")
    }
}

/// A box that may end between two pixels.
struct BoxFilter {
    /// Whole pixels on each side of the middle.
    radius: u32,
    /// Of each whole pixel.
    weight: u64,
    /// Of the pixels just beyond.
    edge_weight: u64,
}

impl BoxFilter {
    /// The box of which [`PASSES`] in a row have the variance of a Gaussian.
    fn new(sigma: f32) -> Self {
        let variance = sigma * sigma / PASSES as f32;
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((length - 1.0) / 2.0).floor();
        let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
        let radius = whole + part / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
        let whole = radius as u32;
        let unit = 1u64 << WEIGHT_BITS;
        let weight = (unit as f32 / (radius * 2.0 + 1.0)) as u64;
        let edge_weight = (unit - u64::from(whole * 2 + 1) * weight) / 2;
        Self { radius: whole, weight, edge_weight }
    }

    fn passes(&self, mut line: Vec<u8>) -> Vec<u8> {
        for _ in 0..PASSES {
            line = self.pass(&line);
        }
        line
    }

    /// One line, its outermost levels repeated beyond its ends.
    fn pass(&self, line: &[u8]) -> Vec<u8> {
        let radius = i64::from(self.radius);
        let level = |at: i64| u64::from(line[at.clamp(0, line.len() as i64 - 1) as usize]);
        let mut sum: u64 = (-radius..=radius).map(level).sum();
        (0..line.len() as i64)
            .map(|at| {
                let edges = level(at - radius - 1) + level(at + radius + 1);
                let blurred = (sum * self.weight + edges * self.edge_weight + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
                sum = sum + level(at + radius + 1) - level(at - radius);
                blurred as u8
            })
            .collect()
    }
}
