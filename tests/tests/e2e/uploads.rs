//! Pictures that clients bring, over both transports.

use std::io::Cursor;

use anyhow::Result;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use reqwest::StatusCode;
use sd_protocol::limits::UPLOADS_PER_SOCKET_MAX;
use sd_protocol::{ClientFrame, ErrorCode, UploadChunk, UploadView};
use sd_tests::api::expect_error;
use sd_tests::socket::{Incoming, Socket};
use sd_tests::within;
use sd_tests::worker::Worker;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// A PNG of many chunks: noise does not compress.
fn png(seed: u32) -> Vec<u8> {
    let level = |x: u32, y: u32, channel: u32| {
        let mixed = (x * 7919 + y * 104_729 + channel * 15_485_863 + seed).wrapping_mul(2_654_435_761);
        (mixed >> 24) as u8
    };
    let image = RgbImage::from_fn(320, 200, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, ImageFormat::Png).expect("memory takes a picture");
    bytes.into_inner()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn view(file: &[u8]) -> UploadView {
    UploadView { id: sha256(file), bytes: file.len() as u64, width: 320, height: 200 }
}

#[tokio::test]
async fn the_same_picture_has_one_id_however_it_comes() -> Result<()> {
    let worker = Worker::start().await?;
    let file = png(1);
    for content_type in ["image/png", "application/octet-stream", "image/jpeg"] {
        let response = worker.api().upload(content_type, file.clone()).await?;
        assert_eq!(response.status(), StatusCode::CREATED, "{content_type}");
        assert_eq!(response.json::<UploadView>().await?, view(&file), "the bytes tell the format, not {content_type}");
    }
    let mut form = b"--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n".to_vec();
    form.extend(b"--edge\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n");
    form.extend(b"Content-Type: image/png\r\n\r\n");
    form.extend(&file);
    form.extend(b"\r\n--edge--\r\n");
    let response = worker.api().upload("multipart/form-data; boundary=edge", form).await?;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.json::<UploadView>().await?, view(&file));

    let mut socket = Socket::greet(&worker).await?;
    assert_eq!(socket.upload(7, &file).await?, Ok(view(&file)));
    Ok(())
}

#[tokio::test]
async fn uploads_share_a_socket() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let files = [png(2), png(3)];
    for (tag, file) in (0..).zip(&files) {
        assert!(UploadChunk::split(tag, file).count() > 2);
        socket.send(&ClientFrame::Upload { tag, bytes: file.len() as u64 }).await?;
    }
    for (first, second) in UploadChunk::split(0, &files[0]).zip(UploadChunk::split(1, &files[1])) {
        socket.send_raw(Message::binary(first.encode())).await?;
        socket.send_raw(Message::binary(second.encode())).await?;
    }
    for (tag, file) in (0..).zip(&files) {
        assert_eq!(socket.uploaded(tag).await?, Ok(view(file)));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_picture_is_refused() -> Result<()> {
    let worker = Worker::start().await?;
    let api = worker.api();
    let file = png(4);
    for bytes in [Vec::new(), b"a red balloon".to_vec(), file[..file.len() / 2].to_vec()] {
        let response = api.upload("image/png", bytes).await?;
        expect_error(response, StatusCode::BAD_REQUEST, ErrorCode::ImageInvalid).await?;
    }
    let no_file = "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--edge--\r\n";
    for (content_type, body) in [
        ("multipart/form-data; boundary=edge", no_file),
        ("multipart/form-data; boundary=edge", "no form"),
        ("multipart/form-data", "--edge--"),
    ] {
        let response = api.upload(content_type, body).await?;
        expect_error(response, StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest).await?;
    }
    expect_error(api.get("/v1/uploads").await?, StatusCode::METHOD_NOT_ALLOWED, ErrorCode::MethodNotAllowed).await?;

    let mut socket = Socket::greet(&worker).await?;
    assert_eq!(socket.upload(1, b"a red balloon").await?.unwrap_err().code, ErrorCode::ImageInvalid);
    assert_eq!(socket.upload(1, &file).await?, Ok(view(&file)), "the socket lives");
    Ok(())
}

#[tokio::test]
async fn a_huge_declared_upload_is_refused_unread() -> Result<()> {
    let worker = Worker::start().await?;
    let mut tcp = TcpStream::connect(worker.address()).await?;
    let head =
        format!("POST /v1/uploads HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", worker.address(), 3u64 << 30);
    tcp.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    within("an answer and the end", tcp.read_to_string(&mut answer)).await??;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"too_large\""), "{answer}");

    let mut socket = Socket::greet(&worker).await?;
    socket.send(&ClientFrame::Upload { tag: 1, bytes: 3 << 30 }).await?;
    assert_eq!(socket.uploaded(1).await?.unwrap_err().code, ErrorCode::TooLarge);
    Ok(())
}

#[tokio::test]
async fn chunks_out_of_order_get_an_answer_and_the_socket_lives() -> Result<()> {
    let worker = Worker::start().await?;
    let mut socket = Socket::greet(&worker).await?;
    let stray = UploadChunk { tag: 5, last: true, payload: b"stray" }.encode();
    let mut newer = stray.clone();
    newer[2] = 9;
    for (what, bytes) in [("a stray chunk", stray), ("a newer version", newer), ("noise", vec![1, 2, 3])] {
        socket.send_raw(Message::binary(bytes)).await?;
        let code = socket.take(what, |incoming| match incoming {
            Incoming::Session(sd_protocol::SessionFrame::Error { error, .. }) => Some(error.code),
            _ => None,
        });
        assert_eq!(code.await?, ErrorCode::UnknownFrame, "{what}");
    }
    socket.send(&ClientFrame::Upload { tag: 1, bytes: 3 }).await?;
    socket.send_raw(Message::binary(UploadChunk { tag: 1, last: false, payload: b"more than three" }.encode())).await?;
    assert_eq!(socket.uploaded(1).await?.unwrap_err().code, ErrorCode::InvalidRequest);
    let most = UPLOADS_PER_SOCKET_MAX as u32;
    for tag in 10..=10 + most {
        socket.send(&ClientFrame::Upload { tag, bytes: 3 }).await?;
    }
    assert_eq!(socket.uploaded(10 + most).await?.unwrap_err().code, ErrorCode::TooManyUploads);
    let file = png(6);
    assert_eq!(socket.upload(10, &file).await?, Ok(view(&file)), "an upload can start over");
    Ok(())
}
