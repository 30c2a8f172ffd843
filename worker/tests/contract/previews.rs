//! Previews as pictures: made once for all who want them, over both transports, and for nobody else.

use std::io::Cursor;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use image::{ImageFormat, ImageReader};
use sd_protocol::{
    BinaryFrame, ErrorCode, PictureFormat, PictureFrame, PreviewMode, PreviewOptions, ServerFrame, SessionFrame,
};
use sd_worker::access::{Credentials, Gate};
use sd_worker::http::{self, App, Site};
use sd_worker::jobs::{JobCell, JobReader, News, PreviewPictures};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use super::{Worker, wait_until};

fn options(mode: PreviewMode) -> PreviewOptions {
    PreviewOptions { mode, ..PreviewOptions::default() }
}

/// The next pictures that a reader gets, and how many it missed before them.
async fn pictures(reader: &mut JobReader) -> (Arc<PreviewPictures>, u32) {
    let mut changes = reader.changes();
    loop {
        changes.next().await.unwrap();
        for news in reader.drain() {
            match news {
                News::Pictures { pictures, missed } => return (pictures, missed),
                News::Latents { .. } => panic!("latents were not asked for"),
                News::Event(_) => {}
            }
        }
    }
}

/// A scripted latent of that step as the picture that the linear map makes of it.
#[track_caller]
fn check(frame: &PictureFrame, step: u16, format: PictureFormat) {
    let header = frame.header();
    assert_eq!((header.position.step, header.format), (step, format));
    let (kind, nearly) = match format {
        PictureFormat::Png => (ImageFormat::Png, 0),
        PictureFormat::Jpeg => (ImageFormat::Jpeg, 2),
    };
    let picture = ImageReader::with_format(Cursor::new(frame.file()), kind).decode().unwrap().into_rgb8();
    assert_eq!((picture.width(), picture.height()), (8, 8), "a pixel for each cell");
    assert_eq!((header.width, header.height), (8, 8));
    // Every one of the four numbers of a cell is the step.
    let expected = [f32::from(step) / 4.0, f32::from(step) / 8.0, 0.25].map(|value| (value * 255.0).round() as u8);
    let is_near = |pixel: &image::Rgb<u8>| pixel.0.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= nearly);
    assert!(picture.pixels().all(is_near), "{:?} is not {expected:?}", picture.get_pixel(0, 0));
}

#[tokio::test]
async fn pictures_are_made_of_every_image_once_for_all() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "hold", "batch_size": 3})).await;
    let mut first = cell.read(0, options(PreviewMode::Rgb));
    let mut second = cell.read(0, options(PreviewMode::Rgb));
    let mut jpeg = cell.read(0, options(PreviewMode::Jpeg));
    worker.cancel(&running).await;
    wait_until(&cell, |view| view.step >= 2).await;
    let (seen, _) = at_step(&mut first, 2).await;
    let (shared, _) = at_step(&mut second, 2).await;
    assert!(Arc::ptr_eq(&seen, &shared), "who wants the same gets the same");
    assert_eq!(seen.frames.len(), 3);
    for (index, frame) in (0..).zip(&seen.frames) {
        check(frame, 2, PictureFormat::Png);
        let position = frame.header().position;
        assert_eq!((position.batch_index, position.batch_size, position.steps), (index, 3, 4));
    }
    let (jpegs, _) = at_step(&mut jpeg, 2).await;
    assert_eq!(jpegs.frames.len(), 3);
    jpegs.frames.iter().for_each(|frame| check(frame, 2, PictureFormat::Jpeg));
    worker.stop().await;
}

/// The pictures of a step at which a job is held; earlier ones may come before them.
async fn at_step(reader: &mut JobReader, step: u32) -> (Arc<PreviewPictures>, u32) {
    loop {
        let (pictures, missed) = pictures(reader).await;
        if pictures.step == step {
            return (pictures, missed);
        }
        assert!(pictures.step < step);
    }
}

#[tokio::test]
async fn a_slow_reader_skips_pictures() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "hold"})).await;
    let mut eager = cell.read(0, options(PreviewMode::Rgb));
    let mut slow = cell.read(0, options(PreviewMode::Rgb));
    let mut choosy = cell.read(0, PreviewOptions { every: 3, ..options(PreviewMode::Rgb) });
    worker.cancel(&running).await;
    at_step(&mut eager, 2).await;
    let (pictures, missed) = pictures(&mut slow).await;
    assert_eq!((pictures.step, missed), (2, 1), "of two steps the second, at the first look");
    let is_preview = |news: &News| !matches!(news, News::Event(_));
    assert!(!choosy.drain().iter().any(is_preview), "neither of them is a third");
    assert!(!slow.drain().iter().any(is_preview), "and nothing twice");
    worker.stop().await;
}

#[tokio::test]
async fn a_glimpse_comes_before_the_first_step() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "glimpse"})).await;
    let mut eager = cell.read(0, options(PreviewMode::Rgb));
    let mut choosy = cell.read(0, PreviewOptions { every: 2, ..options(PreviewMode::Rgb) });
    worker.cancel(&running).await;
    let (pictures, missed) = pictures(&mut eager).await;
    assert_eq!((pictures.step, missed, cell.view().step), (0, 0, 0));
    check(&pictures.frames[0], 0, PictureFormat::Png);
    let is_preview = |news: &News| !matches!(news, News::Event(_));
    assert!(!choosy.drain().iter().any(is_preview), "it did not ask for every step");
    worker.stop().await;
}

