//! Every bound of the protocol, documented once; [`Limits`] is what `welcome` and `/v1/models` show of them.

use serde::{Deserialize, Serialize};

/// Largest text frame and largest JSON body, in bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Largest binary frame from a client, in bytes.
pub const BINARY_BYTES_MAX: usize = 64 << 10;
/// Largest picture that a client may bring, in bytes of its file.
pub const INPUT_BYTES_MAX: usize = 32 << 20;
/// Most pixels of a picture that a client brings.
pub const INPUT_PIXELS_MAX: u64 = 32 << 20;
/// Uploads that the worker keeps, in bytes; those longest out of use leave first.
pub const UPLOADS_BYTES_MAX: u64 = 1 << 30;
/// Bytes of pictures that may be on their way in at the same time, from all clients together.
pub const UPLOADS_ARRIVING_BYTES_MAX: usize = 256 << 20;
/// Uploads that may be under way on one socket.
pub const UPLOADS_PER_SOCKET_MAX: usize = 4;
/// Pictures of clients that are decoded at the same time; further ones wait. Each may take up half a gigabyte.
pub const UPLOADS_DECODED_MAX: usize = 2;
/// Time that an HTTP upload may stand still, in milliseconds.
pub const UPLOAD_IDLE_MS: u64 = 30_000;
/// Jobs that may wait for the engine before a submit is answered with `queue_full`.
pub const QUEUE_JOBS_MAX: usize = 64;
/// Jobs that one socket may follow at the same time.
pub const JOBS_PER_SOCKET_MAX: usize = 64;
/// Replies that may wait for one socket before its reading pauses.
pub const SOCKET_REPLIES_MAX: usize = 64;
/// Previews that may wait to be made into pictures, each of another job or mode; of one job and mode the newest waits.
pub const PREVIEW_ASKS_MAX: usize = 64;
/// Images that may be rendered by the engine but not yet encoded and stored.
pub const FINISHING_JOBS_MAX: usize = 4;
/// Ended jobs that a worker keeps unless told otherwise; older ones leave with their images.
pub const KEEP_JOBS: usize = 1000;
/// Jobs that left, and are still answered with `job_expired`.
pub const DEPARTED_JOBS_MAX: usize = 10_000;
/// Times that a job may be running when its worker dies before it is given up.
pub const INTERRUPTIONS_MAX: usize = 3;
/// Longest name of a lane, in bytes of UTF-8.
pub const LANE_BYTES_MAX: usize = 64;
/// Most urgent priority of a job; its negative is the least urgent.
pub const PRIORITY_MAX: i32 = 10;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest prompt or negative prompt, in bytes of UTF-8.
pub const PROMPT_BYTES_MAX: usize = 16 << 10;
/// Smallest width or height, in px.
pub const SIDE_PX_MIN: u32 = 64;
/// Largest width or height, in px.
pub const SIDE_PX_MAX: u32 = 2048;
/// Width and height are multiples of this many px: one latent cell.
pub const SIDE_PX_MULTIPLE: u32 = 8;
/// Most pixels of a job: width × height × batch size.
pub const JOB_PIXELS_MAX: u64 = 8 << 20;
/// Most denoising steps.
pub const STEPS_MAX: u32 = 150;
/// Largest guidance scale; 1 means no guidance.
pub const GUIDANCE_SCALE_MAX: f32 = 50.0;
/// Most layers of a text encoder that may be left out.
pub const CLIP_SKIP_MAX: u32 = 11;
/// Highest quality of a JPEG.
pub const OUTPUT_QUALITY_MAX: u8 = 100;
/// Most LoRAs of one job.
pub const LORAS_MAX: usize = 16;
/// Largest weight of a LoRA, up and down.
pub const LORA_WEIGHT_MAX: f32 = 10.0;
/// Largest size or crop that SDXL may be told, in px.
pub const MICRO_PX_MAX: u32 = 16_384;
/// Most softening of a mask's border, in px.
pub const MASK_BLUR_PX_MAX: u32 = 256;
/// Most px around the masked part that are drawn with it.
pub const INPAINT_PADDING_PX_MAX: u32 = 1024;
/// Most images of one job.
pub const BATCH_SIZE_MAX: u32 = 8;
/// Longest job id, in characters of `[A-Za-z0-9_-]`.
pub const JOB_ID_CHARS_MAX: usize = 64;
/// Longest `search` of `GET /v1/jobs`, in bytes of UTF-8.
pub const SEARCH_BYTES_MAX: usize = 512;
/// Longest side of a thumbnail, in px.
pub const THUMBNAIL_PX_MAX: u32 = 256;
/// Thumbnails that are made at the same time; further ones wait.
pub const THUMBNAILS_MADE_MAX: usize = 2;
/// Models whose tokenizers are kept at hand for `POST /v1/models/{name}/tokens`; each takes some ten megabytes.
pub const TOKENIZERS_KEPT_MAX: usize = 4;
/// Largest page of `GET /v1/jobs`.
pub const LIST_JOBS_MAX: u32 = 200;
/// Time between pings of an open socket, in milliseconds; two unanswered ones close it.
pub const PING_INTERVAL_MS: u64 = 20_000;
/// Time between comments on a silent SSE stream, in milliseconds.
pub const SSE_KEEP_ALIVE_MS: u64 = 15_000;
/// Time that one frame may take to leave for a client before the client is closed with 1013, in milliseconds.
pub const SEND_TIMEOUT_MS: u64 = 30_000;

