//! One viewer: follows job after job over one transport, calmly or not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sd_protocol::{EventFrame, JobId};

use super::Board;
use crate::api::{Api, Events};
use crate::socket::{Incoming, Socket};

/// The transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// The WebSocket.
    Socket,
    /// Server-sent events.
    Stream,
}

/// How a viewer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Reads everything.
    Calm,
    /// Stops reading in the middle, for a while.
    Stalls,
    /// Leaves in the middle, and goes on where it was.
    Reconnects,
    /// Leaves in the middle, and looks for another job.
    Vanishes,
}

impl Manner {
    /// One of the bad ones, in turns.
    pub fn unruly(number: usize) -> Self {
        [Self::Stalls, Self::Reconnects, Self::Vanishes][number % 3]
    }
}

/// A viewer before it begins.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Of the worker.
    pub address: Arc<str>,
    /// The transport.
    pub wire: Wire,
    /// How it behaves.
    pub manner: Manner,
    /// Longest time that it does not read when it stalls.
    pub stall_max: Duration,
}

/// What viewers saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Jobs followed from their first event to their last, without a gap.
    pub logs: u64,
    /// Durable events.
    pub events: u64,
    /// Previews.
    pub previews: u64,
    /// Times that a viewer stopped reading.
    pub stalls: u64,
    /// Connections that were taken up again in the middle of a job, whoever ended them.
    pub resumes: u64,
    /// Jobs left in the middle for good.
    pub left: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.logs += other.logs;
        self.events += other.events;
        self.previews += other.previews;
        self.stalls += other.stalls;
        self.resumes += other.resumes;
        self.left += other.left;
    }
}

/// What one look at a connection brings.
enum News {
    Durable(EventFrame),
    Preview,
    Other,
    /// The connection is over, and may be taken up again.
    Over,
}

/// A connection that follows one job.
enum Connection {
    Socket(Box<Socket>),
    Stream(Events),
}

impl Viewer {
    /// Follows the newest job, again and again, until no more come.
    pub(super) async fn watch(self, mut board: Board) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut number = 0_u32;
        while board.changed().await.is_ok() {
            let Some(job) = board.borrow_and_update().clone() else { continue };
            self.follow(&job, number, &mut seen).await.with_context(|| format!("{self:?}, job {job}"))?;
            number += 1;
        }
        Ok(seen)
    }

    async fn follow(&self, job: &JobId, number: u32, seen: &mut Seen) -> anyhow::Result<()> {
        let mut connection = self.connect(job, 0).await?;
        let mut after = 0;
        // Misbehaves once a job, at another place each time.
        let mut misbehaves_at = Some(1 + number % 7);
        for looks in 1.. {
            match connection.next().await? {
                News::Durable(frame) => {
                    let seq = frame.seq.unwrap_or_default();
                    ensure!(frame.job == *job && seq == after + 1, "event {seq} of {} came after {after}", frame.job);
                    after = seq;
                    seen.events += 1;
                    if frame.event.is_terminal() {
                        seen.logs += 1;
                        return Ok(());
                    }
                }
                News::Preview => seen.previews += 1,
                News::Other => {}
                News::Over => {
                    connection = self.connect(job, after).await?;
                    seen.resumes += 1;
                }
            }
            if misbehaves_at.is_some_and(|at| looks >= at) {
                misbehaves_at = None;
                match self.manner {
                    Manner::Calm => {}
                    Manner::Stalls => {
                        seen.stalls += 1;
                        tokio::time::sleep(self.stall_max.mul_f64(f64::from(1 + number % 5) / 5.0)).await;
                    }
                    Manner::Reconnects => {
                        connection = self.connect(job, after).await?;
                        seen.resumes += 1;
                    }
                    Manner::Vanishes => {
                        seen.left += 1;
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn connect(&self, job: &JobId, after: u64) -> anyhow::Result<Connection> {
        Ok(match self.wire {
            Wire::Socket => {
                let mut socket = Socket::greet_at(&self.address).await?;
                socket.attach(job, after).await?;
                Connection::Socket(Box::new(socket))
            }
            Wire::Stream => {
                let headers = after.to_string();
                let headers = [("last-event-id", headers.as_str())];
                Connection::Stream(Api::new(&self.address).events_with(job.as_str(), "", &headers).await?)
            }
        })
    }
}

impl Connection {
    async fn next(&mut self) -> anyhow::Result<News> {
        let frame = match self {
            Self::Socket(socket) => match socket.next().await {
                Ok(Incoming::Event(frame)) => frame,
                Ok(Incoming::Preview(_) | Incoming::Picture(_)) => return Ok(News::Preview),
                Ok(Incoming::Session(_)) => return Ok(News::Other),
                Ok(Incoming::Closed(_)) | Err(_) => return Ok(News::Over),
            },
            Self::Stream(events) => match events.next().await {
                Ok(Some(event)) => match event.frame {
                    Some(frame) => frame,
                    None => return Ok(News::Preview),
                },
                Ok(None) | Err(_) => return Ok(News::Over),
            },
        };
        Ok(if frame.seq.is_some() { News::Durable(frame) } else { News::Other })
    }
}
