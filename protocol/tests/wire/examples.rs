//! One value of everything that crosses the wire.

use std::time::Duration;

use sd_protocol::binary::PreviewPosition;
use sd_protocol::{
    Catalogue, ClientFrame, ErrorBody, ErrorCode, ErrorDetail, Event, EventFrame, ImageFormat, ImageView, InpaintArea,
    InpaintFill, InpaintRequest, JobId, JobRequest, JobState, JobView, Limits, LoraRequest, ModelDefaults, ModelEntry,
    NamedEntry, OnDisconnect, OutpaintRequest, OutputOptions, PictureFormat, PictureFrame, PreviewBasis, PreviewDtype,
    PreviewFrame, PreviewMode, PreviewOptions, Quota, RefinerRequest, ResizeMode, Rng, SchedulerEntry, Secret,
    ServerFrame, SessionFrame, Supersede, Timings, UploadChunk, UploadView,
};

pub(crate) fn job_id() -> JobId {
    JobId::parse("0190-job_1").unwrap()
}

pub(crate) fn request() -> JobRequest {
    JobRequest {
        id: Some(job_id()),
        model: Some("builtin".into()),
        prompt: Some("a red hot air balloon\n\"over\" mountains, ünïcode ☂".into()),
        negative_prompt: Some(String::new()),
        width: Some(256),
        height: Some(192),
        steps: Some(25),
        guidance_scale: Some(4.0),
        seed: Some((1 << 53) - 1),
        batch_size: Some(2),
        scheduler: Some("euler".into()),
        sigmas: Some("karras".into()),
        eta: Some(0.5),
        preview: Some(PreviewOptions { mode: PreviewMode::Latent, every: 2, dtype: PreviewDtype::U8 }),
        ..JobRequest::default()
    }
}

/// Every field that there is.
pub(crate) fn whole_request() -> JobRequest {
    JobRequest {
        rng: Some(Rng::Philox),
        guidance_rescale: Some(0.5),
        guidance_interval: Some([0.0, 0.75]),
        clip_skip: Some(1),
        loras: Some(vec![LoraRequest { name: "ink".into(), weight: 0.5 }]),
        original_size: Some([1024, 768]),
        crops_coords_top_left: Some([0, 8]),
        target_size: Some([192, 256]),
        aesthetic_score: Some(6.0),
        negative_aesthetic_score: Some(2.5),
        refiner: Some(RefinerRequest { model: "refiner".into(), switch_at: 0.75 }),
        image: Some("5a".repeat(32)),
        strength: Some(0.75),
        resize: Some(ResizeMode::Fit),
        mask: Some("a5".repeat(32)),
        mask_blur: Some(4),
        inpaint: Some(InpaintRequest { area: InpaintArea::Masked, padding: 32, fill: InpaintFill::Noise }),
        outpaint: Some(OutpaintRequest { left: 64, top: 0, right: 0, bottom: 8 }),
        ..request()
    }
}

/// The fields that say where a job stands among others.
pub(crate) fn request_in_line() -> JobRequest {
    JobRequest {
        lane: Some("canvas".into()),
        supersede: Some(Supersede::Running),
        on_disconnect: Some(OnDisconnect::Cancel),
        priority: Some(-3),
        ..request()
    }
}

pub(crate) fn image() -> ImageView {
    ImageView {
        index: 1,
        url: "/v1/jobs/0190-job_1/images/1".into(),
        thumbnail_url: None,
        format: ImageFormat::Png,
        width: 256,
        height: 192,
        sha256: "0f".repeat(32),
        seed: 8,
    }
}

pub(crate) fn timings() -> Timings {
    Timings { queued_ms: 1.5, load_ms: 0.0, encode_ms: 2.25, denoise_ms: 900.0, decode_ms: 30.0, preview_ms: 0.125 }
}

pub(crate) fn error() -> ErrorBody {
    let detail = ErrorDetail { field: "width".into(), message: "is 513".into() };
    ErrorBody::invalid(vec![detail])
}

pub(crate) fn queue_full() -> ErrorBody {
    ErrorBody::new(ErrorCode::QueueFull, "64 jobs are waiting").retry_after(Duration::from_millis(2500))
}

