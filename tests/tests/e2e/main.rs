//! End to end: the real worker as its own process, with its built-in model, over real sockets.
//!
//! | module | what it proves |
//! |---|---|
//! | [`http`] | the life of a job over plain HTTP |
//! | [`socket`] | many jobs on one socket, previews, attach |
//! | [`previews`] | previews that the worker makes into pictures |
//! | [`uploads`] | pictures that clients bring, over both transports |
//! | [`pictures`] | jobs that start from a picture, with and without a mask |
//! | [`outputs`] | formats of files, and what they say about themselves |
//! | [`library`] | favourites, search, thumbnails, other places in the queue, across a restart |
//! | [`access`] | who is let in, and who sees what |
//! | [`bad_input`] | every fault gets a code and a sentence, and the next good job works |
//! | [`determinism`] | a seed is a picture, whatever the transport |
//! | [`lanes`] | jobs that follow each other, end with their socket, or are more urgent |
//! | [`shutdown`] | a stopping worker leaves no reader hanging and no job undecided |
//! | [`crash`] | a worker that is killed at any moment loses nothing that it acknowledged |
//! | [`operations`] | what an operator sees: metrics, readiness, the log, a full disk |
//! | [`soak`] | many viewers, some of them unruly |
//! | [`framing`] | the framing of WebSockets, frame by frame over a plain socket |
//! | [`autobahn`] | the same by the fuzzing client of the Autobahn test suite |
//! | [`documents`] | a worker describes itself |
//! | [`peers`] | clients from PyPI and npm that share no code with us |
//! | [`browser`] | a person at the page |
//! | [`bundle`] | the files of the page: names, caches, size |
//! | [`tidy`] | the rules that keep the tree readable |

mod access;
mod autobahn;
mod bad_input;
mod browser;
mod bundle;
mod crash;
mod determinism;
mod documents;
mod framing;
mod http;
mod lanes;
mod library;
mod operations;
mod outputs;
mod peers;
mod pictures;
mod previews;
mod shutdown;
mod soak;
mod socket;
mod tidy;
mod uploads;

use serde_json::{Value, json};

/// A job that ends soon.
fn quick() -> Value {
    json!({"prompt": "a red hot air balloon over mountains at sunset", "width": 128, "height": 128, "steps": 4, "seed": 7})
}

/// A job that runs for as long as a test needs something to be running.
fn long() -> Value {
    json!({"prompt": "a white house in green hills at night", "width": 256, "height": 256, "steps": 150, "seed": 7})
}

/// `job` with some fields replaced.
fn with(job: Value, fields: Value) -> Value {
    let (Value::Object(mut job), Value::Object(fields)) = (job, fields) else { panic!("a job is an object") };
    job.extend(fields);
    Value::Object(job)
}
