//! Single files against what diffusers makes of them: `tests/goldens/single_file.py` lists every tensor of every kind
//! of model under its original name and under that of diffusers, checked by diffusers' own converters.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::diffusion::embeddings::EmbeddingSet;
use crate::diffusion::prompt::PromptTokenizer;
use crate::diffusion::weights::{LoadError, ModelFiles, Scope, Weights};

#[derive(Deserialize)]
struct Listing {
    /// Original names with the sides of their tensors.
    original: BTreeMap<String, Vec<usize>>,
    rows: Vec<Row>,
}

/// A tensor of diffusers.
#[derive(Deserialize)]
struct Row {
    folder: String,
    name: String,
    shape: Vec<usize>,
    original: String,
    /// Which third of the original's rows, where it is fused.
    third: Option<usize>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens").join(name)
}

fn golden_gz<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_reader(GzDecoder::new(File::open(golden(name)).unwrap())).unwrap()
}

fn listings() -> BTreeMap<String, Listing> {
    golden_gz("single_file.json.gz")
}

/// A file of the right length with these tensors in f16, all zero: as long as a real checkpoint, and without a block
/// on the disk.
fn hollow(path: &Path, tensors: &BTreeMap<String, Vec<usize>>) {
    let mut end = 0;
    let entry = |(name, shape): (&String, &Vec<usize>)| {
        let begin = end;
        end += 2 * shape.iter().product::<usize>();
        (name.clone(), json!({"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}))
    };
    let header = Value::Object(tensors.iter().map(entry).collect()).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

fn weights(files: &ModelFiles, folder: &str) -> Weights {
    Weights::open(files, folder, "model").unwrap()
}

/// Checks that the file presents exactly the tensors of diffusers, with their shapes.
fn check_names(kind: &str, files: &ModelFiles, listing: &Listing) {
    let folders: BTreeSet<&str> = listing.rows.iter().map(|row| row.folder.as_str()).collect();
    for folder in folders {
        let expected: BTreeMap<&str, &[usize]> = listing
            .rows
            .iter()
            .filter(|row| row.folder == folder)
            .map(|row| (row.name.as_str(), row.shape.as_slice()))
            .collect();
        let weights = weights(files, folder);
        let found: BTreeMap<&str, &[usize]> = weights.shapes().collect();
        let missing: Vec<_> = expected.iter().filter(|(name, shape)| found.get(*name) != Some(shape)).collect();
        assert!(missing.is_empty(), "{kind} {folder}: {missing:?}");
        // The last layer of SD 2's encoder and its projection are there and not read.
        let is_unread =
            |name: &str| kind.starts_with("sd2") && (name.contains("layers.23.") || name == "text_projection.weight");
        let more: Vec<_> = found.keys().filter(|name| !expected.contains_key(**name) && !is_unread(name)).collect();
        assert!(more.is_empty(), "{kind} {folder}: {more:?}");
    }
}

#[test]
fn every_published_kind_is_told_apart_and_has_every_tensor() {
    let kinds = [
        ("sd1", "StableDiffusionPipeline", "Stable Diffusion 1"),
        ("sd1-inpainting", "StableDiffusionInpaintPipeline", "Stable Diffusion 1 inpainting"),
        ("sd2", "StableDiffusionPipeline", "Stable Diffusion 2"),
        ("sd2-inpainting", "StableDiffusionInpaintPipeline", "Stable Diffusion 2 inpainting"),
        ("sdxl", "StableDiffusionXLPipeline", "Stable Diffusion XL"),
        ("sdxl-inpainting", "StableDiffusionXLInpaintPipeline", "Stable Diffusion XL"),
        ("sdxl-refiner", "StableDiffusionXLImg2ImgPipeline", "Stable Diffusion XL refiner"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut listings = listings();
    for (kind, class, name) in kinds {
        let listing = listings.remove(kind).unwrap();
        let path = folder.path().join(format!("{kind}.safetensors"));
        hollow(&path, &listing.original);
        let files = ModelFiles::checkpoint(&path).unwrap();
        let index: Value = files.json("model_index.json").unwrap();
        assert_eq!(index["_class_name"], class);
        assert!(files.name("unet/config.json").contains(&format!("of {name}:")));
        let unet: Value = files.json("unet/config.json").unwrap();
        let channels = &listing.original["model.diffusion_model.input_blocks.0.0.weight"][1];
        assert_eq!(unet["in_channels"], *channels, "{kind}");
        check_names(kind, &files, &listing);
    }
    assert!(listings.into_keys().all(|name| name.starts_with("tiny-")), "a kind without a test");
}

/// The tensor of a tiny pipeline's folder, which may have older names.
fn from_folder(weights: &Weights, name: &str, shape: &[usize]) -> Option<Tensor> {
    let old = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];
    let older = old.iter().fold(name.to_owned(), |name, (new, old)| name.replace(new, old));
    let names = [name, name.trim_start_matches("text_model."), &older];
    let name = names.into_iter().find(|name| weights.contains(name))?;
    Some(Scope::root(weights, &Device::Cpu, DType::F32).tensor(name, shape).unwrap())
}

/// The tensors of a tiny pipeline's folder by folder and name; what it leaves out must be the encoder of pictures.
fn tiny_tensors(name: &str, listing: &Listing) -> HashMap<(String, String), Tensor> {
    let files = ModelFiles::folder(golden(name));
    let mut opened = HashMap::new();
    let mut tensors = HashMap::new();
    for Row { folder, name, shape, .. } in &listing.rows {
        let weights = opened.entry(folder).or_insert_with(|| {
            let stem = if folder.starts_with("text") { "model" } else { "diffusion_pytorch_model" };
            Weights::open(&files, folder, stem).unwrap()
        });
        match from_folder(weights, name, shape) {
            Some(tensor) => drop(tensors.insert((folder.clone(), name.clone()), tensor)),
            None => assert!(name.starts_with("encoder.") || name.starts_with("quant_conv."), "{folder}: {name}"),
        }
    }
    tensors
}

/// The single file that holds `tensors` as the listing says.
fn assemble(listing: &Listing, tensors: &HashMap<(String, String), Tensor>) -> HashMap<String, Tensor> {
    let mut parts: BTreeMap<&str, Vec<(Option<usize>, Tensor)>> = BTreeMap::new();
    for row in &listing.rows {
        if let Some(tensor) = tensors.get(&(row.folder.clone(), row.name.clone())) {
            parts.entry(&row.original).or_default().push((row.third, tensor.clone()));
        }
    }
    let whole = |(name, mut parts): (&str, Vec<(Option<usize>, Tensor)>)| {
        parts.sort_by_key(|(third, _)| *third);
        let parts: Vec<Tensor> = parts.into_iter().map(|(_, tensor)| tensor).collect();
        let tensor = Tensor::cat(&parts, 0).unwrap();
        let tensor = if name.ends_with("text_projection") { tensor.t().unwrap().contiguous().unwrap() } else { tensor };
        (name.to_owned(), tensor.reshape(listing.original[name].as_slice()).unwrap())
    };
    parts.into_iter().map(whole).collect()
}

#[test]
fn a_single_file_gives_the_tensors_of_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (kind, listing) in listings() {
        let Some(name) = kind.strip_prefix("tiny-") else { continue };
        let tensors = tiny_tensors(name, &listing);
        let path = temporary.path().join(format!("{name}.safetensors"));
        candle_core::safetensors::save(&assemble(&listing, &tensors), &path).unwrap();

        if name != "sd1" {
            // What tells the other kinds apart is the width of the published models.
            assert!(matches!(ModelFiles::checkpoint(&path), Err(LoadError::UnknownCheckpoint { .. })), "{name}");
        }
        let files = ModelFiles::checkpoint_with_configs(&path, &golden(name)).unwrap();
        for ((folder, name), expected) in &tensors {
            let found = weights(&files, folder);
            let found = Scope::root(&found, &Device::Cpu, DType::F32).tensor(name, expected.dims()).unwrap();
            let difference = (found - expected).unwrap().abs().unwrap().sum_all().unwrap();
            assert_eq!(difference.to_dtype(DType::F32).unwrap().to_scalar::<f32>().unwrap(), 0.0, "{folder}: {name}");
        }
        checked += tensors.len();
    }
    assert!(checked > 900, "only {checked} tensors were compared");
}

#[test]
fn prompts_become_the_tokens_of_transformers() {
    let rows: Vec<(String, String, String, Vec<u32>)> = golden_gz("clip_tokens.json.gz");
    assert!(rows.len() >= 15);
    let temporary = tempfile::tempdir().unwrap();
    let listings = listings();
    let mut tokenizers = HashMap::new();
    for (model, folder, prompt, expected) in rows {
        let tokenizer = tokenizers.entry(model.clone()).or_insert_with(|| {
            let path = temporary.path().join("model.safetensors");
            hollow(&path, &listings[&model].original);
            PromptTokenizer::load(&ModelFiles::checkpoint(&path).unwrap(), &folder, 77, 49408).unwrap()
        });
        let chunks = tokenizer.chunks(&prompt, &EmbeddingSet::default()).unwrap().chunks;
        // What is too long transformers cuts, and this worker goes on in another chunk.
        if chunks.len() == 1 {
            assert_eq!(chunks[0].ids, expected, "{model}: {prompt:?}");
        }
    }
}

/// The header of an SD 1 or SDXL checkpoint that `change` has changed.
#[track_caller]
fn refusal(kind: &str, change: impl FnOnce(&mut BTreeMap<String, Vec<usize>>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut original = listings().remove(kind).unwrap().original;
    change(&mut original);
    let path = folder.path().join("model.safetensors");
    hollow(&path, &original);
    ModelFiles::checkpoint(&path).unwrap_err().to_string()
}

#[test]
fn other_models_are_refused_with_the_tensor_that_gives_them_away() {
    let check = |message: String, says: &str| assert!(message.contains(says), "{message}");
    let first = "model.diffusion_model.input_blocks.0.0.weight";
    check(refusal("sd1", |tensors| drop(tensors.remove(first))), &format!("it has no tensor {first}"));
    check(refusal("sd1", |tensors| drop(tensors.insert(first.into(), vec![4]))), "[4], which is no convolution");
    check(refusal("sdxl", |tensors| drop(tensors.insert("edm_mean".into(), vec![1]))), "Playground 2.5");
    let text = |name: &String, _: &mut Vec<usize>| !name.starts_with("cond_stage_model");
    check(refusal("sd1", |tensors| tensors.retain(text)), "no text encoder");
}

#[test]
fn what_the_tensors_and_the_operator_say_beats_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut original = listings().remove("sdxl").unwrap().original;
    original.extend([("v_pred".into(), vec![0]), ("ztsnr".into(), vec![0])]);
    original.retain(|name, _| !name.starts_with("first_stage_model."));
    hollow(&path, &original);
    let files = ModelFiles::checkpoint(&path).unwrap();
    let scheduler = |files: &ModelFiles| files.json::<Value>("scheduler/scheduler_config.json").unwrap();
    assert_eq!(scheduler(&files)["prediction_type"], "v_prediction");
    assert_eq!(scheduler(&files)["rescale_betas_zero_snr"], true);
    assert_eq!(scheduler(&files)["_class_name"], "EulerDiscreteScheduler");
    assert_eq!(scheduler(&files.clone().with_prediction_type("epsilon"))["prediction_type"], "epsilon");
    let sd2 = folder.path().join("sd2.safetensors");
    hollow(&sd2, &listings()["sd2"].original);
    let sd2 = ModelFiles::checkpoint(&sd2).unwrap();
    let side = |files: ModelFiles| files.json::<Value>("unet/config.json").unwrap()["sample_size"].clone();
    assert_eq!((side(sd2.clone()), side(sd2.with_prediction_type("epsilon"))), (json!(96), json!(64)));
    let message = Weights::open(&files, "vae", "model").err().unwrap().to_string();
    assert!(message.ends_with("model.safetensors holds no tensors of the vae"), "{message}");
}

#[test]
fn a_pickle_is_refused_before_it_is_opened() {
    let message = ModelFiles::checkpoint(Path::new("/no/such/model.CKPT")).unwrap_err().to_string();
    assert!(message.contains("/no/such/model.CKPT is a pickle, which can run any code"), "{message}");
    let message = ModelFiles::checkpoint(Path::new("/no/such/model.safetensors")).unwrap_err().to_string();
    assert!(message.ends_with("model.safetensors is missing"), "{message}");
}
