//! Folders that cannot be loaded say why, by file, key and value.

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::*;
use crate::diffusion::schedulers::SigmaSpacing;

/// The configurations of Stable Diffusion 1.5, as published, with `change` made to them.
fn sd15(change: impl Fn(&str, &mut Value)) -> (tempfile::TempDir, ModelFiles) {
    let configs = [
        ("model_index.json", json!({"_class_name": "StableDiffusionPipeline"})),
        (
            "text_encoder/config.json",
            json!({
                "model_type": "clip_text_model", "hidden_act": "quick_gelu", "hidden_size": 768,
                "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12, "vocab_size": 49408,
                "max_position_embeddings": 77, "layer_norm_eps": 1e-5, "torch_dtype": "float32",
            }),
        ),
        (
            "unet/config.json",
            json!({
                "act_fn": "silu", "attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280],
                "center_input_sample": false, "cross_attention_dim": 768,
                "down_block_types":
                    ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
                "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4,
                "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-5, "norm_num_groups": 32,
                "out_channels": 4, "sample_size": 64,
                "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            }),
        ),
        (
            "vae/config.json",
            json!({
                "act_fn": "silu", "block_out_channels": [128, 256, 512, 512], "latent_channels": 4,
                "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3, "sample_size": 512,
                "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
            }),
        ),
        (
            "scheduler/scheduler_config.json",
            json!({
                "_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear",
                "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": false,
                "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false,
            }),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (path, mut value) in configs {
        change(path, &mut value);
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    }
    let files = ModelFiles::folder(folder.path());
    (folder, files)
}

#[test]
fn stable_diffusion_1_5_is_understood() {
    let (_folder, files) = sd15(|_, _| {});
    let info = inspect(&files).unwrap();
    assert_eq!((info.family, info.width, info.height), ("sd", 512, 512));
    assert_eq!((info.steps, info.guidance_scale, info.latent_channels, info.latent_scale), (25, 7.5, 4, 8));
    assert_eq!((info.scheduler.name, info.sigmas), ("pndm", SigmaSpacing::Default));
    assert_eq!((info.preview_rows[1], info.preview_bias), ([0.1625, 0.2487, 0.1175], [0.5; 3]));
}

#[test]
fn karras_sigmas_are_the_models_own_where_its_scheduler_has_them() {
    let sigmas_of = |class: &str| {
        let (_folder, files) = sd15(|path, value| {
            if path.starts_with("scheduler") {
                value["_class_name"] = class.into();
                value["use_karras_sigmas"] = true.into();
            }
        });
        let info = inspect(&files).unwrap();
        (info.scheduler.name, info.sigmas)
    };
    assert_eq!(sigmas_of("DPMSolverMultistepScheduler"), ("dpmpp_2m", SigmaSpacing::Karras));
    assert_eq!(sigmas_of("DDIMScheduler"), ("ddim", SigmaSpacing::Default));
    // One that is not in the table: the first row stands in.
    assert_eq!(sigmas_of("FlowMatchEulerDiscreteScheduler"), ("euler", SigmaSpacing::Karras));
}

#[test]
fn a_setting_that_is_not_implemented_is_refused_by_name_and_value() {
    let check = |file: &str, key: &str, value: Value, says: &str| {
        let (_folder, files) = sd15(|path, config| {
            if path == file {
                config[key] = value.clone();
            }
        });
        let message = inspect(&files).unwrap_err().to_string();
        let named = format!("{file}: `{key}` is {says}");
        assert!(message.contains(&named), "{message:?} does not say {named:?}");
    };
    let unet = "unet/config.json";
    check(unet, "act_fn", json!("mish"), "\"mish\", and this worker supports \"silu\" or \"swish\"");
    check(unet, "class_embed_type", json!("timestep"), "\"timestep\", and this worker supports null");
    check(unet, "addition_embed_type", json!("image"), "\"image\"");
    check(unet, "dual_cross_attention", json!(true), "true");
    check(unet, "resnet_time_scale_shift", json!("scale_shift"), "\"scale_shift\"");
    check(unet, "only_cross_attention", json!([true, false, false, false]), "[true,false,false,false]");
    check(unet, "mid_block_type", json!(null), "null");
    check(unet, "down_block_types", json!(["AttnDownBlock2D"]), "[\"AttnDownBlock2D\"]");
    check(unet, "up_block_types", json!(["UpBlock2D"]), "[\"UpBlock2D\"], and this worker supports one value for each");
    check(unet, "attention_head_dim", json!(7), "7, and this worker supports a divisor of 320");
    check(unet, "in_channels", json!(8), "8, and this worker supports 4 here, or 9 for inpainting");
    check(unet, "cross_attention_dim", json!(1024), "1024");
    check("vae/config.json", "scaling_factor", json!(0), "0, and this worker supports any other number");
    check("vae/config.json", "latents_mean", json!([0.0]), "[0.0]");
    check("text_encoder/config.json", "hidden_act", json!("relu"), "\"relu\"");
    check("text_encoder/config.json", "num_attention_heads", json!(7), "7");
    let scheduler = "scheduler/scheduler_config.json";
    check(scheduler, "algorithm_type", json!("dpmsolver"), "\"dpmsolver\"");
    check(scheduler, "prediction_type", json!("flow_prediction"), "\"flow_prediction\"");
    check(scheduler, "use_flow_sigmas", json!(true), "true");
    check(scheduler, "trained_betas", json!([0.1]), "[0.1]");
    check(scheduler, "num_train_timesteps", json!(1), "1");
    check(scheduler, "beta_end", json!(1.5), "1.5");
}

#[test]
fn an_unknown_pipeline_is_named_with_the_known_ones() {
    let (_folder, files) = sd15(|path, value| {
        if path == "model_index.json" {
            value["_class_name"] = "FluxPipeline".into();
        }
    });
    let message = load(&files, &[], &Placement::cpu()).err().unwrap().to_string();
    let says =
        "model_index.json names the pipeline \"FluxPipeline\"; this worker knows LatentConsistencyModelPipeline, ";
    assert!(message.contains(says) && message.contains("StableDiffusionXLPipeline"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    let (folder, files) = sd15(|_, _| {});
    assert!(load(&files, &[], &Placement::cpu()).err().unwrap().to_string().ends_with("merges.txt is missing"));
    std::fs::remove_file(folder.path().join("vae/config.json")).unwrap();
    assert!(inspect(&files).unwrap_err().to_string().ends_with("vae/config.json is missing"));
    std::fs::write(folder.path().join("vae/config.json"), "{").unwrap();
    assert!(inspect(&files).unwrap_err().to_string().ends_with("vae/config.json is not the JSON that was expected"));
}

#[test]
fn a_card_and_a_basis_are_taken_from_the_folder() {
    let (folder, files) = sd15(|_, _| {});
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("model_card.json", r#"{"width": 640, "steps": 12, "examples": ["a house"]}"#);
    write("preview_basis.json", r#"{"rows": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], "bias": [0, 0, 0.5]}"#);
    let info = inspect(&files).unwrap();
    assert_eq!((info.width, info.height, info.steps, info.examples), (640, 512, 12, vec!["a house".to_owned()]));
    assert_eq!((info.preview_rows[0], info.preview_bias), ([1.0, 0.0, 0.0], [0.0, 0.0, 0.5]));
    write("preview_basis.json", r#"{"rows": [[1, 0, 0]], "bias": [0, 0, 0]}"#);
    assert!(inspect(&files).unwrap_err().to_string().contains("`rows` is 1 rows"));
    write("model_card.json", r#"{"stepz": 12}"#);
    assert!(inspect(&files).unwrap_err().to_string().contains("model_card.json"));
}

/// An `AutoencoderTiny` of two levels in `preview_decoder/`, with a tensor of its encoder, and `change` made to its
/// configuration.
fn with_tiny(change: Value) -> (tempfile::TempDir, ModelFiles) {
    let (folder, files) = sd15(|_, _| {});
    let path = folder.path().join("preview_decoder");
    std::fs::create_dir_all(&path).unwrap();
    let mut config = json!({
        "_class_name": "AutoencoderTiny", "act_fn": "relu", "decoder_block_out_channels": [8, 8],
        "encoder_block_out_channels": [8, 8], "latent_channels": 4, "num_decoder_blocks": [1, 0],
        "out_channels": 3, "scaling_factor": 1.0, "upsample_fn": "nearest", "upsampling_scaling_factor": 2,
    });
    config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    let convolutions = [
        ("decoder.layers.0", 4, 8, true),
        ("decoder.layers.2.conv.0", 8, 8, true),
        ("decoder.layers.2.conv.2", 8, 8, true),
        ("decoder.layers.2.conv.4", 8, 8, true),
        ("decoder.layers.4", 8, 8, false),
        ("decoder.layers.5", 8, 3, true),
        ("encoder.layers.0", 3, 8, true),
    ];
    let mut tensors = Vec::new();
    for (name, inputs, outputs, has_bias) in convolutions {
        let mut add = |part: &str, shape: &[usize]| {
            tensors.push((format!("{name}.{part}"), Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()));
        };
        add("weight", &[outputs, inputs, 3, 3]);
        if has_bias {
            add("bias", &[outputs]);
        }
    }
    safetensors::serialize_to_file(tensors, None, &path.join("diffusion_pytorch_model.safetensors")).unwrap();
    (folder, files)
}

#[test]
fn a_preview_decoder_is_brought_without_its_encoder() {
    let (folder, files) = with_tiny(json!({}));
    let found = PreviewDecoder::of_model(&files, 4).unwrap().unwrap();
    assert_eq!(PreviewDecoder::at(&folder.path().join("preview_decoder"), 4).unwrap(), found);
    let file = found.safetensors();
    let (_, metadata) = SafeTensors::read_metadata(&file).unwrap();
    let config: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["config"]).unwrap();
    assert_eq!(config["num_decoder_blocks"], json!([1, 0]));
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(names.len(), 11);
    assert!(names.iter().all(|name| name.starts_with("decoder.layers.")), "{names:?}");
    let last = tensors.tensor("decoder.layers.5.weight").unwrap();
    assert_eq!((last.dtype(), last.shape()), (Dtype::F16, [3, 8, 3, 3].as_slice()));
    assert!(PreviewDecoder::of_model(&sd15(|_, _| {}).1, 4).unwrap().is_none());
}

#[test]
fn a_preview_decoder_that_does_not_fit_is_refused() {
    for (change, reason) in [
        (json!({"act_fn": "gelu"}), "`act_fn`"),
        (json!({"latent_channels": 16}), "`latent_channels`"),
        (json!({"decoder_block_out_channels": [8, 16]}), "`decoder_block_out_channels`"),
        (json!({"num_decoder_blocks": [1]}), "`num_decoder_blocks`"),
        (json!({"num_decoder_blocks": [2, 0]}), "decoder.layers.3.conv.0.weight"),
        (json!({"decoder_block_out_channels": [16, 16]}), "decoder.layers.0.weight"),
        (json!({"decoder_block_out_channels": [4096, 4096]}), "bytes"),
    ] {
        let refused = PreviewDecoder::of_model(&with_tiny(change).1, 4).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
