//! The reading half of a socket: one frame in, one question to the service.

use std::collections::HashSet;
use std::error::Error as _;

use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use sd_protocol::limits::BINARY_BYTES_MAX;
use sd_protocol::{ClientFrame, ErrorBody, ErrorCode, JobId, PreviewOptions, ServerFrame, SessionFrame, UploadChunk};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;

use super::uploading::{Refusal, Taken, Uploading};
use super::{CloseCode, Outgoing};
use crate::access::Caller;
use crate::outlet;
use crate::service::{Service, Tie};

/// The reading half and what it remembers of the connection.
pub(super) struct Inbound {
    service: Service,
    caller: Caller,
    replies: mpsc::Sender<Outgoing>,
    is_greeted: bool,
    next_handle: u32,
    followed: HashSet<JobId>,
    /// Jobs that end with this connection.
    ties: Vec<Tie>,
    uploading: Uploading,
}

/// The outbound half is gone: nobody hears the answers.
struct Deaf;

impl Inbound {
    pub(super) fn new(service: Service, replies: mpsc::Sender<Outgoing>) -> Self {
        Self {
            service,
            caller: Caller::anyone(),
            replies,
            is_greeted: false,
            next_handle: 1,
            followed: HashSet::new(),
            ties: Vec::new(),
            uploading: Uploading::default(),
        }
    }

    /// Reads until the client goes away or breaks the rules of the framing. Dropping the sender afterwards lets the
    /// outbound half end.
    pub(super) async fn run(mut self, mut stream: SplitStream<WebSocket>) {
        while let Some(message) = stream.next().await {
            let heard = match message {
                Ok(Message::Text(text)) => self.text(&text).await,
                Ok(Message::Binary(bytes)) => self.binary(&bytes).await,
                Ok(Message::Ping(_)) => Ok(()),
                Ok(Message::Pong(_)) => self.send(Outgoing::Alive).await,
                Ok(Message::Close(_)) => return,
                Err(error) => {
                    if is_too_large(&error) {
                        let close = Outgoing::Close(CloseCode::TooLarge, "a frame is larger than limits allow");
                        if self.send(close).await.is_ok() {
                            self.replies.closed().await;
                        }
                    }
                    return;
                }
            };
            if heard.is_err() {
                return;
            }
        }
    }

    async fn text(&mut self, text: &str) -> Result<(), Deaf> {
        match ClientFrame::from_json(text) {
            Ok(ClientFrame::Hello { client, .. }) => self.hello(&client).await,
            Ok(ClientFrame::Submit { tag, job }) => self.submit(tag, job).await,
            Ok(ClientFrame::Cancel { job }) => match self.service.cancel(&self.caller, job.as_str()).await {
                Ok(_) => Ok(()),
                Err(error) => self.error(error, Some(job)).await,
            },
            Ok(ClientFrame::Attach { job, after, preview }) => self.attach(job, after, preview).await,
            Ok(ClientFrame::Detach { job }) => {
                self.followed.remove(&job);
                self.send(Outgoing::Unfollow(job)).await
            }
            Ok(ClientFrame::Upload { tag, bytes }) => match self.uploading.begin(tag, bytes) {
                Ok(()) => Ok(()),
                Err(error) => self.frame(SessionFrame::UploadRejected { tag, error }).await,
            },
            Err(error) => self.error(error, None).await,
        }
    }

    async fn binary(&mut self, bytes: &[u8]) -> Result<(), Deaf> {
        if bytes.len() > BINARY_BYTES_MAX {
            let message = format!("a binary frame has at most {BINARY_BYTES_MAX} bytes");
            return self.error(ErrorBody::new(ErrorCode::TooLarge, message), None).await;
        }
        let chunk = match UploadChunk::decode(bytes) {
            Ok(chunk) => chunk,
            Err(fault) => {
                let message = format!("this is no upload chunk: {fault}");
                return self.error(ErrorBody::new(ErrorCode::UnknownFrame, message), None).await;
            }
        };
        let tag = chunk.tag;
        let answer = match self.uploading.take(&chunk) {
            Ok(Taken::Waiting) => return Ok(()),
            Err(Refusal::Unknown(error)) => return self.error(error, None).await,
            Err(Refusal::Upload(error)) => SessionFrame::UploadRejected { tag, error },
            // Reading pauses meanwhile, so that a client cannot bring pictures faster than they are stored.
            Ok(Taken::Whole(file)) => match self.service.upload(file).await {
                Ok(upload) => SessionFrame::Uploaded { tag, upload },
                Err(error) => SessionFrame::UploadRejected { tag, error },
            },
        };
        self.frame(answer).await
    }

