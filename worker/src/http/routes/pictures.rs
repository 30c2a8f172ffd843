//! The routes of pictures: of jobs, and those that clients bring.

use axum::http::{Method, StatusCode, header};
use sd_protocol::{ErrorCode, JobId, UploadView};

use super::{JOB, Routes};
use crate::http::documents::{Answer, Bytes, Door, Operation};
use crate::http::{pictures, uploads};

const JOBS: &str = "Jobs";
const UPLOADS: &str = "Uploads";

/// The pictures of jobs.
pub(super) fn images(routes: Routes) -> Routes {
    use ErrorCode::*;
    routes
        .behind(
            Door::Viewer,
            Method::GET,
            "/v1/jobs/{id}/images/{index}",
            pictures::image,
            Operation::new(JOBS, "getImage", "Brings a picture.")
                .path::<JobId>("id", JOB)
                .path::<u32>("index", "Index of the picture in its batch.")
                .header::<Option<String>>("If-None-Match", "An `ETag` that the reader has.")
                .header::<Option<String>>("Range", "A part of the file, as `bytes=0-1023`.")
                .answers(
                    Answer::empty(StatusCode::OK, "The file, in the format of the job's `output`.")
                        .content::<Bytes>("image/png")
                        .content::<Bytes>("image/jpeg")
                        .content::<Bytes>("image/webp")
                        .header(header::ETAG, "SHA-256 of the file.")
                        .header(header::CACHE_CONTROL, "A picture never changes."),
                )
                .answers(
                    Answer::empty(StatusCode::PARTIAL_CONTENT, "The part that was asked for.")
                        .content::<Bytes>("image/png")
                        .content::<Bytes>("image/jpeg")
                        .content::<Bytes>("image/webp")
                        .header(header::CONTENT_RANGE, "Which part of how many bytes."),
                )
                .answers(
                    Answer::empty(StatusCode::NOT_MODIFIED, "The reader has it already.")
                        .header(header::ETAG, "SHA-256 of the file."),
                )
                .answers(
                    Answer::empty(StatusCode::RANGE_NOT_SATISFIABLE, "The file has no such part.")
                        .header(header::CONTENT_RANGE, "How many bytes there are."),
                )
                .fails(&[JobNotFound, JobExpired, ImageNotFound, StorageFailed]),
        )
        .behind(
            Door::Viewer,
            Method::GET,
            "/v1/jobs/{id}/images/{index}/thumbnail",
            pictures::thumbnail,
            Operation::new(JOBS, "getThumbnail", "Brings a picture small.")
                .about(
                    "All of the picture, at most 256 px on its longer side; one that is smaller is not enlarged. It is \
                     made when it is first asked for.",
                )
                .path::<JobId>("id", JOB)
                .path::<u32>("index", "Index of the picture in its batch.")
                .header::<Option<String>>("If-None-Match", "An `ETag` that the reader has.")
                .answers(
                    Answer::empty(StatusCode::OK, "The file.")
                        .content::<Bytes>("image/jpeg")
                        .header(header::ETAG, "Made of the SHA-256 of the picture.")
                        .header(header::CACHE_CONTROL, "A thumbnail never changes."),
                )
                .answers(
                    Answer::empty(StatusCode::NOT_MODIFIED, "The reader has it already.")
                        .header(header::ETAG, "Made of the SHA-256 of the picture."),
                )
                .fails(&[JobNotFound, JobExpired, ImageNotFound, StorageFailed]),
        )
}

/// Pictures that clients bring.
pub(super) fn uploads(routes: Routes) -> Routes {
    use ErrorCode::*;
    let routes = routes.patient_route(
        Method::POST,
        "/v1/uploads",
        uploads::upload,
        Operation::new(UPLOADS, "upload", "Keeps a picture for jobs to come.")
            .about(
                "The body is a PNG, JPEG, WebP or GIF file as it is, or a form whose first part with a file name is \
                 one. The same file has the same id.",
            )
            .body::<Bytes>("application/octet-stream")
            .body::<uploads::UploadForm>("multipart/form-data")
            .answers(Answer::json::<UploadView>(StatusCode::CREATED, "What `image` and `mask` of a job may name."))
            .fails(&[InvalidRequest, ImageInvalid, TooLarge, UploadsFull, QuotaExceeded, StorageFull, StorageFailed]),
    );
    routes.route(
        Method::GET,
        "/v1/uploads/{id}",
        pictures::upload,
        Operation::new(UPLOADS, "getUpload", "Brings a picture that the same credential has brought.")
            .path::<String>("id", "The id of the upload, as `image` and `mask` of a job name it.")
            .header::<Option<String>>("If-None-Match", "An `ETag` that the reader has.")
            .header::<Option<String>>("Range", "A part of the file, as `bytes=0-1023`.")
            .answers(
                Answer::empty(StatusCode::OK, "The file, as it was brought.")
                    .content::<Bytes>("image/png")
                    .content::<Bytes>("image/jpeg")
                    .content::<Bytes>("image/webp")
                    .content::<Bytes>("image/gif")
                    .header(header::ETAG, "The id.")
                    .header(header::CACHE_CONTROL, "An upload never changes."),
            )
            .answers(
                Answer::empty(StatusCode::PARTIAL_CONTENT, "The part that was asked for.")
                    .content::<Bytes>("image/png")
                    .content::<Bytes>("image/jpeg")
                    .content::<Bytes>("image/webp")
                    .content::<Bytes>("image/gif")
                    .header(header::CONTENT_RANGE, "Which part of how many bytes."),
            )
            .answers(
                Answer::empty(StatusCode::NOT_MODIFIED, "The reader has it already.").header(header::ETAG, "The id."),
            )
            .answers(
                Answer::empty(StatusCode::RANGE_NOT_SATISFIABLE, "The file has no such part.")
                    .header(header::CONTENT_RANGE, "How many bytes there are."),
            )
            .fails(&[UploadNotFound, StorageFailed]),
    )
}
