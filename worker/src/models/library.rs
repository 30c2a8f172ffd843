//! All models of a worker: folders, single files, the hub and embedded files, and the real [`ModelLoader`] of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};

use super::hub::meter::Meter;
use super::hub::{Hub, HubError, HubSettings};
use super::packer::Packer;
use super::source::{ModelSource, Remote, Resolved};
use super::{AdapterSet, CatalogueModel, LoadError, LoadProgress, ModelLoader, OnProgress, PromptReaders};
use crate::device::{DeviceInfo, OpenDevice};
use crate::diffusion::families::PreviewDecoder;
use crate::diffusion::placement::is_out_of_memory;
use crate::diffusion::weights::{LoadError as FilesError, ModelFiles};
use crate::diffusion::{CancelToken, GenerationSpec, GuidanceSpec, Observer, Pipeline, StepView, families};

/// Time after which a loader that waits for another's download asks whether it still has to.
const TURN_INTERVAL: Duration = Duration::from_millis(100);

/// All models of a worker with their files, whatever they are loaded on.
#[derive(Debug)]
pub struct Library {
    adapters: AdapterSet,
    /// Downloads of the engine thread run on the worker's own runtime.
    runtime: Handle,
    /// Held by the one loader that downloads.
    downloads: Mutex<()>,
    catalogue: Vec<CatalogueModel>,
    entries: Vec<Entry>,
    readers: Arc<PromptReaders>,
    /// Writes packed weights, where they are kept.
    packer: Option<Packer>,
}

/// The models of a library, loaded on one device.
#[derive(Debug)]
pub struct PlacedLibrary {
    library: Arc<Library>,
    device: OpenDevice,
}

/// The files behind the catalogue's model of the same position.
#[derive(Debug)]
struct Entry {
    files: ModelFiles,
    /// The source and where the rest of its files is; nothing when all are here.
    remote: Option<(ModelSource, Remote)>,
}

impl Library {
    /// Finds the files of every source and reads their configuration; the built-in model comes last.
    ///
    /// # Errors
    /// When a source cannot be found, is no model of a known family, or two have one name.
    pub async fn open(sources: &[ModelSource], hub: &HubSettings, adapters: AdapterSet) -> Result<Self, LoadError> {
        let runtime = Handle::current();
        let mut library = Self {
            adapters,
            runtime,
            downloads: Mutex::default(),
            catalogue: Vec::new(),
            entries: Vec::new(),
            readers: Arc::default(),
            packer: None,
        };
        for source in sources {
            let hub = || Hub::new(hub).map_err(|error| source.not_delivered(error));
            let Resolved { files, remote } = source.resolve(hub).await?;
            let remote = remote.map(|remote| (source.clone(), remote));
            let decoder = source.options.preview_decoder.as_deref();
            library.add(source.name.clone(), Entry { files, remote }, decoder)?;
        }
        #[cfg(feature = "builtin-model")]
        if sources.iter().all(|source| source.name != crate::builtin::NAME) {
            let entry = Entry { files: crate::builtin::files(), remote: None };
            library.add(crate::builtin::NAME.into(), entry, None)?;
        }
        if library.catalogue.is_empty() {
            return Err(LoadError::NoModel);
        }
        let files = library.catalogue.iter().zip(&library.entries);
        let files = files.map(|(model, entry)| (model.name.clone(), entry.files.clone()));
        library.readers = Arc::new(PromptReaders::new(files, library.adapters.embeddings.files()));
        Ok(library)
    }

    /// Keeps packed weights beside the models, which the next start maps.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn keeping_packed(mut self) -> std::io::Result<Self> {
        let packer = Packer::start()?;
        for Entry { files, .. } in &mut self.entries {
            *files = files.clone().with_packed(Some(packer.sender()));
        }
        self.packer = Some(packer);
        Ok(self)
    }

    /// The models as they are loaded on `device`.
    pub fn on(self: &Arc<Self>, device: OpenDevice) -> PlacedLibrary {
        PlacedLibrary { library: Arc::clone(self), device }
    }

    /// All models, never empty; the first is the default.
    pub fn catalogue(&self) -> &[CatalogueModel] {
        &self.catalogue
    }

    /// Adds a model; a decoder at `decoder` goes before its own.
    fn add(&mut self, name: String, entry: Entry, decoder: Option<&Path>) -> Result<(), LoadError> {
        if self.catalogue.iter().any(|model| model.name == name) {
            return Err(LoadError::DuplicateName(name));
        }
        let info = families::inspect(&entry.files).map_err(|error| unusable(&name, error))?;
        let preview_decoder = match decoder {
            Some(path) => PreviewDecoder::at(path, info.latent_channels).map(Some),
            None => PreviewDecoder::of_model(&entry.files, info.latent_channels),
        };
        let preview_decoder = preview_decoder.map_err(|error| unusable(&name, error))?;
        self.catalogue.push(CatalogueModel { name, info, preview_decoder });
        self.entries.push(entry);
        Ok(())
    }

    fn position(&self, name: &str) -> Result<usize, LoadError> {
        let at = self.catalogue.iter().position(|model| model.name == name);
        at.ok_or_else(|| LoadError::Unknown(name.into()))
    }
}

