//! What was made for one picture serves the next, and no picture shows it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use candle_core::{Device, Tensor};
use sd_worker::diffusion::inpaint::InpaintFill;
use sd_worker::diffusion::pixels::{Mask, Rgb};
use sd_worker::diffusion::recent::Reuse;
use sd_worker::diffusion::weights::{ModelFiles, Packing};
use sd_worker::diffusion::{
    CacheUse, CancelToken, GenerationSpec, GuidanceSpec, ImageStart, LoraChoice, MaskSpec, Pipeline, Placement, Start,
    families, schedulers,
};

use super::{Nobody, finished, golden, tiny_model};

fn load(model: &str, embeddings: &[(String, PathBuf)]) -> Box<dyn Pipeline> {
    families::load(&tiny_model(model), embeddings, &Placement::cpu()).unwrap()
}

fn spec(model: &str, prompt: &str) -> GenerationSpec {
    let info = families::inspect(&tiny_model(model)).unwrap();
    let scheduler = schedulers::find("euler").unwrap();
    GenerationSpec { width: 64, height: 64, steps: 2, scheduler, ..GenerationSpec::new(prompt, &info) }
}

fn from_picture(red: u8, mask: Option<u8>) -> Start {
    let picture = Rgb::from_fn((64, 64), |x, y| [red, 4 * x as u8, 4 * y as u8]);
    let mask = mask.map(|right| {
        let mask = Mask::from_fn((64, 64), |x, _| [if x < u32::from(right) { 0 } else { 255 }]);
        MaskSpec { mask, fill: InpaintFill::Original }
    });
    Start::Image(ImageStart { picture, strength: 0.5, mask })
}

fn lora(name: &str, weight: f64) -> LoraChoice {
    LoraChoice { name: name.into(), path: golden("lora").join(format!("{name}.safetensors")), weight }
}

/// Draws `specs` one after the other, each also with a pipeline of its own. The pictures are the same, and what was found
/// and made of texts, pictures and LoRAs is `expected`.
fn check(model: &str, specs: &[(GenerationSpec, [[u32; 2]; 3])]) {
    let mut pipeline = load(model, &[]);
    for (number, (spec, expected)) in specs.iter().enumerate() {
        let drawn = finished(pipeline.as_mut(), spec);
        let fresh = finished(load(model, &[]).as_mut(), spec);
        assert_eq!(drawn.pictures, fresh.pictures, "picture {number} of {model}");
        let [texts, pictures, loras] = expected.map(|[found, made]| Reuse { found, made });
        assert_eq!(drawn.caches, CacheUse { texts, pictures, loras }, "picture {number} of {model}");
    }
}

#[test]
fn texts_are_encoded_once() {
    for model in ["sd1", "sdxl"] {
        let house = spec(model, "a red house");
        let unguided = GenerationSpec { guidance: GuidanceSpec::of(1.0), ..house.clone() };
        check(
            model,
            &[
                (house.clone(), [[0, 2], [0, 0], [0, 0]]),
                (GenerationSpec { seed: 7, ..house.clone() }, [[2, 0], [0, 0], [0, 0]]),
                (spec(model, "a blue house"), [[1, 1], [0, 0], [0, 0]]),
                (unguided, [[1, 0], [0, 0], [0, 0]]),
                // Another layer of the encoder, and weights.
                (GenerationSpec { clip_skip: 1, ..house.clone() }, [[1, 1], [0, 0], [0, 0]]),
                (spec(model, "a (red) house"), [[1, 1], [0, 0], [0, 0]]),
                (house, [[2, 0], [0, 0], [0, 0]]),
            ],
        );
    }
}

