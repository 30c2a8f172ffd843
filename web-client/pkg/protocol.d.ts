// The types of the worker's protocol, written from the Rust types of sd-protocol.

/** Everything that may be asked for by name. */
export interface Catalogue {
  /** Models; the first is the default. */
  models: ModelEntry[];
  /** Values of `scheduler`. */
  schedulers: SchedulerEntry[];
  /** Values of `sigmas`. */
  sigmas: NamedEntry[];
  /** Names that stand for textual-inversion embeddings in a prompt. */
  embeddings?: string[];
  /** Values of `name` in `loras`. */
  loras?: string[];
}

/** Client → server. */
export type ClientFrame =
  /** First frame of a connection. */
  | {
    type: "hello";
    /** Name and version of the client, for the worker's log. */
    client: string;
    /** Abilities that both sides may use; none exist in version 1. */
    features?: string[];
    /** A ticket in place of a token. */
    ticket?: Secret | null;
    /** The client's token, where the worker asks for one. */
    token?: Secret | null;
  }
  /** Asks for a job; answered by exactly one `accepted` or `rejected` with the same tag. */
  | {
    type: "submit";
    /** Chosen by the client. */
    tag: number;
    /** The job. */
    job: JobRequest;
  }
  /** Ends a job; one that is finished already stays as it is, without an error. */
  | {
    type: "cancel";
    /** Name of the job. */
    job: JobId;
  }
  /** Follows a job from any connection: every durable event above `after`, then the live stream. */
  | {
    type: "attach";
    /** Name of the job. */
    job: JobId;
    /** The last `seq` that the client has. */
    after?: number;
    /** What previews this connection wants. */
    preview?: PreviewOptions;
  }
  /** Changes what previews this connection gets of a job that it follows; the newest one comes at once. */
  | {
    type: "preview";
    /** Name of the job. */
    job: JobId;
    /** What previews it wants from now on. */
    preview: PreviewOptions;
  }
  /** Stops following a job. */
  | {
    type: "detach";
    /** Name of the job. */
    job: JobId;
  }
  /** Announces a picture, whose chunks (binary frames of kind 4) follow in order; answered by exactly one `uploaded` or `upload_rejected` with the same tag. */
  | {
    type: "upload";
    /** Chosen by the client, among its uploads under way. */
    tag: number;
    /** Bytes of the whole file. */
    bytes: number;
  };

/** A processor that draws. */
export interface DeviceEntry {
  /** `cpu`, `cuda:0`, `metal`, … */
  name: string;
  /** What its maker calls it. */
  label: string;
  /** The type that networks compute in there: `f32`, `f16`, `bf16`. */
  dtype: string;
  /** Memory of its own; nothing where it shares the machine's. */
  memory_bytes?: number;
}

/** An error with a way out. */
export interface ErrorBody {
  /** What went wrong, for programs. */
  code: ErrorCode;
  /** What went wrong and what to do next, for people. */
  message: string;
  /** Every fault that was found, where there can be several. */
  details?: ErrorDetail[];
  /** Milliseconds after which it is worth to ask again, where time alone may heal it. */
  retry_after_ms?: number;
}

