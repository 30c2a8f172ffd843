//! Pictures around the networks, held against Pillow and diffusers' `VaeImageProcessor`.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use sd_worker::diffusion::inpaint::{InpaintArea, InpaintPlan, InpaintSettings, latent_mask};
use sd_worker::diffusion::pixels::{Mask, Raster, Resize, Rgb, Sides};
use serde::Deserialize;

use super::{golden_json, golden_tensors};

/// `apply_overlay` multiplies by alpha and divides by it again, and rounds each time.
const OVERLAY_DIFFERENCE_MAX: u8 = 1;

struct Goldens(HashMap<String, Tensor>);

impl Goldens {
    fn load() -> Self {
        Self(golden_tensors("images.safetensors"))
    }

    fn raster<const CHANNELS: usize>(&self, name: &str) -> Raster<CHANNELS> {
        let tensor = &self.0[name];
        let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
        Raster::new(tensor.dims()[1] as u32, tensor.dims()[0] as u32, values).unwrap()
    }

    /// What follows `prefix` in the names that begin with it.
    fn names(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().filter_map(|name| name.strip_prefix(prefix)).collect();
        names.sort_unstable();
        names
    }
}

fn size(text: &str) -> (u32, u32) {
    let (width, height) = text.split_once('x').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}

/// What the goldens call it.
fn name(resize: Resize) -> &'static str {
    match resize {
        Resize::Fit => "fit",
        Resize::Fill => "fill",
        Resize::Stretch => "stretch",
    }
}

#[test]
fn are_resized_as_pillow_does() {
    let goldens = Goldens::load();
    let source: Rgb = goldens.raster("source/rgb");
    for resize in Resize::ALL {
        let name = name(resize);
        let sizes = goldens.names(&format!("resize/{name}/"));
        assert!(sizes.len() >= 5, "{name}: {sizes:?}");
        for text in sizes {
            let expected: Rgb = goldens.raster(&format!("resize/{name}/{text}"));
            assert_eq!(source.fitted(resize, size(text)), expected, "{name} to {text}");
        }
    }
}

#[test]
fn are_blurred_and_grey_as_pillow_does() {
    let goldens = Goldens::load();
    let source: Mask = goldens.raster("source/mask");
    let blurs = goldens.names("blur/");
    assert_eq!(blurs.len(), 5);
    for sigma in blurs {
        let expected: Mask = goldens.raster(&format!("blur/{sigma}"));
        assert_eq!(source.blurred(sigma.parse().unwrap()), expected, "a blur of {sigma} px");
    }
    assert_eq!(goldens.raster::<3>("source/rgb").luma(), goldens.raster("luma"));
}

#[derive(Deserialize)]
struct Case {
    width: u32,
    height: u32,
    padding: Option<u32>,
    mask_blur: f32,
    resize: String,
}

#[test]
fn are_inpainted_as_diffusers_does() {
    let goldens = Goldens::load();
    let (image, mask): (Rgb, Mask) = (goldens.raster("inpaint/image"), goldens.raster("inpaint/mask"));
    let cases: Vec<Case> = golden_json("inpaint.json");
    assert!(cases.len() >= 6);
    for (index, case) in cases.iter().enumerate() {
        let part = |name: &str| format!("inpaint/{index}/{name}");
        let settings = InpaintSettings {
            area: case.padding.map_or(InpaintArea::Whole, |padding| InpaintArea::Masked { padding }),
            mask_blur: case.mask_blur,
            resize: Resize::ALL.into_iter().find(|resize| name(*resize) == case.resize).unwrap(),
            outpaint: Sides::default(),
        };
        let plan = InpaintPlan::new(&image, Some(&mask), &settings, (case.width, case.height));
        assert_eq!(*plan.image(), goldens.raster(&part("image")), "the image of case {index}");
        assert_eq!(*plan.mask(), goldens.raster(&part("mask")), "the mask of case {index}");
        let cells = latent_mask(plan.mask(), 8, &Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected: Mask = goldens.raster(&part("latent_mask"));
        assert!(cells.iter().zip(expected.values()).all(|(&cell, &level)| cell == f32::from(level)), "case {index}");
        assert_eq!(cells.len(), expected.values().len());

        let drawn: Rgb = goldens.raster(&part("drawn"));
        let finished = plan.finish(&drawn.into_picture());
        let expected: Rgb = goldens.raster(&part("finished"));
        assert_eq!((finished.width, finished.height), expected.size());
        let worst = finished.rgb.iter().zip(expected.values()).map(|(f, e)| f.abs_diff(*e)).max().unwrap();
        assert!(worst <= OVERLAY_DIFFERENCE_MAX, "case {index} is {worst} from diffusers");
    }
}
