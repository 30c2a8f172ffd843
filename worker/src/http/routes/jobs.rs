//! The routes of jobs.

use axum::http::{Method, StatusCode, header};
use sd_protocol::{ErrorCode, JobChange, JobId, JobList, JobRequest, JobView};

use super::{JOB, Routes};
use crate::http::documents::{Answer, Door, Operation};
use crate::http::{jobs, list, stream};

const JOBS: &str = "Jobs";

/// Jobs, but for their pictures.
pub(super) fn jobs(routes: Routes) -> Routes {
    use ErrorCode::*;
    routes
        .route(
            Method::POST,
            "/v1/jobs",
            jobs::submit,
            Operation::new(JOBS, "submitJob", "Asks for a picture.")
                .about(
                    "A request with an `id` may be repeated: the same body finds the first job again. All faults of a \
                     request are named at once.",
                )
                .header::<Option<String>>("Idempotency-Key", "Stands for an `id`; has 1 to 255 bytes.")
                .json::<JobRequest>()
                .answers(
                    Answer::json::<JobView>(StatusCode::ACCEPTED, "The job, stored and queued.")
                        .header(header::LOCATION, "Path of the job."),
                )
                .fails(&[MalformedJson, InvalidRequest, IdConflict, TooLarge, QueueFull, UploadsFull, QuotaExceeded])
                .fails(&[ShuttingDown, StorageFull, StorageFailed]),
        )
        .route(
            Method::GET,
            "/v1/jobs",
            list::list,
            Operation::new(JOBS, "listJobs", "Lists jobs, the newest first.")
                .query::<list::ListQuery>()
                .answers(Answer::json::<JobList>(StatusCode::OK, "A page of jobs."))
                .fails(&[InvalidRequest, StorageFailed]),
        )
        .behind(
            Door::Viewer,
            Method::GET,
            "/v1/jobs/{id}",
            jobs::view,
            Operation::new(JOBS, "getJob", "Tells how a job stands.")
                .path::<JobId>("id", JOB)
                .answers(Answer::json::<JobView>(StatusCode::OK, "The job."))
                .fails(&[JobNotFound, JobExpired, StorageFailed]),
        )
        .route(
            Method::PATCH,
            "/v1/jobs/{id}",
            jobs::change,
            Operation::new(
                JOBS,
                "changeJob",
                "Gives a waiting job another place in the queue, or keeps a job for good.",
            )
            .about(
                "What the body leaves out stays as it is. All of it happens, or nothing does. The other waiting \
                     jobs are told their new places as they are when one is canceled.",
            )
            .path::<JobId>("id", JOB)
            .json::<JobChange>()
            .answers(Answer::json::<JobView>(StatusCode::OK, "The job as it stands now."))
            .fails(&[MalformedJson, InvalidRequest, TooLarge, JobNotFound, JobExpired, NotWaiting])
            .fails(&[StorageFull, StorageFailed]),
        )
        .route(
            Method::DELETE,
            "/v1/jobs/{id}",
            jobs::forget,
            Operation::new(JOBS, "forgetJob", "Forgets an ended job and its pictures.")
                .path::<JobId>("id", JOB)
                .answers(Answer::empty(StatusCode::NO_CONTENT, "It is forgotten."))
                .fails(&[JobNotFound, JobExpired, IdConflict, StorageFailed]),
        )
        .route(
            Method::POST,
            "/v1/jobs/{id}/cancel",
            jobs::cancel,
            Operation::new(JOBS, "cancelJob", "Ends a job; one that has ended stays as it is.")
                .path::<JobId>("id", JOB)
                .answers(Answer::json::<JobView>(StatusCode::OK, "The job, which may take a moment to end."))
                .fails(&[JobNotFound, JobExpired, StorageFailed]),
        )
        .behind(
            Door::Viewer,
            Method::GET,
            "/v1/jobs/{id}/stream",
            stream::stream,
            Operation::new(JOBS, "followJob", "Follows a job by server-sent events.")
                .about(
                    "The `event` of an event is the `type` of the `EventFrame` that its `data` holds. Durable events \
                     have an `id`, and a reader that lost the connection gets those that it missed. The stream ends \
                     with the job.\n\n\
                     There is a `preview` event for each image of the batch. With `preview=rgb` or `preview=jpeg` its \
                     `data` is a data URL, which can be the `src` of an `<img>` as it is; step and image stand in it as \
                     parameters of the media type: \
                     `data:image/png;step=5;steps=20;batch_index=0;batch_size=1;base64,…`. With `preview=latent` it is a \
                     binary frame (see `/asyncapi.json`) in base64. Which of them comes is for the reader to say, and \
                     for the job's `preview` where the reader says nothing.",
                )
                .path::<JobId>("id", JOB)
                .header::<Option<String>>("Last-Event-ID", "The last `id` that the reader has, which beats `after`.")
                .query::<stream::StreamQuery>()
                .answers(
                    Answer::empty(StatusCode::OK, "Events, of which those in the log come first.")
                        .content::<stream::ServerSentEvent>("text/event-stream")
                        .header(header::CACHE_CONTROL, "`no-store`"),
                )
                .answers(Answer::empty(
                    StatusCode::NO_CONTENT,
                    "The job has ended and the reader has seen it all; a browser does not connect again.",
                ))
                .fails(&[InvalidRequest, JobNotFound, JobExpired, StorageFailed]),
        )
}
