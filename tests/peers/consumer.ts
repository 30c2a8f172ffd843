// What a page written in TypeScript does with the package. It is compiled, not run: a line marked as an error must be
// one, and every other must be none.

import { Client, PreviewCanvas, WorkerError } from "sd-worker-client";
import type { ImageView, Job, JobRequest, JobSnapshot, Preview } from "sd-worker-client";

const request: JobRequest = { prompt: "a balloon", steps: 20, loras: [{ name: "ink" }], output: { format: "webp" } };
// @ts-expect-error
const misspelt: JobRequest = { prompt: "a balloon", stepz: 20 };
// @ts-expect-error
const without: JobRequest = { steps: 20 };

export async function draw(canvas: HTMLCanvasElement, picture: Blob): Promise<ImageView[]> {
  const client: Client = await Client.connect(new URL("http://127.0.0.1:8484"), { token: "sdw_" });
  // @ts-expect-error
  new Client();
  const model: string | undefined = client.catalogue.models[0]?.name;
  const side: number = client.limits.side_px_max;
  const stop: () => void = client.on("change", ({ link }) => console.log(link satisfies string, model, side));

  const { id } = await client.upload(picture);
  const job: Job = client.submit({ ...request, image: id, strength: 0.6 });
  const canvases = await PreviewCanvas.create(canvas, { backend: "auto" });
  const unfollow: () => void = canvases.follow(job, { index: 0, decoder: "quick" });
  // @ts-expect-error
  canvases.follow(job, { decoder: "slow" });
  job.on("preview", (preview: Preview) => preview.frame.byteLength + preview.basis.rows.length);
  job.on("change", ({ state, step, eta_ms }) => {
    if (state === "running") console.log(step, eta_ms?.toFixed());
    // @ts-expect-error
    if (state === "drawing") return;
  });
  // @ts-expect-error
  job.on("progress", () => {});
  for await (const snapshot of job) console.log(snapshot.state, snapshot.queue_position, snapshot.warnings.length);
  // @ts-expect-error
  job.snapshot.step = 3;

  try {
    const ended: JobSnapshot = await client.attach(job.id).finished;
    const bytes = await (await client.fetch(ended.images[0]?.url ?? "/")).arrayBuffer();
    console.log(bytes.byteLength, ended.timings?.denoise_ms);
    return ended.images;
  } catch (error) {
    if (!(error instanceof WorkerError)) throw error;
    if (error.code === "queue_full" || error.code === "canceled") console.log(error.retryAfterMs, error.details[0]?.field);
    // @ts-expect-error
    if (error.code === "no such code") return [];
    return [];
  } finally {
    const pixels: ImageData | undefined = canvases.readPixels();
    console.log(pixels?.width, misspelt, without);
    job.cancel();
    stop();
    unfollow();
    canvases.close();
    client.close();
  }
}
