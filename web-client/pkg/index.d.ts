// The types of the client. Those of requests, jobs, pictures and errors are the protocol's own.

import type {
  Catalogue,
  ErrorBody,
  ErrorCode,
  ErrorDetail,
  JobId,
  JobRequest,
  JobState,
  JobView,
  Limits,
  PreviewBasis,
  UploadView,
} from "./protocol.js";

export type * from "./protocol.js";

/** Where a client stands: `waiting` for its next attempt, `locked` until {@link Client.unlock} brings a token. */
export type Link = "connecting" | "connected" | "waiting" | "locked" | "closed";

/** How to connect. */
export interface ConnectOptions {
  /** The token, where the worker asks for one. */
  token?: string;
}

/**
 * A connection to a worker. One that is lost is repaired: what was submitted is neither lost nor drawn twice, and jobs
 * are followed on from where they were.
 *
 * ```js
 * const client = await Client.connect("http://127.0.0.1:8484");
 * const job = client.submit({ prompt: "a red hot air balloon over mountains" });
 * const { images } = await job.finished;
 * client.close();
 * ```
 */
export class Client {
  private constructor();

  /**
   * Connects to the worker at the origin of `url`. From another origin, the worker must allow it with `--cors-origin`.
   *
   * @throws {WorkerError} `unreachable` or `unauthorized`. Once it is connected, a client tries again by itself.
   */
  static connect(url: string | URL, options?: ConnectOptions): Promise<Client>;

  /** The origin of the worker. */
  readonly url: string;
  /** Where the connection stands. */
  readonly link: Link;
  /** Name and version of the worker. */
  readonly server: string;
  /** What can be asked for by name: models with their defaults, schedulers, LoRAs, embeddings. */
  readonly catalogue: Catalogue;
  /** What the worker accepts. */
  readonly limits: Limits;

  /** Calls `listener` whenever {@link Client.link} has changed. Returns what ends that. */
  on(type: "change", listener: (client: Client) => void): () => void;

  /**
   * Asks for pictures; only `prompt` is needed. What the worker refuses is told by {@link Job.finished}.
   *
   * @throws {WorkerError} `invalid_request` for a field that there is not, or that has another type.
   */
  submit(request: JobRequest): Job;

  /** Follows a job that was submitted elsewhere or before a reload, with all that has happened to it. */
  attach(id: JobId): Job;

  /** Keeps a picture on the worker. The `id` of what it resolves to is an `image` or `mask` of requests. */
  upload(picture: Blob | BufferSource): Promise<UploadView>;

  /**
   * `fetch` on the worker, with the token: every route of its HTTP API, and pictures, which an `<img>` cannot load from a
   * worker that asks for a token.
   *
   * @throws {WorkerError} For every answer that is no success.
   */
  fetch(path: string | URL, init?: RequestInit): Promise<Response>;

  /** Connects with a token, or with another one. */
  unlock(token: string): void;

  /** Ends the connection. Jobs go on, except those that were submitted with `on_disconnect: "cancel"`. */
  close(): void;
}

/** All that is known of a job at one time. It does not change; a newer one takes its place. */
export interface JobSnapshot
  extends Readonly<Pick<JobView, "id" | "request" | "step" | "steps" | "images" | "timings" | "error">> {
  /** Where it stands; `submitting` and `attaching` until the worker has answered. */
  readonly state: "submitting" | "attaching" | JobState;
  /** Jobs that are drawn before this one, while it is `queued`. */
  readonly queue_position: number;
  /** How much of its model has been fetched, in percent, while that is under way. */
  readonly loading_percent?: number;
  /** Estimated time until the pictures, in milliseconds. */
  readonly eta_ms?: number;
  /** What the worker understood differently. */
  readonly warnings: string[];
}

/** A preview of one picture of a job: a latent, for {@link PreviewCanvas.draw}. */
export interface Preview {
  /** The picture in its batch. */
  readonly index: number;
  /** Denoising steps done. */
  readonly step: number;
  /** Denoising steps in all. */
  readonly steps: number;
  /** The whole binary frame, header included. */
  readonly frame: Uint8Array;
  /** How its latent becomes a picture. */
  readonly basis: PreviewBasis;
}

