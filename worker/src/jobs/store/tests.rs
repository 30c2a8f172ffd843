//! Databases of other versions, and which jobs a list shows.

use rusqlite::Connection;

use sd_protocol::{Event, EventFrame, JobId, JobRequest, JobState, JobView};

use super::{JobFilter, Lookup, Store, StoreError, schema};
use crate::access::Caller;
use crate::jobs::{Found, Registry, Retention};

/// A job as version 1 stored it.
const OLD_JOB: &str = r#"INSERT INTO jobs (id, created_at_ms, state, submitted, view) VALUES ('old', 5, 'succeeded',
    '{"id": "old", "prompt": "a hill"}',
    '{"id": "old", "state": "succeeded", "request": {"id": "old", "prompt": "a hill"}, "step": 1, "steps": 1,
      "created_at_ms": 5, "images": [{"index": 0, "url": "/v1/jobs/old/images/0", "width": 8, "height": 8,
       "sha256": "abc", "seed": 1}], "last_seq": 1, "stream_url": "/v1/jobs/old/stream"}');
    INSERT INTO events (job, seq, frame) VALUES ('old', 1, '{"job": "old", "seq": 1, "type": "queued", "position": 0}');
    INSERT INTO events (job, seq, frame) VALUES ('old', 2, '{"job": "old", "seq": 2, "type": "image", "image": {"index": 0,
      "url": "/v1/jobs/old/images/0", "width": 8, "height": 8, "sha256": "abc", "seed": 1}}');
    INSERT INTO images (job, sha256) VALUES ('old', 'abc');"#;

#[test]
fn an_older_database_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join("abc.png"), [0; 10]).unwrap();
    let mut connection = Connection::open(folder.path().join("jobs.sqlite")).unwrap();
    schema::migrate_to(&mut connection, 1, &images).unwrap();
    connection.execute_batch(OLD_JOB).unwrap();
    drop(connection);

    let store = Store::open(folder.path()).unwrap();
    let bytes: i64 = store.connection().query_row("SELECT bytes FROM images", [], |row| row.get(0)).unwrap();
    assert_eq!(bytes, 10);
    let Lookup::Found(job) = store.job(&"old".to_owned().try_into().unwrap()).unwrap() else { panic!("it was there") };
    assert_eq!((job.owner, job.log.len()), (None, 2));
    let thumbnail = Some("/v1/jobs/old/images/0/thumbnail");
    assert_eq!(job.view.images[0].thumbnail_url.as_deref(), thumbnail);
    let Event::Image { image } = &job.log[1].event else { panic!("a picture is told of second") };
    assert_eq!(image.thumbnail_url.as_deref(), thumbnail);
    let found = |search: &str| {
        store.list(None, &JobFilter { search: search.into(), ..JobFilter::default() }, None, 9).unwrap().len()
    };
    assert_eq!((found("HILL"), found("valley")), (1, 0));
    let registry = Registry::new(store, Retention { jobs: 9, age: None, bytes: None }, Default::default()).unwrap();
    let found = |caller: &Caller| registry.find(caller, &"old".to_owned().try_into().unwrap()).unwrap();
    assert!(matches!(found(&Caller::anyone()), Found::Job(_)));
    assert!(matches!(found(&Caller::named("ann")), Found::Unknown), "nobody's job is not everybody's");
}

#[test]
fn whoever_named_an_upload_before_may_have_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    let (kept, gone) = ("5a".repeat(32), "a5".repeat(32));
    std::fs::create_dir_all(folder.path().join("uploads")).unwrap();
    std::fs::write(folder.path().join("uploads").join(&kept), [0; 10]).unwrap();
    let mut connection = Connection::open(folder.path().join("jobs.sqlite")).unwrap();
    schema::migrate_to(&mut connection, 3, &images).unwrap();
    let request = JobRequest { image: Some(kept.clone()), mask: Some(gone.clone()), ..JobRequest::default() };
    let job = serde_json::to_string(&view("old", 5, request)).unwrap();
    let statement = "INSERT INTO jobs (id, created_at_ms, state, submitted, view, owner)
        VALUES ('old', 5, 'succeeded', '{}', ?1, 'ann')";
    connection.execute(statement, [job]).unwrap();
    drop(connection);
    let store = Store::open(folder.path()).unwrap();
    assert!(store.owns_upload(&kept, "ann").unwrap());
    assert!(!store.owns_upload(&kept, "bob").unwrap());
    assert!(!store.owns_upload(&gone, "ann").unwrap(), "it left, and so did the word of who brought it");
}

