//! The reading half of a socket: one frame in, one question to the service.

use std::collections::HashSet;
use std::error::Error as _;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use sd_protocol::limits::{BINARY_BYTES_MAX, HELLO_TIMEOUT_MS};
use sd_protocol::{
    ClientFrame, ErrorBody, ErrorCode, JobId, PreviewOptions, Secret, ServerFrame, SessionFrame, UploadChunk,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite;

use super::uploading::{Refusal, Taken, Uploading};
use super::{CloseCode, Outgoing};
use crate::access::{Caller, Gate};
use crate::http::guard::SocketCaller;
use crate::outlet;
use crate::service::{Service, Tie};

const HELLO_TIMEOUT: Duration = Duration::from_millis(HELLO_TIMEOUT_MS);

/// The reading half and what it remembers of the connection.
pub(super) struct Inbound {
    service: Service,
    gate: Gate,
    /// `None` until `hello` says who it is.
    caller: Option<Caller>,
    replies: mpsc::Sender<Outgoing>,
    is_greeted: bool,
    /// Somebody known has said something: the socket may stay.
    is_settled: bool,
    next_handle: u32,
    followed: HashSet<JobId>,
    /// Jobs that end with this connection.
    ties: Vec<Tie>,
    uploading: Uploading,
}

/// Why reading ends early.
enum End {
    /// The outbound half is gone: nobody hears the answers.
    Deaf,
    /// The client is told why.
    Close(CloseCode, &'static str),
}

impl Inbound {
    pub(super) fn new(
        service: Service,
        gate: Gate,
        SocketCaller(caller): SocketCaller,
        replies: mpsc::Sender<Outgoing>,
    ) -> Self {
        let uploading = Uploading::new(service.arrivals().clone());
        Self {
            service,
            gate,
            caller,
            replies,
            is_greeted: false,
            is_settled: false,
            next_handle: 1,
            followed: HashSet::new(),
            ties: Vec::new(),
            uploading,
        }
    }

    /// Reads until the client goes away or breaks the rules of the framing. Dropping the sender afterwards lets the
    /// outbound half end.
    pub(super) async fn run(mut self, mut stream: SplitStream<WebSocket>) {
        let greeted_by = Instant::now() + HELLO_TIMEOUT;
        loop {
            let message = match self.is_settled {
                true => stream.next().await,
                false => match timeout_at(greeted_by, stream.next()).await {
                    Ok(message) => message,
                    Err(_) => return self.close(CloseCode::PolicyViolation, "no hello came in time").await,
                },
            };
            let heard = match message {
                Some(Ok(Message::Text(text))) => self.text(&text).await,
                Some(Ok(Message::Binary(bytes))) => self.binary(&bytes).await,
                Some(Ok(Message::Ping(_))) => Ok(()),
                Some(Ok(Message::Pong(_))) => self.send(Outgoing::Alive).await,
                // The next read answers it, and is the last one.
                Some(Ok(Message::Close(_))) => Ok(()),
                Some(Err(error)) => match reason_to_close(&error) {
                    Some((code, reason)) => Err(End::Close(code, reason)),
                    None => return,
                },
                None => return,
            };
            match heard {
                Ok(()) => {}
                Err(End::Deaf) => return,
                Err(End::Close(code, reason)) => return self.close(code, reason).await,
            }
        }
    }

    /// Has the outbound half say why, after everything that it was asked to send before.
    async fn close(&self, code: CloseCode, reason: &'static str) {
        if self.send(Outgoing::Close(code, reason)).await.is_ok() {
            self.replies.closed().await;
        }
    }

    async fn text(&mut self, text: &str) -> Result<(), End> {
        let frame = match ClientFrame::from_json(text) {
            Ok(ClientFrame::Hello { client, token, ticket, .. }) => return self.hello(&client, token, ticket).await,
            Ok(frame) => frame,
            Err(error) => return self.error(error, None).await,
        };
        let Some(caller) = self.caller.clone() else { return self.refuse(frame).await };
        self.is_settled = true;
        match frame {
            // Taken care of above.
            ClientFrame::Hello { .. } => Ok(()),
            ClientFrame::Submit { tag, job } => self.submit(&caller, tag, job).await,
            ClientFrame::Cancel { job } => match self.service.cancel(&caller, job.as_str()).await {
                Ok(_) => Ok(()),
                Err(error) => self.error(error, Some(job)).await,
            },
            ClientFrame::Attach { job, after, preview } => self.attach(&caller, job, after, preview).await,
            ClientFrame::Preview { job, preview } => self.preview(job, preview).await,
            ClientFrame::Detach { job } => {
                self.followed.remove(&job);
                self.send(Outgoing::Unfollow(job)).await
            }
            ClientFrame::Upload { tag, bytes } => match self.uploading.begin(tag, bytes) {
                Ok(()) => Ok(()),
                Err(error) => self.frame(SessionFrame::UploadRejected { tag, error }).await,
            },
        }
    }

    /// Answers a frame of somebody who has not said who it is, as the frame would have been answered.
    async fn refuse(&self, frame: ClientFrame<Value>) -> Result<(), End> {
        let message = "this worker asks for a token: send \"hello\" with one, or with a ticket, before anything else";
        let error = ErrorBody::new(ErrorCode::Unauthorized, message);
        let answer = match frame {
            ClientFrame::Submit { tag, .. } => SessionFrame::Rejected { tag, error },
            ClientFrame::Upload { tag, .. } => SessionFrame::UploadRejected { tag, error },
            ClientFrame::Cancel { job }
            | ClientFrame::Attach { job, .. }
            | ClientFrame::Preview { job, .. }
            | ClientFrame::Detach { job } => SessionFrame::Error { error, job: Some(job) },
            ClientFrame::Hello { .. } => SessionFrame::Error { error, job: None },
        };
        self.frame(answer).await
    }

    async fn binary(&mut self, bytes: &[u8]) -> Result<(), End> {
        let Some(caller) = self.caller.clone() else {
            let message = "this worker asks for a token: send \"hello\" with one before anything else";
            return self.error(ErrorBody::new(ErrorCode::Unauthorized, message), None).await;
        };
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
            Ok(Taken::Whole(file)) => match self.service.upload(&caller, file).await {
                Ok(upload) => SessionFrame::Uploaded { tag, upload },
                Err(error) => SessionFrame::UploadRejected { tag, error },
            },
        };
        self.frame(answer).await
    }

    async fn hello(&mut self, client: &str, token: Option<Secret>, ticket: Option<Secret>) -> Result<(), End> {
        if std::mem::replace(&mut self.is_greeted, true) {
            let error = ErrorBody::new(ErrorCode::UnexpectedHello, "this connection was greeted already; carry on");
            return self.error(error, None).await;
        }
        let caller = match (token, ticket) {
            (Some(token), _) => self.gate.by_token(&token),
            (None, Some(ticket)) => self.gate.socket_by_ticket(&ticket),
            // Whoever opened the socket with a token or ticket has said enough.
            (None, None) => self.caller.take(),
        };
        let Some(caller) = caller else {
            let message = "this worker asks for a token: send one in \"hello\", or a ticket that was not used before";
            self.error(ErrorBody::new(ErrorCode::Unauthorized, message), None).await?;
            return Err(End::Close(CloseCode::PolicyViolation, "bad credentials"));
        };
        tracing::debug!(client, caller = caller.name(), "hello");
        let quota = self.service.quota(&caller);
        self.caller = Some(caller);
        self.is_settled = true;
        self.frame(outlet::welcome(self.service.offer(), quota)).await
    }

    async fn submit(&mut self, caller: &Caller, tag: u32, job: Value) -> Result<(), End> {
        let submitted = match self.room() {
            Ok(()) => self.service.submit(caller, job).await,
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

    async fn attach(&mut self, caller: &Caller, job: JobId, after: u64, preview: PreviewOptions) -> Result<(), End> {
        let found = match check_preview(preview).and_then(|()| self.room()) {
            Ok(()) => self.service.find(caller, job.as_str()).await,
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

    async fn preview(&mut self, job: JobId, preview: PreviewOptions) -> Result<(), End> {
        if let Err(error) = check_preview(preview) {
            return self.error(error, Some(job)).await;
        }
        if !self.followed.contains(&job) {
            let message =
                format!("this socket does not follow the job {job}; attach to it, with `preview` as you want it");
            return self.error(ErrorBody::new(ErrorCode::JobNotFound, message), Some(job)).await;
        }
        self.send(Outgoing::Preview(job, preview)).await
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

    async fn error(&self, error: ErrorBody, job: Option<JobId>) -> Result<(), End> {
        self.frame(SessionFrame::Error { error, job }).await
    }

    async fn frame(&self, frame: SessionFrame) -> Result<(), End> {
        self.send(Outgoing::Frame(Box::new(ServerFrame::Session(frame)))).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), End> {
        self.replies.send(outgoing).await.map_err(|_| End::Deaf)
    }
}

fn check_preview(preview: PreviewOptions) -> Result<(), ErrorBody> {
    match preview.every {
        0 => Err(ErrorBody::new(ErrorCode::InvalidRequest, "preview.every is at least 1")),
        _ => Ok(()),
    }
}

/// What a client is told that broke a rule of the framing; a connection that broke by itself is told nothing.
fn reason_to_close(error: &axum::Error) -> Option<(CloseCode, &'static str)> {
    use tungstenite::error::ProtocolError;
    match error.source().and_then(|cause| cause.downcast_ref::<tungstenite::Error>())? {
        tungstenite::Error::Capacity(_) => Some((CloseCode::TooLarge, "a frame is larger than limits allow")),
        tungstenite::Error::Utf8(_) => Some((CloseCode::InvalidText, "a text frame is UTF-8")),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) => Some((CloseCode::ProtocolError, "RFC 6455 forbids such a frame")),
        _ => None,
    }
}