/** What a job tells of. */
export interface JobEvents {
  /** Anything but a preview: its place in the queue, progress, a finished picture, its end. */
  change: JobSnapshot;
  /** A preview. */
  preview: Preview;
}

/** A job of a client. Iterated over, it yields its snapshots until it has ended; those that come too quickly are skipped. */
export class Job implements AsyncIterable<JobSnapshot> {
  private constructor();

  /** The client that it belongs to. */
  readonly client: Client;
  /** Its name, with which {@link Client.attach} finds it again. */
  readonly id: JobId;
  /** What is known of it. Its pictures have whole addresses. */
  readonly snapshot: JobSnapshot;
  /** The newest preview of each picture of the batch. */
  readonly previews: readonly (Preview | undefined)[];
  /**
   * Resolves when all pictures are there.
   *
   * Rejects with a {@link WorkerError} when it failed, was refused, `canceled` or `superseded`, or when the client was
   * `closed` before.
   */
  readonly finished: Promise<JobSnapshot>;

  /** Calls `listener` for every event of a type. Returns what ends that. */
  on<K extends keyof JobEvents>(type: K, listener: (event: JobEvents[K]) => void): () => void;

  /** Asks the worker to end it; one that has ended stays as it is. */
  cancel(): void;

  [Symbol.asyncIterator](): AsyncIterator<JobSnapshot, void, undefined>;
}

/** What went wrong: a code for programs, a sentence for people. */
export class WorkerError extends Error {
  constructor(error: Omit<ErrorBody, "code"> & { code: WorkerError["code"] });

  readonly name: "WorkerError";
  /** A code of the worker, or one of the client's own. */
  readonly code: ErrorCode | "unreachable" | "closed" | "canceled" | "superseded" | "unknown";
  /** Every fault of a request. */
  readonly details: readonly ErrorDetail[];
  /** Milliseconds after which it is worth to ask again, where time alone may heal it. */
  readonly retryAfterMs?: number;
}

/** What makes previews into pictures. */
export type PreviewBackend = "webgpu" | "canvas2d";

/** What a canvas shows of a job. */
export interface FollowOptions {
  /** The picture in its batch; 0 if nothing is said. */
  index?: number;
  /**
   * When the model's decoder, where it has one, draws in place of the linear map: where the GPU is `quick` enough, which
   * is the default, `always`, or `never`.
   */
  decoder?: "quick" | "always" | "never";
}

/**
 * A canvas that shows previews, with WebGPU or without. A GPU that is lost is replaced, and one that is slower than the
 * worker skips previews.
 *
 * ```js
 * const preview = await PreviewCanvas.create(document.querySelector("canvas"));
 * preview.follow(client.submit({ prompt: "a red hot air balloon over mountains" }));
 * ```
 */
export class PreviewCanvas {
  private constructor();

  /**
   * Takes a canvas over that has no context yet. `auto`, the default, is WebGPU where that works.
   *
   * @throws {Error} When the backend that was asked for is not usable here.
   */
  static create(canvas: HTMLCanvasElement, options?: { backend?: "auto" | PreviewBackend }): Promise<PreviewCanvas>;

  /** What draws. */
  readonly backend: PreviewBackend;
  /** What drew the newest preview; undefined before the first. */
  readonly drawn: "linear" | "decoder" | undefined;

  /** Shows the previews of a job from now on, and of no other. Returns what ends that. */
  follow(job: Job, options?: FollowOptions): () => void;

  /**
   * Shows one preview, which need not come from a {@link Job}. The canvas takes its size.
   *
   * @throws {Error} When the frame is no preview of this basis.
   */
  draw(preview: Pick<Preview, "frame" | "basis">): void;

  /**
   * Draws through a TAESD-type decoder from now on: what `GET /v1/models/{name}/preview-decoder` answers. Without one the
   * basis draws again. {@link PreviewCanvas.follow} does it by itself.
   *
   * @throws {Error} When the file is no decoder.
   */
  setDecoder(file?: Uint8Array, when?: "quick" | "always"): Promise<void>;

  /** What the canvas shows, also where a WebGPU canvas has forgotten it already; undefined before the first preview. */
  readPixels(): ImageData | undefined;

  /** Lets go of the GPU. The canvas keeps its kind of context. */
  close(): void;
}
