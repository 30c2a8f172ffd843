//! What a socket brings.

use sd_protocol::binary::HEADER_BYTES;
use sd_protocol::{BinaryFrame, ClientFrame, FrameHeader, PictureFrame, PreviewFrame, ServerFrame, UploadChunk};

/// A binary frame in either direction: what is read can be written, and is read the same again.
pub fn binary_frames(data: &[u8]) {
    let header = FrameHeader::decode(data);
    match PreviewFrame::decode(data) {
        Ok(frame) => {
            assert_eq!(header.as_ref(), Ok(frame.header()));
            assert_eq!(frame.payload(), &data[HEADER_BYTES..]);
            assert_eq!(frame.values().len() * frame.header().element.size_bytes(), frame.payload().len());
            assert_eq!(PreviewFrame::decode(&frame.encode(frame.header().handle)).as_ref(), Ok(&frame));
        }
        Err(fault) => assert_eq!(header, Err(fault)),
    }
    if let Ok(frame) = PictureFrame::decode(data) {
        assert_eq!(frame.file(), &data[HEADER_BYTES..]);
        assert_eq!(PictureFrame::decode(&frame.encode(frame.header().handle)).as_ref(), Ok(&frame));
        assert_eq!(BinaryFrame::decode(data), Ok(BinaryFrame::Picture(frame)));
    }
    match UploadChunk::decode(data) {
        Ok(chunk) => assert_eq!(UploadChunk::decode(&chunk.encode()), Ok(chunk)),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// A text frame in either direction: what is read can be written, and is read the same again.
pub fn text_frames(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ClientFrame::from_json(text) {
        Ok(frame) => {
            let written = serde_json::to_string(&frame).expect("what came as JSON can be written as JSON");
            assert_eq!(ClientFrame::from_json(&written).as_ref(), Ok(&frame), "{written}");
        }
        Err(error) => assert!(!error.message.is_empty()),
    }
    if let Ok(Some(frame)) = ServerFrame::from_json(text) {
        let written = frame.to_json();
        assert_eq!(ServerFrame::from_json(&written), Ok(Some(frame)), "{written}");
    }
}
