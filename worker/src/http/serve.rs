//! Connections: accepted, bounded in number, in time and in the size of what they announce.
//!
//! `axum::serve` has no place for these bounds; hyper has. A connection holds its place until it is over, also after it
//! became a WebSocket.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use sd_protocol::limits::{HEAD_BYTES_MAX, HEAD_TIMEOUT_MS, HEADERS_MAX, WRITE_TIMEOUT_MS};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

/// Time to wait when the system gives no connection, as when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The place of a connection among those that may be open; whoever goes on with the connection keeps it.
#[derive(Clone, Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// Serves until `closing` is cancelled and every answer that was begun by then is given.
pub async fn serve(listener: TcpListener, router: Router, connections_max: usize, closing: CancellationToken) {
    let places = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    while let Some((tcp, place)) = next(&listener, &places, &closing).await {
        connections.spawn(converse(tcp, router.clone(), place, closing.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection and its place; `None` when no more are wanted.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    closing: &CancellationToken,
) -> Option<(TcpStream, Place)> {
    let accepted = async {
        let place = Arc::clone(places).acquire_owned().await.expect("nobody closes this semaphore");
        loop {
            match listener.accept().await {
                Ok((tcp, _)) => return (tcp, Place(Arc::new(place))),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = closing.cancelled() => None,
        accepted = accepted => Some(accepted),
    }
}

async fn converse(tcp: TcpStream, router: Router, place: Place, closing: CancellationToken) {
    // A preview is one small write, which must not wait for the acknowledgement of the one before.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended before it began");
        return;
    }
    let mut tcp = TimeoutStream::new(tcp);
    tcp.set_write_timeout(Some(Duration::from_millis(WRITE_TIMEOUT_MS)));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(place.clone());
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_TIMEOUT_MS))
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Box::pin(tcp)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
    }
}