    async fn hello(&mut self, client: &str) -> Result<(), Deaf> {
        if std::mem::replace(&mut self.is_greeted, true) {
            let error = ErrorBody::new(ErrorCode::UnexpectedHello, "this connection was greeted already; carry on");
            return self.error(error, None).await;
        }
        tracing::debug!(client, "hello");
        self.frame(outlet::welcome(self.service.offer())).await
    }

    async fn submit(&mut self, tag: u32, job: Value) -> Result<(), Deaf> {
        let submitted = match self.room() {
            Ok(()) => self.service.submit(&self.caller, job).await,
            Err(error) => Err(error),
        };
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(error) => return self.frame(SessionFrame::Rejected { tag, error }).await,
        };
        let job = Box::new(submitted.cell.view());
        let handle = self.handle();
        self.followed.insert(job.id.clone());
        self.ties.retain(Tie::is_needed);
        self.ties.extend(submitted.tie);
        let preview = self.service.preview_basis(&job);
        let greeting = Box::new(ServerFrame::Session(SessionFrame::Accepted { tag, handle, job, preview }));
        let reader = submitted.cell.read(0, submitted.preview);
        self.send(Outgoing::Follow { greeting, handle, reader }).await
    }

    async fn attach(&mut self, job: JobId, after: u64, preview: PreviewOptions) -> Result<(), Deaf> {
        let found = match self.room() {
            _ if preview.every == 0 => Err(ErrorBody::new(ErrorCode::InvalidRequest, "preview.every is at least 1")),
            Ok(()) => self.service.find(&self.caller, job.as_str()).await,
            Err(error) => Err(error),
        };
        let cell = match found {
            Ok(cell) => cell,
            Err(error) => return self.error(error, Some(job)).await,
        };
        let view = Box::new(cell.view());
        let handle = self.handle();
        self.followed.insert(job);
        let basis = self.service.preview_basis(&view);
        let greeting = Box::new(ServerFrame::Session(SessionFrame::Attached { handle, job: view, preview: basis }));
        self.send(Outgoing::Follow { greeting, handle, reader: cell.read(after, preview) }).await
    }

    /// Whether one more job may be followed. Jobs that have ended are counted out here, when it matters.
    fn room(&mut self) -> Result<(), ErrorBody> {
        let most = self.service.offer().limits.jobs_per_socket_max;
        if self.followed.len() < most {
            return Ok(());
        }
        self.followed.retain(|id| self.service.is_unfinished(id));
        if self.followed.len() < most {
            return Ok(());
        }
        let message = format!("this socket follows {most} jobs; detach one, wait for one, or open another socket");
        Err(ErrorBody::new(ErrorCode::TooManyJobs, message))
    }

    fn handle(&mut self) -> u32 {
        let handle = self.next_handle;
        self.next_handle = handle.wrapping_add(1);
        handle
    }

    async fn error(&self, error: ErrorBody, job: Option<JobId>) -> Result<(), Deaf> {
        self.frame(SessionFrame::Error { error, job }).await
    }

    async fn frame(&self, frame: SessionFrame) -> Result<(), Deaf> {
        self.send(Outgoing::Frame(Box::new(ServerFrame::Session(frame)))).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), Deaf> {
        self.replies.send(outgoing).await.map_err(|_| Deaf)
    }
}

/// Whether a client announced or sent more than the limits allow.
fn is_too_large(error: &axum::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<tungstenite::Error>());
    matches!(cause, Some(tungstenite::Error::Capacity(_)))
}
