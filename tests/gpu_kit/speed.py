"""Times of the worker as whoever asks it sees them, and of diffusers on the same weights where that is installed."""

import statistics
import time

from worker import Worker

REPEATS = 5
CANCELS = 20
TEXT = "a red house"
# Half the bytes of f32; the first is what `auto` takes on a GPU.
HALF = ("f16", "bf16")


def median(numbers):
    return round(statistics.median(numbers), 2)


def builtin(binary, device):
    """Milliseconds of the built-in model's parts, as medians."""
    table = []
    for dtype in (*HALF, "f32") if device != "cpu" else ("f32",):
        with Worker(binary, "--device", device, "--dtype", dtype) as worker:
            row = timed(worker, {"prompt": "a red hot air balloon over mountains", "seed": 7, "steps": 20})
            table.append({"dtype": dtype, "ready_seconds": round(worker.ready_seconds, 2), **row})
    return table


def timed(worker, job, repeats=REPEATS):
    """Milliseconds of a job: a step, which is all between two previews, the prompt, the decoder, and all as a client
    sees it, from the request to the end."""
    for _ in range(3):
        worker.draw(job)
    runs, whole = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        runs.append(worker.wait(job))
        whole.append(1000 * (time.perf_counter() - began))
    steps = [run["denoise_ms"] / job["steps"] for run in runs]
    return {
        "step_ms": median(steps),
        "step_ms_range": [round(min(steps), 2), round(max(steps), 2)],
        "encode_ms": median(run["encode_ms"] for run in runs),
        "decode_ms": median(run["decode_ms"] for run in runs),
        "whole_ms": median(whole),
    }


def live(worker, job):
    """What somebody who watches waits for: milliseconds from the request to the first preview, of a step with a preview
    of each and without, and from a cancel to the end."""
    first, watched, unwatched = [], [], []
    for _ in range(REPEATS):
        first.append(worker.watch(job)["first_preview_ms"])
    for _ in range(REPEATS):
        watched.append(worker.watch(job)["denoise_ms"] / job["steps"])
        unwatched.append(worker.wait(job)["denoise_ms"] / job["steps"])
    cancels = sorted(worker.cancel({**job, "steps": 100}, 0.02 + 0.007 * index) for index in range(CANCELS))
    return {
        "first_preview_ms": median(first),
        "step_watched_ms": median(watched),
        "step_unwatched_ms": median(unwatched),
        "cancel_ms": median(cancels),
        "cancel_p95_ms": round(cancels[int(0.95 * (len(cancels) - 1))], 2),
    }


def stable_diffusion(binary, device, peer, is_compiled):
    """The worker and diffusers with the weights of `peer`."""
    import torch

    from drawing import distance

    job = {"prompt": TEXT, "width": peer.side, "height": peer.side, "seed": 11, "scheduler": "euler", "steps": peer.steps}
    theirs = {dtype: peer.times(dtype, is_compiled and dtype == "bf16") for dtype in peer.dtypes}
    picture = peer.picture(job)
    folder = peer.folder
    peer.leave()
    table = []
    for dtype in peer.dtypes:
        row = {"dtype": dtype, "side": peer.side, "steps": peer.steps, "diffusers": theirs[dtype]}
        print(f"  {dtype}: diffusers {theirs[dtype]}", flush=True)
        table.append(row)
        try:
            with Worker(binary, "--device", device, "--dtype", dtype, f"--model=photo={folder}") as worker:
                row["ready_seconds"] = round(worker.ready_seconds, 2)
                row["weights_gb"] = held_gb(torch)
                _, found = worker.draw({**job, "steps": 8, "guidance_scale": 5.0})
                row["picture"] = distance(found, picture)
                for name, change in peer.batches.items():
                    row[name] = timed(worker, {**job, **change})
                    print(f"  {dtype}, {name}: {row[name]}", flush=True)
                row["memory_gb"] = held_gb(torch)
                row["live"] = live(worker, {**job, "guidance_scale": 7.5})
                print(f"  {dtype}, live: {row['live']}", flush=True)
        except RuntimeError as error:
            row["error"] = str(error)
    large = {**job, "width": 1024, "height": 1024, "steps": 1, "guidance_scale": 1.0}
    if peer.side == 512:
        with Worker(binary, "--device", device, "--dtype", HALF[1], f"--model=photo={folder}") as worker:
            before = held_gb(torch)
            table[-1]["large"] = {**timed(worker, large, 3), "memory_gb": round(held_gb(torch) - before, 2)}
    return table


def held_gb(torch):
    """Memory of the GPU that anybody holds."""
    free, total = torch.cuda.mem_get_info()
    return round((total - free) / 1e9, 2)
