use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use sd_worker::diffusion::CancelToken;
use sd_worker::diffusion::embeddings::{Embedding, TextEncoder};
use sd_worker::diffusion::lora::{Lora, Network};
use sd_worker::diffusion::nn::clip_text::{ClipTextConfig, ClipTextEncoder, HiddenLayer};
use sd_worker::diffusion::nn::unet::{Unet, UnetConfig};
use sd_worker::diffusion::weights::{KeptLayers, LayerShape, ModelFiles, Patches, Weights};

use super::{RELATIVE_L2_MAX, golden, golden_json, golden_tensors, relative_l2, said, tiny_model};

/// The networks of the tiny pipeline, to be built again and again.
struct Model {
    unet: (UnetConfig, KeptLayers),
    text: (ClipTextConfig, KeptLayers),
    inputs: HashMap<String, Tensor>,
}

impl Model {
    /// Loads both networks once; what they compute comes with them.
    fn load() -> (Self, [Tensor; 2]) {
        let files = tiny_model("sd1");
        let unet_config = UnetConfig::read(&files, "unet/config.json").unwrap();
        let unet_weights = Weights::open(&files, "unet", "diffusion_pytorch_model").unwrap();
        let text_config = ClipTextConfig::read(&files, "text_encoder/config.json").unwrap();
        let text_weights = Weights::open(&files, "text_encoder", "model").unwrap();
        let inputs = golden_tensors("networks.safetensors");
        let base = outputs(&inputs, [(&unet_config, &unet_weights)], [(&text_config, &text_weights)]);
        let model = Self { unet: (unet_config, unet_weights.keep()), text: (text_config, text_weights.keep()), inputs };
        (model, base)
    }

    /// What both networks compute with the LoRAs, each a file with its weight.
    fn with(&self, loras: &[(&Lora, f64)]) -> [Tensor; 2] {
        let patched = |network, kept: &KeptLayers| {
            let mut all = Patches::default();
            for (lora, weight) in loras {
                let shapes = kept.shapes();
                let fit = lora.fit(network, &shapes).unwrap();
                assert_eq!(fit.unmatched(), [""; 0]);
                all.extend(fit.patches(*weight, &Device::Cpu).unwrap());
            }
            kept.with_patches(&all)
        };
        let unet = patched(Network::Unet, &self.unet.1);
        let text = patched(Network::TextEncoder, &self.text.1);
        outputs(&self.inputs, [(&self.unet.0, &unet)], [(&self.text.0, &text)])
    }
}

fn outputs(
    inputs: &HashMap<String, Tensor>,
    [(unet_config, unet)]: [(&UnetConfig, &Weights); 1],
    [(text_config, text)]: [(&ClipTextConfig, &Weights); 1],
) -> [Tensor; 2] {
    let cancel = CancelToken::default();
    let unet = Unet::load(unet_config, unet, &Device::Cpu, DType::F32).unwrap();
    let text = ClipTextEncoder::load(text_config, text, &Device::Cpu, DType::F32).unwrap();
    let ids = inputs["sd1/text/ids"].to_dtype(DType::U32).unwrap();
    [
        said(&unet, &inputs["sd1/unet/even/in"], 321.5, &inputs["sd1/text/out"].clone().into(), &cancel).unwrap(),
        text.forward(&text.embed(&ids).unwrap(), &[0, 0], HiddenLayer::Last, &cancel).unwrap().hidden,
    ]
}