/** What went wrong, for a program to act on. */
export type ErrorCode =
  /** The bytes are not JSON, or not an object of the expected form. */
  | "malformed_json"
  /** A frame has an unknown `type`, or a binary frame makes no sense here. */
  | "unknown_frame"
  /** A second `hello` on one connection. */
  | "unexpected_hello"
  /** The client speaks a version of the protocol that this worker does not. */
  | "unsupported_protocol"
  /** No token, or one that opens nothing here. */
  | "unauthorized"
  /** The `Host` of the request is no name of this worker. */
  | "host_not_allowed"
  /** A page of another origin asked. */
  | "origin_not_allowed"
  /** The credential has used up what it may; try again after `Retry-After`, where there is one. */
  | "quota_exceeded"
  /** One or more fields of a request are wrong; `details` names each. */
  | "invalid_request"
  /** A body, a frame or a file is larger than `limits` allow. */
  | "too_large"
  /** No route or file of that name. */
  | "not_found"
  /** No job of that id, or it was forgotten. */
  | "job_not_found"
  /** The job was here, and left with the oldest ones when the worker's bounds were reached. */
  | "job_expired"
  /** The job has no image of that index. */
  | "image_not_found"
  /** A picture that a client sent is none, or is damaged. */
  | "image_invalid"
  /** No upload of that id, or it was pushed out by newer ones. */
  | "upload_not_found"
  /** The uploads that waiting jobs hold leave no room; try again after `Retry-After`. */
  | "uploads_full"
  /** One socket sends as many uploads at once as it may. */
  | "too_many_uploads"
  /** The id belongs to a job with a different request. */
  | "id_conflict"
  /** The job does not wait any more, so that it has no place in the queue to change. */
  | "not_waiting"
  /** The queue has no room; try again after `Retry-After`. */
  | "queue_full"
  /** One socket follows as many jobs as it may. */
  | "too_many_jobs"
  /** The worker is loading a model. */
  | "loading"
  /** The worker is shutting down. */
  | "shutting_down"
  /** The model could not be loaded. */
  | "model_unavailable"
  /** The device that draws has too little memory for the job or its model. */
  | "out_of_memory"
  /** The job ran when the worker stopped, and is not run again. */
  | "interrupted"
  /** The method is not allowed on this route. */
  | "method_not_allowed"
  /** The answer took longer than the worker allows. */
  | "timeout"
  /** The worker's disk is full. */
  | "storage_full"
  /** The worker's store failed. */
  | "storage_failed"
  /** A fault of the worker; its log says more. */
  | "internal";

/** One fault inside a request. */
export interface ErrorDetail {
  /** The field at fault, as the client wrote it (`width`, `preview.mode`). */
  field: string;
  /** What is wrong with it and what would be right. */
  message: string;
}

/** The body of every HTTP error: `{"error": {…}}`. */
export interface ErrorEnvelope {
  /** The error itself. */
  error: ErrorBody;
}

/** An event with the job it belongs to and, if it is durable, its number. */
export type EventFrame = {
  /** Name of the job. */
  job: JobId;
  /** Number in the job's log; absent on ephemeral events. */
  seq?: number;
} & (
  /** Waits for the engine. Durable at acceptance, and again when a worker that stopped in the middle of the job takes it up anew; repeated without `seq` when the position changes. */
  | {
    type: "queued";
    /** Jobs that the engine takes before this one. */
    position: number;
  }
  /** The engine took it, and the weights of its model are being fetched. Ephemeral. */
  | {
    type: "model_loading";
    /** Name of the model. */
    model: string;
    /** Of all its files. */
    done_bytes: number;
    /** Of all its files. */
    total_bytes: number;
  }
  /** The engine took it. Durable. */
  | {
    type: "started";
    /** Denoising steps that will follow. */
    steps: number;
  }
  /** A denoising step is done. Ephemeral. */
  | {
    type: "progress";
    /** Steps done. */
    step: number;
    /** Steps in all. */
    steps: number;
    /** Noise level after this step, in units of the scheduler's sigma. */
    sigma: number;
    /** Estimated time until the pictures, in milliseconds. */
    eta_ms: number;
  }
  /** A picture is stored. Durable. */
  | {
    type: "image";
    /** Where it is. */
    image: ImageView;
  }
  /** All pictures are stored. Durable, terminal. */
  | {
    type: "succeeded";
    /** Where the time went. */
    timings: Timings;
  }
  /** It ended with an error. Durable, terminal. */
  | {
    type: "failed";
    /** Why. */
    error: ErrorBody;
  }
  /** Someone canceled it. Durable, terminal. */
  | {
    type: "canceled";
  }
  /** A newer job of its lane took its place. Durable, terminal. */
  | {
    type: "superseded";
    /** The newer job. */
    by: JobId;
  }
  /** The log no longer reaches back to what the reader asked for; this is how things stand. */
  | {
    type: "reset";
    /** The whole job. */
    view: JobView;
  }
);

