use proptest::prelude::*;

use super::*;
use crate::diffusion::pixels::blur;

/// A picture in which no two neighbours are alike.
fn busy((width, height): (u32, u32), seed: u32) -> Rgb {
    let level = |x: u32, y: u32, channel: u32| (x * 37 + y * 101 + channel * 53 + seed * 29) as u8;
    Rgb::from_fn((width, height), |x, y| std::array::from_fn(|channel| level(x, y, channel as u32)))
}

fn plan(image: &Rgb, mask: &Mask, settings: InpaintSettings, size: (u32, u32)) -> InpaintPlan {
    InpaintPlan::new(image, Some(mask), &settings, size)
}

fn sides() -> impl Strategy<Value = Sides> {
    let side = prop_oneof![Just(0u32), 0..9u32];
    (side.clone(), side.clone(), side.clone(), side).prop_map(|(left, top, right, bottom)| Sides {
        left,
        top,
        right,
        bottom,
    })
}

fn settings() -> impl Strategy<Value = InpaintSettings> {
    let area = prop_oneof![
        Just(InpaintArea::Whole),
        (0..20u32).prop_map(|padding| InpaintArea::Masked { padding }),
        Just(InpaintArea::Masked { padding: u32::MAX }),
    ];
    let resize = prop::sample::select(Resize::ALL.to_vec());
    let mask_blur = prop_oneof![Just(0f32), 0.0..20f32];
    (area, mask_blur, resize, sides()).prop_map(|(area, mask_blur, resize, outpaint)| InpaintSettings {
        area,
        mask_blur,
        resize,
        outpaint,
    })
}

/// A mask that is black but for some rectangles of any level.
fn mask(sides: std::ops::Range<u32>) -> impl Strategy<Value = Mask> {
    (sides.clone(), sides).prop_flat_map(|(width, height)| {
        let spot = (0..width, 0..height, 1..=width, 1..=height, 1..=255u8);
        prop::collection::vec(spot, 0..3).prop_map(move |spots| {
            let mut mask = Mask::from_fn((width, height), |_, _| [0]);
            for (x, y, spot_width, spot_height, level) in spots {
                mask.paste(&Mask::from_fn((spot_width, spot_height), |_, _| [level]), x.into(), y.into());
            }
            mask
        })
    })
}

fn size() -> impl Strategy<Value = (u32, u32)> {
    (1..7u32, 1..7u32).prop_map(|(width, height)| (width * 8, height * 8))
}

proptest! {
    #[test]
    fn whatever_the_mask_leaves_out_comes_back(
        image_size in (1..40u32, 1..40u32),
        mask in mask(1..40),
        settings in settings(),
        size in size(),
        drawn_size in (1..50u32, 1..50u32),
    ) {
        let image = busy(image_size, 0);
        let plan = plan(&image, &mask, settings, size);
        prop_assert_eq!(plan.image().size(), size);
        prop_assert_eq!(plan.mask().size(), size);
        let finished = plan.finish(&busy(drawn_size, 5).into_picture());
        prop_assert_eq!((finished.width, finished.height), plan.finished_size());
        let finished = Rgb::from_picture(&finished).unwrap();
        let (width, height) = plan.finished_size();
        for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
            if plan.blend.pixel(x, y) == [0] {
                prop_assert_eq!(finished.pixel(x, y), plan.canvas.pixel(x, y));
            }
        }
    }

    /// The same from the outside: in a picture that keeps its size, far from the mask nothing moves.
    #[test]
    fn pixels_beyond_the_reach_of_the_blur_are_the_inputs(
        mask in mask(1..40),
        mask_blur in 0.0..9f32,
        padding in 0..20u32,
        size in size(),
    ) {
        let image = busy(mask.size(), 1);
        let settings =
            InpaintSettings { area: InpaintArea::Masked { padding }, mask_blur, ..InpaintSettings::default() };
        let finished = plan(&image, &mask, settings, size).finish(&busy(size, 6).into_picture());
        let finished = Rgb::from_picture(&finished).unwrap();
        let points = |(width, height): (u32, u32)| (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)));
        let marked: Vec<_> = points(mask.size()).filter(|&(x, y)| mask.pixel(x, y) != [0]).collect();
        let reach = blur::reach(mask_blur);
        for (x, y) in points(mask.size()) {
            if marked.iter().all(|&(at_x, at_y)| at_x.abs_diff(x) > reach || at_y.abs_diff(y) > reach) {
                prop_assert_eq!(finished.pixel(x, y), image.pixel(x, y));
            }
        }
    }

    #[test]
    fn the_crop_holds_all_of_the_mask(mask in mask(1..40), size in size(), padding in 0..20u32) {
        let crop = crop_region(&mask, size, padding);
        prop_assert!(crop.x + crop.width <= mask.width() && crop.y + crop.height <= mask.height());
        for (x, y) in (0..mask.height()).flat_map(|y| (0..mask.width()).map(move |x| (x, y))) {
            let is_inside = (crop.x..crop.x + crop.width).contains(&x) && (crop.y..crop.y + crop.height).contains(&y);
            prop_assert!(is_inside || mask.pixel(x, y) == [0]);
        }
    }
}

