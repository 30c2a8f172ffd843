//! From what the worker knows to what clients read: the only builder of server frames.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sd_protocol::binary::PreviewPosition;
use sd_protocol::{
    Catalogue, DeviceEntry, EventFrame, ModelDefaults, ModelEntry, NamedEntry, PROTOCOL_VERSION, PictureFormat,
    PictureFrame, PreviewBasis, PreviewDtype, PreviewFrame, Quota, SchedulerEntry, ServerFrame, SessionFrame,
};

use crate::device::DeviceInfo;
use crate::diffusion::schedulers::{self, SCHEDULERS, SigmaSpacing};
use crate::intake::Offer;
use crate::jobs::LatentSnapshot;
use crate::models::CatalogueModel;

/// Name and version of the worker, as `welcome` says them.
pub const SERVER: &str = concat!("sd-worker/", env!("CARGO_PKG_VERSION"));

/// Everything that may be asked for by name.
pub fn catalogue(offer: &Offer) -> Catalogue {
    let spacing = |(_, name, label): &(_, &str, &str)| NamedEntry { name: (*name).into(), label: (*label).into() };
    Catalogue {
        models: offer.models.iter().map(model_entry).collect(),
        schedulers: SCHEDULERS.iter().map(scheduler_entry).collect(),
        sigmas: SigmaSpacing::ALL.iter().map(spacing).collect(),
        loras: offer.adapters.loras.names().map(str::to_owned).collect(),
        embeddings: offer.adapters.embeddings.names().map(str::to_owned).collect(),
    }
}

/// What draws.
pub fn devices(offer: &Offer) -> Vec<DeviceEntry> {
    let entry = |device: &DeviceInfo| DeviceEntry {
        name: device.name.clone(),
        label: device.label.clone(),
        dtype: device.dtype.to_string(),
        memory_bytes: device.memory_bytes,
    };
    offer.devices.iter().map(entry).collect()
}

/// Answer to `hello`.
pub fn welcome(offer: &Offer, quota: Option<Quota>) -> SessionFrame {
    SessionFrame::Welcome {
        protocol: PROTOCOL_VERSION,
        server: SERVER.into(),
        limits: offer.limits.clone(),
        catalogue: catalogue(offer),
        features: Vec::new(),
        quota,
    }
}

/// How the latents of a model become a rough picture.
pub fn preview_basis(model: &CatalogueModel) -> PreviewBasis {
    PreviewBasis { rows: model.info.preview_rows.clone(), bias: model.info.preview_bias }
}

/// One preview latent per image of the batch.
pub fn previews(snapshot: &LatentSnapshot, dtype: PreviewDtype) -> impl Iterator<Item = PreviewFrame> {
    (0..).zip(snapshot.images()).map(move |(index, latent)| {
        let (width, height) = (snapshot.width as u16, snapshot.height as u16);
        PreviewFrame::pack(position(snapshot, index), width, height, latent, dtype)
    })
}

/// The preview picture of one image of the batch, from its file.
pub fn picture(
    snapshot: &LatentSnapshot,
    index: u16,
    (width, height): (u32, u32),
    format: PictureFormat,
    file: Vec<u8>,
) -> PictureFrame {
    PictureFrame::new(position(snapshot, index), width as u16, height as u16, format, file)
}

/// A preview picture as a data URL, whose media type says as parameters what else the frame says. It can be the `src`
/// of an `<img>` as it is.
pub fn data_url(frame: &PictureFrame) -> String {
    let (kind, file) = (frame.header().format.media_type(), BASE64_STANDARD.encode(frame.file()));
    let PreviewPosition { step, steps, batch_index, batch_size } = frame.header().position;
    format!("data:{kind};step={step};steps={steps};batch_index={batch_index};batch_size={batch_size};base64,{file}")
}

fn position(snapshot: &LatentSnapshot, batch_index: u16) -> PreviewPosition {
    let (step, steps, batch_size) = (snapshot.step as u16, snapshot.steps as u16, snapshot.batch_size as u16);
    PreviewPosition { step, steps, batch_index, batch_size }
}

fn scheduler_entry(entry: &schedulers::SchedulerEntry) -> SchedulerEntry {
    SchedulerEntry {
        name: entry.name.into(),
        label: entry.label.into(),
        sigmas: entry.spacings.iter().map(|spacing| spacing.name().into()).collect(),
    }
}

fn model_entry(model: &CatalogueModel) -> ModelEntry {
    let info = &model.info;
    ModelEntry {
        name: model.name.clone(),
        family: info.family.into(),
        defaults: ModelDefaults {
            width: info.width,
            height: info.height,
            steps: info.steps,
            guidance_scale: info.guidance_scale as f32,
            scheduler: info.scheduler.name.into(),
            sigmas: info.sigmas.name().into(),
        },
        latent_channels: info.latent_channels as u8,
        latent_scale: info.latent_scale,
        preview: preview_basis(model),
        preview_decoder: model.preview_decoder.is_some().then(|| {
            let name = utf8_percent_encode(&model.name, NON_ALPHANUMERIC);
            format!("/v1/models/{name}/preview-decoder")
        }),
        examples: info.examples.clone(),
    }
}

/// The text of an event: a text frame of the WebSocket and the `data:` of a server-sent event.
pub fn event_json(frame: &EventFrame) -> String {
    ServerFrame::Event(frame.clone()).to_json()
}