#[test]
fn pictures_are_encoded_once_and_each_seed_draws_its_own_sample() {
    let start = |start| GenerationSpec { start, ..spec("sd1", "a red house") };
    let plain = start(from_picture(9, None));
    let masked = start(from_picture(9, Some(24)));
    check(
        "sd1",
        &[
            (plain.clone(), [[0, 2], [0, 1], [0, 0]]),
            (GenerationSpec { seed: 7, batch_size: 2, ..plain }, [[2, 0], [1, 0], [0, 0]]),
            (start(from_picture(8, None)), [[2, 0], [0, 1], [0, 0]]),
            // The picture is there, what the mask leaves of it is not.
            (masked.clone(), [[2, 0], [1, 1], [0, 0]]),
            (start(from_picture(9, Some(32))), [[2, 0], [1, 1], [0, 0]]),
            (masked, [[2, 0], [2, 0], [0, 0]]),
        ],
    );
    // A network that looks at a mask is shown grey where there is none.
    let unmasked = spec("inpaint", "a red house");
    let other = GenerationSpec { seed: 7, ..unmasked.clone() };
    check("inpaint", &[(unmasked, [[0, 2], [0, 1], [0, 0]]), (other, [[2, 0], [1, 0], [0, 0]])]);
}

#[test]
fn loras_are_merged_once_and_encode_texts_anew_where_they_change_the_encoder() {
    let with = |loras: Vec<LoraChoice>| GenerationSpec { loras, ..spec("sd1", "a red house") };
    check(
        "sd1",
        &[
            (with(vec![]), [[0, 2], [0, 0], [0, 0]]),
            (with(vec![lora("kohya", 0.7)]), [[0, 2], [0, 0], [0, 1]]),
            (with(vec![lora("kohya", 0.7)]), [[2, 0], [0, 0], [1, 0]]),
            (with(vec![lora("kohya", 0.5)]), [[0, 2], [0, 0], [0, 1]]),
            // This one is of the UNet alone.
            (with(vec![lora("locon", 0.7)]), [[2, 0], [0, 0], [0, 1]]),
            (with(vec![lora("kohya", 0.7)]), [[2, 0], [0, 0], [1, 0]]),
            (with(vec![]), [[2, 0], [0, 0], [0, 0]]),
        ],
    );
}

/// Writes the tensors of several files into one, some under other names.
fn join(into: &Path, files: &[(&str, &[(&str, &str)])]) {
    let mut all: HashMap<String, Tensor> = HashMap::new();
    for (file, names) in files {
        for (name, tensor) in candle_core::safetensors::load(golden(file), &Device::Cpu).unwrap() {
            let renamed = names.iter().find(|(old, _)| *old == name).map_or(name.as_str(), |(_, new)| new);
            all.insert(renamed.to_owned(), tensor);
        }
    }
    candle_core::safetensors::save(&all, into).unwrap();
}

#[test]
fn a_lora_brings_its_words_as_files_of_their_own_would() {
    let folder = tempfile::tempdir().unwrap();
    let bundled = |file: &str, names: &[(&str, &str)], embeddings: &str| {
        let path = folder.path().join(file);
        join(&path, &[("lora/kohya.safetensors", &[]), (embeddings, names)]);
        LoraChoice { name: file.into(), path, weight: 0.7 }
    };
    let style = "embeddings/hills-style.safetensors";
    let words = [
        bundled("a1111", &[("emb_params", "bundle_emb.hills-style.string_to_param.*")], style),
        bundled("new", &[("emb_params", "bundle_emb.hills-style.clip_l")], style),
    ];
    let asked = |lora: LoraChoice| GenerationSpec { loras: vec![lora], ..spec("sd1", "a house, hills-style") };
    let files = vec![("hills-style".to_owned(), golden(style))];
    let expected = finished(load("sd1", &files).as_mut(), &asked(lora("kohya", 0.7))).pictures;
    let without = finished(load("sd1", &[]).as_mut(), &asked(lora("kohya", 0.7))).pictures;
    assert_ne!(without, expected);
    for word in words {
        let mut pipeline = load("sd1", &[]);
        let drawn = finished(pipeline.as_mut(), &asked(word));
        assert_eq!((drawn.pictures, drawn.warnings), (expected.clone(), vec![]));
        let after = finished(pipeline.as_mut(), &asked(lora("kohya", 0.7)));
        assert_eq!(after.pictures, without, "the word leaves with its LoRA");
    }

    let odd = bundled("odd", &[("emb_params", "bundle_emb.hills-style.t5xxl")], style);
    let drawn = finished(load("sd1", &[]).as_mut(), &asked(odd));
    assert_eq!(drawn.pictures, without);
    let says = "The LoRA “odd” brings the word “hills-style”, which is read as plain text here: \
                `bundle_emb.hills-style.t5xxl` is of a form that is not known here.";
    assert_eq!(drawn.warnings, [says]);
}

