//! Encoded pictures of every kind, held against what Pillow reads.

use candle_core::Tensor;
use sd_worker::diffusion::pixels::Raster;
use sd_worker::inputs::InputImage;

use super::{golden, golden_tensors};

/// Two JPEG decoders round their cosines and colours differently.
const JPEG_DIFFERENCE_MAX: u8 = 2;
/// They also spread colours of half the resolution differently.
const HALF_COLOUR_DIFFERENCE_MAX: u8 = 4;

fn raster<const CHANNELS: usize>(tensor: &Tensor) -> Raster<CHANNELS> {
    let values = tensor.flatten_all().unwrap().to_vec1().unwrap();
    Raster::new(tensor.dims()[1] as u32, tensor.dims()[0] as u32, values).unwrap()
}

#[test]
fn are_read_as_pillow_reads_them() {
    let goldens = golden_tensors("images.safetensors");
    let mut files: Vec<_> = std::fs::read_dir(golden("images")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 20);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let image =
            InputImage::decode(&std::fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = raster::<3>(&goldens[&format!("{name}/rgb")]);
        assert_eq!(image.size(), expected.size(), "{name}");
        let found = image.on_white();
        let worst = found.values().iter().zip(expected.values()).map(|(f, e)| f.abs_diff(*e)).max().unwrap();
        let allowed = match name {
            "half_colour.jpg" => HALF_COLOUR_DIFFERENCE_MAX,
            _ if name.ends_with(".jpg") => JPEG_DIFFERENCE_MAX,
            _ => 0,
        };
        println!("{name}: at most {worst} from Pillow");
        assert!(worst <= allowed, "{name} is {worst} from Pillow");
        let alpha = goldens.get(&format!("{name}/alpha")).map(raster::<1>);
        assert_eq!(image.alpha, alpha, "the transparency of {name}");
    }
}