/** How a picture is written. */
export type ImageFormat =
  /** Without loss. */
  | "png"
  /** With loss, as `quality` says. */
  | "jpeg"
  /** Without loss, and smaller than PNG. */
  | "webp";

/** A finished picture. */
export interface ImageView {
  /** Index in the batch. */
  index: number;
  /** Path on this worker, from the root. */
  url: string;
  /** px */
  width: number;
  /** px */
  height: number;
  /** SHA-256 of the file, in lower-case hexadecimal digits; also its `ETag`. */
  sha256: string;
  /** Seed that draws this picture alone. */
  seed: number;
  /** How the file is written. */
  format?: ImageFormat;
  /** Path of a small JPEG of it, from the root: at most `THUMBNAIL_PX_MAX` (256) px on the longer side. Absent in what an older worker wrote. */
  thumbnail_url?: string;
}

/** Which part of the picture the network sees while it inpaints. */
export type InpaintArea =
  /** The whole picture. */
  | "whole"
  /** The masked part with `padding` px around it, drawn at the full size of the job and scaled back. */
  | "masked";

/** What lies under the mask before the first step. */
export type InpaintFill =
  /** What the image shows there. */
  | "original"
  /** Noise alone. */
  | "noise"
  /** The zero latent, noised. */
  | "blank";

/** The `inpaint` field of a request. */
export interface InpaintRequest {
  /** What the network sees. */
  area?: InpaintArea;
  /** What lies under the mask. */
  fill?: InpaintFill;
  /** px around the masked part, where the area is `masked`. */
  padding?: number;
}

/** The body of `PATCH /v1/jobs/{id}`. What it leaves out stays as it is; all of it happens, or nothing does. */
export interface JobChange {
  /** Whether the job is kept, however many come after it, until it is forgotten on demand. */
  favorite?: boolean | null;
  /** Order among the waiting jobs of one credential, -10 to 10; a higher one is drawn first, and of equal ones the older. Only for a job that waits. */
  priority?: number | null;
}

/** Name of a job: 1 to 64 characters of `[A-Za-z0-9_-]`, safe in a URL path and a file name. */
export type JobId = string;

/** A page of `GET /v1/jobs`, newest first. */
export interface JobList {
  /** The jobs of this page. */
  jobs: JobView[];
  /** The `cursor` of the next page; absent on the last one. */
  next_cursor?: string;
}

