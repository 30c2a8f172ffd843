//! Version 1 of the wire, held against golden files, round trips and rubbish.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod examples;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use sd_protocol::binary::{HEADER_BYTES, PreviewPosition};
use sd_protocol::limits::{BINARY_BYTES_MAX, PROMPT_BYTES_MAX};
use sd_protocol::{
    BinaryFrame, ClientFrame, ErrorBody, ErrorCode, Event, FrameHeader, JobChange, JobId, JobRequest, PictureFrame,
    PictureHeader, PreviewDtype, PreviewFrame, ServerFrame, TokensRequest, UploadChunk,
};
use serde_json::{Value, json};

use examples::*;

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
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
    for (name, picture) in pictures() {
        let name = format!("{name}.bin");
        check_golden(&name, &picture.encode(0x0102_0304));
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
        assert_eq!(BinaryFrame::decode(&preview.encode(0)), Ok(BinaryFrame::Latent(preview)), "{name}");
    }
    for (name, picture) in pictures() {
        assert!(PreviewFrame::decode(&picture.encode(0)).is_err(), "{name} is no latent");
        assert_eq!(PictureHeader::decode(&picture.encode(7)).unwrap().handle, 7, "{name}");
        assert_eq!(BinaryFrame::decode(&picture.encode(0)), Ok(BinaryFrame::Picture(picture)), "{name}");
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
        prop_assert!(FrameHeader::decode(&bytes).is_err() && PictureHeader::decode(&bytes).is_err());
        prop_assert!(BinaryFrame::decode(&bytes).is_err());
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
        let mut bytes = pictures()[which % 2].1.encode(9);
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(frame) = PictureFrame::decode(&bytes) {
            prop_assert_eq!(frame.file(), &bytes[HEADER_BYTES..]);
            prop_assert_eq!(PictureFrame::decode(&frame.encode(frame.header().handle)), Ok(frame));
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
