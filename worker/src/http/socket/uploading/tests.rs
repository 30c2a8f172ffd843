use super::*;

fn chunk(tag: u32, last: bool, payload: &[u8]) -> UploadChunk<'_> {
    UploadChunk { tag, last, payload }
}

#[test]
fn uploads_grow_side_by_side() {
    let mut uploading = Uploading::default();
    uploading.begin(1, 4).unwrap();
    uploading.begin(2, 2).unwrap();
    assert_eq!(uploading.take(&chunk(1, false, b"ab")), Ok(Taken::Waiting));
    assert_eq!(uploading.take(&chunk(2, true, b"xy")), Ok(Taken::Whole(b"xy".to_vec())));
    assert_eq!(uploading.take(&chunk(1, false, b"cd")), Ok(Taken::Waiting), "the last chunk may be empty");
    assert_eq!(uploading.take(&chunk(1, true, b"")), Ok(Taken::Whole(b"abcd".to_vec())));
    assert!(matches!(uploading.take(&chunk(1, true, b"")), Err(Refusal::Unknown(_))));
}

#[test]
fn an_upload_brings_what_it_announced() {
    let mut uploading = Uploading::default();
    for (payload, last) in [(b"abc".as_slice(), false), (b"a".as_slice(), true)] {
        uploading.begin(1, 2).unwrap();
        let Err(Refusal::Upload(error)) = uploading.take(&chunk(1, last, payload)) else { panic!("{payload:?}") };
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert_eq!(uploading.take(&chunk(1, true, b"late")), Ok(Taken::Waiting), "late chunks are passed over");
    }
    uploading.begin(1, 2).unwrap();
    assert_eq!(uploading.take(&chunk(1, true, b"ab")), Ok(Taken::Whole(b"ab".to_vec())), "a tag can be used again");
}

#[test]
fn announcements_are_bounded() {
    let mut uploading = Uploading::default();
    assert_eq!(uploading.begin(9, INPUT_BYTES_MAX as u64 + 1).unwrap_err().code, ErrorCode::TooLarge);
    for tag in 0..UPLOADS_PER_SOCKET_MAX as u32 {
        uploading.begin(tag, 10).unwrap();
    }
    assert_eq!(uploading.begin(77, 10).unwrap_err().code, ErrorCode::TooManyUploads);
    assert_eq!(uploading.take(&chunk(77, false, b"ab")), Ok(Taken::Waiting));
    uploading.begin(0, 5).unwrap();
    for tag in 100..1000 {
        assert!(uploading.begin(tag, 10).is_err());
    }
    assert_eq!(uploading.refused.len(), REFUSED_MAX);
}