/** What a client asks for. Everything but the prompt has a default; in a `JobView` every field that has a default is filled in. */
export interface JobRequest {
  /** What to draw. */
  prompt: string;
  /** SDXL refiner: how pleasing the picture is said to be, 0 to 10. */
  aesthetic_score?: number | null;
  /** Images of this job. */
  batch_size?: number | null;
  /** Layers of the text encoder that the prompt leaves out at its end (diffusers' `clip_skip`: 0 is none, 1 the last one). The negative prompt leaves out none, as in diffusers. */
  clip_skip?: number | null;
  /** SDXL: how the training picture is said to have been cropped, `[top, left]` in px. */
  crops_coords_top_left?: [number, number] | null;
  /** η of DDIM (0 is deterministic) and TCD in `[0, 1]`; other schedulers ignore it, and a warning says so. */
  eta?: number | null;
  /** The part of the walk that is guided, as fractions of its steps from the noisy end; `[0, 1]` is all of it. */
  guidance_interval?: [number, number] | null;
  /** How far guidance is pulled back to the contrast of the unguided prediction, in `[0, 1]` (Lin et al. 2024). */
  guidance_rescale?: number | null;
  /** Classifier-free guidance; 1 turns it off. */
  guidance_scale?: number | null;
  /** px, a multiple of 8. */
  height?: number | null;
  /** The client's own id: a repeated submit with the same body finds the first job again. */
  id?: JobId | null;
  /** Image to start from: the id of an upload, or the file itself in base64 (also as a `data:` URL). */
  image?: string | null;
  /** How the masked part is drawn. */
  inpaint?: InpaintRequest | null;
  /** Jobs of one credential that name the same lane follow each other, as the strokes of one canvas do. */
  lane?: string | null;
  /** LoRAs to merge into the model, each with its weight. */
  loras?: LoraRequest[] | null;
  /** Where `image` is drawn anew (white) and where it stays (black); given as `image` is. */
  mask?: string | null;
  /** How far the border of the mask is softened, in px. */
  mask_blur?: number | null;
  /** A name from the catalogue. */
  model?: string | null;
  /** SDXL refiner: the same for the negative prompt. */
  negative_aesthetic_score?: number | null;
  /** What guidance pushes away from. None is not the same as an empty one to SDXL, so that it stays absent. */
  negative_prompt?: string | null;
  /** What becomes of the job when the WebSocket that submitted it goes away. */
  on_disconnect?: OnDisconnect | null;
  /** SDXL: size that the training picture is said to have had, `[height, width]` in px as in diffusers. */
  original_size?: [number, number] | null;
  /** How far the picture grows beyond `image`. */
  outpaint?: OutpaintRequest | null;
  /** How pictures are written. */
  output?: OutputOptions | null;
  /** What previews to send. */
  preview?: PreviewOptions | null;
  /** Order among the waiting jobs of one credential, -10 to 10; a higher one is drawn first. Credentials take turns, whatever their priorities. */
  priority?: number | null;
  /** A second model for the last part of the walk. */
  refiner?: RefinerRequest | null;
  /** How an `image` of another shape is fitted to width × height. */
  resize?: ResizeMode | null;
  /** Whose stream of noise a seed names. */
  rng?: Rng | null;
  /** A name from the catalogue. */
  scheduler?: string | null;
  /** Seed of the first image; image *n* of the batch uses `seed + n`. Absent: drawn and reported. Below 2^53, so that JavaScript reads back what it wrote. */
  seed?: number | null;
  /** A name from the catalogue. */
  sigmas?: string | null;
  /** Denoising steps. */
  steps?: number | null;
  /** How much of `image` is drawn anew, in `[0, 1]`. */
  strength?: number | null;
  /** Which older jobs of the lane this one ends. */
  supersede?: Supersede | null;
  /** SDXL: size that the picture is said to have, `[height, width]` in px. */
  target_size?: [number, number] | null;
  /** px, a multiple of 8. */
  width?: number | null;
}

/** Where a job stands. */
export type JobState =
  /** Accepted and stored; waits for the engine. */
  | "queued"
  /** The engine works on it, or its pictures are being encoded. */
  | "running"
  /** All pictures are stored. */
  | "succeeded"
  /** It ended with an error. */
  | "failed"
  /** Someone canceled it. */
  | "canceled"
  /** A newer job of its lane took its place. */
  | "superseded";

/** Everything the worker says about a job. */
export interface JobView {
  /** Name of the job. */
  id: JobId;
  /** Where it stands. */
  state: JobState;
  /** The request as it was understood: seed, scheduler and all defaults filled in. */
  request: JobRequest;
  /** Denoising steps done. */
  step: number;
  /** Denoising steps in all: less than the request's where the scheduler merges steps. */
  steps: number;
  /** Milliseconds since the Unix epoch. */
  created_at_ms: number;
  /** Pictures that are stored. */
  images: ImageView[];
  /** Sequence number of the newest durable event. */
  last_seq: number;
  /** Path of the SSE stream of this job. */
  stream_url: string;
  /** Why it failed. */
  error?: ErrorBody;
  /** Whether it is kept, however many come after it. */
  favorite?: boolean;
  /** Milliseconds since the Unix epoch. */
  finished_at_ms?: number;
  /** Jobs that the engine takes before this one; only while `queued`. */
  queue_position?: number;
  /** Milliseconds since the Unix epoch. */
  started_at_ms?: number;
  /** Filled in when the job ends. */
  timings?: Timings;
  /** What was understood differently from what may have been meant. */
  warnings?: string[];
}

