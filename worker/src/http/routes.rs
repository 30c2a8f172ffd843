//! Every route, with what it takes and what it answers: the router and the documents are made of this table.

mod jobs;
mod pictures;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::routing::{MethodFilter, on};
use sd_protocol::limits::TEXT_BYTES_MAX;
use sd_protocol::{ErrorCode, JobId, ModelsView, ShareView, TicketRequest, TicketView, TokensRequest, TokensView};

use super::documents::{self, Answer, Bytes, Door, Operation};
use super::{App, access, assets, guard, health, limit_time, models, socket};
use crate::metrics;

const ACCESS: &str = "Access";
const WORKER: &str = "Worker";
const DOCUMENTS: &str = "Documents";

const JOB: &str = "Name of the job.";

/// The table.
pub fn table() -> Routes {
    documents(worker(access(pictures::uploads(pictures::images(jobs::jobs(Routes::default()))))))
}

fn access(routes: Routes) -> Routes {
    use ErrorCode::*;
    routes
        .route(
            Method::POST,
            "/v1/tickets",
            access::ticket,
            Operation::new(ACCESS, "issueTicket", "Gives a ticket, for what cannot send a token in a header.")
                .about("`?ticket=` opens one stream, picture or socket, once.")
                .optional_json::<TicketRequest>()
                .answers(Answer::json::<TicketView>(StatusCode::CREATED, "The ticket."))
                .fails(&[
                    MalformedJson,
                    InvalidRequest,
                    TooLarge,
                    JobNotFound,
                    JobExpired,
                    QuotaExceeded,
                    StorageFailed,
                ]),
        )
        .route(
            Method::POST,
            "/v1/jobs/{id}/share",
            access::share,
            Operation::new(ACCESS, "shareJob", "Makes a link for reading a job.")
                .path::<JobId>("id", JOB)
                .answers(Answer::json::<ShareView>(StatusCode::CREATED, "The link."))
                .fails(&[JobNotFound, JobExpired, QuotaExceeded, StorageFull, StorageFailed]),
        )
        .route(
            Method::DELETE,
            "/v1/jobs/{id}/share",
            access::unshare,
            Operation::new(ACCESS, "unshareJob", "Ends every link of a job.")
                .path::<JobId>("id", JOB)
                .answers(Answer::empty(StatusCode::NO_CONTENT, "They open nothing any more."))
                .fails(&[JobNotFound, JobExpired, StorageFull, StorageFailed]),
        )
}

fn worker(routes: Routes) -> Routes {
    use ErrorCode::*;
    routes
        .route(
            Method::GET,
            "/v1/models",
            models::models,
            Operation::new(WORKER, "listModels", "Lists what may be asked for by name, and within which bounds.")
                .answers(Answer::json::<ModelsView>(
                    StatusCode::OK,
                    "Models, schedulers, adapters, limits, and what draws.",
                )),
        )
        .route(
            Method::POST,
            "/v1/models/{name}/tokens",
            models::tokens,
            Operation::new(
                WORKER,
                "readPrompt",
                "Tells how a model reads a prompt: its chunks, and what falls in each.",
            )
            .about(
                "The model need not be loaded. Weights, `BREAK` and embeddings count as they will for a job, words \
                     of LoRAs do not.",
            )
            .path::<String>("name", "Name of the model.")
            .json::<TokensRequest>()
            .answers(Answer::json::<TokensView>(StatusCode::OK, "The chunks."))
            .fails(&[MalformedJson, InvalidRequest, TooLarge, NotFound, ModelUnavailable]),
        )
        .route(
            Method::GET,
            "/v1/models/{name}/preview-decoder",
            models::preview_decoder,
            Operation::new(WORKER, "getPreviewDecoder", "Brings the decoder that makes pictures of preview latents.")
                .about(
                    "A safetensors file with the decoder of an `AutoencoderTiny` (TAESD) in f16; under `config` of its \
                     metadata is its `config.json`. The catalogue says which models have one.",
                )
                .path::<String>("name", "Name of the model.")
                .header::<Option<String>>("If-None-Match", "An `ETag` that the reader has.")
                .answers(
                    Answer::empty(StatusCode::OK, "The file.")
                        .content::<Bytes>("application/octet-stream")
                        .header(header::ETAG, "SHA-256 of the file."),
                )
                .answers(
                    Answer::empty(StatusCode::NOT_MODIFIED, "The reader has it already.")
                        .header(header::ETAG, "SHA-256 of the file."),
                )
                .fails(&[NotFound]),
        )
        .behind(
            Door::Socket,
            Method::GET,
            "/v1/ws",
            socket::upgrade,
            Operation::new(WORKER, "openSocket", "Opens a WebSocket, which many jobs share.")
                .about("`/asyncapi.json` describes its frames.")
                .answers(
                    Answer::empty(StatusCode::SWITCHING_PROTOCOLS, "The socket is open.")
                        .header(header::SEC_WEBSOCKET_PROTOCOL, "`sd.v1`, where the client offered it."),
                )
                .fails(&[InvalidRequest]),
        )
        .behind(
            Door::Open,
            Method::GET,
            "/health",
            health::health,
            Operation::new(WORKER, "health", "Tells that the process lives.")
                .answers(Answer::json::<health::Status>(StatusCode::OK, "It does.")),
        )
        .behind(
            Door::Open,
            Method::GET,
            "/ready",
            health::ready,
            Operation::new(WORKER, "ready", "Tells whether a job submitted now would start, or wait for jobs only.")
                .answers(Answer::json::<health::Readiness>(StatusCode::OK, "It would."))
                .not_ready(&[QueueFull, Loading, ModelUnavailable, ShuttingDown, StorageFull, StorageFailed]),
        )
        .route(
            Method::GET,
            "/metrics",
            health::metrics,
            Operation::new(WORKER, "metrics", "Tells what is counted, for Prometheus.")
                .answers(Answer::empty(StatusCode::OK, "OpenMetrics text.").content::<String>(metrics::CONTENT_TYPE)),
        )
}