#[tokio::test]
async fn a_reader_changes_its_mind() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "hold"})).await;
    let mut reader = cell.read(0, options(PreviewMode::Latent));
    worker.cancel(&running).await;
    wait_until(&cell, |view| view.step >= 2).await;
    let latents = |news: Vec<News>| {
        let latents = |news| if let News::Latents { snapshot, .. } = news { Some(snapshot.step) } else { None };
        news.into_iter().filter_map(latents).collect::<Vec<_>>()
    };
    while cell.view().step < 2 || latents(reader.drain()) != [2] {
        tokio::task::yield_now().await;
    }
    reader.set_preview(options(PreviewMode::Jpeg));
    let (pictures, missed) = pictures(&mut reader).await;
    assert_eq!((pictures.step, missed), (2, 0), "the step that was seen comes again as a picture");
    assert!(cell.has_preview_readers());
    reader.set_preview(options(PreviewMode::None));
    assert!(!cell.has_preview_readers(), "nothing leaves the device for a reader that wants nothing");
    reader.set_preview(options(PreviewMode::Latent));
    assert_eq!(latents(reader.drain()), [2]);
    drop(reader);
    assert!(!cell.has_preview_readers());
    worker.stop().await;
}

/// The port of a worker.
struct Port {
    address: String,
    closing: CancellationToken,
}

impl Port {
    async fn open(worker: &Worker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let closing = CancellationToken::new();
        let (gate, sockets) = (Gate::new(Credentials::default()), Default::default());
        let app = App { service: worker.service.clone(), gate, closing: closing.clone(), sockets };
        let router = http::router(app, Site::new(&[], &[]).unwrap());
        tokio::spawn(http::serve(listener, router, 8, closing.clone()));
        Self { address, closing }
    }

    async fn socket(&self) -> WebSocketStream<TcpStream> {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        client_async(format!("ws://{}/v1/ws", self.address), tcp).await.unwrap().0
    }

    /// A stream of events. HTTP/1.0 knows no chunks, so that the text is that of the events alone.
    async fn events(&self, cell: &JobCell, query: &str) -> TcpStream {
        let mut tcp = TcpStream::connect(&self.address).await.unwrap();
        let (id, host) = (cell.id(), &self.address);
        let request = format!("GET /v1/jobs/{id}/stream?{query} HTTP/1.0\r\nhost: {host}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        tcp
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

async fn hear_accepted(socket: &mut WebSocketStream<TcpStream>) {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap()
            && let Some(ServerFrame::Session(SessionFrame::Accepted { .. })) = ServerFrame::from_json(&text).unwrap()
        {
            return;
        }
    }
}

/// The next binary frame, or the error that comes before one.
async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Result<BinaryFrame, ErrorCode> {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => return Ok(BinaryFrame::decode(&bytes).unwrap()),
            Message::Text(text) => {
                if let Some(ServerFrame::Session(SessionFrame::Error { error, .. })) =
                    ServerFrame::from_json(&text).unwrap()
                {
                    return Err(error.code);
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_socket_gets_the_previews_that_it_asks_for() {
    let worker = Worker::start().await;
    let port = Port::open(&worker).await;
    let mut socket = port.socket().await;
    // It waits behind another, so that it is watched from its first step.
    let running = worker.submit_held().await;
    let job = json!({"prompt": "hold", "id": "held", "preview": {"mode": "rgb", "every": 2}});
    say(&mut socket, json!({"type": "submit", "tag": 1, "job": job})).await;
    hear_accepted(&mut socket).await;
    worker.cancel(&running).await;
    let Ok(BinaryFrame::Picture(png)) = hear(&mut socket).await else { panic!("a picture was asked for") };
    check(&png, 2, PictureFormat::Png);
    assert_eq!(png.header().handle, 1);

    let change = |job: &str, preview: Value| json!({"type": "preview", "job": job, "preview": preview});
    say(&mut socket, change("held", json!({"mode": "jpeg"}))).await;
    let Ok(BinaryFrame::Picture(jpeg)) = hear(&mut socket).await else { panic!("a picture was asked for") };
    check(&jpeg, 2, PictureFormat::Jpeg);
    say(&mut socket, change("held", json!({}))).await;
    let Ok(BinaryFrame::Latent(latent)) = hear(&mut socket).await else { panic!("a latent was asked for") };
    assert_eq!(latent.header().step, 2);

    say(&mut socket, change("nobody", json!({"mode": "jpeg"}))).await;
    assert_eq!(hear(&mut socket).await, Err(ErrorCode::JobNotFound));
    say(&mut socket, change("held", json!({"every": 0}))).await;
    assert_eq!(hear(&mut socket).await, Err(ErrorCode::InvalidRequest));
    let sent = worker.service.metrics_text();
    assert!(sent.contains("sd_worker_previews_sent_total{transport=\"websocket\"} 3"), "{sent}");
    port.closing.cancel();
    worker.stop().await;
}

#[tokio::test]
async fn a_stream_shows_pictures_as_data_urls() {
    let worker = Worker::start().await;
    let port = Port::open(&worker).await;
    let running = worker.submit_held().await;
    let cell = worker.submit(json!({"prompt": "hold", "batch_size": 2, "preview": {"mode": "rgb"}})).await;
    // One reader has the mode of the job, the other says which it wants.
    let streams = [(port.events(&cell, "").await, "png"), (port.events(&cell, "preview=jpeg").await, "jpeg")];
    worker.cancel(&running).await;
    for (mut tcp, format) in streams {
        let mut text = String::new();
        let last = format!("data:image/{format};step=2;steps=4;batch_index=1;batch_size=2;base64,");
        while !text.contains(&last) {
            let mut bytes = [0; 4096];
            let read = tcp.read(&mut bytes).await.unwrap();
            assert!(read > 0, "the stream ended before {last}: {text}");
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        let first = last.replace("batch_index=1", "batch_index=0");
        assert!(text.contains(&format!("event: preview\ndata: {first}")), "{text}");
    }
    port.closing.cancel();
    worker.stop().await;
}
