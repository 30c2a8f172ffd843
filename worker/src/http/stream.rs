//! `GET /v1/jobs/{id}/stream`: the numbered log as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use schemars::JsonSchema;
use sd_protocol::limits::SSE_KEEP_ALIVE_MS;
use sd_protocol::{ErrorBody, ErrorDetail, PreviewMode, PreviewOptions};
use serde::Deserialize;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use super::App;
use super::error::ApiError;
use super::extract::Path;
use crate::access::Caller;
use crate::jobs::{JobReader, News};
use crate::metrics::{Metrics, ViewerGuard, Wire};
use crate::outlet;

/// Time after which a browser connects again.
const RETRY: Duration = Duration::from_secs(1);

/// A stream stands for its job in binary frames under this handle.
const HANDLE: u32 = 0;

/// The query of the stream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// The `seq` of the last event that the reader has.
    after: Option<u64>,
    /// What previews it wants; those of the request unless told otherwise.
    preview: Option<PreviewMode>,
}

/// One event of a stream.
#[derive(Debug, JsonSchema)]
#[allow(dead_code, reason = "events are written field by field; this says what they look like")]
pub struct ServerSentEvent {
    /// `preview`, or the `type` of the frame in `data`.
    event: String,
    /// Number of the event in the job's log; durable events alone have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// An `EventFrame` as JSON. Of a `preview` a binary frame in base64 where latents are wanted, or a picture as a
    /// data URL such as `data:image/jpeg;step=5;steps=20;batch_index=0;batch_size=1;base64,…`.
    data: String,
}

/// `GET /v1/jobs/{id}/stream?after=&preview=`
pub async fn stream(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<StreamQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| {
        ErrorBody::invalid(vec![ErrorDetail { field: "query".into(), message: rejection.body_text() }])
    })?;
    // A browser that reconnects says where it was; that beats what the address said at first.
    let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let after = last_event_id.or(query.after).unwrap_or(0);
    let cell = app.service.find(&caller, &id).await?;
    let view = cell.view();
    if view.state.is_terminal() && after == view.last_seq {
        // A browser connects again after every end; this answer tells it that there is nothing more to come.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let asked = view.request.preview.unwrap_or_default();
    let preview = PreviewOptions { mode: query.preview.unwrap_or(asked.mode), ..asked };

    let events = news_events(cell.read(after, preview), app.closing.clone());
    let first = stream::iter([Ok(SseEvent::default().retry(RETRY))]);
    let keep_alive = KeepAlive::new().interval(Duration::from_millis(SSE_KEEP_ALIVE_MS));
    let headers = [(HeaderName::from_static("x-accel-buffering"), "no"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Sse::new(first.chain(events)).keep_alive(keep_alive)).into_response())
}

struct Follower {
    reader: JobReader,
    _viewer: ViewerGuard,
    changes: WatchStream<()>,
    closing: CancellationToken,
    pending: VecDeque<SseEvent>,
}

/// Everything that happens to a job until its end or the worker's.
fn news_events(reader: JobReader, closing: CancellationToken) -> impl Stream<Item = Result<SseEvent, Infallible>> {
    let changes = reader.changes();
    let _viewer = reader.cell().metrics().viewer(Wire::Sse);
    let follower = Follower { reader, _viewer, changes, closing, pending: VecDeque::new() };
    stream::unfold(follower, |mut follower| async move {
        loop {
            if let Some(event) = follower.pending.pop_front() {
                return Some((Ok(event), follower));
            }
            if follower.reader.has_ended() {
                return None;
            }
            let is_last_look = tokio::select! {
                biased;
                change = follower.changes.next() => change.is_none(),
                () = follower.closing.cancelled() => true,
            };
            let news = follower.reader.drain();
            if is_last_look && news.is_empty() {
                return None;
            }
            let dtype = follower.reader.preview().dtype;
            let metrics = follower.reader.cell().metrics();
            follower.pending.extend(news.into_iter().flat_map(|news| sse_events(&news, dtype, metrics)));
        }
    })
}

fn sse_events(news: &News, dtype: sd_protocol::PreviewDtype, metrics: &Metrics) -> Vec<SseEvent> {
    let preview = |data: String, missed: u32| {
        metrics.sent(Wire::Sse, data.len());
        metrics.preview_sent(Wire::Sse, missed);
        SseEvent::default().event("preview").data(data)
    };
    match news {
        News::Event(frame) => {
            let data = outlet::event_json(frame);
            metrics.sent(Wire::Sse, data.len());
            let event = SseEvent::default().event(frame.event.name()).data(data);
            vec![match frame.seq {
                Some(seq) => event.id(seq.to_string()),
                None => event,
            }]
        }
        News::Latents { snapshot, missed } => outlet::previews(snapshot, dtype)
            .map(|frame| preview(BASE64_STANDARD.encode(frame.encode(HANDLE)), *missed))
            .collect(),
        News::Pictures { pictures, missed } => {
            pictures.frames.iter().map(|frame| preview(outlet::data_url(frame), *missed)).collect()
        }
    }
}
