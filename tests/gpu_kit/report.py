"""What was found, for people."""

# Bytes that a picture in f32 may be away from that of diffusers.
TOLERANCE = 2


def is_well(report):
    """Whether pictures were drawn in f32, and are those of diffusers."""
    tables = report["parity"] if isinstance(report["parity"], list) else []
    exact = [drawn for drawn in tables if drawn["dtype"] == "f32" and "rows" in drawn]
    return bool(exact) and all(row.get("worst", 255) <= TOLERANCE for drawn in exact for row in drawn["rows"])


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


def builtin(rows):
    head = ["type", "ready after, s", "step", "from – to", "prompt", "decode"]
    return table(head, [[row["dtype"], row["ready_seconds"], *times(row)] for row in rows])


def stable_diffusion(rows):
    head = ["type", "", "step, or UNet", "from – to", "prompt", "decode", "memory, GB", "away from diffusers in f32"]
    lines, failed = [], []
    for row in rows:
        if "error" in row:
            failed.append(f"* {row['dtype']}: {row['error']}")
        for batch, name in ((1, "without guidance"), (2, "guided")):
            if f"batch_{batch}" in row:
                away = f"{row['picture']['worst']}, mean {row['picture']['mean']}"
                ours = times(row[f"batch_{batch}"])
                lines.append([row["dtype"], f"worker, {name}", *ours, row.get("memory_gb", "–"), away])
            theirs = row["diffusers_eager"]
            unet, decode = theirs[f"unet_batch_{batch}_ms"], theirs["vae_decode_ms"]
            lines.append([row["dtype"], f"diffusers, batch {batch}", unet, "", "", decode, "", ""])
    return [*table(head, lines), *([""] if failed else []), *failed]


def times(row):
    low, high = row["step_ms_range"]
    return [row["step_ms"], f"{low} – {high}", row["encode_ms"], row["decode_ms"]]


def table(head, rows):
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]


PARTS = {
    "refusals": ("What is said where a device cannot be used", refusals),
    "parity": ("Pictures against diffusers' in f32 on a CPU, differences of bytes", parity),
    "builtin": ("The built-in model, milliseconds", builtin),
    "stable_diffusion": ("Stable Diffusion 1.5, 512 × 512 px, seeded weights, milliseconds", stable_diffusion),
}