fn documents(routes: Routes) -> Routes {
    let served = |content_type: &'static str, about: &'static str| {
        Answer::empty(StatusCode::OK, about).content::<String>(content_type)
    };
    routes
        .behind(
            Door::Open,
            Method::GET,
            "/openapi.json",
            documents::serve_openapi,
            Operation::new(DOCUMENTS, "openapi", "Describes the HTTP API: this document.").answers(Answer::json::<
                Object,
            >(
                StatusCode::OK,
                "An OpenAPI 3.1 document.",
            )),
        )
        .behind(
            Door::Open,
            Method::GET,
            "/asyncapi.json",
            documents::serve_asyncapi,
            Operation::new(DOCUMENTS, "asyncapi", "Describes the WebSocket.")
                .answers(Answer::json::<Object>(StatusCode::OK, "An AsyncAPI 3 document.")),
        )
        .behind(
            Door::Open,
            Method::GET,
            "/docs",
            documents::serve_page,
            Operation::new(DOCUMENTS, "docs", "Shows both documents to people.")
                .answers(served("text/html", "A page.")),
        )
        .behind(
            Door::Open,
            Method::GET,
            "/docs/style.css",
            documents::serve_style,
            Operation::new(DOCUMENTS, "docsStyle", "How that page looks.")
                .answers(served("text/css", "A style sheet.")),
        )
        .behind(
            Door::Open,
            Method::GET,
            "/",
            assets::serve,
            Operation::new(DOCUMENTS, "page", "The browser client.")
                .about("Its files lie beside it. `/pkg/index.js` is for other pages, `/pkg/index.d.ts` and `/pkg/protocol.d.ts` are its types.")
                .header::<Option<String>>("If-None-Match", "An `ETag` that the reader has.")
                .answers(served("text/html", "A page.").header(header::ETAG, "Hash of the file."))
                .answers(
                    Answer::empty(StatusCode::NOT_MODIFIED, "The reader has it already.")
                        .header(header::ETAG, "Hash of the file."),
                ),
        )
}

/// Routes as they are added, each with its description.
#[derive(Debug, Default)]
pub struct Routes {
    open: Router<App>,
    guarded: Router<App>,
    viewable: Router<App>,
    upgradable: Router<App>,
    patient: Router<App>,
    operations: Vec<Operation>,
}

impl Routes {
    /// A route that asks for a token where there are any. Its body is a text of the protocol at most, and its answer
    /// begins within a time.
    fn route<H, T>(self, method: Method, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.behind(Door::Token, method, path, handler, operation)
    }

    /// The same behind another door.
    fn behind<H, T>(mut self, door: Door, method: Method, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let router = match door {
            Door::Open => &mut self.open,
            Door::Token => &mut self.guarded,
            Door::Viewer => &mut self.viewable,
            Door::Socket => &mut self.upgradable,
        };
        *router = std::mem::take(router).route(path, on(filter(&method), handler));
        self.describe(door, method, path, operation)
    }

    /// A route that asks for a token, brings more and takes longer, and has limits of its own.
    fn patient_route<H, T>(mut self, method: Method, path: &'static str, handler: H, operation: Operation) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.patient = self.patient.route(path, on(filter(&method), handler));
        self.describe(Door::Token, method, path, operation)
    }

    fn describe(mut self, door: Door, method: Method, path: &'static str, operation: Operation) -> Self {
        self.operations.push(operation.at(door, method, path));
        self
    }

    /// What the routes take and answer, in the order of the table.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The router; a path that is no route is a file of the client.
    pub(super) fn into_router(self, app: &App) -> Router<App> {
        let token = || middleware::from_fn_with_state(app.clone(), guard::token);
        self.open
            .merge(self.guarded.route_layer(token()))
            .merge(self.viewable.route_layer(middleware::from_fn_with_state(app.clone(), guard::viewer)))
            .merge(self.upgradable.route_layer(middleware::from_fn_with_state(app.clone(), guard::socket)))
            .fallback(assets::serve)
            .layer(DefaultBodyLimit::max(TEXT_BYTES_MAX))
            .layer(middleware::from_fn(limit_time))
            .merge(self.patient.route_layer(token()))
    }
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).expect("the table has methods of the standard only")
}

/// Any JSON object.
type Object = serde_json::Map<String, serde_json::Value>;