pub(crate) fn view() -> JobView {
    JobView {
        id: job_id(),
        state: JobState::Succeeded,
        favorite: false,
        request: request(),
        queue_position: None,
        step: 25,
        steps: 25,
        created_at_ms: 1_700_000_000_000,
        started_at_ms: Some(1_700_000_000_001),
        finished_at_ms: Some(1_700_000_001_000),
        images: vec![image()],
        timings: Some(timings()),
        warnings: vec!["the prompt was cut".into()],
        error: None,
        last_seq: 4,
        stream_url: "/v1/jobs/0190-job_1/stream".into(),
    }
}

pub(crate) fn upload() -> UploadView {
    UploadView { id: "0f".repeat(32), bytes: 70_000, width: 640, height: 480 }
}

pub(crate) fn quota() -> Quota {
    Quota {
        queued_jobs: Some(8),
        running_jobs: Some(1),
        pixels_per_hour: Some(1 << 30),
        upload_bytes_per_hour: Some(1 << 28),
    }
}

pub(crate) fn basis() -> PreviewBasis {
    PreviewBasis { rows: vec![[0.5, 0.25, 0.0], [0.0, -0.5, 1.0], [0.125; 3], [0.0; 3]], bias: [0.5; 3] }
}

pub(crate) fn hello(token: Option<&str>, ticket: Option<&str>) -> ClientFrame {
    let (token, ticket) = (token.map(Secret::new), ticket.map(Secret::new));
    ClientFrame::Hello { client: "golden/1".into(), token, ticket, features: vec![] }
}

pub(crate) fn client_frames() -> Vec<(&'static str, ClientFrame)> {
    let preview = PreviewOptions { mode: PreviewMode::None, every: 1, dtype: PreviewDtype::F16 };
    let output = OutputOptions { format: ImageFormat::Webp, quality: 80 };
    vec![
        ("hello", hello(None, None)),
        ("hello_token", hello(Some("sdw_token"), None)),
        ("hello_ticket", hello(None, Some("sdt_ticket"))),
        ("submit", ClientFrame::Submit { tag: 7, job: request() }),
        ("submit_whole", ClientFrame::Submit { tag: 7, job: whole_request() }),
        ("submit_in_line", ClientFrame::Submit { tag: 8, job: request_in_line() }),
        ("submit_output", ClientFrame::Submit { tag: 9, job: JobRequest { output: Some(output), ..request() } }),
        ("cancel", ClientFrame::Cancel { job: job_id() }),
        ("attach", ClientFrame::Attach { job: job_id(), after: 3, preview }),
        (
            "preview",
            ClientFrame::Preview { job: job_id(), preview: PreviewOptions { mode: PreviewMode::Jpeg, ..preview } },
        ),
        (
            "preview_rgb",
            ClientFrame::Preview { job: job_id(), preview: PreviewOptions { mode: PreviewMode::Rgb, ..preview } },
        ),
        ("detach", ClientFrame::Detach { job: job_id() }),
        ("upload", ClientFrame::Upload { tag: 3, bytes: 70_000 }),
    ]
}