/** The bounds that a client needs in order to offer only what will be accepted. */
export interface Limits {
  /** Largest text frame and largest JSON body, in bytes. */
  text_bytes_max: number;
  /** Largest binary frame from a client, in bytes. */
  binary_bytes_max: number;
  /** Jobs that may wait for the engine before a submit is answered with `queue_full`. */
  queue_jobs_max: number;
  /** Jobs that one socket may follow at the same time. */
  jobs_per_socket_max: number;
  /** Longest prompt or negative prompt, in bytes of UTF-8. */
  prompt_bytes_max: number;
  /** Smallest width or height, in px. */
  side_px_min: number;
  /** Largest width or height, in px. */
  side_px_max: number;
  /** Width and height are multiples of this many px. */
  side_px_multiple: number;
  /** Most pixels of a job: width × height × batch size. */
  job_pixels_max: number;
  /** Most denoising steps. */
  steps_max: number;
  /** Largest guidance scale; 1 means no guidance. */
  guidance_scale_max: number;
  /** Most images of one job. */
  batch_size_max: number;
}

/** One of the `loras` of a request. */
export interface LoraRequest {
  /** A name from the catalogue. */
  name: string;
  /** How much of it; 1 is as it was trained, negative pushes away. */
  weight?: number;
}

/** What a request that leaves a field out gets. */
export interface ModelDefaults {
  /** px */
  width: number;
  /** px */
  height: number;
  /** Denoising steps. */
  steps: number;
  /** Guidance scale. */
  guidance_scale: number;
  /** A name from `schedulers` of the catalogue. */
  scheduler: string;
  /** A name from `sigmas` of the catalogue. */
  sigmas: string;
}

/** One model of the catalogue. */
export interface ModelEntry {
  /** The value of the request field `model`. */
  name: string;
  /** How the model is built: `sd`, … */
  family: string;
  /** What a request that leaves a field out gets. */
  defaults: ModelDefaults;
  /** Channels of a latent. */
  latent_channels: number;
  /** Pixels along one side of a latent cell. */
  latent_scale: number;
  /** How a latent becomes a rough picture. */
  preview: PreviewBasis;
  /** Prompts that show what the model can draw. */
  examples?: string[];
  /** Where a decoder for better previews lies, of models that have one: the path of a safetensors file with the decoder of an `AutoencoderTiny` (TAESD). */
  preview_decoder?: string;
}

/** The body of `GET /v1/models`: what may be asked for by name, and within which bounds. */
export interface ModelsView {
  /** Models; the first is the default. */
  models: ModelEntry[];
  /** Values of `scheduler`. */
  schedulers: SchedulerEntry[];
  /** Values of `sigmas`. */
  sigmas: NamedEntry[];
  /** The bounds. */
  limits: Limits;
  /** What draws; several draw a job each at the same time. */
  devices?: DeviceEntry[];
  /** Names that stand for textual-inversion embeddings in a prompt. */
  embeddings?: string[];
  /** Values of `name` in `loras`. */
  loras?: string[];
  /** Those of the credential that asks, where it has some. */
  quota?: Quota;
}

/** A name from a table of the worker, with the label that people know it by. */
export interface NamedEntry {
  /** The value of the request field. */
  name: string;
  /** What a person reads in a menu, as the field's tools write it ("DPM++ 2M"). */
  label: string;
}

/** What becomes of a job when the WebSocket that submitted it goes away. */
export type OnDisconnect =
  /** It goes on, and waits for whoever asks for it. */
  | "keep"
  /** It is canceled. */
  | "cancel";