impl ModelLoader for PlacedLibrary {
    fn device(&self) -> &DeviceInfo {
        &self.device.info
    }

    fn catalogue(&self) -> &[CatalogueModel] {
        self.library.catalogue()
    }

    fn adapters(&self) -> &AdapterSet {
        &self.library.adapters
    }

    fn prompt_readers(&self) -> Arc<PromptReaders> {
        Arc::clone(&self.library.readers)
    }

    fn give_back(&self) {
        self.device.give_back();
    }

    fn prepare(&mut self, name: &str, progress: &mut OnProgress<'_>) -> Result<u64, LoadError> {
        let Library { entries, runtime, downloads, .. } = &*self.library;
        let Entry { files, remote } = &entries[self.library.position(name)?];
        let measure = || families::measure(files, &self.device.placement);
        let mut measured = measure();
        if let (Err(FilesError::Missing { .. }), Some((source, Remote { hub, id, folder }))) = (&measured, remote) {
            let turn = runtime.block_on(turn(downloads, progress));
            let _turn = turn.ok_or_else(|| source.not_delivered(HubError::Stopped))?;
            measured = measure();
            // Another device may have brought them meanwhile.
            if let Err(FilesError::Missing { .. }) = measured {
                let mut meter = Meter::new(name);
                let mut shown = |so_far: &LoadProgress| {
                    meter.show(so_far);
                    progress(so_far)
                };
                let weights = hub.weights(id, folder, source.options.variant.as_deref(), &mut shown);
                runtime.block_on(weights).map_err(|error| source.not_delivered(error))?;
                measured = measure();
            }
        }
        measured.map_err(|error| unusable(name, error))
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn Pipeline>, LoadError> {
        let Library { adapters, catalogue, entries, .. } = &*self.library;
        let at = self.library.position(name)?;
        let embeddings: Vec<_> = adapters.embeddings.files().collect();
        let loaded = families::load(&entries[at].files, &embeddings, &self.device.placement);
        let mut pipeline = loaded.map_err(|error| match error {
            FilesError::Tensor { source, .. } if is_out_of_memory(&source) => {
                LoadError::OutOfMemory { name: name.into(), device: self.device.info.name.clone() }
            }
            error => unusable(name, error),
        })?;
        warm(pipeline.as_mut(), &catalogue[at]);
        Ok(pipeline)
    }
}

fn unusable(name: &str, error: FilesError) -> LoadError {
    LoadError::Files { name: name.into(), source: Box::new(error) }
}

/// Waits until no other loader downloads; nothing where `progress` stops that.
async fn turn<'a>(downloads: &'a Mutex<()>, progress: &mut OnProgress<'_>) -> Option<MutexGuard<'a, ()>> {
    loop {
        if let Ok(turn) = tokio::time::timeout(TURN_INTERVAL, downloads.lock()).await {
            return Some(turn);
        }
        if progress(&LoadProgress { file: String::new(), done_bytes: 0, total_bytes: 0 }).is_break() {
            return None;
        }
    }
}

/// Draws one step of a small picture, so that the first job finds pages, threads and kernels ready. One evaluation reads
/// every weight, which guidance would do twice.
fn warm(pipeline: &mut dyn Pipeline, model: &CatalogueModel) {
    struct Nobody;
    impl Observer for Nobody {
        fn started(&mut self, _steps: u32) {}
        fn stepped(&mut self, _view: &StepView<'_>) {}
    }
    let side = 8 * model.info.latent_scale;
    let guidance = GuidanceSpec::of(1.0);
    let spec = GenerationSpec { width: side, height: side, steps: 1, guidance, ..GenerationSpec::new("", &model.info) };
    if let Err(error) = pipeline.generate(&spec, &CancelToken::default(), &mut Nobody) {
        tracing::warn!(model = model.name, error = &error as &dyn std::error::Error, "the warm-up failed");
    }
}
