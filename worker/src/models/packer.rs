//! The thread that writes packed weights beside their models, while the models draw.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use crate::diffusion::CancelToken;
use crate::diffusion::weights::{Packing, PackingSender};

/// The thread. Dropping it stops what is being written, so that nothing half-written is left beside a model; the thread ends
/// when nobody can send any more.
#[derive(Debug)]
pub(super) struct Packer {
    sender: PackingSender,
    cancel: CancelToken,
    /// Held while something is written.
    writing: Arc<Mutex<()>>,
}

impl Packer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, packings) = channel();
        let packer = Self { sender, cancel: CancelToken::default(), writing: Arc::default() };
        let (cancel, writing) = (packer.cancel.clone(), Arc::clone(&packer.writing));
        std::thread::Builder::new().name("packed-weights".into()).spawn(move || run(&packings, &cancel, &writing))?;
        Ok(packer)
    }

    /// Takes what is to be written.
    pub(super) fn sender(&self) -> PackingSender {
        self.sender.clone()
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.cancel.cancel();
        drop(self.writing.lock());
    }
}

fn run(packings: &Receiver<Packing>, cancel: &CancelToken, writing: &Mutex<()>) {
    // Of these enough was said.
    let mut unwritable = BTreeSet::new();
    for packing in packings {
        let (path, folder) = (packing.path().display(), packing.path().parent().unwrap_or(Path::new(".")));
        let _writing = writing.lock();
        match packing.write(cancel) {
            Ok(true) => tracing::info!(%path, "packed weights are kept, and the next start maps them"),
            Ok(false) => return,
            Err(error) => {
                let is_refused = matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
                if !is_refused || unwritable.insert(folder.to_owned()) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%path, error, "packed weights cannot be written, and every start packs them anew");
                }
            }
        }
    }
}
