use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{ByteSize, InvalidSize, LoadedModels};
use crate::device::DeviceInfo;
use crate::diffusion::{CancelToken, GenerateError, GenerationSpec, Observer, Outcome, Pipeline};
use crate::models::{AdapterSet, CatalogueModel, LoadError, LoadProgress, ModelLoader, OnProgress, PromptReaders};

struct NoPipeline;

impl Pipeline for NoPipeline {
    fn generate(
        &mut self,
        _spec: &GenerationSpec,
        _cancel: &CancelToken,
        _observer: &mut dyn Observer,
    ) -> Result<Outcome, GenerateError> {
        Ok(Outcome::Canceled)
    }
}

/// Models of given sizes; "broken" has a size and cannot be loaded.
#[derive(Default)]
struct SizedModels {
    adapters: AdapterSet,
    sizes: BTreeMap<&'static str, u64>,
    loads: Vec<String>,
}

impl ModelLoader for SizedModels {
    fn device(&self) -> &DeviceInfo {
        unreachable!("memory is counted on any device")
    }

    fn catalogue(&self) -> &[CatalogueModel] {
        &[]
    }

    fn adapters(&self) -> &AdapterSet {
        &self.adapters
    }

    fn prompt_readers(&self) -> Arc<PromptReaders> {
        Arc::default()
    }

    fn prepare(&mut self, name: &str, progress: &mut OnProgress<'_>) -> Result<u64, LoadError> {
        let size = *self.sizes.get(name).ok_or_else(|| LoadError::Unknown(name.into()))?;
        match progress(&LoadProgress { file: format!("{name}.safetensors"), done_bytes: size, total_bytes: size }) {
            ControlFlow::Continue(()) => Ok(size),
            ControlFlow::Break(()) => Err(LoadError::Unknown("stopped".into())),
        }
    }

    fn load(&mut self, name: &str) -> Result<Box<dyn Pipeline>, LoadError> {
        self.loads.push(name.to_owned());
        if name == "broken" { Err(LoadError::Unknown(name.into())) } else { Ok(Box::new(NoPipeline)) }
    }
}

struct Scene {
    loader: SizedModels,
    models: LoadedModels,
}

impl Scene {
    fn new(budget: u64) -> Self {
        let sizes = BTreeMap::from([("a", 4), ("b", 4), ("c", 3), ("huge", 20), ("broken", 6)]);
        let models = LoadedModels::new(ByteSize(budget), Arc::default());
        Self { loader: SizedModels { sizes, ..SizedModels::default() }, models }
    }

    /// Uses a model, then says which ones are loaded.
    fn get(&mut self, name: &str) -> String {
        // A model that is unknown or broken leaves the others as the test then sees them.
        let is_there = self.models.get(name, &mut self.loader, &mut |_| ControlFlow::Continue(())).is_ok();
        let names = self.models.names().collect::<Vec<_>>().join(" ");
        if is_there { names } else { format!("failed: {names}") }
    }
}

#[test]
fn the_least_recently_used_model_leaves_first() {
    let mut scene = Scene::new(10);
    assert_eq!(scene.get("a"), "a");
    assert_eq!(scene.get("b"), "a b");
    assert_eq!(scene.get("a"), "b a", "what is used moves to the end");
    assert_eq!(scene.get("c"), "a c", "b was used longest ago");
    assert_eq!(scene.get("c"), "a c");
    assert_eq!(scene.get("b"), "c b");
    assert_eq!(scene.loader.loads, ["a", "b", "c", "b"], "a loaded model is not loaded again");
}

#[test]
fn a_model_beyond_the_budget_is_loaded_alone() {
    let mut scene = Scene::new(10);
    scene.get("a");
    assert_eq!(scene.get("huge"), "huge");
    assert_eq!(scene.get("c"), "c");
    let mut without_room = Scene::new(0);
    assert_eq!(without_room.get("a"), "a");
    assert_eq!(without_room.get("b"), "b");
}

#[test]
fn a_failure_keeps_what_had_room() {
    let mut scene = Scene::new(10);
    scene.get("a");
    scene.get("b");
    assert_eq!(scene.get("nobody"), "failed: a b");
    assert_eq!(scene.get("broken"), "failed: b", "room is made before the weights are read");
    scene.models.forget("b");
    assert_eq!(scene.get("a"), "a");
}

#[test]
fn progress_reaches_whoever_loads() {
    let mut scene = Scene::new(10);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut progress = |so_far: &LoadProgress| {
            seen.push(so_far.clone());
            ControlFlow::Continue(())
        };
        scene.models.get("a", &mut scene.loader, &mut progress).map(drop).unwrap();
    }
    assert_eq!(seen, [LoadProgress { file: "a.safetensors".into(), done_bytes: 4, total_bytes: 4 }]);
    assert!(scene.models.get("b", &mut scene.loader, &mut |_| ControlFlow::Break(())).is_err());
    assert_eq!(scene.get("a"), "a", "what was stopped took no room");
}

#[test]
fn sizes_are_numbers_with_units() {
    for (text, bytes) in [("8GiB", 8 << 30), ("1.5 GB", 1_500_000_000), ("64", 64), ("0", 0), ("2mib", 2 << 20)] {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
    }
    for faulty in ["", "GiB", "8 potatoes", "-1GB", "1..2GB", "1e3"] {
        assert_eq!(faulty.parse::<ByteSize>(), Err(InvalidSize(faulty.into())));
    }
    assert_eq!(ByteSize::default_model_memory(Some(80_000)), ByteSize(48_000), "of a GPU");
    let machine = ByteSize::default_model_memory(None).0;
    assert!(machine > 100 << 20, "{machine} bytes are no sensible part of a machine");
}
