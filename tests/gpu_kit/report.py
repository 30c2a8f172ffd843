"""What was found, for people."""

# Bytes that a picture in f32 may be away from that of diffusers.
TOLERANCE = 2


def is_well(report):
    """Whether operations were computed and are right, and pictures were drawn in f32 and are those of diffusers; of what
    was asked for."""
    well = []
    if "operations" in report:
        found = report["operations"] if isinstance(report["operations"], list) else []
        well.append(bool(found) and all(row["right"] for row in found))
    if "parity" in report:
        tables = report["parity"] if isinstance(report["parity"], list) else []
        exact = [drawn for drawn in tables if drawn["dtype"] == "f32" and "rows" in drawn]
        near = all(row.get("worst", 255) <= TOLERANCE for drawn in exact for row in drawn["rows"])
        well.append(bool(exact) and near)
    return all(well)


def as_markdown(report):
    lines = ["# What the worker does on this machine", ""]
    lines += [f"* {key}: {', '.join(value) if isinstance(value, list) else value}" for key, value in report["machine"].items()]
    lines += [f"* device: {report['device']}"]
    for name, (title, shown) in PARTS.items():
        part = report.get(name, "not run yet")
        lines += ["", f"## {title}", "", *([part] if isinstance(part, str) else shown(part))]
    return "\n".join(lines) + "\n"


def refusals(said):
    return [f"* {name}: {sentence}" for name, sentence in said.items()]


def parity(tables):
    rows, failed = [], []
    for drawn in tables:
        if "error" in drawn:
            failed.append(f"* {drawn['dtype']}: {drawn['error']}")
            continue
        pictures = [row for row in drawn["rows"] if "worst" in row]
        worst = max(pictures, key=lambda row: row["worst"], default={})
        rows.append(
            [
                drawn["dtype"],
                ", ".join(f"{device['name']} ({device['label']})" for device in drawn["devices"]),
                len(pictures),
                f"{worst.get('worst', '–')} ({worst.get('golden', '–')})",
                max((row["mean"] for row in pictures), default="–"),
                drawn["ready_seconds"],
            ]
        )
        failed += [f"* {drawn['dtype']}, {row['golden']}: {row['error']}" for row in drawn["rows"] if "error" in row]
    head = ["type", "device", "pictures", "largest difference", "largest mean difference", "ready after, s"]
    return [*table(head, rows), *([""] if failed else []), *failed]


def operations(found):
    """One line for each operation, its times and its distance in each type."""
    dtypes = list(dict.fromkeys(row["dtype"] for row in found))
    by_name = {}
    for row in found:
        by_name.setdefault((row["operation"], row["shape"]), {})[row["dtype"]] = row
    wrong = sum(not row["right"] for row in found)
    head = ["operation", "", *(f"{dtype}, ms" for dtype in dtypes), *(f"{dtype}, distance" for dtype in dtypes)]
    rows = [
        [*name, *(f"{of[dtype]['ms']:.3f}" for dtype in dtypes), *(distance(of[dtype]) for dtype in dtypes)]
        for name, of in by_name.items()
    ]
    return [f"{len(found) - wrong} of {len(found)} are right.", "", *table(head, rows)]


def distance(row):
    found = "NaN" if row["distance"] is None else f"{row['distance']:.1e}"
    return found if row["right"] else f"**{found}**, more than {row['distance_max']:.1e}"


def builtin(rows):
    head = ["type", "ready after, s", "step", "from – to", "prompt", "decode", "whole job of 20 steps"]
    return table(head, [[row["dtype"], row["ready_seconds"], *times(row)] for row in rows])


def stable_diffusion(rows):
    head = ["type", "", "step", "from – to", "prompt", "decode", "whole job", "diffusers' UNet", "compiled", "decode"]
    lines, notes = [], []
    for row in rows:
        theirs = row["diffusers"]
        for name in ("batch_1", "batch_2", "batch_8"):
            if name in row:
                decode = theirs[f"decode_{row['side']}"]
                unet, compiled = theirs.get(name, "–"), theirs.get(f"{name}_compiled", "–")
                kind = {"batch_1": "unguided", "batch_2": "guided", "batch_8": "unguided, 8 pictures"}[name]
                lines.append([row["dtype"], kind, *times(row[name]), unet, compiled, decode])
        notes += said(row)
    return [*table(head, lines), "", *notes]


def said(row):
    dtype = row["dtype"]
    if "picture" in row:
        yield f"* {dtype}: ready after {row['ready_seconds']} s with {row['weights_gb']} GB held; the picture of eight guided"
        yield f"  steps is {row['picture']['worst']}/255 at most from diffusers' in f32, {row['picture']['mean']} in the mean."
    if "live" in row:
        live = row["live"]
        yield f"* {dtype}: first preview after {live['first_preview_ms']} ms; a guided step {live['step_watched_ms']} ms with"
        yield f"  a preview of each and {live['step_unwatched_ms']} without; a cancelled job ends after {live['cancel_ms']} ms"
        yield f"  ({live['cancel_p95_ms']} in 95 of 100). {row['memory_gb']} GB held after all of it."
    if "large" in row:
        decode = row["diffusers"]["decode_1024"]
        yield f"* {dtype}: decoding 1024 × 1024 px takes {row['large']['decode_ms']} ms (diffusers {decode}), with"
        yield f"  {row['large']['memory_gb']} GB more than weights for all of such a job."
    if "error" in row:
        yield f"* {dtype}: {row['error']}"


def times(row):
    low, high = row["step_ms_range"]
    return [row["step_ms"], f"{low} – {high}", row["encode_ms"], row["decode_ms"], row["whole_ms"]]


def table(head, rows):
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


PARTS = {
    "refusals": ("What is said where a device cannot be used", refusals),
    "operations": ("Operations against plain sums in f32 on the CPU", operations),
    "parity": ("Pictures against diffusers' in f32 on a CPU, differences of bytes", parity),
    "builtin": ("The built-in model, milliseconds", builtin),
    "sd15": ("Stable Diffusion 1.5, 512 × 512 px, 20 steps, seeded weights, milliseconds", stable_diffusion),
    "sdxl": ("Stable Diffusion XL, 1024 × 1024 px, 30 steps, seeded weights, milliseconds", stable_diffusion),
}