fn open(name: &str) -> Lora {
    Lora::open(&ModelFiles::folder(golden("lora")), &format!("{name}.safetensors")).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn draws_what_diffusers_draws_in_every_dialect() {
    let cases: Vec<(String, Vec<(String, f64)>)> = golden_json("lora.json");
    let goldens = golden_tensors("lora.safetensors");
    let files = std::fs::read_dir(golden("lora")).unwrap().count();
    let named: std::collections::HashSet<&String> = cases.iter().flat_map(|(_, files)| files).map(|(f, _)| f).collect();
    assert_eq!(named.len(), files, "every file has a case");
    let (model, base) = Model::load();
    for (label, files) in cases {
        let loras: Vec<(Lora, f64)> = files.iter().map(|(name, weight)| (open(name), *weight)).collect();
        assert!(loras.iter().all(|(lora, _)| lora.unread().is_empty()), "{label}");
        let found = model.with(&loras.iter().map(|(lora, weight)| (lora, *weight)).collect::<Vec<_>>());
        for ((part, found), base) in ["unet", "text"].into_iter().zip(&found).zip(&base) {
            let expected = &goldens[&format!("{label}/{part}")];
            let distance = relative_l2(found, expected);
            println!("{label}/{part}: relative L2 {distance:.1e}, the LoRA changes {:.2}", relative_l2(base, expected));
            assert!(distance <= RELATIVE_L2_MAX, "{label}/{part}: {distance:e}");
        }
    }
}

#[test]
fn is_unmerged_bit_for_bit() {
    let (model, base) = Model::load();
    let with = model.with(&[(&open("kohya"), 0.7)]);
    assert_ne!(numbers(&with[0]), numbers(&base[0]));
    for loras in [vec![], vec![(&open("kohya"), 0.0)]] {
        let without = model.with(&loras);
        assert_eq!(numbers(&without[0]), numbers(&base[0]));
        assert_eq!(numbers(&without[1]), numbers(&base[1]));
    }
}

type NamedLayers = HashMap<String, Vec<(String, Vec<usize>, Option<String>)>>;

/// The layers of a genuine network, as diffusers has them from its configuration.
fn genuine(model: &str) -> Vec<LayerShape> {
    let mut names: NamedLayers = golden_json("lora_names.json");
    names.remove(model).unwrap().into_iter().map(|(path, shape, _)| LayerShape { path, shape }).collect()
}

/// The folder of real files, where the environment names one.
fn shared(folder: &str) -> Option<ModelFiles> {
    let Some(weights) = std::env::var_os("SD_SHARED_WEIGHTS") else {
        println!("skipped: SD_SHARED_WEIGHTS names no folder of real LoRA and embedding files");
        return None;
    };
    Some(ModelFiles::folder(PathBuf::from(weights).join(folder)))
}

#[test]
fn matches_every_key_of_real_files() {
    let Some(files) = shared("lora") else { return };
    let (unet, text) = (genuine("sd15"), genuine("clip_l"));
    let check = |name: &str, counts: [usize; 2], words: usize| {
        let lora = Lora::open(&files, &format!("{name}.safetensors")).unwrap();
        assert_eq!(lora.unread(), [""; 0], "{name}");
        let trained = lora.words(&[(TextEncoder::First, 768)], &Device::Cpu).unwrap();
        assert_eq!((trained.words.len(), trained.unusable.len()), (words, 0), "{name}");
        for ((network, layers), count) in [(Network::Unet, &unet), (Network::TextEncoder, &text)].iter().zip(counts) {
            let fit = lora.fit(*network, layers).unwrap();
            let patches = fit.patches(1.0, &Device::Cpu).unwrap();
            assert_eq!((patches.len(), fit.unmatched()), (count, &[][..]), "{name}");
        }
    };
    // 16 transformers of two attentions of four matrices, and where it says so one feed-forward matrix.
    check("catundchat_sd15_pytorch_lora_weights", [128, 0], 0);
    check("cloneofsimo_analog_svd_rank4", [144, 48], 0);
    check("cloneofsimo_lora_disney", [144, 48], 2);
}

#[test]
fn an_embedding_is_read_from_a_real_file() {
    let Some(files) = shared("ti") else { return };
    let open = |width| {
        let encoders = [(TextEncoder::First, width)];
        Embedding::open(&files, "fastai_learned_embeds.safetensors", &encoders, &Device::Cpu)
            .map_err(|error| error.to_string())
    };
    let embedding = open(768).unwrap();
    assert_eq!((embedding.token(), embedding.vectors()), (Some("<birb-style>"), 1));
    assert!(open(1024).unwrap_err().contains("channels 768 for text_encoder, and the model reads 1024"));
}

/// A LoRA file of one layer of SDXL for each name, all of rank 1.
fn sdxl_file(folder: &std::path::Path, layers: &[(String, Vec<usize>)]) -> Lora {
    let mut tensors = HashMap::new();
    for (name, shape) in layers {
        let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        tensors.insert(format!("{name}.lora_down.weight"), zeros(&[&[1], &shape[1..]].concat()));
        tensors
            .insert(format!("{name}.lora_up.weight"), zeros(&[&[shape[0], 1], &vec![1; shape.len() - 2][..]].concat()));
    }
    candle_core::safetensors::save(&tensors, folder.join("sdxl.safetensors")).unwrap();
    Lora::open(&ModelFiles::folder(folder), "sdxl.safetensors").unwrap()
}

#[test]
fn finds_layers_by_the_names_of_the_original_layout() {
    let names: NamedLayers = golden_json("lora_names.json");
    let folder = tempfile::tempdir().unwrap();
    for model in ["sd15", "sdxl"] {
        let layers: Vec<(String, Vec<usize>)> = names[model]
            .iter()
            .map(|(_, shape, original)| {
                let flat = original.as_ref().unwrap().trim_start_matches("model.diffusion_model.");
                (format!("lora_unet_{}", flat.replace('.', "_")), shape.clone())
            })
            .collect();
        let known = genuine(model);
        for ((name, shape), layer) in layers.iter().zip(&known) {
            let lora = sdxl_file(folder.path(), &[(name.clone(), shape.clone())]);
            let fit = lora.fit(Network::Unet, &known).unwrap();
            assert_eq!(fit.unmatched(), [""; 0]);
            assert!(
                fit.patches(1.0, &Device::Cpu).unwrap().contains(&layer.path),
                "{model}: {name} is not {}",
                layer.path
            );
        }
        let all = sdxl_file(folder.path(), &layers);
        let fit = all.fit(Network::Unet, &known).unwrap();
        assert_eq!((fit.patches(1.0, &Device::Cpu).unwrap().len(), fit.unmatched().len()), (known.len(), 0));
    }
}
