//! Shapes of pictures, and sides that a worker accepts.

use sd_protocol::Limits;

/// How a picture's sides relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 2:3
    Tall,
    /// 3:4
    Portrait,
    /// 1:1
    Square,
    /// 4:3
    Landscape,
    /// 3:2
    Wide,
}

impl Shape {
    /// Every shape, from the tallest to the widest.
    pub const ALL: [Self; 5] = [Self::Tall, Self::Portrait, Self::Square, Self::Landscape, Self::Wide];

    /// Width to height.
    pub fn ratio(self) -> &'static str {
        match self {
            Self::Tall => "2:3",
            Self::Portrait => "3:4",
            Self::Square => "1:1",
            Self::Landscape => "4:3",
            Self::Wide => "3:2",
        }
    }

    /// Sides in px for a model that was trained at `width` × `height`: its longer side stays, so that the shape costs
    /// no more than the model's own.
    pub fn size(self, width: u32, height: u32, limits: &Limits) -> (u32, u32) {
        let long = width.max(height);
        let side = |share: f64| {
            nearest(f64::from(long) * share, limits).clamp(limits.side_px_min, long.max(limits.side_px_min))
        };
        let (third, quarter) = (side(2.0 / 3.0), side(3.0 / 4.0));
        match self {
            Self::Tall => (third, long),
            Self::Portrait => (quarter, long),
            Self::Square => (long, long),
            Self::Landscape => (long, quarter),
            Self::Wide => (long, third),
        }
    }
}

/// The nearest side, in px, of whole latent cells; never none.
pub(super) fn nearest(px: f64, limits: &Limits) -> u32 {
    let cell = limits.side_px_multiple.max(1);
    // Whatever is far beyond any bound stays so.
    ((px / f64::from(cell)).round().max(1.0) as u32).saturating_mul(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_keep_the_longer_side_of_the_model() {
        let check = |width, height, expected: [(u32, u32); 5]| {
            assert_eq!(Shape::ALL.map(|shape| shape.size(width, height, &Limits::default())), expected);
        };
        check(512, 512, [(344, 512), (384, 512), (512, 512), (512, 384), (512, 344)]);
        check(64, 64, [(64, 64); 5]);
        check(1024, 768, [(680, 1024), (768, 1024), (1024, 1024), (1024, 768), (1024, 680)]);
    }

    #[test]
    fn sides_are_whole_latent_cells() {
        let check = |px, side| assert_eq!(nearest(px, &Limits::default()), side, "{px}");
        check(512.0, 512);
        check(513.0, 512);
        check(516.0, 520);
        check(1.0, 8);
        check(1e30, u32::MAX);
    }
}