pub(crate) fn server_frames() -> Vec<(&'static str, ServerFrame)> {
    let named = |name: &str, label: &str| NamedEntry { name: name.into(), label: label.into() };
    let model = ModelEntry {
        name: "builtin".into(),
        family: "sd".into(),
        defaults: ModelDefaults {
            width: 256,
            height: 256,
            steps: 25,
            guidance_scale: 4.0,
            scheduler: "euler".into(),
            sigmas: "default".into(),
        },
        latent_channels: 4,
        latent_scale: 8,
        preview: basis(),
        preview_decoder: None,
        examples: vec!["a blue house".into()],
    };
    let decoded = ModelEntry { preview_decoder: Some("/v1/models/builtin/preview-decoder".into()), ..model.clone() };
    let scheduler = |sigmas: &[&str]| SchedulerEntry {
        name: "euler".into(),
        label: "Euler".into(),
        sigmas: sigmas.iter().map(|&sigmas| sigmas.to_owned()).collect(),
    };
    let catalogue = Catalogue {
        models: vec![model],
        schedulers: vec![scheduler(&[])],
        sigmas: vec![named("default", "Default")],
        loras: Vec::new(),
        embeddings: Vec::new(),
    };
    let decoded_catalogue = Catalogue { models: vec![decoded], ..catalogue.clone() };
    let whole_catalogue = Catalogue {
        schedulers: vec![scheduler(&["default"])],
        loras: vec!["ink".into()],
        embeddings: vec!["my-cat".into()],
        ..catalogue.clone()
    };
    let welcome = |catalogue, quota| SessionFrame::Welcome {
        protocol: 1,
        server: "sd-worker/golden".into(),
        limits: Limits::default(),
        catalogue,
        features: vec![],
        quota,
    };
    let session = ServerFrame::Session;
    let event = |seq, event| ServerFrame::Event(EventFrame { job: job_id(), seq, event });
    vec![
        ("welcome", session(welcome(catalogue, None))),
        ("welcome_whole", session(welcome(whole_catalogue.clone(), None))),
        ("welcome_preview_decoder", session(welcome(decoded_catalogue, None))),
        ("welcome_quota", session(welcome(whole_catalogue, Some(quota())))),
        ("accepted", session(SessionFrame::Accepted { tag: 7, handle: 1, job: Box::new(view()), preview: basis() })),
        ("rejected", session(SessionFrame::Rejected { tag: 7, error: error() })),
        ("rejected_full", session(SessionFrame::Rejected { tag: 8, error: queue_full() })),
        ("attached", session(SessionFrame::Attached { handle: 2, job: Box::new(view()), preview: basis() })),
        ("uploaded", session(SessionFrame::Uploaded { tag: 3, upload: upload() })),
        ("upload_rejected", session(SessionFrame::UploadRejected { tag: 3, error: error() })),
        ("error", session(SessionFrame::Error { error: error(), job: Some(job_id()) })),
        ("queued", event(Some(1), Event::Queued { position: 3 })),
        ("queued_moved", event(None, Event::Queued { position: 2 })),
        (
            "model_loading",
            event(None, Event::ModelLoading { model: "builtin".into(), done_bytes: 1 << 33, total_bytes: 1 << 34 }),
        ),
        ("started", event(Some(2), Event::Started { steps: 25 })),
        ("progress", event(None, Event::Progress { step: 5, steps: 25, sigma: 7.5, eta_ms: 800 })),
        ("image", event(Some(3), Event::Image { image: image() })),
        ("image_jpeg", event(Some(3), Event::Image { image: ImageView { format: ImageFormat::Jpeg, ..image() } })),
        (
            "image_thumbnail",
            event(
                Some(3),
                Event::Image {
                    image: ImageView { thumbnail_url: Some(format!("{}/thumbnail", image().url)), ..image() },
                },
            ),
        ),
        ("succeeded", event(Some(4), Event::Succeeded { timings: timings() })),
        ("failed", event(Some(4), Event::Failed { error: error() })),
        ("canceled", event(Some(4), Event::Canceled)),
        ("superseded", event(Some(4), Event::Superseded { by: JobId::parse("newer").unwrap() })),
        ("reset", event(None, Event::Reset { view: Box::new(view()) })),
        ("reset_favorite", event(None, Event::Reset { view: Box::new(JobView { favorite: true, ..view() }) })),
    ]
}

pub(crate) fn previews() -> Vec<(&'static str, PreviewFrame)> {
    let position = PreviewPosition { step: 5, steps: 25, batch_index: 1, batch_size: 2 };
    let last = PreviewPosition { step: 25, ..position };
    let latent: Vec<f32> = (0..3 * 2 * 4).map(|i| (i as f32 - 10.0) / 4.0).collect();
    let three_channels: Vec<f32> = (0..2 * 3).map(|i| i as f32 * 0.5).collect();
    vec![
        ("preview_f16", PreviewFrame::pack(position, 3, 2, &latent, PreviewDtype::F16)),
        ("preview_u8", PreviewFrame::pack(last, 3, 2, &latent, PreviewDtype::U8)),
        ("preview_padded", PreviewFrame::pack(last, 2, 1, &three_channels, PreviewDtype::F16)),
    ]
}

pub(crate) fn pictures() -> Vec<(&'static str, PictureFrame)> {
    let position = PreviewPosition { step: 5, steps: 25, batch_index: 1, batch_size: 2 };
    let last = PreviewPosition { step: 25, ..position };
    vec![
        ("picture_png", PictureFrame::new(position, 32, 24, PictureFormat::Png, b"\x89PNG\r\n".to_vec())),
        ("picture_jpeg", PictureFrame::new(last, 256, 192, PictureFormat::Jpeg, b"\xff\xd8\xff".to_vec())),
    ]
}

pub(crate) fn chunks() -> Vec<(&'static str, UploadChunk<'static>)> {
    vec![
        ("upload_chunk", UploadChunk { tag: 0x0102_0304, last: false, payload: b"\x89PNG\r\n" }),
        ("upload_last_chunk", UploadChunk { tag: 7, last: true, payload: b"IEND" }),
    ]
}
