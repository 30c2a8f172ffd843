//! A decoder on a canvas's device, and by measured time whether it draws.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use futures_channel::oneshot;
use sd_protocol::FrameHeader;
use wasm_bindgen_futures::spawn_local;

use super::gpu::GpuError;
use super::{errors, window};
use crate::gpu::decoder::GpuDecoder;
use crate::gpu::latent::LatentTexture;
use crate::preview::choice::{Choice, Chooser};
use crate::preview::taesd::Decoder;

/// When a decoder draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Where it is quick enough for the previews that come.
    Quick,
    /// Always, however long it takes.
    Always,
}

/// A decoder with what is known of its speed.
pub(super) struct Decoding {
    gpu: RefCell<GpuDecoder>,
    chooser: RefCell<Chooser>,
    when: When,
    queue: wgpu::Queue,
}

impl Decoding {
    /// Compiles it and begins with its trials. `None` if the GPU refuses it, of which the console is told.
    pub(super) async fn open(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        decoder: &Decoder,
        format: wgpu::TextureFormat,
        when: When,
    ) -> Option<Rc<Self>> {
        // A GPU that cannot hold or compile it can still draw the linear map, so this is no loss of the device.
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let gpu = GpuDecoder::new(device, queue, decoder, GpuDecoder::precision(device), format);
        let refusals = [validation.pop(), memory.pop()];
        for refusal in refusals {
            if let Some(refusal) = refusal.await {
                errors::warn(&GpuError::Device(refusal.to_string()));
                return None;
            }
        }
        let decoding =
            Rc::new(Self { gpu: RefCell::new(gpu), chooser: RefCell::default(), when, queue: queue.clone() });
        decoding.try_out();
        Some(decoding)
    }

    /// Another picture is shown.
    pub(super) fn begin(self: &Rc<Self>) {
        self.chooser.borrow_mut().begin();
        self.try_out();
    }

    /// A preview of the picture came.
    pub(super) fn arrived(&self) {
        self.chooser.borrow_mut().arrived(window::now_ms());
    }

    /// The size of the decoded picture in px; `None` where the linear map should draw this frame.
    pub(super) fn choose(&self, header: &FrameHeader) -> Option<(u32, u32)> {
        let cells = u32::from(header.width) * u32::from(header.height);
        let choice = match self.when {
            When::Quick => self.chooser.borrow_mut().choose(cells),
            When::Always => Choice::Decoder,
        };
        (choice == Choice::Decoder).then(|| self.gpu.borrow_mut().prepare(header)).flatten()
    }

    /// Draws a frame that [`choose`](Self::choose) has chosen.
    pub(super) fn draw(self: &Rc<Self>, header: &FrameHeader, texture: &LatentTexture, target: &wgpu::TextureView) {
        let cells = u32::from(header.width) * u32::from(header.height);
        self.chooser.borrow_mut().submitted(window::now_ms(), cells);
        self.gpu.borrow().draw(header, texture, target);
        let (done, weak) = (work_done(&self.queue), Rc::downgrade(self));
        spawn_local(async move {
            done.await;
            finish(&weak);
        });
    }

    /// Makes the trials that the chooser asks for, one after the other.
    fn try_out(self: &Rc<Self>) {
        if self.when == When::Always || self.chooser.borrow().trial().is_none() {
            return;
        }
        let weak = Rc::downgrade(self);
        spawn_local(async move { while rehearse(&weak).await {} });
    }
}

/// Makes the next trial, if there is one.
async fn rehearse(decoding: &Weak<Decoding>) -> bool {
    let Some(here) = decoding.upgrade() else { return false };
    let Some(side) = here.chooser.borrow().trial() else { return false };
    here.chooser.borrow_mut().submitted(window::now_ms(), side * side);
    here.gpu.borrow_mut().rehearse(side);
    let done = work_done(&here.queue);
    // Nothing is held while the GPU works: the canvas may be gone by then.
    drop(here);
    done.await;
    finish(decoding);
    true
}

fn finish(decoding: &Weak<Decoding>) {
    if let Some(decoding) = decoding.upgrade() {
        decoding.chooser.borrow_mut().finished(window::now_ms());
    }
}

/// Resolves when the GPU has done what it was given, or is gone.
pub(super) fn work_done(queue: &wgpu::Queue) -> impl Future<Output = ()> + use<> {
    let (done, drawn) = oneshot::channel();
    // Nobody may be waiting any more by then.
    queue.on_submitted_work_done(move || {
        done.send(()).ok();
    });
    async move { drawn.await.unwrap_or_default() }
}
