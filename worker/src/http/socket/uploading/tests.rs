use sd_protocol::limits::UPLOADS_ARRIVING_BYTES_MAX;

use super::*;

/// The whole file, once it is there.
fn whole(taken: Result<Taken, Refusal>) -> Option<Vec<u8>> {
    match taken.unwrap() {
        Taken::Waiting => None,
        Taken::Whole(arrival) => Some(arrival.bytes().to_vec()),
    }
}

fn chunk(tag: u32, last: bool, payload: &[u8]) -> UploadChunk<'_> {
    UploadChunk { tag, last, payload }
}

#[test]
fn uploads_grow_side_by_side() {
    let mut uploading = Uploading::new(Arrivals::default());
    uploading.begin(1, 4).unwrap();
    uploading.begin(2, 2).unwrap();
    assert_eq!(whole(uploading.take(&chunk(1, false, b"ab"))), None);
    assert_eq!(whole(uploading.take(&chunk(2, true, b"xy"))), Some(b"xy".to_vec()));
    assert_eq!(whole(uploading.take(&chunk(1, false, b"cd"))), None, "the last chunk may be empty");
    assert_eq!(whole(uploading.take(&chunk(1, true, b""))), Some(b"abcd".to_vec()));
    assert!(matches!(uploading.take(&chunk(1, true, b"")), Err(Refusal::Unknown(_))));
}

#[test]
fn an_upload_brings_what_it_announced() {
    let mut uploading = Uploading::new(Arrivals::default());
    for (payload, last) in [(b"abc".as_slice(), false), (b"a".as_slice(), true)] {
        uploading.begin(1, 2).unwrap();
        let Err(Refusal::Upload(error)) = uploading.take(&chunk(1, last, payload)) else { panic!("{payload:?}") };
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert_eq!(whole(uploading.take(&chunk(1, true, b"late"))), None, "late chunks are passed over");
    }
    uploading.begin(1, 2).unwrap();
    assert_eq!(whole(uploading.take(&chunk(1, true, b"ab"))), Some(b"ab".to_vec()), "a tag can be used again");
}

#[test]
fn announcements_are_bounded() {
    let mut uploading = Uploading::new(Arrivals::default());
    assert_eq!(uploading.begin(9, INPUT_BYTES_MAX as u64 + 1).unwrap_err().code, ErrorCode::TooLarge);
    for tag in 0..UPLOADS_PER_SOCKET_MAX as u32 {
        uploading.begin(tag, 10).unwrap();
    }
    assert_eq!(uploading.begin(77, 10).unwrap_err().code, ErrorCode::TooManyUploads);
    assert_eq!(whole(uploading.take(&chunk(77, false, b"ab"))), None);
    uploading.begin(0, 5).unwrap();
    for tag in 100..1000 {
        assert!(uploading.begin(tag, 10).is_err());
    }
    assert_eq!(uploading.refused.len(), REFUSED_MAX);
}

#[test]
fn all_sockets_share_the_memory() {
    let arrivals = Arrivals::default();
    let (mut greedy, mut other) = (Uploading::new(arrivals.clone()), Uploading::new(arrivals));
    let megabyte = vec![7; 1 << 20];
    let mut taken_in = 0;
    let refused = (0..).find_map(|tag| {
        // Past the bound of one socket, as many sockets would be.
        greedy.growing.insert(tag, Growing { arrival: greedy.arrivals.begin(), announced: INPUT_BYTES_MAX });
        (0..32).find_map(|_| match greedy.take(&chunk(tag, false, &megabyte)) {
            Ok(_) => {
                taken_in += megabyte.len();
                None
            }
            Err(refused) => Some(refused),
        })
    });
    let Some(Refusal::Upload(error)) = refused else { panic!("{refused:?}") };
    assert_eq!((error.code, taken_in), (ErrorCode::TooManyUploads, UPLOADS_ARRIVING_BYTES_MAX));
    other.begin(1, 2).unwrap();
    assert!(matches!(other.take(&chunk(1, true, b"ab")), Err(Refusal::Upload(_))));
    drop(greedy);
    other.begin(1, 2).unwrap();
    assert_eq!(whole(other.take(&chunk(1, true, b"ab"))), Some(b"ab".to_vec()), "what went away left its room");
}
