//! A pipeline without tensors that follows a script: the prompt says what it does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sd_worker::device::{DeviceInfo, Dtype};
use sd_worker::diffusion::pipeline::ModelSchedule;
use sd_worker::diffusion::schedulers::{AlignedModel, SCHEDULERS, SchedulerConfig, SigmaSpacing};
use sd_worker::diffusion::{
    CancelToken, Finished, GenerateError, GenerationSpec, MicroKind, ModelInfo, Observer, Outcome, Picture, Pipeline,
    StepView,
};
use sd_worker::models::{AdapterSet, CatalogueModel, LoadError, LoadProgress, ModelLoader, OnProgress, PromptReaders};

/// What a test sees of its scripted models and what it decides for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_open: Mutex<bool>,
    opened: Condvar,
    held: AtomicUsize,
    loads: AtomicUsize,
    latent_copies: AtomicUsize,
    bytes_fetched: AtomicUsize,
}

impl Script {
    /// Lets every job that says "hold…" go on.
    pub(crate) fn open_gate(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }

    /// Times that a model was loaded.
    pub(crate) fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    /// Times that latents left the "device".
    pub(crate) fn latent_copies(&self) -> usize {
        self.0.latent_copies.load(Ordering::SeqCst)
    }

    /// Bytes of the model "remote" that have arrived.
    pub(crate) fn bytes_fetched(&self) -> usize {
        self.0.bytes_fetched.load(Ordering::SeqCst)
    }

    /// Jobs that have come to where they hold.
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::SeqCst)
    }

    /// Blocks until the gate is open or the token is set.
    fn wait_for_gate(&self, cancel: &CancelToken) {
        self.0.held.fetch_add(1, Ordering::SeqCst);
        let mut is_open = self.0.is_open.lock().unwrap();
        while !*is_open && !cancel.is_canceled() {
            // The token has no bell of its own, so it is looked at now and then.
            (is_open, _) = self.0.opened.wait_timeout(is_open, Duration::from_millis(1)).unwrap();
        }
    }
}

/// Models "scripted" (works), "broken" (does not load) and "remote" (is downloaded for ever).
pub(crate) struct ScriptedLoader {
    script: Script,
    device: DeviceInfo,
    catalogue: Vec<CatalogueModel>,
    adapters: AdapterSet,
}

impl ScriptedLoader {
    pub(crate) fn new(script: Script, device: &str) -> Self {
        let info = ModelInfo {
            family: "scripted",
            width: 64,
            height: 64,
            steps: 4,
            guidance_scale: 7.5,
            scheduler: &SCHEDULERS[0],
            sigmas: SigmaSpacing::Default,
            schedule: ModelSchedule { config: SchedulerConfig::default(), aligned: AlignedModel::Sd15 },
            micro: MicroKind::None,
            has_guidance_inside: false,
            latent_channels: 4,
            latent_scale: 8,
            scaling_factor: 1.0,
            clip_skip_max: 0,
            preview_rows: vec![[0.0625, 0.03125, 0.0]; 4],
            preview_bias: [0.0, 0.0, 0.25],
            examples: Vec::new(),
        };
        let model = |name: &str| CatalogueModel { name: name.into(), info: info.clone(), preview_decoder: None };
        Self {
            script,
            device: DeviceInfo { name: device.into(), label: "Script".into(), dtype: Dtype::F32, memory_bytes: None },
            catalogue: vec![model("scripted"), model("broken"), model("remote")],
            adapters: AdapterSet::default(),
        }
    }
}

impl ModelLoader for ScriptedLoader {
    fn device(&self) -> &DeviceInfo {
        &self.device
    }

    fn catalogue(&self) -> &[CatalogueModel] {
        &self.catalogue
    }

    fn adapters(&self) -> &AdapterSet {
        &self.adapters
    }

    fn prompt_readers(&self) -> Arc<PromptReaders> {
        Arc::default()
    }

    fn prepare(&mut self, name: &str, progress: &mut OnProgress<'_>) -> Result<u64, LoadError> {
        if name != "remote" {
            return Ok(1);
        }
        loop {
            let done_bytes = self.script.0.bytes_fetched.fetch_add(1, Ordering::SeqCst) as u64;
            let so_far = LoadProgress { file: "unet.safetensors".into(), done_bytes, total_bytes: u64::MAX };
            if progress(&so_far).is_break() {
                return Err(LoadError::Unknown(name.into()));
            }
        }
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn Pipeline>, LoadError> {
        self.script.0.loads.fetch_add(1, Ordering::SeqCst);
        if name == "broken" {
            return Err(LoadError::Unknown(name.into()));
        }
        Ok(Box::new(ScriptedPipeline { script: self.script.clone() }))
    }
}

struct ScriptedPipeline {
    script: Script,
}

impl Pipeline for ScriptedPipeline {
    fn generate(
        &mut self,
        spec: &GenerationSpec,
        cancel: &CancelToken,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, GenerateError> {
        let hold = |place: &str, cancel: &CancelToken| {
            if spec.prompt == place {
                self.script.wait_for_gate(cancel);
            }
        };
        hold("hold before the first step", cancel);
        if cancel.is_canceled() {
            return Ok(Outcome::Canceled);
        }
        observer.started(spec.steps);
        if spec.prompt == "glimpse" {
            let denoised = || Ok(vec![0.0; (spec.width / 8 * spec.height / 8 * spec.batch_size) as usize * 4]);
            observer.glimpsed(&StepView { step: 0, steps: spec.steps, sigma: 1.0, denoised: &denoised });
            self.script.wait_for_gate(cancel);
        }
        for step in 1..=spec.steps {
            if cancel.is_canceled() {
                return Ok(Outcome::Canceled);
            }
            let denoised = || {
                self.script.0.latent_copies.fetch_add(1, Ordering::SeqCst);
                let cells = (spec.width / 8 * spec.height / 8 * spec.batch_size) as usize;
                Ok(vec![step as f32; cells * 4])
            };
            observer.stepped(&StepView { step, steps: spec.steps, sigma: 1.0 / f64::from(step), denoised: &denoised });
            if step == 2 {
                match spec.prompt.as_str() {
                    "hold" => self.script.wait_for_gate(cancel),
                    "fail" => return Err(GenerateError::NotFinite),
                    "out of memory" => return Err(candle_core::Error::msg("CUDA_ERROR_OUT_OF_MEMORY").into()),
                    "panic" => panic!("the script says so"),
                    _ => {}
                }
            }
        }
        // Nobody looks at the token any more.
        hold("hold when drawn", &CancelToken::default());
        let colour = [spec.seed as u8, 128, 64];
        let picture =
            Picture { width: spec.width, height: spec.height, rgb: colour.repeat((spec.width * spec.height) as usize) };
        let pictures = vec![picture; spec.batch_size as usize];
        Ok(Outcome::Finished(Finished { pictures, warnings: vec!["scripted".into()], ..Finished::default() }))
    }
}