#[test]
fn a_lora_that_is_written_anew_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sea.safetensors");
    let write = |from: &str| std::fs::copy(golden("lora").join(from), &path).unwrap();
    let asked = || GenerationSpec {
        loras: vec![LoraChoice { name: "sea".into(), path: path.clone(), weight: 0.7 }],
        ..spec("sd1", "a red house")
    };
    let mut pipeline = load("sd1", &[]);
    write("kohya.safetensors");
    let first = finished(pipeline.as_mut(), &asked());
    write("locon.safetensors");
    let second = finished(pipeline.as_mut(), &asked());
    assert_eq!((first.caches.loras.made, second.caches.loras.made), (1, 1));
    assert_ne!(first.pictures, second.pictures);
    std::fs::remove_file(&path).unwrap();
    assert!(pipeline.generate(&asked(), &CancelToken::default(), &mut Nobody).is_err(), "it is gone");
}

/// A copy of a model that a test may change.
fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn packed_weights_are_mapped_at_the_next_start_until_something_changes() {
    let folder = tempfile::tempdir().unwrap();
    copied(&golden("sd1"), folder.path());
    let plain = spec("sd1", "a red house");
    let merged = GenerationSpec { loras: vec![lora("kohya", 0.7)], ..plain.clone() };
    let expected = [&plain, &merged].map(|spec| finished(load("sd1", &[]).as_mut(), spec).pictures);
    // Loads the model, draws, and tells what it wants to keep.
    let draw = || -> Vec<Packing> {
        let (sender, packings) = channel();
        let files = ModelFiles::folder(folder.path()).with_packed(Some(sender));
        let mut pipeline = families::load(&files, &[], &Placement::cpu()).unwrap();
        let drawn = [&plain, &merged].map(|spec| finished(pipeline.as_mut(), spec).pictures);
        assert_eq!(drawn, expected);
        drop(files);
        packings.into_iter().collect()
    };
    let kept = draw();
    let canceled = CancelToken::default();
    canceled.cancel();
    assert!(!kept[0].write(&canceled).unwrap() && draw().len() == 3, "what is canceled is not there");
    assert_eq!(kept.len(), 3, "text encoder, UNet and VAE");
    kept.iter().for_each(|packing| assert!(packing.write(&CancelToken::default()).unwrap()));
    assert_eq!(draw().len(), 0);

    let unet = kept.iter().find(|packing| packing.path().starts_with(folder.path().join("unet"))).unwrap().path();
    let whole = std::fs::read(unet).unwrap();
    std::fs::write(unet, &whole[..whole.len() - 64]).unwrap();
    assert_eq!(draw().len(), 1, "what is damaged is made anew");
    std::fs::write(unet, &whole).unwrap();
    assert_eq!(draw().len(), 0);
    let weights = folder.path().join("unet/diffusion_pytorch_model.safetensors");
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::options().append(true).open(weights).unwrap().set_modified(hour_ago).unwrap();
    assert_eq!(draw().len(), 1, "so is what was made of other weights");
    // Nothing unfinished is left.
    let unfinished = std::fs::read_dir(folder.path().join("unet")).unwrap().map(Result::unwrap);
    assert_eq!(unfinished.filter(|entry| entry.path().extension().is_some_and(|name| name == "part")).count(), 0);
}
