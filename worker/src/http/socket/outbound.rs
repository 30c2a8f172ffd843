//! The writing half of a socket: replies, the news of followed jobs, pings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use sd_protocol::limits::{PING_INTERVAL_MS, SEND_TIMEOUT_MS};
use sd_protocol::{JobId, ServerFrame};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::StreamMap;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use super::{CloseCode, Outgoing};
use crate::jobs::{JobReader, News};
use crate::metrics::{Metrics, ViewerGuard, Wire};
use crate::outlet;

const PING_INTERVAL: Duration = Duration::from_millis(PING_INTERVAL_MS);
const SEND_TIMEOUT: Duration = Duration::from_millis(SEND_TIMEOUT_MS);
/// Pings that may stay unanswered.
const MISSED_PONGS_MAX: u32 = 2;

/// The writing half and the jobs it follows.
pub(super) struct Outbound {
    sink: SplitSink<WebSocket, Message>,
    followed: HashMap<JobId, Followed>,
    changes: StreamMap<JobId, WatchStream<()>>,
    missed_pongs: u32,
    metrics: Arc<Metrics>,
    _viewer: ViewerGuard,
}

struct Followed {
    handle: u32,
    reader: JobReader,
}

/// Why the connection ends.
enum End {
    /// The client is gone.
    Gone,
    /// The client is told why.
    Close(CloseCode, &'static str),
}

impl Outbound {
    pub(super) fn new(sink: SplitSink<WebSocket, Message>, metrics: Arc<Metrics>) -> Self {
        let _viewer = metrics.viewer(Wire::Socket);
        Self { sink, followed: HashMap::new(), changes: StreamMap::new(), missed_pongs: 0, metrics, _viewer }
    }

    /// Writes until the client goes away, stalls or breaks the rules, or until the worker stops.
    pub(super) async fn run(mut self, mut outgoing: mpsc::Receiver<Outgoing>, closing: CancellationToken) {
        let End::Close(code, reason) = self.write_all(&mut outgoing, &closing).await else { return };
        let frame = CloseFrame { code: code as u16, reason: reason.into() };
        // The client may be gone or deaf by now, and is left either way.
        if let Ok(Ok(())) = timeout(SEND_TIMEOUT, self.sink.send(Message::Close(Some(frame)))).await {
            tracing::debug!(code = code as u16, reason, "socket closed");
        }
    }

    async fn write_all(&mut self, outgoing: &mut mpsc::Receiver<Outgoing>, closing: &CancellationToken) -> End {
        let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                asked = outgoing.recv() => match asked {
                    Some(asked) => self.obey(asked).await,
                    None => Err(End::Gone),
                },
                Some((job, ())) = self.changes.next(), if !self.changes.is_empty() => self.tell(&job).await,
                _ = ping.tick() => self.ping().await,
                () = closing.cancelled() => Err(self.farewell().await),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn obey(&mut self, asked: Outgoing) -> Result<(), End> {
        match asked {
            Outgoing::Frame(frame) => self.send(text(&frame)).await,
            Outgoing::Follow { greeting, handle, reader } => {
                self.send(text(&greeting)).await?;
                let job = reader.cell().id().clone();
                // A job that is followed again goes on under its new handle.
                self.changes.insert(job.clone(), reader.changes());
                self.followed.insert(job, Followed { handle, reader });
                Ok(())
            }
            Outgoing::Preview(job, preview) => {
                // One that has ended meanwhile is followed no more, and has no previews to come.
                let Some(followed) = self.followed.get_mut(&job) else { return Ok(()) };
                followed.reader.set_preview(preview);
                self.tell(&job).await
            }
            Outgoing::Unfollow(job) => {
                self.unfollow(&job);
                Ok(())
            }
            Outgoing::Alive => {
                self.missed_pongs = 0;
                Ok(())
            }
            Outgoing::Close(code, reason) => Err(End::Close(code, reason)),
        }
    }

    /// Sends what is new about a job.
    async fn tell(&mut self, job: &JobId) -> Result<(), End> {
        let Some(Followed { handle, reader }) = self.followed.get_mut(job) else { return Ok(()) };
        let (handle, dtype) = (*handle, reader.preview().dtype);
        let news = reader.drain();
        if reader.has_ended() {
            self.unfollow(job);
        }
        for news in news {
            match news {
                News::Event(frame) => self.send(Message::Text(outlet::event_json(&frame).into())).await?,
                News::Latents { snapshot, missed } => {
                    for preview in outlet::previews(&snapshot, dtype) {
                        self.show(preview.encode(handle), missed).await?;
                    }
                }
                News::Pictures { pictures, missed } => {
                    for preview in &pictures.frames {
                        self.show(preview.encode(handle), missed).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn show(&mut self, preview: Vec<u8>, missed: u32) -> Result<(), End> {
        self.send(Message::Binary(preview.into())).await?;
        self.metrics.preview_sent(Wire::Socket, missed);
        Ok(())
    }

    fn unfollow(&mut self, job: &JobId) {
        self.changes.remove(job);
        self.followed.remove(job);
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.missed_pongs == MISSED_PONGS_MAX {
            return Err(End::Close(CloseCode::TryAgainLater, "two pings went unanswered"));
        }
        self.missed_pongs += 1;
        self.send(Message::Ping(Default::default())).await
    }

    /// The last news of every followed job, and the reason for leaving.
    async fn farewell(&mut self) -> End {
        let jobs: Vec<JobId> = self.followed.keys().cloned().collect();
        for job in jobs {
            if let Err(end) = self.tell(&job).await {
                return end;
            }
        }
        End::Close(CloseCode::GoingAway, "the worker is shutting down")
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
            _ => 0,
        };
        match timeout(SEND_TIMEOUT, self.sink.send(message)).await {
            Ok(Ok(())) => {
                self.metrics.sent(Wire::Socket, bytes);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(CloseCode::TryAgainLater, "the client does not read; connect and attach again")),
        }
    }
}

fn text(frame: &ServerFrame) -> Message {
    Message::Text(frame.to_json().into())
}
