use std::thread;

use super::*;

fn job(id: &JobId) -> NewJob {
    let submitted = JobRequest { id: Some(id.clone()), ..JobRequest::default() };
    NewJob { understood: submitted.clone(), submitted, warnings: Vec::new(), steps: 1 }
}

#[test]
fn a_job_is_found_as_the_one_that_goes_on_from_the_first_moment() {
    let store = Store::ephemeral().unwrap();
    let registry = Registry::new(store, Retention { jobs: 1000, age: None, bytes: None }, Arc::default()).unwrap();
    let look = |id: &JobId| loop {
        if let Found::Job(cell) = registry.find(&Caller::anyone(), id).unwrap() {
            return cell;
        }
        thread::yield_now();
    };
    for number in 0..500 {
        let id = JobId::parse(format!("job-{number}")).unwrap();
        thread::scope(|scope| {
            let lookers: Vec<_> = (0..4).map(|_| scope.spawn(|| look(&id))).collect();
            let accepted = match registry.accept(&Caller::anyone(), job(&id)).unwrap() {
                Accepted::New { cell, .. } => cell,
                Accepted::Known(_) => panic!("{id} is new"),
            };
            for looker in lookers {
                assert!(Arc::ptr_eq(&accepted, &looker.join().unwrap()), "{id} was found as it was stored");
            }
        });
    }
}