/// Time that a ticket is good for, in milliseconds.
pub const TICKET_LIFETIME_MS: u64 = 30_000;
/// Tickets of one credential that may be out, neither used nor expired.
pub const TICKETS_MAX: usize = 256;
/// Share links of one job.
pub const SHARES_PER_JOB_MAX: usize = 16;
/// Time that a socket has to open the worker with `hello`, or on an open worker to say anything, in milliseconds.
pub const HELLO_TIMEOUT_MS: u64 = 10_000;
/// Connections that are open at the same time; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 512;
/// Time that the head of a request may take to arrive, also the first one and the next on an idle connection, in
/// milliseconds.
pub const HEAD_TIMEOUT_MS: u64 = 15_000;
/// Largest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header lines of a request.
pub const HEADERS_MAX: usize = 64;
/// Time that bytes of an answer may wait to leave before the connection is closed, in milliseconds: longer than a
/// socket takes to find its client deaf and to say so.
pub const WRITE_TIMEOUT_MS: u64 = 90_000;
/// Time that an HTTP upload may take in all, in milliseconds.
pub const UPLOAD_TIMEOUT_MS: u64 = 600_000;

/// The bounds that a client needs in order to offer only what will be accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Limits {
    /// Largest text frame and largest JSON body, in bytes.
    pub text_bytes_max: usize,
    /// Largest binary frame from a client, in bytes.
    pub binary_bytes_max: usize,
    /// Jobs that may wait for the engine before a submit is answered with `queue_full`.
    pub queue_jobs_max: usize,
    /// Jobs that one socket may follow at the same time.
    pub jobs_per_socket_max: usize,
    /// Longest prompt or negative prompt, in bytes of UTF-8.
    pub prompt_bytes_max: usize,
    /// Smallest width or height, in px.
    pub side_px_min: u32,
    /// Largest width or height, in px.
    pub side_px_max: u32,
    /// Width and height are multiples of this many px.
    pub side_px_multiple: u32,
    /// Most pixels of a job: width × height × batch size.
    pub job_pixels_max: u64,
    /// Most denoising steps.
    pub steps_max: u32,
    /// Largest guidance scale; 1 means no guidance.
    pub guidance_scale_max: f32,
    /// Most images of one job.
    pub batch_size_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: TEXT_BYTES_MAX,
            binary_bytes_max: BINARY_BYTES_MAX,
            queue_jobs_max: QUEUE_JOBS_MAX,
            jobs_per_socket_max: JOBS_PER_SOCKET_MAX,
            prompt_bytes_max: PROMPT_BYTES_MAX,
            side_px_min: SIDE_PX_MIN,
            side_px_max: SIDE_PX_MAX,
            side_px_multiple: SIDE_PX_MULTIPLE,
            job_pixels_max: JOB_PIXELS_MAX,
            steps_max: STEPS_MAX,
            guidance_scale_max: GUIDANCE_SCALE_MAX,
            batch_size_max: BATCH_SIZE_MAX,
        }
    }
}
