//! `GET /v1/ws`: many jobs on one socket.
//!
//! Two halves run side by side and meet in a bounded channel: `inbound` reads frames and asks the service,
//! `outbound` writes replies, the news of followed jobs and pings. A client that does not read stalls its own
//! outbound half and nothing else; after `SEND_TIMEOUT_MS` it is closed with 1013 and can resume by `attach`.

mod inbound;
mod outbound;
mod uploading;

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use sd_protocol::limits::{BINARY_BYTES_MAX, SOCKET_REPLIES_MAX, TEXT_BYTES_MAX};
use sd_protocol::{ErrorCode, JobId, PreviewOptions, SUBPROTOCOL, ServerFrame};
use tokio::sync::mpsc;

use super::App;
use super::error::ApiError;
use super::guard::SocketCaller;
use super::serve::Place;
use crate::jobs::JobReader;

/// Why the worker closes a socket: RFC 6455 close codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseCode {
    GoingAway = 1001,
    ProtocolError = 1002,
    InvalidText = 1007,
    /// Bad credentials, or none in time.
    PolicyViolation = 1008,
    TooLarge = 1009,
    TryAgainLater = 1013,
}

/// What the outbound half is asked to do.
#[derive(Debug)]
enum Outgoing {
    /// Send a frame.
    Frame(Box<ServerFrame>),
    /// Send a frame, then the news of a job under a handle of this connection.
    Follow { greeting: Box<ServerFrame>, handle: u32, reader: JobReader },
    /// Send other previews of a job.
    Preview(JobId, PreviewOptions),
    /// Send no more news of a job.
    Unfollow(JobId),
    /// The client answered a ping.
    Alive,
    /// Say why, and end.
    Close(CloseCode, &'static str),
}

/// `GET /v1/ws`
///
/// # Errors
/// `invalid_request` for a request that does not ask for a WebSocket.
pub async fn upgrade(
    State(app): State<App>,
    Extension(caller): Extension<SocketCaller>,
    Extension(place): Extension<Place>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| {
        let message = format!("this route speaks WebSocket only: {}", rejection.body_text());
        ApiError::new(ErrorCode::InvalidRequest, message)
    })?;
    // Held by the connection until it is over, so that a stopping worker waits for its last words.
    let token = app.sockets.token();
    let response = upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(TEXT_BYTES_MAX)
        .max_frame_size(TEXT_BYTES_MAX.max(BINARY_BYTES_MAX))
        .on_upgrade(move |socket| async move {
            converse(app, caller, socket).await;
            drop((token, place));
        });
    Ok(response)
}

async fn converse(app: App, caller: SocketCaller, socket: WebSocket) {
    let (sink, stream) = socket.split();
    let (replies, outgoing) = mpsc::channel(SOCKET_REPLIES_MAX);
    let closing = app.closing.clone();
    let metrics = Arc::clone(app.service.metrics());
    let inbound = inbound::Inbound::new(app.service, app.gate, caller, replies).run(stream);
    // Whichever half ends first ends the connection; a client that went away takes its readers with it.
    tokio::select! {
        () = outbound::Outbound::new(sink, metrics).run(outgoing, closing) => {}
        () = async { inbound.await; std::future::pending().await } => {}
    }
}
