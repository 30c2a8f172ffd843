//! The real [`ModelLoader`]: folders and embedded files.

use candle_core::Device;

use super::source::ModelSource;
use super::{CatalogueModel, LoadError, ModelLoader};
use crate::diffusion::weights::{LoadError as FilesError, ModelFiles};
use crate::diffusion::{CancelToken, GenerationSpec, Observer, Pipeline, StepView, families};

/// All models of a worker with their files.
#[derive(Debug)]
pub struct Library {
    device: Device,
    catalogue: Vec<CatalogueModel>,
    files: Vec<ModelFiles>,
}

impl Library {
    /// Finds the files of every source and reads their configuration; the built-in model comes last.
    ///
    /// # Errors
    /// When a source cannot be found, is no model of a known family, or two have one name.
    pub async fn open(sources: &[ModelSource], device: Device) -> Result<Self, LoadError> {
        let mut library = Self { device, catalogue: Vec::new(), files: Vec::new() };
        for source in sources {
            library.add(source.name.clone(), source.resolve().await?)?;
        }
        #[cfg(feature = "builtin-model")]
        if sources.iter().all(|source| source.name != crate::builtin::NAME) {
            library.add(crate::builtin::NAME.into(), crate::builtin::files())?;
        }
        if library.catalogue.is_empty() { Err(LoadError::NoModel) } else { Ok(library) }
    }

    fn add(&mut self, name: String, files: ModelFiles) -> Result<(), LoadError> {
        if self.catalogue.iter().any(|model| model.name == name) {
            return Err(LoadError::DuplicateName(name));
        }
        let info = families::inspect(&files).map_err(|error| unusable(&name, error))?;
        self.catalogue.push(CatalogueModel { name, info });
        self.files.push(files);
        Ok(())
    }
}

impl ModelLoader for Library {
    fn catalogue(&self) -> &[CatalogueModel] {
        &self.catalogue
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn Pipeline>, LoadError> {
        let at = self.catalogue.iter().position(|model| model.name == name);
        let at = at.ok_or_else(|| LoadError::Unknown(name.into()))?;
        let loaded = families::load(&self.files[at], &self.device);
        let mut pipeline = loaded.map_err(|error| unusable(name, error))?;
        warm(pipeline.as_mut(), &self.catalogue[at]);
        Ok(pipeline)
    }
}

fn unusable(name: &str, error: FilesError) -> LoadError {
    LoadError::Files { name: name.into(), source: Box::new(error) }
}

/// Draws one step of a small picture, so that the first job finds pages, threads and kernels ready.
fn warm(pipeline: &mut dyn Pipeline, model: &CatalogueModel) {
    struct Nobody;
    impl Observer for Nobody {
        fn started(&mut self, _steps: u32) {}
        fn stepped(&mut self, _view: &StepView<'_>) {}
    }
    let side = 8 * model.info.latent_scale;
    let spec = GenerationSpec {
        prompt: String::new(),
        negative_prompt: String::new(),
        width: side,
        height: side,
        steps: 1,
        guidance_scale: model.info.guidance_scale,
        seed: 0,
        batch_size: 1,
        scheduler: model.info.scheduler,
        sigmas: model.info.sigmas,
        eta: 0.0,
    };
    if let Err(error) = pipeline.generate(&spec, &CancelToken::default(), &mut Nobody) {
        tracing::warn!(model = model.name, error = &error as &dyn std::error::Error, "the warm-up failed");
    }
}
