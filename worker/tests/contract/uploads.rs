//! Uploads, from the service to a job's hands.

use std::io::Cursor;
use std::sync::Arc;

use image::{DynamicImage, ImageFormat, RgbImage};
use sd_protocol::{ErrorBody, ErrorCode, UploadView};
use sd_worker::access::Caller;
use sd_worker::inputs::ImageSource;
use sd_worker::jobs::Store;

use super::Worker;

fn png(side: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(side, side)).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn upload(worker: &Worker, bytes: Vec<u8>) -> Result<UploadView, ErrorBody> {
    let mut arrival = worker.service.arrivals().begin();
    arrival.push(&bytes)?;
    worker.service.upload(&Caller::anyone(), arrival).await
}

#[tokio::test]
async fn an_upload_is_there_for_jobs_to_come() {
    let worker = Worker::start().await;
    let view = upload(&worker, png(16)).await.unwrap();
    assert_eq!((view.width, view.height), (16, 16));
    assert_eq!(upload(&worker, png(16)).await.unwrap(), view);
    let refused = upload(&worker, b"no picture".to_vec()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ImageInvalid);
    worker.stop().await;
}

#[tokio::test]
async fn uploads_outlive_the_worker() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let id = upload(&worker, png(16)).await.unwrap().id;
    worker.stop().await;

    let store = Store::open(folder.path()).unwrap();
    let lease = Arc::clone(store.uploads()).lease(&ImageSource::parse(&id).unwrap()).unwrap();
    assert_eq!(lease.read().unwrap().size(), (16, 16));
    let unknown = ImageSource::Upload("0f".repeat(32));
    assert_eq!(store.uploads().lease(&unknown).unwrap_err().code(), ErrorCode::UploadNotFound);
}
