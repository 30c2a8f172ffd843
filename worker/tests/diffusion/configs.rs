//! The configurations of published models, as they were published (`configs/`, without `_name_or_path`): those of
//! the families here are understood, and what others ask for is refused by name.

use std::path::PathBuf;

use sd_worker::diffusion::nn::clip_text::ClipTextConfig;
use sd_worker::diffusion::nn::unet::{AdditionConfig, UnetConfig};
use sd_worker::diffusion::nn::vae::VaeConfig;
use sd_worker::diffusion::schedulers::SchedulerConfig;
use sd_worker::diffusion::weights::ModelFiles;

fn published(name: &str) -> ModelFiles {
    ModelFiles::folder(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/diffusion/configs").join(name))
}

/// What a model's configurations should say.
struct Expected {
    /// `in_channels` of the UNet, its `cross_attention_dim`, and the side of its latents.
    unet: [usize; 3],
    /// SDXL's `time_ids`.
    time_ids: Option<usize>,
    /// `hidden_size` of each text encoder, and whether it has a projection.
    text: &'static [(&'static str, usize, bool)],
}

fn check(name: &str, expected: &Expected) {
    let files = published(name);
    let unet = UnetConfig::read(&files, "unet/config.json").unwrap();
    assert_eq!([unet.in_channels, unet.cross_attention_dim, unet.sample_size.unwrap()], expected.unet, "{name}");
    assert_eq!((unet.out_channels, unet.time_cond_proj_dim), (4, None));
    let vae = VaeConfig::read(&files, "vae/config.json").unwrap();
    assert_eq!((vae.latent_channels, vae.scale(), vae.force_upcast), (4, 8, true));
    let mut projection = 0;
    for (folder, width, has_projection) in expected.text {
        let text = ClipTextConfig::read(&files, &format!("{folder}/config.json")).unwrap();
        assert_eq!((text.hidden_size, text.has_projection()), (*width, *has_projection), "{name} {folder}");
        assert_eq!((text.max_position_embeddings, text.vocab_size), (77, 49408));
        // `eos_token_id` is 2 in all of them: the first of the highest id is the end.
        assert_eq!(text.end(&[49406, 320, 49407, 49407]), 2);
        projection = text.projection_dim;
    }
    assert_eq!(unet.addition.and_then(|addition| addition.time_ids(projection)), expected.time_ids, "{name}");
    SchedulerConfig::read(&files, "scheduler/scheduler_config.json").unwrap();
}

#[test]
fn of_the_families_here_are_understood() {
    const VIT_L: &[(&str, usize, bool)] = &[("text_encoder", 768, false)];
    const VIT_H: &[(&str, usize, bool)] = &[("text_encoder", 1024, false)];
    let check_sd = |name, unet, text| check(name, &Expected { unet, time_ids: None, text });
    check_sd("stable-diffusion-v1-5", [4, 768, 64], VIT_L);
    check_sd("stable-diffusion-inpainting", [9, 768, 64], VIT_L);
    check_sd("stable-diffusion-2-1", [4, 1024, 96], VIT_H);
    check_sd("stable-diffusion-2-inpainting", [9, 1024, 64], VIT_H);
    let both: &[_] = &[("text_encoder", 768, false), ("text_encoder_2", 1280, true)];
    check("stable-diffusion-xl-base-1.0", &Expected { unet: [4, 2048, 128], time_ids: Some(6), text: both });
    let second: &[_] = &[("text_encoder", 1280, true)];
    check("stable-diffusion-xl-refiner-1.0", &Expected { unet: [4, 1280, 128], time_ids: Some(5), text: second });
}

#[test]
fn sizes_of_the_added_conditioning_must_come_out_even() {
    let addition = AdditionConfig { time_embed_dim: 256, input_dim: 2816 };
    assert_eq!(addition.time_ids(1280), Some(6));
    assert_eq!(addition.time_ids(1281), None);
    assert_eq!(addition.time_ids(4096), None);
}

#[test]
fn of_other_kinds_are_refused_by_the_name_of_a_key() {
    let check_refused = |name: &str, refusal: Option<String>, says: &str| {
        let refusal = refusal.unwrap_or_else(|| panic!("{name} was understood"));
        assert!(refusal.contains(says), "{name}: {refusal:?} does not say {says:?}");
    };
    let unet = |name: &str, path: &str, says: &str| {
        let refusal = UnetConfig::read(&published(name), path).err().map(|error| error.to_string());
        check_refused(name, refusal, says);
    };
    unet(
        "stable-diffusion-x4-upscaler",
        "unet/config.json",
        "`num_class_embeds` is 1000, and this worker supports null",
    );
    unet("control_v11p_sd15_canny", "config.json", "`_class_name` is \"ControlNetModel\"");
    unet("stable-diffusion-3-medium", "transformer/config.json", "`_class_name` is \"SD3Transformer2DModel\"");
    unet("FLUX.1-dev", "transformer/config.json", "`_class_name` is \"FluxTransformer2DModel\"");
    let t5 = ClipTextConfig::read(&published("stable-diffusion-3-medium"), "text_encoder_3/config.json");
    check_refused("T5", t5.err().map(|error| error.to_string()), "`architectures` is [\"T5EncoderModel\"]");
}

#[test]
fn of_autoencoders_of_16_channels_are_understood() {
    for name in ["stable-diffusion-3-medium", "FLUX.1-dev"] {
        let vae = VaeConfig::read(&published(name), "vae/config.json").unwrap();
        assert_eq!((vae.latent_channels, vae.scale()), (16, 8));
    }
}
