//! A client of the HTTP job API.

use std::collections::VecDeque;

use anyhow::{Context, bail, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Method, Response, StatusCode};
use sd_protocol::{ErrorBody, ErrorCode, ErrorEnvelope, EventFrame, JobView};
use serde_json::Value;

use crate::within;

/// A client of one worker.
pub struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// A client of the worker at `address`.
    pub fn new(address: &str) -> Self {
        Self { client: Client::new(), base: format!("http://{address}") }
    }

    /// A client that shows a token with every request.
    ///
    /// # Errors
    /// When the token is no header value.
    pub fn with_token(address: &str, token: &str) -> anyhow::Result<Self> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse()?)]);
        let client = Client::builder().default_headers(headers).build()?;
        Ok(Self { client, ..Self::new(address) })
    }

    /// A request of any method with headers.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Response> {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Ok(within(path, request.send()).await??)
    }

    /// `GET`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.get_with(path, &[]).await
    }

    /// `GET` with headers.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Response> {
        self.request(Method::GET, path, headers).await
    }

    /// `POST` with a body that is sent as JSON, whatever it is.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: impl Into<String>) -> anyhow::Result<Response> {
        self.post_with(path, body, &[]).await
    }

    /// As [`Api::post`], with more headers.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post_with(
        &self,
        path: &str,
        body: impl Into<String>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Response> {
        let request = self.client.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Ok(within(path, request.body(body.into()).send()).await??)
    }

    /// `PATCH` with a body that is sent as JSON, whatever it is.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn patch(&self, path: &str, body: impl Into<String>) -> anyhow::Result<Response> {
        let request = self.client.patch(format!("{}{path}", self.base)).header("content-type", "application/json");
        Ok(within(path, request.body(body.into()).send()).await??)
    }

    /// `POST /v1/uploads`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn upload(&self, content_type: &str, body: impl Into<reqwest::Body>) -> anyhow::Result<Response> {
        let request = self.client.post(format!("{}/v1/uploads", self.base)).header("content-type", content_type);
        Ok(within("an answer to an upload", request.body(body).send()).await??)
    }

    /// `DELETE`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Response> {
        Ok(within(path, self.client.delete(format!("{}{path}", self.base)).send()).await??)
    }

    /// Submits a job that must be accepted.
    ///
    /// # Errors
    /// When it is not.
    pub async fn submit(&self, job: &Value) -> anyhow::Result<JobView> {
        let response = self.post("/v1/jobs", job.to_string()).await?;
        let status = response.status();
        let body = response.text().await?;
        ensure!(status == StatusCode::ACCEPTED, "{job} was answered with {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// The view of a job that must exist.
    ///
    /// # Errors
    /// When it does not.
    pub async fn view(&self, id: &str) -> anyhow::Result<JobView> {
        Ok(self.get(&format!("/v1/jobs/{id}")).await?.error_for_status()?.json().await?)
    }

    /// Cancels a job that must exist.
    ///
    /// # Errors
    /// When it does not.
    pub async fn cancel(&self, id: &str) -> anyhow::Result<JobView> {
        Ok(self.post(&format!("/v1/jobs/{id}/cancel"), "").await?.error_for_status()?.json().await?)
    }

    /// Follows a job to its end.
    ///
    /// # Errors
    /// When there is no such job or its stream breaks off.
    pub async fn ended(&self, id: &str) -> anyhow::Result<JobView> {
        let mut events = self.events(id, "?preview=none").await?;
        while let Some(event) = events.next().await? {
            if event.frame.is_some_and(|frame| frame.event.is_terminal()) {
                return self.view(id).await;
            }
        }
        bail!("the stream of {id} ended without a terminal event")
    }

    /// The bytes of the first picture of a job.
    ///
    /// # Errors
    /// When there is none.
    pub async fn picture(&self, view: &JobView) -> anyhow::Result<Vec<u8>> {
        let image = view.images.first().with_context(|| format!("{view:?} has no picture"))?;
        Ok(self.get(&image.url).await?.error_for_status()?.bytes().await?.to_vec())
    }

    /// The event stream of a job that must exist.
    ///
    /// # Errors
    /// When it does not.
    pub async fn events(&self, id: &str, query: &str) -> anyhow::Result<Events> {
        self.events_with(id, query, &[]).await
    }

    /// The event stream of a job, asked for with more headers.
    ///
    /// # Errors
    /// When there is no such job.
    pub async fn events_with(&self, id: &str, query: &str, headers: &[(&str, &str)]) -> anyhow::Result<Events> {
        let response = self.get_with(&format!("/v1/jobs/{id}/stream{query}"), headers).await?.error_for_status()?;
        let kind = response.headers().get("content-type").context("a stream has a content type")?;
        ensure!(kind == "text/event-stream", "the stream has the content type {kind:?}");
        let chunks = response.bytes_stream().map(|chunk| Ok(chunk?.to_vec())).boxed();
        Ok(Events { chunks, text: Vec::new(), ready: VecDeque::new() })
    }
}

/// Checks that an answer is the error that it should be.
///
/// # Errors
/// When it is not.
pub async fn expect_error(response: Response, status: StatusCode, code: ErrorCode) -> anyhow::Result<ErrorBody> {
    let found = response.status();
    let body = response.text().await?;
    ensure!(found == status, "expected {status}, not {found}: {body}");
    let ErrorEnvelope { error } =
        serde_json::from_str(&body).with_context(|| format!("{body:?} is no error object"))?;
    ensure!(error.code == code, "expected {code:?}, not {error:?}");
    ensure!(!error.message.is_empty(), "{code:?} comes without a sentence");
    Ok(error)
}

/// One server-sent event.
#[derive(Clone, Debug)]
pub struct SseEvent {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub name: String,
    /// `data:`
    pub data: String,
    /// The data of every event but `preview`.
    pub frame: Option<EventFrame>,
}

/// An open event stream, read by the rules of the HTML standard as far as this worker uses them.
pub struct Events {
    chunks: BoxStream<'static, anyhow::Result<Vec<u8>>>,
    text: Vec<u8>,
    ready: VecDeque<SseEvent>,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the stream breaks off or says what no event stream says.
    pub async fn next(&mut self) -> anyhow::Result<Option<SseEvent>> {
        // One deadline around the loop: comments keep a connection alive, and must not keep a test waiting.
        within("the next event or the end", async {
            loop {
                if let Some(event) = self.ready.pop_front() {
                    return Ok(Some(event));
                }
                let Some(chunk) = self.chunks.next().await else { return Ok(None) };
                self.text.extend(chunk?);
                while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                    let block: Vec<u8> = self.text.drain(..end + 2).collect();
                    self.ready.extend(parse(std::str::from_utf8(&block)?)?);
                }
            }
        })
        .await?
    }

    /// Everything until the end of the stream.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub async fn rest(&mut self) -> anyhow::Result<Vec<SseEvent>> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }
}

/// One block of an event stream; comments and `retry:` alone make no event.
fn parse(block: &str) -> anyhow::Result<Option<SseEvent>> {
    let (mut id, mut name, mut data) = (None, None, Vec::new());
    for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with(':')) {
        let (field, value) = line.split_once(':').with_context(|| format!("{line:?} is no field"))?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => id = Some(value.to_owned()),
            "event" => name = Some(value.to_owned()),
            "data" => data.push(value),
            "retry" => {}
            _ => bail!("{field:?} is no field of an event stream"),
        }
    }
    if data.is_empty() {
        return Ok(None);
    }
    let (name, data) = (name.context("every event has a name")?, data.join("\n"));
    let frame = if name == "preview" { None } else { Some(serde_json::from_str(&data)?) };
    Ok(Some(SseEvent { id, name, data, frame }))
}
