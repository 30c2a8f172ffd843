//! From a folder of a model to its [`Weights`]: one file, several with an index, or a part of a checkpoint.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::files::{CheckedFile, Source};
use super::header::TensorEntry;
use super::packed::Beside;
use super::tensors::{Part, Weights};
use super::{LoadError, ModelFiles, checkpoint};

/// Weights that were found and whose headers are right; nothing is mapped.
struct Located {
    /// How messages name the whole.
    name: String,
    files: Vec<CheckedFile>,
    tensors: HashMap<String, TensorEntry>,
}

/// `*.safetensors.index.json`, as transformers and diffusers write it.
#[derive(Deserialize)]
struct ShardIndex {
    /// Name of the file of each tensor.
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens `{folder}/{stem}.safetensors`, or the files that `{stem}.safetensors.index.json` lists. The variant of
    /// `files` is preferred; without one, `fp16` weights are taken where only they are there.
    ///
    /// # Errors
    /// When there are no such weights, only a pickle, or a header is wrong.
    pub fn open(files: &ModelFiles, folder: &str, stem: &str) -> Result<Self, LoadError> {
        let Located { name, files: located, tensors } = locate(files, folder, stem)?;
        let map = |file: &CheckedFile| Ok(Part { name: file.name.clone(), bytes: file.map()? });
        let parts = located.iter().map(map).collect::<Result<_, LoadError>>()?;
        let beside = files.packings.as_ref().and_then(|packings| Beside::of(&located, folder, packings).map(Box::new));
        Ok(Self::of_files(name, tensors, parts, beside))
    }

    /// Has `load` build its network from the headers that [`open`](Self::open) would find, and returns how many
    /// numbers that network has. Each tensor that it asks for is looked for and compared in shape and type; nothing is
    /// mapped, and what is built holds no weights.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and the first tensor that is missing or does not fit.
    pub fn rehearse<T>(
        files: &ModelFiles,
        folder: &str,
        stem: &str,
        load: impl FnOnce(&Self) -> Result<T, LoadError>,
    ) -> Result<u64, LoadError> {
        let Located { name, files, tensors } = locate(files, folder, stem)?;
        let weights = Self::of_headers(name, tensors, files.into_iter().map(|file| file.name).collect());
        load(&weights)?;
        Ok(weights.numbers_kept())
    }
}

/// Folders of networks, with the first part of the names of their weights.
pub const NETWORKS: [(&str, &str); 4] = [
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
];

fn locate(files: &ModelFiles, folder: &str, stem: &str) -> Result<Located, LoadError> {
    if let Source::Checkpoint(_) = &files.source {
        return locate_in_checkpoint(files, folder);
    }
    let asked = files.variant.as_deref();
    for variant in asked.into_iter().chain(["", "fp16"]) {
        let middle = if variant.is_empty() { String::new() } else { format!(".{variant}") };
        let whole = format!("{folder}/{stem}{middle}.safetensors");
        if files.contains(&whole) {
            let mut file = files.safetensors(&whole)?;
            let tensors = std::mem::take(&mut file.header.tensors);
            return Ok(Located { name: file.name.clone(), files: vec![file], tensors });
        }
        // So `save_pretrained(variant=…)` names it.
        let index = format!("{folder}/{stem}.safetensors.index{middle}.json");
        if files.contains(&index) {
            return locate_shards(files, folder, &index);
        }
    }
    Err(unreadable(files, folder, stem))
}

fn locate_in_checkpoint(files: &ModelFiles, folder: &str) -> Result<Located, LoadError> {
    let file = files.safetensors("")?;
    let name = file.name.clone();
    match checkpoint::tensors(&file.header, folder) {
        Some(tensors) => Ok(Located { name, files: vec![file], tensors }),
        None => Err(LoadError::MissingComponent { file: name, component: folder.into() }),
    }
}

fn locate_shards(files: &ModelFiles, folder: &str, index: &str) -> Result<Located, LoadError> {
    let ShardIndex { weight_map } = files.json(index)?;
    let name = files.name(index);
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shards = Vec::new();
    let mut tensors = HashMap::with_capacity(weight_map.len());
    for (tensor, shard) in &weight_map {
        let number = match numbers.get(shard.as_str()) {
            Some(&number) => number,
            None => {
                let is_plain = !shard.contains(['/', '\\']) && shard.ends_with(".safetensors");
                if !is_plain {
                    let reason = format!("tensor {tensor} is said to be in {shard:?}, which is no name of weights");
                    return Err(LoadError::ShardIndex { file: name, reason });
                }
                shards.push(files.safetensors(&format!("{folder}/{shard}"))?);
                numbers.insert(shard, shards.len() - 1);
                shards.len() - 1
            }
        };
        let Some(entry) = shards[number].header.tensors.get(tensor) else {
            return Err(LoadError::ShardIndex { file: name, reason: format!("tensor {tensor} is not in {shard}") });
        };
        tensors.insert(tensor.clone(), TensorEntry { file: number, ..entry.clone() });
    }
    Ok(Located { name, files: shards, tensors })
}

/// Why none of the weights of a network can be read.
fn unreadable(files: &ModelFiles, folder: &str, stem: &str) -> LoadError {
    for stem in [stem, "pytorch_model"] {
        for ending in ["bin", "bin.index.json", "ckpt", "pt"] {
            let pickle = format!("{folder}/{stem}.{ending}");
            if files.contains(&pickle) {
                return LoadError::Format {
                    file: files.name(&pickle),
                    found: "a pickle, which can run any code when it is opened",
                    advice: "save the model again with `safe_serialization=True`",
                };
            }
        }
    }
    LoadError::Missing { file: files.name(&format!("{folder}/{stem}.safetensors")) }
}
