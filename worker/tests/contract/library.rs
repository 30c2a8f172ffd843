//! What a gallery and a queue are made of: other places, favourites, thumbnails, uploads on their way back, and how
//! prompts are read.

use std::fs;

use image::{DynamicImage, ImageFormat, RgbImage};
use sd_protocol::JobChange;
use sd_worker::jobs::ChangeError;
use sd_worker::models::PromptReaders;

use super::*;

/// Changes a job as a client does.
async fn change(worker: &Worker, cell: &JobCell, change: JobChange) -> Result<JobView, ErrorBody> {
    worker.service.change(&anyone(), cell.id().as_str(), change).await.map(|cell| cell.view())
}

fn priority(priority: i32) -> JobChange {
    JobChange { priority: Some(priority), favorite: None }
}

fn favorite(favorite: bool) -> JobChange {
    JobChange { priority: None, favorite: Some(favorite) }
}

#[tokio::test]
async fn a_waiting_job_changes_its_place_and_the_others_hear_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let running = worker.submit_held().await;
    let mut waiting = Vec::new();
    for id in ["first", "second", "third"] {
        waiting.push(worker.submit(json!({"prompt": "", "id": id})).await);
    }
    let positions = || waiting.iter().map(|cell| cell.view().queue_position).collect::<Vec<_>>();
    let mut reader = waiting[0].read(1, no_previews());
    reader.drain();

    let view = change(&worker, &waiting[2], priority(5)).await.unwrap();
    assert_eq!((view.request.priority, view.queue_position), (Some(5), Some(0)));
    assert_eq!(positions(), [Some(1), Some(2), Some(0)]);
    let told = reader.drain();
    assert!(
        matches!(events(&told)[..], [EventFrame { seq: None, event: Event::Queued { position: 1 }, .. }]),
        "{told:?}"
    );
    change(&worker, &waiting[0], priority(-1)).await.unwrap();
    assert_eq!(positions(), [Some(2), Some(1), Some(0)]);

    // Whoever hears of a new order finds what made it; where there is none, all is as before.
    let second = &waiting[1];
    let before = second.view().request.priority;
    let refused = second.change(priority(9), |asked| {
        assert_eq!(second.view().request.priority, Some(asked));
        false
    });
    assert!(matches!(refused, Err(ChangeError::NotWaiting(_))), "{refused:?}");
    assert_eq!(second.view().request.priority, before);

    let refused = change(&worker, &running, JobChange { priority: Some(3), favorite: Some(true) }).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotWaiting);
    assert!(refused.message.contains("is being drawn"), "{refused}");
    assert!(!running.view().favorite, "all of a change happens, or nothing");

    // Whoever holds a job holds its store.
    let repeated = worker.submit(json!({"prompt": "", "id": "third"})).await;
    assert!(Arc::ptr_eq(&repeated, &waiting[2]), "a changed job is still the one that was submitted");
    drop((running, repeated, reader, waiting));
    worker.stop().await;

    let worker = Worker::over(folder.path()).await;
    let mut started = Vec::new();
    worker.script.open_gate();
    for (id, priority) in [("third", 5), ("second", 0), ("first", -1)] {
        let cell = worker.service.find(&anyone(), id).await.unwrap();
        let view = ended(&cell).await;
        assert_eq!(view.request.priority, Some(priority), "{id}");
        started.push(view.started_at_ms);
        let refused = change(&worker, &cell, self::priority(0)).await.unwrap_err();
        assert!(refused.code == ErrorCode::NotWaiting && refused.message.contains("has ended"), "{refused}");
    }
    assert!(started.is_sorted(), "{started:?}");
    worker.stop().await;
}

#[tokio::test]
async fn favourites_stay_until_they_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let setting = || Setting {
        retention: Retention { jobs: 1, age: None, bytes: Some(0) },
        ..Setting::over(Store::open(folder.path()).unwrap())
    };
    let worker = Worker::with(setting()).await;
    let running = worker.submit_held().await;
    assert!(change(&worker, &running, favorite(true)).await.unwrap().favorite, "whatever the state");
    worker.cancel(&running).await;
    assert!(ended(&running).await.favorite, "and what happens later leaves it so");
    let dear = worker.submit(json!({"prompt": "dear", "id": "dear"})).await;
    ended(&dear).await;
    assert!(change(&worker, &dear, favorite(true)).await.unwrap().favorite);
    for id in ["one", "two", "three"] {
        ended(&worker.submit(json!({"prompt": "x", "id": id})).await).await;
    }
    worker.service.retain().await;
    let list = async |worker: &Worker, filter| -> Vec<String> {
        let jobs = worker.service.list(&anyone(), filter, None, 10).await.unwrap();
        jobs.into_iter().map(|view| view.id.as_str().to_owned()).collect()
    };
    let favorites = JobFilter { favorite: Some(true), ..JobFilter::default() };
    let expect = ["dear".to_owned(), running.id().to_string()];
    assert_eq!(list(&worker, favorites.clone()).await, expect);
    assert_eq!(list(&worker, JobFilter::default()).await, [&["three".to_owned()], &expect[..]].concat());
    let departed = worker.service.find(&anyone(), "one").await.unwrap_err();
    assert_eq!(departed.code, ErrorCode::JobExpired);
    let departed = worker.service.change(&anyone(), "one", favorite(true)).await.unwrap_err();
    assert_eq!(departed.code, ErrorCode::JobExpired);
    drop((running, dear));
    worker.stop().await;

    let worker = Worker::with(setting()).await;
    assert_eq!(list(&worker, favorites.clone()).await, expect, "the next worker knows them");
    worker.service.change(&anyone(), &expect[1], favorite(false)).await.unwrap();
    worker.service.retain().await;
    assert_eq!(list(&worker, JobFilter::default()).await, ["three", "dear"]);
    worker.service.forget(&anyone(), "dear").await.unwrap();
    assert!(list(&worker, favorites).await.is_empty());
    worker.stop().await;
}