#[test]
fn a_white_mask_takes_all_that_was_drawn() {
    let white = Mask::from_fn((16, 24), |_, _| [255]);
    let drawn = busy((16, 24), 3).into_picture();
    let plan = plan(&busy((16, 24), 2), &white, InpaintSettings { mask_blur: 4.0, ..Default::default() }, (16, 24));
    assert_eq!(plan.finish(&drawn), drawn);
    assert!(!plan.is_empty());
}

#[test]
fn a_black_mask_brings_the_input_back() {
    let image = busy((30, 20), 2);
    let black = Mask::from_fn((30, 20), |_, _| [0]);
    let settings =
        InpaintSettings { area: InpaintArea::Masked { padding: 4 }, mask_blur: 2.0, ..InpaintSettings::default() };
    let plan = plan(&image, &black, settings, (64, 64));
    assert!(plan.is_empty());
    assert_eq!(plan.finish(&busy((64, 64), 3).into_picture()), image.into_picture());
}

#[test]
fn a_blurred_border_blends() {
    let half = Mask::from_fn((64, 8), |x, _| [if x < 32 { 0 } else { 255 }]);
    let (black, white) = ([0; 3], [255; 3]);
    let image = Rgb::from_fn((64, 8), |_, _| black);
    let settings = InpaintSettings { mask_blur: 3.0, ..InpaintSettings::default() };
    let finished = plan(&image, &half, settings, (64, 8)).finish(&Rgb::from_fn((64, 8), |_, _| white).into_picture());
    let row: Vec<u8> = finished.rgb[..64 * 3].chunks_exact(3).map(|rgb| rgb[0]).collect();
    assert!(row.is_sorted(), "{row:?}");
    assert_eq!((row[0], row[63]), (0, 255));
    assert!(row.iter().filter(|&&level| level > 0 && level < 255).count() > 6, "{row:?}");
}

#[test]
fn outpainting_grows_the_picture_around_the_input() {
    let image = busy((16, 8), 4);
    let outpaint = Sides { left: 8, top: 0, right: 16, bottom: 8 };
    let settings = InpaintSettings { outpaint, ..InpaintSettings::default() };
    let plan = InpaintPlan::new(&image, None, &settings, (40, 16));
    assert_eq!(plan.image().pixel(0, 3), image.pixel(0, 3), "the edge is drawn out");
    assert_eq!(plan.image().pixel(39, 15), image.pixel(15, 7));
    let drawn = busy((40, 16), 9);
    let finished = Rgb::from_picture(&plan.finish(&drawn.clone().into_picture())).unwrap();
    for (x, y) in (0..16).flat_map(|y| (0..40).map(move |x| (x, y))) {
        let is_old = (8..24).contains(&x) && y < 8;
        assert_eq!(finished.pixel(x, y), if is_old { image.pixel(x - 8, y) } else { drawn.pixel(x, y) }, "{x},{y}");
    }
    let cells = latent_mask(plan.mask(), 8, &Device::Cpu).unwrap();
    assert_eq!(cells.dims(), [1, 2, 5, 1]);
    let cells = cells.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(cells, [1., 0., 0., 1., 1., 1., 1., 1., 1., 1.]);
}

#[test]
fn what_is_no_picture_leaves_the_canvas() {
    let image = busy((8, 8), 1);
    let plan = InpaintPlan::new(&image, None, &InpaintSettings::default(), (8, 8));
    for (width, rgb) in [(0, vec![]), (8, vec![1; 5])] {
        assert_eq!(plan.finish(&Picture { width, height: 8, rgb }), image.clone().into_picture());
    }
}

#[test]
fn fills_change_only_what_is_masked() {
    let tensor = |values: &[f32]| Tensor::from_slice(values, (1, 1, 2, 2), &Device::Cpu).unwrap();
    let (latents, noise) = (tensor(&[1., 2., 3., 4.]), tensor(&[5., 6., 7., 8.]));
    let mask = Tensor::from_slice(&[0f32, 1.], (1, 1, 2, 1), &Device::Cpu).unwrap();
    for (fill, expected) in [
        (InpaintFill::Original, [1., 2., 3., 4.]),
        (InpaintFill::Noise, [1., 2., 7., 8.]),
        (InpaintFill::Blank, [1., 2., 0., 0.]),
    ] {
        let filled = fill.apply(&latents, &mask, &noise).unwrap();
        assert_eq!(filled.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected, "{fill:?}");
    }
}