/** The `outpaint` field of a request: px that the picture grows on each side. */
export interface OutpaintRequest {
  /** px */
  bottom?: number;
  /** px */
  left?: number;
  /** px */
  right?: number;
  /** px */
  top?: number;
}

/** The `output` field of a request. A file holds the parameters of its picture, whatever its format. */
export interface OutputOptions {
  /** The format of the files. */
  format?: ImageFormat;
  /** How much of the picture a JPEG keeps, 1 to 100. */
  quality?: number;
}

/** A linear map from the channels of a clean latent to display RGB (sRGB-encoded, `[0, 1]` after clamping): `rgb = bias + Σ latent[c] · rows[c]`. */
export interface PreviewBasis {
  /** One RGB row per latent channel. */
  rows: Array<[number, number, number]>;
  /** RGB of the zero latent. */
  bias: [number, number, number];
}

/** How the numbers of a preview latent are written; pictures have their own formats. */
export type PreviewDtype =
  /** IEEE half precision, as computed. */
  | "f16"
  /** One byte each: `value = q·scale + offset`, half the size. */
  | "u8";

/** What previews a submitter wants. */
export type PreviewMode =
  /** The predicted clean latent, decoded by the client. */
  | "latent"
  /** A PNG of it at its own size, one pixel for each cell, made by the worker with the linear map of the model (`preview` in the catalogue). Costs the worker next to nothing. */
  | "rgb"
  /** A JPEG at full size, made by the worker with the model's `preview_decoder` on a CPU; as `rgb` shows it, where the model has none. A worker that is too slow for every step leaves steps out. */
  | "jpeg"
  /** No previews. */
  | "none";

/** The `preview` field of a request. */
export interface PreviewOptions {
  /** How it is written. */
  dtype?: PreviewDtype;
  /** A preview after every so many steps; the last step always has one, as a picture if it is ready before the images are. Every step (1) may begin with a preview of step 0, when half of the first step is done. */
  every?: number;
  /** What is sent. */
  mode?: PreviewMode;
}

/** What a credential may use. A bound that is absent is that of the whole worker. */
export interface Quota {
  /** Pixels (width × height × batch size) that may be asked for in any hour. */
  pixels_per_hour?: number;
  /** Jobs that may wait. */
  queued_jobs?: number;
  /** Jobs that may run at the same time; further ones wait. */
  running_jobs?: number;
  /** Bytes of pictures that may be brought in any hour. */
  upload_bytes_per_hour?: number;
}

/** The `refiner` field of a request. */
export interface RefinerRequest {
  /** A name from the catalogue, of a model with the same latent space. */
  model: string;
  /** Fraction of the walk after which it takes over, in `(0, 1)`. */
  switch_at?: number;
}

/** How an image is brought to another shape. */
export type ResizeMode =
  /** All of it is kept and the bars are filled. */
  | "fit"
  /** All of the picture is covered, and what hangs over is cut off. */
  | "fill"
  /** Width and height are scaled apart. */
  | "stretch";

/** Whose stream of noise a seed names. Both are computed by the worker, so that a seed means the same everywhere. */
export type Rng =
  /** Torch's CPU generator (Mersenne Twister). */
  | "cpu"
  /** Torch's CUDA generator (Philox). */
  | "philox";

/** A sampler, and the spacings of sigmas that it can walk. */
export interface SchedulerEntry {
  /** The value of the request field. */
  name: string;
  /** What a person reads in a menu. */
  label: string;
  /** Names from `sigmas` of the catalogue that go with it. */
  sigmas?: string[];
}

/** A token, ticket or share token: text that opens something. It is written in full on the wire and never in logs. */
export type Secret = string;

/** Server → client. */
export type ServerFrame = SessionFrame | EventFrame;

