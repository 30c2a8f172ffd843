//! Databases of other versions.

use rusqlite::Connection;

use super::{Lookup, Store, StoreError, schema};
use crate::access::Caller;
use crate::jobs::{Found, Registry, Retention};

/// A job as version 1 stored it.
const OLD_JOB: &str = r#"INSERT INTO jobs (id, created_at_ms, state, submitted, view) VALUES ('old', 5, 'succeeded',
    '{"id": "old", "prompt": "a hill"}',
    '{"id": "old", "state": "succeeded", "request": {"id": "old", "prompt": "a hill"}, "step": 1, "steps": 1,
      "created_at_ms": 5, "images": [], "last_seq": 1, "stream_url": "/v1/jobs/old/stream"}');
    INSERT INTO events (job, seq, frame) VALUES ('old', 1, '{"job": "old", "seq": 1, "type": "queued", "position": 0}');
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
    assert_eq!((job.owner, job.log.len()), (None, 1));
    let registry = Registry::new(store, Retention { jobs: 9, age: None, bytes: None }, Default::default()).unwrap();
    let found = |caller: &Caller| registry.find(caller, &"old".to_owned().try_into().unwrap()).unwrap();
    assert!(matches!(found(&Caller::anyone()), Found::Job(_)));
    assert!(matches!(found(&Caller::named("ann")), Found::Unknown), "nobody's job is not everybody's");
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