fn view(id: &str, created_at_ms: u64, request: JobRequest) -> JobView {
    JobView {
        id: JobId::parse(id).unwrap(),
        state: JobState::Queued,
        favorite: false,
        request,
        queue_position: None,
        step: 0,
        steps: 1,
        created_at_ms,
        started_at_ms: None,
        finished_at_ms: None,
        images: Vec::new(),
        timings: None,
        warnings: Vec::new(),
        error: None,
        last_seq: 1,
        stream_url: format!("/v1/jobs/{id}/stream"),
    }
}

/// Stores a job of that prompt, negative prompt and model.
fn insert(store: &Store, owner: &str, id: &str, created_at_ms: u64, texts: [&str; 3]) -> JobView {
    let [prompt, negative_prompt, model] = texts.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    let view = view(id, created_at_ms, JobRequest { prompt, negative_prompt, model, ..JobRequest::default() });
    let first = EventFrame { job: view.id.clone(), seq: Some(1), event: Event::Queued { position: 0 } };
    assert!(store.insert(Some(owner), &view.request, &view, &first).unwrap());
    view
}

#[test]
fn a_list_shows_what_is_asked_for() {
    let store = Store::ephemeral().unwrap();
    insert(&store, "ann", "a", 1, ["A red HOUSE, 100% cotton", "", "photo"]);
    insert(&store, "ann", "b", 2, ["ein grünes Haus in der Straße", "blurry hands", "photo"]);
    insert(&store, "bob", "c", 3, ["ΟΔΟΣ and a house_cat", "red", "sketch"]);
    let favorite =
        JobView { favorite: true, state: JobState::Succeeded, ..insert(&store, "ann", "d", 4, ["a house", "", ""]) };
    assert!(store.change(&favorite, &[]).unwrap());
    let all = JobFilter::default();
    let check = |owner: Option<&str>, filter: &JobFilter, expect: &[&str]| {
        let found = store.list(owner, filter, None, 9).unwrap();
        let found: Vec<&str> = found.iter().map(|view| view.id.as_str()).collect();
        assert_eq!(found, expect, "{owner:?} {filter:?}");
    };
    check(None, &all, &["d", "c", "b", "a"]);
    check(Some("ann"), &all, &["d", "b", "a"]);
    check(None, &JobFilter { states: vec![JobState::Succeeded], ..all.clone() }, &["d"]);
    check(None, &JobFilter { states: vec![JobState::Running, JobState::Queued], ..all.clone() }, &["c", "b", "a"]);
    check(None, &JobFilter { favorite: Some(true), ..all.clone() }, &["d"]);
    check(Some("bob"), &JobFilter { favorite: Some(true), ..all.clone() }, &[]);
    check(None, &JobFilter { favorite: Some(false), ..all.clone() }, &["c", "b", "a"]);
    for (search, expect) in [
        ("", &["d", "c", "b", "a"][..]),
        ("  ", &["d", "c", "b", "a"]),
        ("house", &["d", "c", "a"]),
        ("rED  hOUSE", &["c", "a"]),
        ("house red photo", &["a"]),
        ("GRÜNES", &["b"]),
        ("grunes", &[]),
        ("strasse STRASSE straße", &["b"]),
        ("οδοσ οδος", &["c"]),
        ("hands", &["b"]),
        ("%", &["a"]),
        ("100%", &["a"]),
        ("r%d", &[]),
        ("house_", &["c"]),
        ("_ouse", &[]),
        ("*", &[]),
        ("\"", &[]),
        ("' OR 1=1 --", &[]),
        ("cotton photo sketch", &[]),
    ] {
        check(None, &JobFilter { search: search.into(), ..all.clone() }, expect);
    }
    let page = |before| {
        let page = store.list(None, &JobFilter { search: "house".into(), ..all.clone() }, before, 2).unwrap();
        page.iter().map(|view| view.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None), ["d", "c"]);
    assert_eq!(page(Some((3, "c"))), ["a"]);
}

#[test]
fn a_job_that_left_is_not_changed() {
    let store = Store::ephemeral().unwrap();
    let job = insert(&store, "ann", "a", 1, ["a", "", ""]);
    store.remove(&job.id).unwrap();
    assert!(!store.change(&JobView { favorite: true, ..job }, &[]).unwrap());
}

#[test]
fn a_newer_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let path = folder.path().join("jobs.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    drop(connection);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found, .. } if found == schema::VERSION + 1), "{error}");
    assert!(error.to_string().contains("use the newer worker"), "{error}");
}
