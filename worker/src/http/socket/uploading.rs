//! Pictures that arrive in chunks on one socket.

use std::collections::{HashMap, VecDeque};

use sd_protocol::limits::{INPUT_BYTES_MAX, UPLOADS_PER_SOCKET_MAX};
use sd_protocol::{ErrorBody, ErrorCode, UploadChunk};

use crate::inputs::{Arrival, Arrivals, InputError};

/// Refused uploads whose late chunks are still passed over in silence.
const REFUSED_MAX: usize = 64;

/// The uploads under way.
#[derive(Debug)]
pub(super) struct Uploading {
    arrivals: Arrivals,
    growing: HashMap<u32, Growing>,
    refused: VecDeque<u32>,
}

#[derive(Debug)]
struct Growing {
    arrival: Arrival,
    announced: usize,
}

/// What a chunk leads to.
#[derive(Debug)]
pub(super) enum Taken {
    /// More are to come, or it belongs to an upload that was refused.
    Waiting,
    /// The whole file.
    Whole(Arrival),
}

/// Why a chunk, or what it belongs to, is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The upload ends here.
    Upload(ErrorBody),
    /// There is no such upload.
    Unknown(ErrorBody),
}

impl Uploading {
    /// None yet; their bytes count among `arrivals`.
    pub(super) fn new(arrivals: Arrivals) -> Self {
        Self { arrivals, growing: HashMap::new(), refused: VecDeque::new() }
    }

    /// An upload is announced; one of the same tag that is under way starts over.
    pub(super) fn begin(&mut self, tag: u32, bytes: u64) -> Result<(), ErrorBody> {
        self.growing.remove(&tag);
        self.refused.retain(|refused| *refused != tag);
        let refused = if bytes > INPUT_BYTES_MAX as u64 {
            ErrorBody::from(InputError::TooManyBytes(bytes))
        } else if self.growing.len() == UPLOADS_PER_SOCKET_MAX {
            let message =
                format!("{UPLOADS_PER_SOCKET_MAX} uploads are under way on this socket; wait for one of them");
            ErrorBody::new(ErrorCode::TooManyUploads, message)
        } else {
            // Room is made as bytes arrive: an announcement alone costs nothing.
            self.growing.insert(tag, Growing { arrival: self.arrivals.begin(), announced: bytes as usize });
            return Ok(());
        };
        self.refuse(tag);
        Err(refused)
    }

    /// Adds a chunk to its upload.
    pub(super) fn take(&mut self, chunk: &UploadChunk<'_>) -> Result<Taken, Refusal> {
        let tag = chunk.tag;
        if self.refused.contains(&tag) {
            return Ok(Taken::Waiting);
        }
        let Some(growing) = self.growing.get_mut(&tag) else {
            let message = format!("no upload {tag} is under way; announce it with an \"upload\" frame first");
            return Err(Refusal::Unknown(ErrorBody::new(ErrorCode::UnknownFrame, message)));
        };
        if let Err(error) = growing.arrival.push(chunk.payload) {
            self.growing.remove(&tag);
            self.refuse(tag);
            return Err(Refusal::Upload(error.into()));
        }
        let (found, announced) = (growing.arrival.bytes().len(), growing.announced);
        if found > announced || (chunk.last && found < announced) {
            self.growing.remove(&tag);
            self.refuse(tag);
            let message = format!("the upload announced {announced} bytes and brought {found}");
            return Err(Refusal::Upload(ErrorBody::new(ErrorCode::InvalidRequest, message)));
        }
        let whole = if chunk.last { self.growing.remove(&tag) } else { None };
        Ok(whole.map_or(Taken::Waiting, |whole| Taken::Whole(whole.arrival)))
    }

    fn refuse(&mut self, tag: u32) {
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(tag);
    }
}

#[cfg(test)]
mod tests;
