// The client of sd-worker for pages of your own. What it does is in `dist/core.js`, a WebAssembly module that is loaded when
// it is first needed; this file gives it the form that JavaScript expects. The types are in `index.d.ts`.

import load, { Core, Screen } from "./dist/core.js";

const ENDS = ["succeeded", "failed", "canceled", "superseded"];

let loading;

/** Resolves when the module can be used. A load that failed is tried again by the next one who asks. */
function loaded() {
  loading ??= load().catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

export class WorkerError extends Error {
  constructor({ code, message, details = [], retry_after_ms }) {
    super(message);
    this.name = "WorkerError";
    this.code = code;
    this.details = details;
    this.retryAfterMs = retry_after_ms;
  }
}

/** Calls what may throw the JSON of an error. */
function attempt(call) {
  try {
    return call();
  } catch (thrown) {
    throw typeof thrown === "string" ? new WorkerError(JSON.parse(thrown)) : thrown;
  }
}

class Listeners {
  #all = new Map();

  add(type, listener) {
    const listeners = this.#all.get(type) ?? new Set();
    this.#all.set(type, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  tell(type, event) {
    for (const listener of [...(this.#all.get(type) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        // A fault of one listener is no matter of the others.
        reportError(error);
      }
    }
  }
}

/** What is known of a job: its client writes it, `Job` shows it. */
class Log {
  snapshot = { state: "submitting", images: [], warnings: [] };
  previews = [];
  listeners = new Listeners();
  /** Why nothing is heard any more of a job that goes on. */
  left = undefined;

  constructor() {
    this.finished = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    // Whoever does not wait for it need not handle that it failed.
    this.finished.catch(() => {});
  }

  get ended() {
    return ENDS.includes(this.snapshot.state);
  }

  change(snapshot) {
    if (this.ended) return;
    this.snapshot = Object.freeze(snapshot);
    const { state, error } = snapshot;
    if (state === "succeeded") this.resolve(snapshot);
    else if (this.ended) this.reject(new WorkerError(error ?? { code: state, message: `the job was ${state}` }));
    this.listeners.tell("change", snapshot);
  }

  show(preview) {
    this.previews[preview.index] = preview;
    this.listeners.tell("preview", preview);
  }

  leave(error) {
    this.left = error;
    this.reject(error);
    this.listeners.tell("left");
  }
}

export class Job {
  #log;
  #cancel;

  constructor(client, id, log, cancel) {
    this.client = client;
    this.id = id;
    this.#log = log;
    this.#cancel = cancel;
  }

  get snapshot() {
    return this.#log.snapshot;
  }

  get previews() {
    return this.#log.previews;
  }

  get finished() {
    return this.#log.finished;
  }

  on(type, listener) {
    return this.#log.listeners.add(type, listener);
  }

  cancel() {
    this.#cancel();
  }

  async *[Symbol.asyncIterator]() {
    const log = this.#log;
    let wake;
    const stops = ["change", "left"].map((type) => log.listeners.add(type, () => wake?.()));
    try {
      for (let seen; ; ) {
        if (log.snapshot !== seen) yield (seen = log.snapshot);
        else if (log.ended) return;
        else if (log.left) throw log.left;
        else await new Promise((resolve) => (wake = resolve));
      }
    } finally {
      for (const stop of stops) stop();
    }
  }
}

export class Client {
  #core;
  #token;
  #link = "connecting";
  #worker;
  #closed = false;
  #jobs = new Map();
  #listeners = new Listeners();
  #retry = () => this.#core.retry();

  static async connect(url, { token } = {}) {
    const { origin } = new URL(url, document.baseURI);
    await loaded();
    const client = new Client(origin, token);
    await client.#greeted(token);
    return client;
  }

  constructor(origin, token) {
    this.url = origin;
    this.#token = token;
    this.#core = new Core(origin, token, {
      worker: (json) => (this.#worker = JSON.parse(json)),
      link: (name) => {
        this.#link = name;
        this.#listeners.tell("change", this);
      },
      job: (json) => {
        const snapshot = JSON.parse(json);
        this.#change(snapshot.id, snapshot);
      },
      gone: (id, json) => {
        const error = json && JSON.parse(json);
        this.#change(id, { ...this.#jobs.get(id)?.log.snapshot, state: error ? "failed" : "canceled", error });
      },
      preview: (id, index, step, steps, frame, basis) =>
        this.#jobs.get(id)?.log.show({ index, step, steps, frame, basis: JSON.parse(basis) }),
    });
    addEventListener("online", this.#retry);
  }

  get link() {
    return this.#link;
  }

  get server() {
    return this.#worker.server;
  }

  get catalogue() {
    return this.#worker.catalogue;
  }

  get limits() {
    return this.#worker.limits;
  }

  on(type, listener) {
    return this.#listeners.add(type, listener);
  }

  submit(request) {
    this.#check();
    const id = attempt(() => this.#core.submit(JSON.stringify(request)));
    return this.#jobs.get(id).job;
  }

  attach(id) {
    this.#check();
    attempt(() => this.#core.attach(id));
    return this.#jobs.get(id).job;
  }

  unlock(token) {
    this.#check();
    this.#token = token;
    this.#core.unlock(token);
  }

  async fetch(path, init = {}) {
    const url = new URL(path, this.url);
    // Whoever is shown the token may do everything with it.
    if (url.origin !== this.url) throw new TypeError(`${url} is not on the worker at ${this.url}`);
    const headers = new Headers(init.headers);
    if (this.#token) headers.set("authorization", `Bearer ${this.#token}`);
    const answer = await fetch(url, { ...init, headers });
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => ({}));
    throw new WorkerError(told.error ?? { code: "unknown", message: `the worker answered with status ${answer.status}` });
  }

  async upload(picture) {
    return (await this.fetch("/v1/uploads", { method: "POST", body: picture })).json();
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#link = "closed";
    removeEventListener("online", this.#retry);
    this.#core.close();
    for (const { log } of this.#jobs.values()) log.leave(closed());
    this.#jobs.clear();
    this.#listeners.tell("change", this);
  }

  /** Waits for the first word of the worker, and closes where there is none. */
  async #greeted(token) {
    const heard = ["connected", "locked", "waiting"];
    while (!heard.includes(this.#link)) {
      await new Promise((resolve) => {
        const stop = this.on("change", () => resolve(stop()));
      });
    }
    const link = this.#link;
    if (link === "connected") return;
    this.close();
    throw new WorkerError(link === "locked" ? lockedOut(this.url, token) : unreachable(this.url));
  }

  #change(id, snapshot) {
    if (!this.#jobs.has(id)) {
      const log = new Log();
      this.#jobs.set(id, { log, job: new Job(this, id, log, () => this.#core.cancel(id)) });
    }
    const { log } = this.#jobs.get(id);
    log.change(snapshot);
    if (log.ended) this.#jobs.delete(id);
  }

  #check() {
    if (this.#closed) throw closed();
  }
}

function closed() {
  return new WorkerError({ code: "closed", message: "the client is closed; connect another one" });
}

function lockedOut(url, token) {
  const message = token ? `the worker at ${url} refuses this token` : `the worker at ${url} asks for a token`;
  return { code: "unauthorized", message };
}

/** A browser does not tell a page whether nobody answers or whether the answer is not meant for it. */
function unreachable(url) {
  const { origin } = location;
  const ways = {
    [url]: "",
    null: ", or does not let a page in that lies in a file: open it from a web server",
  };
  const foreign = ways[origin] ?? `, or does not let pages of ${origin} in: start it with --cors-origin ${origin}`;
  return { code: "unreachable", message: `the worker at ${url} does not answer${foreign}` };
}

export class PreviewCanvas {
  #screen;
  #stop = () => {};
  /** Address of the decoder that the canvas has. */
  #decoder;

  static async create(canvas, { backend = "auto" } = {}) {
    await loaded();
    return new PreviewCanvas(await Screen.create(canvas, backend));
  }

  constructor(screen) {
    this.#screen = screen;
  }

  get backend() {
    return this.#screen.backend;
  }

  get drawn() {
    return this.#screen.drawn;
  }

  follow(job, { index = 0, decoder = "quick" } = {}) {
    this.#stop();
    this.#screen.begin();
    const draw = (preview) => {
      if (preview?.index === index) this.draw(preview);
    };
    const decode = ({ request, state }) => {
      // The name of the model is known once the worker has filled in what the request left open.
      const model = ENDS.includes(state) ? undefined : job.client.catalogue.models.find(({ name }) => name === request?.model);
      if (model) this.#decode(job.client, decoder === "never" ? undefined : model.preview_decoder, decoder).catch(reportError);
    };
    const stops = [job.on("preview", draw), job.on("change", decode)];
    this.#stop = () => stops.forEach((stop) => stop());
    decode(job.snapshot);
    draw(job.previews[index]);
    return this.#stop;
  }

  draw({ frame, basis }) {
    this.#screen.draw(frame, JSON.stringify(basis));
  }

  setDecoder(file, when = "quick") {
    this.#decoder = undefined;
    return this.#screen.setDecoder(file, when);
  }

  readPixels() {
    return this.#screen.readPixels();
  }

  close() {
    this.#stop();
    // No address is the same as this one, so that a decoder on its way comes to nothing.
    this.#decoder = null;
    this.#screen.free();
  }

  async #decode(client, path, when) {
    const url = path && this.backend === "webgpu" ? new URL(path, client.url).href : undefined;
    if (url === this.#decoder) return;
    this.#decoder = url;
    const file = url && new Uint8Array(await (await client.fetch(url)).arrayBuffer());
    // Another job may be followed by now.
    if (url === this.#decoder) await this.#screen.setDecoder(file, url ? when : "quick");
  }
}
