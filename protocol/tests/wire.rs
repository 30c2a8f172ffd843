//! Version 1 of the wire, held against golden files, round trips and rubbish.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use sd_protocol::binary::{HEADER_BYTES, PreviewPosition};
use sd_protocol::limits::{BINARY_BYTES_MAX, PROMPT_BYTES_MAX};
use sd_protocol::{
    Catalogue, ClientFrame, ErrorBody, ErrorCode, ErrorDetail, Event, EventFrame, FrameHeader, ImageFormat, ImageView,
    InpaintArea, InpaintFill, InpaintRequest, JobChange, JobId, JobRequest, JobState, JobView, Limits, LoraRequest,
    ModelDefaults, ModelEntry, NamedEntry, OnDisconnect, OutpaintRequest, OutputOptions, PreviewBasis, PreviewDtype,
    PreviewFrame, PreviewMode, PreviewOptions, Quota, RefinerRequest, ResizeMode, Rng, SchedulerEntry, Secret,
    ServerFrame, SessionFrame, Supersede, Timings, TokensRequest, UploadChunk, UploadView,
};
use serde_json::{Value, json};

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn job_id() -> JobId {
    JobId::parse("0190-job_1").unwrap()
}

fn request() -> JobRequest {
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
fn whole_request() -> JobRequest {
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
fn request_in_line() -> JobRequest {
    JobRequest {
        lane: Some("canvas".into()),
        supersede: Some(Supersede::Running),
        on_disconnect: Some(OnDisconnect::Cancel),
        priority: Some(-3),
        ..request()
    }
}

fn image() -> ImageView {
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

fn timings() -> Timings {
    Timings { queued_ms: 1.5, load_ms: 0.0, encode_ms: 2.25, denoise_ms: 900.0, decode_ms: 30.0, preview_ms: 0.125 }
}

fn error() -> ErrorBody {
    let detail = ErrorDetail { field: "width".into(), message: "is 513".into() };
    ErrorBody::invalid(vec![detail])
}

fn queue_full() -> ErrorBody {
    ErrorBody::new(ErrorCode::QueueFull, "64 jobs are waiting").retry_after(Duration::from_millis(2500))
}

fn view() -> JobView {
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

fn upload() -> UploadView {
    UploadView { id: "0f".repeat(32), bytes: 70_000, width: 640, height: 480 }
}

fn quota() -> Quota {
    Quota {
        queued_jobs: Some(8),
        running_jobs: Some(1),
        pixels_per_hour: Some(1 << 30),
        upload_bytes_per_hour: Some(1 << 28),
    }
}

fn basis() -> PreviewBasis {
    PreviewBasis { rows: vec![[0.5, 0.25, 0.0], [0.0, -0.5, 1.0], [0.125; 3], [0.0; 3]], bias: [0.5; 3] }
}

fn hello(token: Option<&str>, ticket: Option<&str>) -> ClientFrame {
    let (token, ticket) = (token.map(Secret::new), ticket.map(Secret::new));
    ClientFrame::Hello { client: "golden/1".into(), token, ticket, features: vec![] }
}

fn client_frames() -> Vec<(&'static str, ClientFrame)> {
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
        ("detach", ClientFrame::Detach { job: job_id() }),
        ("upload", ClientFrame::Upload { tag: 3, bytes: 70_000 }),
    ]
}

fn server_frames() -> Vec<(&'static str, ServerFrame)> {
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

fn previews() -> Vec<(&'static str, PreviewFrame)> {
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

fn chunks() -> Vec<(&'static str, UploadChunk<'static>)> {
    vec![
        ("upload_chunk", UploadChunk { tag: 0x0102_0304, last: false, payload: b"\x89PNG\r\n" }),
        ("upload_last_chunk", UploadChunk { tag: 7, last: true, payload: b"IEND" }),
    ]
}

/// Every golden on disk, by file name. `SD_UPDATE_GOLDENS=1` writes those that are missing; it edits none.
fn check_golden(name: &str, bytes: &[u8]) {
    let path = goldens().join(name);
    if !path.exists() && std::env::var_os("SD_UPDATE_GOLDENS").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    let golden = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        golden == bytes,
        "{name}: version 1 writes these bytes differently now: {}",
        String::from_utf8_lossy(bytes)
    );
}

fn line(text: String) -> Vec<u8> {
    (text + "\n").into_bytes()
}

#[test]
fn every_frame_has_its_golden_and_every_golden_its_frame() {
    let mut names = BTreeSet::new();
    for (name, frame) in client_frames() {
        let name = format!("client_{name}.json");
        check_golden(&name, &line(serde_json::to_string(&frame).unwrap()));
        names.insert(name);
    }
    for (name, frame) in server_frames() {
        let name = format!("server_{name}.json");
        check_golden(&name, &line(frame.to_json()));
        names.insert(name);
    }
    for (name, preview) in previews() {
        let name = format!("{name}.bin");
        check_golden(&name, &preview.encode(0x0102_0304));
        names.insert(name);
    }
    for (name, chunk) in chunks() {
        let name = format!("{name}.bin");
        check_golden(&name, &chunk.encode());
        names.insert(name);
    }
    let on_disk: BTreeSet<_> =
        fs::read_dir(goldens()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(on_disk, names);
}

#[test]
fn what_was_written_is_read_back() {
    for (name, frame) in server_frames() {
        assert_eq!(ServerFrame::from_json(&frame.to_json()), Ok(Some(frame)), "{name}");
    }
    for (name, frame) in client_frames() {
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<ClientFrame>(&text).unwrap(), frame, "{name}");
        assert!(ClientFrame::from_json(&text).is_ok(), "{name}");
    }
    for (name, preview) in previews() {
        assert_eq!(PreviewFrame::decode(&preview.encode(0)).unwrap(), preview, "{name}");
    }
    for (name, chunk) in chunks() {
        assert_eq!(UploadChunk::decode(&chunk.encode()), Ok(chunk), "{name}");
    }
}

#[test]
fn a_client_passes_over_frames_of_a_newer_worker() {
    assert_eq!(ServerFrame::from_json(r#"{"type":"confetti","colour":"red"}"#), Ok(None));
    let newer = r#"{"type":"failed","job":"a","seq":1,"error":{"code":"too_hot","message":"m","extra":1},"new":2}"#;
    let Ok(Some(ServerFrame::Event(frame))) = ServerFrame::from_json(newer) else { panic!("a known type with news") };
    assert!(matches!(frame.event, Event::Failed { error } if error.code == ErrorCode::Unknown));
}

#[test]
fn secrets_are_not_in_what_is_logged() {
    let hello = hello(Some("sdw_token"), Some("sdt_ticket"));
    assert!(!format!("{hello:?}").contains("sdw_token") && !format!("{hello:?}").contains("sdt_ticket"));
}

#[test]
fn faulty_client_frames_are_told_apart() {
    let code = |text: &str| ClientFrame::from_json(text).unwrap_err().code;
    assert_eq!(code("{"), ErrorCode::MalformedJson);
    assert_eq!(code("[]"), ErrorCode::UnknownFrame);
    assert_eq!(code(r#"{"type":"dance"}"#), ErrorCode::UnknownFrame);
    assert_eq!(code(r#"{"type":"cancel"}"#), ErrorCode::InvalidRequest);
    assert_eq!(code(r#"{"type":"cancel","job":"../etc"}"#), ErrorCode::InvalidRequest);
    let faulty_job = ClientFrame::from_json(r#"{"type":"submit","tag":1,"job":{"width":"wide"}}"#);
    assert!(faulty_job.is_ok(), "a faulty job is rejected under its tag, not as a faulty frame");
}

#[test]
fn every_faulty_field_of_a_request_is_named() {
    let faults = |job: Value| -> Vec<String> {
        JobRequest::from_json(job).unwrap().1.into_iter().map(|detail| detail.field).collect()
    };
    assert_eq!(faults(json!({"prompt": 1, "width": -8, "lorem": true, "steps": 3})), ["lorem", "prompt", "width"]);
    assert_eq!(faults(json!({"id": "with space", "preview": {"mode": "hologram"}})), ["id", "preview"]);
    assert_eq!(JobRequest::from_json(json!([])).unwrap_err().code, ErrorCode::MalformedJson);
    assert_eq!(JobRequest::from_json(serde_json::to_value(request()).unwrap()), Ok((request(), Vec::new())));
}

#[test]
fn every_fault_of_a_change_and_of_a_prompt_is_named() {
    let faults = |read: Result<(), ErrorBody>| -> Vec<String> {
        let error = read.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        error.details.into_iter().map(|detail| detail.field).collect()
    };
    let change = |value: Value| JobChange::from_json(value);
    assert_eq!(change(json!({})), Ok(JobChange::default()));
    assert_eq!(
        change(json!({"priority": -10, "favorite": false})),
        Ok(JobChange { priority: Some(-10), favorite: Some(false) })
    );
    let faulty = change(json!({"priority": 11, "favorite": "yes", "seed": 7}));
    assert_eq!(faults(faulty.map(drop)), ["favorite", "seed", "priority"]);
    assert_eq!(change(json!(["priority"])).unwrap_err().code, ErrorCode::MalformedJson);

    let prompt = |value: Value| TokensRequest::prompt_from_json(value);
    assert_eq!(prompt(json!({"prompt": ""})), Ok(String::new()));
    assert_eq!(faults(prompt(json!({"promt": "a"})).map(drop)), ["promt", "prompt"]);
    assert_eq!(faults(prompt(json!({"prompt": 1})).map(drop)), ["prompt"]);
    let too_long = "a".repeat(PROMPT_BYTES_MAX + 1);
    assert_eq!(faults(prompt(json!({"prompt": too_long})).map(drop)), ["prompt"]);
    assert_eq!(prompt(json!("a")).unwrap_err().code, ErrorCode::MalformedJson);
}

#[test]
fn latents_survive_packing() {
    let (_, f16) = &previews()[0];
    let expected: Vec<f32> = (0..24).map(|i| (i as f32 - 10.0) / 4.0).collect();
    assert_eq!(f16.values(), expected, "quarters are exact in half precision");
    let (_, u8) = &previews()[1];
    let step = u8.header().scale;
    assert!(u8.values().iter().zip(&expected).all(|(a, b)| (a - b).abs() <= step / 2.0 + 1e-6));
    let (_, padded) = &previews()[2];
    assert_eq!(padded.values(), [0.0, 0.5, 1.0, 0.0, 1.5, 2.0, 2.5, 0.0]);
    let position = PreviewPosition { step: 1, steps: 1, batch_index: 0, batch_size: 1 };
    let odd = PreviewFrame::pack(position, 1, 1, &[f32::NAN, 1.0, 1.0, f32::INFINITY], PreviewDtype::U8);
    assert!(PreviewFrame::decode(&odd.encode(1)).is_ok(), "numbers that are none still make a frame");
}

proptest! {
    #[test]
    fn rubbish_never_panics(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(ClientFrame::from_json(&text).is_err());
        prop_assert!(ServerFrame::from_json(&text).is_err());
        prop_assert!(FrameHeader::decode(&bytes).is_err());
        prop_assert!(UploadChunk::decode(&bytes).is_err());
    }

    #[test]
    fn almost_frames_never_panic(at in 0_usize..400, value: u8, which in 0_usize..3) {
        let mut bytes = previews()[which].1.encode(9);
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(frame) = PreviewFrame::decode(&bytes) {
            prop_assert_eq!(frame.values().len() * frame.header().element.size_bytes(), bytes.len() - HEADER_BYTES);
        }
        let mut text = server_frames()[which].1.to_json().into_bytes();
        let at = at % text.len();
        text[at] = value;
        if let Ok(text) = String::from_utf8(text)
            && let Ok(Some(frame)) = ServerFrame::from_json(&text)
        {
            prop_assert_eq!(ServerFrame::from_json(&frame.to_json()), Ok(Some(frame)));
        }
    }

    #[test]
    fn headers_round_trip(handle: u32, step: u16, width in 1_u16..9, height in 1_u16..9, quads in 1_usize..4) {
        let position = PreviewPosition { step, steps: step, batch_index: 2, batch_size: 3 };
        let latent = vec![0.5; usize::from(width) * usize::from(height) * quads * 4];
        let frame = PreviewFrame::pack(position, width, height, &latent, PreviewDtype::F16).encode(handle);
        let header = FrameHeader::decode(&frame).unwrap();
        prop_assert_eq!((header.handle, header.step, header.width, header.height), (handle, step, width, height));
        prop_assert!(header.last);
        prop_assert!(PreviewFrame::decode(&frame[..frame.len() - 1]).is_err());
    }

    #[test]
    fn a_file_survives_its_chunks(file in prop::collection::vec(any::<u8>(), 0..200_000), tag: u32) {
        let mut received: Vec<u8> = Vec::new();
        let mut lasts = Vec::new();
        for chunk in UploadChunk::split(tag, &file) {
            let frame = chunk.encode();
            prop_assert!(frame.len() <= BINARY_BYTES_MAX);
            let chunk = UploadChunk::decode(&frame).unwrap();
            prop_assert_eq!(chunk.tag, tag);
            received.extend(chunk.payload);
            lasts.push(chunk.last);
        }
        prop_assert_eq!(received, file);
        prop_assert_eq!(lasts.iter().position(|last| *last), Some(lasts.len() - 1));
    }

    #[test]
    fn job_ids_are_safe_names(text in ".{0,70}") {
        if let Ok(id) = JobId::parse(text.clone()) {
            prop_assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        } else {
            prop_assert!(text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
    }
}