/** Server → client, about the connection. */
export type SessionFrame =
  /** Answer to `hello`. */
  | {
    type: "welcome";
    /** Version of the protocol: 1. */
    protocol: number;
    /** Name and version of the worker. */
    server: string;
    /** What will be accepted. */
    limits: Limits;
    /** What may be asked for by name. */
    catalogue: Catalogue;
    /** Abilities that both sides may use. */
    features: string[];
    /** What this client's credential may use, where it has bounds of its own. */
    quota?: Quota;
  }
  /** Answer to a `submit` that became a job; its events follow. */
  | {
    type: "accepted";
    /** The client's tag. */
    tag: number;
    /** Stands for the job in binary frames of this connection. */
    handle: number;
    /** The job. */
    job: JobView;
    /** How its preview latents become pictures. */
    preview: PreviewBasis;
  }
  /** Answer to a `submit` that did not become a job. */
  | {
    type: "rejected";
    /** The client's tag. */
    tag: number;
    /** Why, and what would be right. */
    error: ErrorBody;
  }
  /** Answer to `attach`; the job's events follow. */
  | {
    type: "attached";
    /** Stands for the job in binary frames of this connection. */
    handle: number;
    /** The job. */
    job: JobView;
    /** How its preview latents become pictures. */
    preview: PreviewBasis;
  }
  /** Answer to the last chunk of an upload. */
  | {
    type: "uploaded";
    /** The client's tag. */
    tag: number;
    /** What was stored; its id is what `image` and `mask` of a job name. */
    upload: UploadView;
  }
  /** Answer to an upload that failed, as soon as it did; chunks of it that are still on their way are passed over. */
  | {
    type: "upload_rejected";
    /** The client's tag. */
    tag: number;
    /** Why, and what would be right. */
    error: ErrorBody;
  }
  /** A frame that could not be honoured; the connection lives on. */
  | {
    type: "error";
    /** Why, and what would be right. */
    error: ErrorBody;
    /** The job that it was about, where it was about one. */
    job?: JobId;
  };

/** Which older jobs of its lane a job ends when it is accepted. */
export type Supersede =
  /** None. */
  | "none"
  /** Those that wait. */
  | "queued"
  /** Those that wait and the one that is drawn: the newest job is the only one. */
  | "running";

/** Where the time of a job went, in milliseconds. */
export interface Timings {
  /** From acceptance to the engine. */
  queued_ms: number;
  /** Loading the model, 0 when it was there. */
  load_ms: number;
  /** Text encoder. */
  encode_ms: number;
  /** All denoising steps. */
  denoise_ms: number;
  /** VAE decoder. */
  decode_ms: number;
  /** Copying previews off the device (inside `denoise_ms`). */
  preview_ms: number;
}

/** One chunk of a prompt. */
export interface TokenChunk {
  /** Tokens in it; an embedding is as many as it has vectors. */
  tokens: number;
  /** What it is read of, without brackets and weights. */
  text: string;
}

/** The body of `POST /v1/models/{name}/tokens`. */
export interface TokensRequest {
  /** A prompt or negative prompt, as a job has it. */
  prompt: string;
}

/** How a prompt falls into chunks, of which each goes through the text encoder by itself. Where a model has two text encoders that read it differently: as the one that needs more. */
export interface TokensView {
  /** Tokens of text that a chunk holds; 75 for CLIP. */
  tokens_max: number;
  /** At least one. */
  chunks: TokenChunk[];
  /** What of the prompt is understood differently from what may have been meant, as a job would say it. */
  warnings?: string[];
}

/** What the worker says about an upload: the body of `POST /v1/uploads`, and in `uploaded`. */
export interface UploadView {
  /** SHA-256 of the file, in lower-case hexadecimal digits: what `image` and `mask` of a job name. */
  id: string;
  /** Bytes of the file. */
  bytes: number;
  /** px, as the picture stands upright. */
  width: number;
  /** px, as the picture stands upright. */
  height: number;
}
