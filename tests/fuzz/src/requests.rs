//! A job, through every check of the worker.

use std::sync::LazyLock;

use sd_protocol::Limits;
use sd_worker::diffusion::pipeline::ModelSchedule;
use sd_worker::diffusion::schedulers::{AlignedModel, SCHEDULERS, SchedulerConfig, SigmaSpacing};
use sd_worker::diffusion::{MicroKind, ModelInfo};
use sd_worker::inputs::ImageSource;
use sd_worker::intake::{self, Offer};
use sd_worker::models::{AdapterSet, Adapters, CatalogueModel};

static OFFER: LazyLock<Offer> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("ink.safetensors"), []).expect("a temporary folder can be written");
    let loras = Adapters::scan(&[folder.path().into()]).expect("the folder is there");
    let info = ModelInfo {
        family: "sd",
        width: 256,
        height: 192,
        steps: 20,
        guidance_scale: 4.0,
        scheduler: &SCHEDULERS[0],
        sigmas: SigmaSpacing::Karras,
        schedule: ModelSchedule { config: SchedulerConfig::default(), aligned: AlignedModel::Sd15 },
        micro: MicroKind::None,
        has_guidance_inside: false,
        latent_channels: 4,
        latent_scale: 8,
        scaling_factor: 0.18215,
        clip_skip_max: 10,
        preview_rows: vec![[0.0; 3]; 4],
        preview_bias: [0.0; 3],
        examples: Vec::new(),
    };
    let other = ModelInfo { latent_channels: 16, clip_skip_max: 0, ..info.clone() };
    let model =
        |name: &str, info: &ModelInfo| CatalogueModel { name: name.into(), info: info.clone(), preview_decoder: None };
    Offer {
        devices: Vec::new(),
        models: vec![model("base", &info), model("refiner", &info), model("other", &other)],
        adapters: AdapterSet { loras, ..AdapterSet::default() },
        limits: Limits::default(),
    }
});

/// Any JSON is a job or a list of faults. A job that was understood is within the limits, and is understood the same
/// when it is submitted as the worker told it back.
pub fn job_requests(data: &[u8]) {
    let Ok(value) = serde_json::from_slice(data) else { return };
    let valid = match intake::validate(value, &OFFER) {
        Ok(valid) => valid,
        Err(error) => {
            assert!(!error.message.is_empty());
            assert!(error.details.iter().all(|fault| !fault.message.is_empty()));
            return;
        }
    };
    let (spec, limits) = (&valid.spec, &OFFER.limits);
    let pixels = u64::from(spec.width) * u64::from(spec.height) * u64::from(spec.batch_size);
    assert!(spec.batch_size >= 1 && pixels <= limits.job_pixels_max);
    for side in [spec.width, spec.height] {
        assert!((limits.side_px_min..=limits.side_px_max).contains(&side) && side % limits.side_px_multiple == 0);
    }
    assert!((1..=limits.steps_max).contains(&spec.steps));
    assert!(spec.seed + u64::from(spec.batch_size) <= 1 << 53);
    for number in [spec.guidance.scale, spec.guidance.rescale, spec.eta, spec.denoising_end] {
        assert!(number.is_finite());
    }
    if let Some(picture) = &valid.picture {
        assert!((0.0..=1.0).contains(&picture.settings.strength));
        for text in std::iter::once(&picture.image).chain(&picture.mask) {
            if let Err(error) = ImageSource::parse(text) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
    let told = serde_json::to_value(&valid.job.understood).expect("a request can be written");
    let again = intake::validate(told, &OFFER).expect("what the worker understood is valid");
    assert_eq!(again.job.understood, valid.job.understood);
}
