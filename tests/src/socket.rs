//! A client of the WebSocket.

use std::collections::VecDeque;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use sd_protocol::{
    BinaryFrame, ClientFrame, ErrorBody, EventFrame, JobId, JobView, PictureFrame, PreviewFrame, PreviewOptions,
    SUBPROTOCOL, ServerFrame, SessionFrame, UploadChunk, UploadView,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::within;
use crate::worker::Worker;

/// What arrives.
#[derive(Clone, Debug)]
pub enum Incoming {
    /// About the connection.
    Session(SessionFrame),
    /// About a job.
    Event(EventFrame),
    /// A preview latent.
    Preview(PreviewFrame),
    /// A preview picture.
    Picture(PictureFrame),
    /// The worker closed with this code.
    Closed(Option<u16>),
}

/// A job as its submitter knows it.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Stands for the job in binary frames.
    pub handle: u32,
    /// The job at that time.
    pub view: JobView,
}

/// One connection.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// What arrived while something else was waited for.
    passed: VecDeque<Incoming>,
}

impl Socket {
    /// Connects, and agrees on the subprotocol.
    ///
    /// # Errors
    /// When the worker refuses.
    pub async fn connect(worker: &Worker) -> anyhow::Result<Self> {
        Self::connect_with(worker.address(), "", &[]).await
    }

    /// As [`Socket::connect`], by address, with a query and more headers.
    ///
    /// # Errors
    /// When the worker refuses.
    pub async fn connect_with(address: &str, query: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut request = format!("ws://{address}/v1/ws{query}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes())?, value.parse()?);
        }
        Self::agree(TcpStream::connect(address).await?, request).await
    }

    /// As [`Socket::connect`], over a connection that is open already.
    ///
    /// # Errors
    /// When the worker refuses.
    pub async fn upgrade(tcp: TcpStream, address: &str) -> anyhow::Result<Self> {
        Self::agree(tcp, format!("ws://{address}/v1/ws").into_client_request()?).await
    }

    async fn agree(tcp: TcpStream, mut request: Request) -> anyhow::Result<Self> {
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (stream, response) = within("the upgrade", client_async(request, tcp)).await??;
        let chosen = response.headers().get("sec-websocket-protocol");
        ensure!(chosen.is_some_and(|name| name == SUBPROTOCOL), "the worker chose the subprotocol {chosen:?}");
        Ok(Self { stream, passed: VecDeque::new() })
    }

    /// Connects and says hello.
    ///
    /// # Errors
    /// When no `welcome` comes back.
    pub async fn greet(worker: &Worker) -> anyhow::Result<Self> {
        Self::greet_at(worker.address()).await
    }

    /// As [`Socket::greet`], by address.
    ///
    /// # Errors
    /// When no `welcome` comes back.
    pub async fn greet_at(address: &str) -> anyhow::Result<Self> {
        let mut socket = Self::connect_with(address, "", &[]).await?;
        socket.hello().await?;
        Ok(socket)
    }

    /// The next thing that arrives, after those that were passed over.
    ///
    /// # Errors
    /// When nothing does, or what arrives is no frame.
    pub async fn next(&mut self) -> anyhow::Result<Incoming> {
        match self.passed.pop_front() {
            Some(incoming) => Ok(incoming),
            None => within("anything", self.receive()).await?,
        }
    }

