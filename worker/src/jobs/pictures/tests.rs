use super::*;
use crate::jobs::{Registry, Retention, Store};

const NO_PATIENCE: Duration = Duration::ZERO;

fn snapshot(step: u32) -> Arc<LatentSnapshot> {
    Arc::new(LatentSnapshot { step, steps: 9, batch_size: 1, width: 1, height: 1, latents: vec![0.0; 4] })
}

fn cells(count: usize) -> Vec<Arc<JobCell>> {
    use sd_protocol::{JobId, JobRequest};

    use crate::access::Caller;
    use crate::jobs::{Accepted, NewJob};
    let retention = Retention { jobs: 1000, age: None, bytes: None };
    let registry = Registry::new(Store::ephemeral().unwrap(), retention, Arc::default()).unwrap();
    let accept = |number| {
        let id = JobId::parse(format!("job-{number}")).unwrap();
        let submitted = JobRequest { id: Some(id), ..JobRequest::default() };
        let job = NewJob { understood: submitted.clone(), submitted, warnings: Vec::new(), steps: 1 };
        match registry.accept(&Caller::anyone(), job).unwrap() {
            Accepted::New { cell, .. } => cell,
            Accepted::Known(_) => panic!("the job is new"),
        }
    };
    (0..count).map(accept).collect()
}

/// Everything that waits, as job, kind and step.
fn waiting(queue: &PictureQueue, cells: &[Arc<JobCell>]) -> Vec<(usize, PictureKind, u32)> {
    let mut found = Vec::new();
    while let Taken::Ask(ask) = queue.take(NO_PATIENCE) {
        let job = ask.job.upgrade().unwrap();
        let job = cells.iter().position(|cell| Arc::ptr_eq(cell, &job)).unwrap();
        found.push((job, ask.kind, ask.snapshot.step));
    }
    found
}

#[test]
fn the_newest_of_a_job_and_kind_takes_the_place_of_what_waits() {
    let cells = cells(2);
    let queue = PictureQueue::default();
    let ask = |job: usize, kind, step| {
        queue.ask(Ask { job: Arc::downgrade(&cells[job]), kind, snapshot: snapshot(step) });
    };
    ask(0, PictureKind::Jpeg, 1);
    ask(0, PictureKind::Rgb, 1);
    ask(1, PictureKind::Jpeg, 7);
    ask(0, PictureKind::Jpeg, 2);
    ask(0, PictureKind::Jpeg, 3);
    let expected = [(0, PictureKind::Jpeg, 3), (0, PictureKind::Rgb, 1), (1, PictureKind::Jpeg, 7)];
    assert_eq!(waiting(&queue, &cells), expected);
    assert!(matches!(queue.take(NO_PATIENCE), Taken::Idle));
}

#[test]
fn the_queue_is_bounded_and_ends() {
    let cells = cells(PREVIEW_ASKS_MAX + 1);
    let queue = PictureQueue::default();
    let ask_all = || {
        for cell in &cells {
            queue.ask(Ask { job: Arc::downgrade(cell), kind: PictureKind::Rgb, snapshot: snapshot(1) });
        }
    };
    ask_all();
    assert_eq!(waiting(&queue, &cells).len(), PREVIEW_ASKS_MAX);
    ask_all();
    queue.close();
    ask_all();
    assert!(matches!(queue.take(Duration::MAX), Taken::Closed));
}
