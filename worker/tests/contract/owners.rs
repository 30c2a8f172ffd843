//! Jobs of one credential are not there for another, and the engine is shared.

use sd_protocol::{ErrorCode, JobState};
use sd_worker::access::Caller;
use sd_worker::jobs::JobFilter;
use serde_json::json;

use super::{Worker, anyone, ended};

#[tokio::test]
async fn what_belongs_to_somebody_else_is_not_there() {
    let worker = Worker::start().await;
    let (ann, bob) = (Caller::named("ann"), Caller::named("bob"));
    let job = json!({"prompt": "hers", "id": "hers"});
    let cell = worker.service.submit(&ann, job.clone()).await.unwrap().cell;
    ended(&cell).await;

    assert_eq!(worker.service.find(&bob, "hers").await.unwrap_err().code, ErrorCode::JobNotFound);
    assert_eq!(worker.service.cancel(&bob, "hers").await.unwrap_err().code, ErrorCode::JobNotFound);
    assert_eq!(worker.service.forget(&bob, "hers").await.unwrap_err().code, ErrorCode::JobNotFound);
    assert!(worker.service.list(&bob, JobFilter::default(), None, 10).await.unwrap().is_empty());
    let taken = worker.service.submit(&bob, job.clone()).await.unwrap_err();
    assert_eq!(taken.code, ErrorCode::IdConflict, "an id is one job, and whose it is stays unsaid");

    let again = worker.service.submit(&ann, job).await.unwrap().cell;
    assert_eq!(again.id(), cell.id());
    assert_eq!(worker.service.list(&ann, JobFilter::default(), None, 10).await.unwrap().len(), 1);
    assert_eq!(worker.service.list(&anyone(), JobFilter::default(), None, 10).await.unwrap().len(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn credentials_take_turns_and_lanes_are_their_own() {
    let worker = Worker::start().await;
    let running = worker.submit_held().await;
    let submit = async |owner: &str, id: &str| {
        let job = json!({"prompt": "", "id": id, "lane": "canvas", "priority": if owner == "bob" { 10 } else { 0 }});
        worker.service.submit(&Caller::named(owner), job).await.unwrap().cell
    };
    let (b1, b2) = (submit("bob", "b1").await, submit("bob", "b2").await);
    let a1 = submit("ann", "a1").await;
    let position = |cell: &sd_worker::jobs::JobCell| cell.view().queue_position;
    assert_eq!([position(&b1), position(&a1), position(&b2)], [Some(0), Some(1), Some(2)]);

    let job = json!({"prompt": "", "lane": "canvas", "supersede": "running"});
    let newer = worker.service.submit(&Caller::named("ann"), job).await.unwrap().cell;
    assert_eq!(ended(&a1).await.state, JobState::Superseded);
    worker.cancel(&running).await;
    for cell in [b1, b2, newer] {
        assert_eq!(ended(&cell).await.state, JobState::Succeeded);
    }
    worker.stop().await;
}