    /// Says hello and waits for `welcome`.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn hello(&mut self) -> anyhow::Result<SessionFrame> {
        self.send(&ClientFrame::Hello { client: "sd-tests".into(), token: None, ticket: None, features: Vec::new() })
            .await?;
        self.take("welcome", |incoming| match incoming {
            Incoming::Session(frame @ SessionFrame::Welcome { .. }) => Some(frame.clone()),
            _ => None,
        })
        .await
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, frame: &ClientFrame) -> anyhow::Result<()> {
        self.send_raw(Message::text(serde_json::to_string(frame)?)).await
    }

    /// Sends anything.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_raw(&mut self, message: Message) -> anyhow::Result<()> {
        Ok(within("room to send", self.stream.send(message)).await??)
    }

    /// Uploads a file; what the worker says of it, or why it does not take it.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn upload(&mut self, tag: u32, file: &[u8]) -> anyhow::Result<Result<UploadView, ErrorBody>> {
        self.send(&ClientFrame::Upload { tag, bytes: file.len() as u64 }).await?;
        for chunk in UploadChunk::split(tag, file) {
            self.send_raw(Message::binary(chunk.encode())).await?;
        }
        self.uploaded(tag).await
    }

    /// The answer to an upload.
    ///
    /// # Errors
    /// When none comes.
    pub async fn uploaded(&mut self, tag: u32) -> anyhow::Result<Result<UploadView, ErrorBody>> {
        self.take("an answer to an upload", |incoming| match incoming {
            Incoming::Session(SessionFrame::Uploaded { tag: of, upload }) if *of == tag => Some(Ok(upload.clone())),
            Incoming::Session(SessionFrame::UploadRejected { tag: of, error }) if *of == tag => {
                Some(Err(error.clone()))
            }
            _ => None,
        })
        .await
    }

    /// The connection below, for bytes that are no frames.
    pub fn tcp(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Submits a job that must be accepted.
    ///
    /// # Errors
    /// When it is not.
    pub async fn submit(&mut self, tag: u32, job: &Value) -> anyhow::Result<Followed> {
        self.send_raw(Message::text(json!({"type": "submit", "tag": tag, "job": job}).to_string())).await?;
        let answer = self.take("an answer to submit", |incoming| match incoming {
            Incoming::Session(SessionFrame::Accepted { tag: of, handle, job, .. }) if *of == tag => {
                Some(Ok(Followed { handle: *handle, view: (**job).clone() }))
            }
            Incoming::Session(SessionFrame::Rejected { tag: of, error }) if *of == tag => Some(Err(error.clone())),
            _ => None,
        });
        answer.await?.context("the job was rejected")
    }

    /// Follows a job that must exist.
    ///
    /// # Errors
    /// When it does not.
    pub async fn attach(&mut self, job: &JobId, after: u64) -> anyhow::Result<Followed> {
        self.send(&ClientFrame::Attach { job: job.clone(), after, preview: PreviewOptions::default() }).await?;
        let answer = self.take("an answer to attach", |incoming| match incoming {
            Incoming::Session(SessionFrame::Attached { handle, job: view, .. }) if view.id == *job => {
                Some(Ok(Followed { handle: *handle, view: (**view).clone() }))
            }
            Incoming::Session(SessionFrame::Error { error, job: Some(of) }) if of == job => Some(Err(error.clone())),
            _ => None,
        });
        answer.await?.context("the job cannot be followed")
    }

    /// All durable events of a job up to and including its terminal one.
    ///
    /// # Errors
    /// When the terminal one does not come.
    pub async fn log(&mut self, job: &JobId) -> anyhow::Result<Vec<EventFrame>> {
        let mut log = Vec::new();
        loop {
            let frame = self.take("an event", |incoming| match incoming {
                Incoming::Event(frame) if frame.job == *job && frame.seq.is_some() => Some(frame.clone()),
                _ => None,
            });
            let frame = frame.await.with_context(|| format!("after {log:?}"))?;
            let is_terminal = frame.event.is_terminal();
            log.push(frame);
            if is_terminal {
                return Ok(log);
            }
        }
    }

    /// The next incoming thing that `pick` wants; others are kept in order.
    ///
    /// # Errors
    /// When it does not come, or the connection ends before it does.
    pub async fn take<T>(&mut self, what: &str, mut pick: impl FnMut(&Incoming) -> Option<T>) -> anyhow::Result<T> {
        for at in 0..self.passed.len() {
            if let Some(picked) = pick(&self.passed[at]) {
                self.passed.remove(at);
                return Ok(picked);
            }
        }
        loop {
            let incoming = within(what, self.receive()).await??;
            if let Some(picked) = pick(&incoming) {
                return Ok(picked);
            }
            if let Incoming::Closed(code) = incoming {
                bail!("the worker closed with {code:?} while {what} was waited for");
            }
            self.passed.push_back(incoming);
        }
    }

    /// Everything up to and including the close.
    ///
    /// # Errors
    /// When the worker does not close.
    pub async fn rest(&mut self) -> anyhow::Result<Vec<Incoming>> {
        let mut all: Vec<_> = self.passed.drain(..).collect();
        loop {
            let incoming = within("the close", self.receive()).await??;
            let is_last = matches!(incoming, Incoming::Closed(_));
            all.push(incoming);
            if is_last {
                return Ok(all);
            }
        }
    }

    async fn receive(&mut self) -> anyhow::Result<Incoming> {
        loop {
            match self.stream.next().await {
                None | Some(Err(Error::ConnectionClosed)) => return Ok(Incoming::Closed(None)),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Message::Close(frame))) => return Ok(Incoming::Closed(frame.map(|frame| frame.code.into()))),
                Some(Ok(Message::Binary(bytes))) => {
                    return Ok(match BinaryFrame::decode(&bytes)? {
                        BinaryFrame::Latent(frame) => Incoming::Preview(frame),
                        BinaryFrame::Picture(frame) => Incoming::Picture(frame),
                    });
                }
                Some(Ok(Message::Text(text))) => match ServerFrame::from_json(&text)? {
                    Some(ServerFrame::Session(frame)) => return Ok(Incoming::Session(frame)),
                    Some(ServerFrame::Event(frame)) => return Ok(Incoming::Event(frame)),
                    None => bail!("this worker sends a frame that its own protocol does not know: {text}"),
                },
                Some(Ok(_)) => {}
            }
        }
    }
}