/// Names of the thumbnails in a data folder.
fn thumbnails(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder.join("images")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("thumbnail")).collect()
}

#[tokio::test]
async fn thumbnails_are_made_once_and_leave_with_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::over(folder.path()).await;
    let job = |id: &str, seed: u32| json!({"prompt": "", "id": id, "seed": seed, "width": 512, "height": 128});
    let cell = worker.submit(job("one", 1)).await;
    let view = ended(&cell).await;
    let other = ended(&worker.submit(job("two", 2)).await).await;
    assert_eq!(view.images[0].thumbnail_url.as_deref(), Some("/v1/jobs/one/images/0/thumbnail"));
    assert!(thumbnails(folder.path()).is_empty(), "none is made before it is asked for");
    let image = worker.service.image(&cell, 0).unwrap();
    let (first, again) = tokio::join!(worker.service.thumbnail(image.clone()), worker.service.thumbnail(image.clone()));
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!(first, again);
    let small = image::load_from_memory_with_format(&first, ImageFormat::Jpeg).unwrap();
    assert_eq!((small.width(), small.height()), (256, 64));
    worker.service.thumbnail(other.images[0].clone()).await.unwrap();
    assert_eq!(thumbnails(folder.path()).len(), 2);

    worker.service.forget(&anyone(), "two").await.unwrap();
    assert_eq!(thumbnails(folder.path()), [format!("{}.thumbnail.jpg", image.sha256)]);
    drop(cell);
    worker.stop().await;
    fs::write(folder.path().join("images").join("stray.thumbnail.jpg"), b"of a picture that is gone").unwrap();
    let worker = Worker::over(folder.path()).await;
    assert_eq!(thumbnails(folder.path()).len(), 1, "a sweep leaves the thumbnails of pictures that are there");
    fs::remove_file(worker.service.image_path(&image)).unwrap();
    assert_eq!(worker.service.thumbnail(image.clone()).await.unwrap(), first);
    fs::remove_file(folder.path().join("images").join(format!("{}.thumbnail.jpg", image.sha256))).unwrap();
    assert_eq!(worker.service.thumbnail(image).await.unwrap_err().code, ErrorCode::ImageNotFound);
    worker.stop().await;
}

#[tokio::test]
async fn uploads_go_back_to_whoever_brought_them() {
    let worker = Worker::start().await;
    let (ann, bob) = (Caller::named("ann"), Caller::named("bob"));
    let mut file = std::io::Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(16, 16)).write_to(&mut file, ImageFormat::Png).unwrap();
    let file = file.into_inner();
    let mut arrival = worker.service.arrivals().begin();
    arrival.push(&file).unwrap();
    let id = worker.service.upload(&ann, arrival).await.unwrap().id;
    for caller in [&ann, &anyone()] {
        let found = worker.service.upload_file(caller, &id).await.unwrap();
        assert_eq!((fs::read(found.path).unwrap(), found.content_type), (file.clone(), "image/png"));
    }
    let code = async |caller: &Caller, id: &str| worker.service.upload_file(caller, id).await.unwrap_err().code;
    assert_eq!(code(&bob, &id).await, ErrorCode::UploadNotFound);
    let named = json!({"prompt": "", "image": id, "strength": 1.0});
    worker.service.submit(&bob, named).await.unwrap();
    assert_eq!(code(&bob, &id).await, ErrorCode::UploadNotFound, "to name an upload is not to have brought it");
    for nothing in ["0f".repeat(32).as_str(), "../jobs.sqlite", ""] {
        assert_eq!(code(&anyone(), nothing).await, ErrorCode::UploadNotFound, "{nothing:?}");
    }

    let inline = format!("data:image/png;base64,{}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &file));
    worker.service.submit(&bob, json!({"prompt": "", "image": inline})).await.unwrap();
    assert!(worker.service.upload_file(&bob, &id).await.is_ok(), "a picture inside of a job was brought too");
    worker.stop().await;
}

#[tokio::test]
async fn a_prompt_is_read_without_its_model() {
    // A model that cannot be loaded.
    let files = [("broken".to_owned(), sd_worker::builtin::files())];
    let worker =
        Worker::with(Setting { readers: PromptReaders::new(files, []), ..Setting::over(Store::ephemeral().unwrap()) })
            .await;
    let view = worker.service.tokens("broken", "a (red:1.3) house BREAK in hills".into()).await.unwrap();
    assert_eq!(view.tokens_max, 75);
    let chunks: Vec<_> = view.chunks.iter().map(|chunk| (chunk.tokens, chunk.text.as_str())).collect();
    assert_eq!(chunks, [(3, "a red house"), (2, "in hills")]);
    assert_eq!(view.warnings, ["The prompt fills 2 chunks of 75 tokens."]);
    let unknown = worker.service.tokens("nobody", String::new()).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    worker.stop().await;
}
