"""Procedural landscapes with captions: the training set of the tiny default model.

A scene is drawn from a handful of named choices (time of day, terrain, season, sky object, subject and its
colour); the caption names those choices, so that prompt adherence can be measured on the picture.
All drawing is float32 RGB in [0, 1], shape (H, W, 3).
"""

import numpy as np

SIZE = 256

TIMES = {
    # name: (zenith, horizon, light tint, ambient)
    "dawn": ((0.36, 0.45, 0.70), (1.00, 0.78, 0.66), (1.0, 0.86, 0.80), 0.75),
    "day": ((0.20, 0.48, 0.88), (0.75, 0.89, 0.98), (1.0, 1.0, 0.98), 1.0),
    "sunset": ((0.30, 0.16, 0.42), (1.00, 0.55, 0.20), (1.0, 0.72, 0.50), 0.70),
    "night": ((0.02, 0.03, 0.12), (0.10, 0.14, 0.32), (0.45, 0.52, 0.80), 0.38),
}
TERRAINS = ("mountains", "hills", "desert", "sea")
SUBJECTS = ("balloon", "house", "sailboat", "tree", None)
COLORS = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.98, 0.86, 0.15),
    "green": (0.15, 0.65, 0.22),
    "blue": (0.12, 0.30, 0.85),
    "purple": (0.55, 0.18, 0.72),
    "white": (0.96, 0.96, 0.96),
    "black": (0.08, 0.08, 0.09),
}

_yy, _xx = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE  # y down, x right, in [0, 1)


def _smooth(edge0, edge1, v):
    t = np.clip((v - edge0) / (edge1 - edge0), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _ridge(rng, base, amp, roughness, octaves=5):
    """A skyline: height of the land's upper edge for each column, in [0, 1]."""
    x = np.linspace(0, 1, SIZE, dtype=np.float32)
    h = np.zeros(SIZE, np.float32)
    a, f = 1.0, rng.uniform(1.2, 2.4)
    for _ in range(octaves):
        k = int(np.ceil(f)) + 3
        pts = rng.uniform(-1, 1, k).astype(np.float32)
        pos = x * f + rng.uniform(0, 1)
        i = np.floor(pos).astype(int)
        t = pos - i
        if roughness < 0.5:
            t = t * t * (3 - 2 * t)
        h += a * (pts[i % k] * (1 - t) + pts[(i + 1) % k] * t)
        a *= roughness
        f *= 2
    return base - amp * h / 1.6


def _blend(img, mask, color):
    m = mask[..., None]
    return img * (1 - m) + np.asarray(color, np.float32) * m


def _disc(cx, cy, r, soft=0.006):
    d = np.sqrt((_xx - cx) ** 2 + (_yy - cy) ** 2)
    return 1 - _smooth(r - soft, r + soft, d)


def _ellipse(cx, cy, rx, ry, soft=0.03):
    d = np.sqrt(((_xx - cx) / rx) ** 2 + ((_yy - cy) / ry) ** 2)
    return 1 - _smooth(1 - soft, 1 + soft, d)


def _poly(points, soft=0.004):
    """Antialiased convex polygon, points clockwise in image coordinates (y down)."""
    m = np.ones((SIZE, SIZE), np.float32)
    n = len(points)
    for i in range(n):
        x0, y0 = points[i]
        x1, y1 = points[(i + 1) % n]
        ex, ey = x1 - x0, y1 - y0
        ln = np.hypot(ex, ey) + 1e-9
        d = ((_xx - x0) * ey - (_yy - y0) * ex) / ln  # > 0 outside for clockwise
        m = np.minimum(m, 1 - _smooth(-soft, soft, d))
    return m


def draw(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    time = str(rng.choice(list(TIMES)))
    terrain = str(rng.choice(TERRAINS))
    snowy = terrain in ("mountains", "hills") and rng.random() < 0.35
    subject = SUBJECTS[rng.choice(len(SUBJECTS), p=[0.28, 0.22, 0.18, 0.16, 0.16])]
    if subject == "sailboat" and terrain != "sea":
        subject = "balloon"
    if subject in ("house", "tree") and terrain == "sea":
        subject = "sailboat"
    color = str(rng.choice(list(COLORS)))
    clouds = rng.random() < 0.4
    zen, hor, tint, amb = TIMES[time]
    zen, hor, tint = (np.asarray(v, np.float32) for v in (zen, hor, tint))
    j = rng.normal(0, 0.02, 3).astype(np.float32)
    horizon = rng.uniform(0.55, 0.68)
    t = np.clip(_yy / horizon, 0, 1)[..., None] ** rng.uniform(0.9, 1.5)
    img = (zen + j) * (1 - t) + (hor + j) * t

    # sky object
    sx = rng.uniform(0.15, 0.85)
    if time == "night":
        stars = rng.random((SIZE // 2, SIZE // 2)) > 0.992
        stars = np.kron(stars, np.ones((2, 2))).astype(np.float32) * (_yy < horizon)
        img = img + (stars * rng.uniform(0.5, 0.9))[..., None]
        sy, sr = rng.uniform(0.10, 0.30), rng.uniform(0.04, 0.065)
        img = img + 0.18 * np.exp(-(((_xx - sx) ** 2 + (_yy - sy) ** 2) / 0.02))[..., None]
        img = _blend(img, _disc(sx, sy, sr), (0.95, 0.95, 0.86))
        body = "moon"
    else:
        sy = rng.uniform(0.10, 0.25) if time == "day" else rng.uniform(horizon - 0.18, horizon - 0.04)
        sr = rng.uniform(0.04, 0.06) if time == "day" else rng.uniform(0.055, 0.085)
        sun = {"day": (1.0, 0.97, 0.75), "dawn": (1.0, 0.90, 0.70), "sunset": (1.0, 0.80, 0.35)}[time]
        g = np.exp(-(((_xx - sx) ** 2 + (_yy - sy) ** 2) / (0.02 if time == "day" else 0.05)))
        img = img + 0.35 * g[..., None] * np.asarray(sun, np.float32)
        img = _blend(img, _disc(sx, sy, sr), sun)
        body = "sun"
    img = np.clip(img, 0, 1)

    if clouds:
        for _ in range(rng.integers(2, 5)):
            cx, cy = rng.uniform(0, 1), rng.uniform(0.06, horizon - 0.22)
            w = rng.uniform(0.05, 0.10)
            m = np.zeros((SIZE, SIZE), np.float32)
            for k in range(rng.integers(3, 6)):
                m = np.maximum(
                    m,
                    _ellipse(
                        cx + (k - 2) * w * 0.6, cy - rng.uniform(0, 0.02), w * rng.uniform(0.6, 1.0), w * 0.35, 0.5
                    ),
                )
            c = np.clip(0.75 * np.ones(3) * (0.35 + 0.65 * amb) + 0.30 * hor, 0, 1)
            img = _blend(img, m * 0.85, c)

    # land
    def shade(c, k=1.0):
        return np.clip(np.asarray(c, np.float32) * tint * (0.25 + 0.75 * amb) * k, 0, 1)

    ground_line = horizon
    if terrain == "mountains":
        for depth, (b, a) in enumerate(((horizon - 0.10, 0.16), (horizon - 0.01, 0.11))):
            r = _ridge(rng, b, a, 0.52)
            m = _smooth(-0.004, 0.004, _yy - r[None, :])
            rock = shade((0.36, 0.36, 0.42) if depth else (0.50, 0.52, 0.60))
            fog = 0.35 if depth == 0 else 0.12
            img = _blend(img, m, rock * (1 - fog) + hor * fog * (0.4 + 0.6 * amb))
            cap = (
                m
                * (1 - _smooth(0.0, 0.07 if not snowy else 0.20, _yy - r[None, :] - 0.01))
                * (_yy < b - 0.01 if not snowy else 1.0)
            )
            img = _blend(img, cap * 0.9, shade((0.97, 0.98, 1.0), 1.05))
        ground_line = horizon + 0.06
        g = _ridge(rng, ground_line, 0.02, 0.4, 3)
        m = _smooth(-0.004, 0.004, _yy - g[None, :])
        base = (0.92, 0.94, 0.98) if snowy else (0.24, 0.42, 0.20)
        img = _blend(img, m, shade(base))
    elif terrain == "hills":
        tones = ((0.46, 0.66, 0.36), (0.34, 0.58, 0.25), (0.22, 0.46, 0.17))
        if snowy:
            tones = ((0.84, 0.88, 0.94), (0.90, 0.93, 0.97), (0.96, 0.97, 1.0))
        for k, c in enumerate(tones):
            b = horizon - 0.04 + 0.10 * k
            r = _ridge(rng, b, 0.07, 0.35, 3)
            m = _smooth(-0.004, 0.004, _yy - r[None, :])
            img = _blend(img, m, shade(c))
            ground_line = b
    elif terrain == "desert":
        for k, c in enumerate(((0.90, 0.74, 0.48), (0.84, 0.64, 0.36), (0.76, 0.54, 0.28))):
            b = horizon - 0.01 + 0.10 * k
            r = _ridge(rng, b, 0.05, 0.30, 3)
            m = _smooth(-0.004, 0.004, _yy - r[None, :])
            img = _blend(img, m, shade(c))
            ground_line = b
    else:  # sea: the sky mirrored and darkened, with a glitter path under the light
        m = _smooth(-0.003, 0.003, _yy - horizon)
        depth = np.clip((_yy - horizon) / (1 - horizon), 0, 1)[..., None]
        water = (hor * 0.65 + np.asarray((0.05, 0.20, 0.32)) * 0.35) * (1 - depth) + (
            zen * 0.55 + np.asarray((0.0, 0.10, 0.20)) * 0.45
        ) * depth
        img = _blend(img, m, (0, 0, 0)) + m[..., None] * water
        wave = np.sin(_yy * 190 + 5 * np.sin(_xx * 9 + rng.uniform(0, 6))) > 0.55
        path = np.exp(-(((_xx - sx) / (0.035 + 0.18 * (_yy - horizon).clip(0))) ** 2)) * m * wave
        img = img + 0.38 * path[..., None] * (
            np.asarray((1.0, 0.9, 0.65)) if time != "night" else np.asarray((0.7, 0.75, 0.9))
        )
    img = np.clip(img, 0, 1)

    # subject
    c = np.asarray(COLORS[color], np.float32)
    lit = np.clip(c * (0.45 + 0.55 * amb) * (0.35 + 0.65 * tint), 0, 1)
    x = rng.uniform(0.22, 0.78)
    if subject == "balloon":
        y, r = rng.uniform(0.22, 0.42), rng.uniform(0.09, 0.13)
        img = _blend(
            img,
            _poly(
                [
                    (x - 0.45 * r, y + 0.8 * r),
                    (x - 0.16 * r, y + 1.55 * r),
                    (x + 0.16 * r, y + 1.55 * r),
                    (x + 0.45 * r, y + 0.8 * r),
                ][::-1]
            ),
            lit * 0.75,
        )
        body_m = _ellipse(x, y, r * 0.95, r * 1.05)
        img = _blend(img, body_m, lit)
        img = _blend(
            img, body_m * _ellipse(x - 0.3 * r, y - 0.3 * r, r * 0.45, r * 0.55, 0.9) * 0.35, np.clip(lit + 0.35, 0, 1)
        )
        img = _blend(
            img,
            _poly(
                [
                    (x - 0.2 * r, y + 1.62 * r),
                    (x - 0.2 * r, y + 1.95 * r),
                    (x + 0.2 * r, y + 1.95 * r),
                    (x + 0.2 * r, y + 1.62 * r),
                ][::-1]
            ),
            shade((0.45, 0.28, 0.14)),
        )
    elif subject == "house":
        w, h = rng.uniform(0.11, 0.15), rng.uniform(0.09, 0.12)
        y = min(max(ground_line + 0.10, 0.72), 0.86)
        img = _blend(img, _poly([(x - w, y - h), (x - w, y), (x + w, y), (x + w, y - h)][::-1]), lit)
        img = _blend(
            img, _poly([(x - w * 1.2, y - h), (x + w * 1.2, y - h), (x, y - h * 2.0)][::-1]), shade((0.42, 0.22, 0.16))
        )
        win = (1.0, 0.90, 0.50) if time in ("night", "sunset") else shade((0.70, 0.85, 0.95))
        for k in (-0.55, 0.55):
            img = _blend(
                img,
                _poly(
                    [
                        (x + k * w - 0.2 * w, y - 0.75 * h),
                        (x + k * w - 0.2 * w, y - 0.35 * h),
                        (x + k * w + 0.2 * w, y - 0.35 * h),
                        (x + k * w + 0.2 * w, y - 0.75 * h),
                    ][::-1]
                ),
                win,
            )
        img = _blend(
            img,
            _poly(
                [(x - 0.15 * w, y - 0.6 * h), (x - 0.15 * w, y), (x + 0.15 * w, y), (x + 0.15 * w, y - 0.6 * h)][::-1]
            ),
            shade((0.35, 0.20, 0.12)),
        )
    elif subject == "sailboat":
        y, s = rng.uniform(horizon + 0.06, 0.86), rng.uniform(0.13, 0.18)
        img = _blend(
            img,
            _poly(
                [(x - 0.55 * s, y), (x - 0.35 * s, y + 0.22 * s), (x + 0.40 * s, y + 0.22 * s), (x + 0.60 * s, y)][::-1]
            ),
            shade((0.40, 0.24, 0.14)),
        )
        img = _blend(
            img,
            _poly([(x + 0.02 * s, y - 1.25 * s), (x + 0.02 * s, y - 0.08 * s), (x + 0.62 * s, y - 0.08 * s)][::-1]),
            lit,
        )
        img = _blend(
            img,
            _poly([(x - 0.04 * s, y - 1.05 * s), (x - 0.50 * s, y - 0.08 * s), (x - 0.04 * s, y - 0.08 * s)][::-1]),
            np.clip(lit * 0.85, 0, 1),
        )
    elif subject == "tree":
        y, s = min(max(ground_line + 0.14, 0.76), 0.90), rng.uniform(0.16, 0.22)
        img = _blend(
            img,
            _poly(
                [(x - 0.09 * s, y - 0.5 * s), (x - 0.09 * s, y), (x + 0.09 * s, y), (x + 0.09 * s, y - 0.5 * s)][::-1]
            ),
            shade((0.36, 0.22, 0.12)),
        )
        for k in range(3):
            yy0, ww = y - 0.35 * s - 0.42 * s * k, 0.55 * s * (1 - 0.22 * k)
            img = _blend(img, _poly([(x - ww, yy0), (x + ww, yy0), (x, yy0 - 0.75 * s)][::-1]), lit * (0.8 + 0.1 * k))

    # caption
    land = {
        "mountains": ("snowy mountains" if snowy else "mountains"),
        "hills": ("snowy hills" if snowy else "green hills"),
        "desert": "desert dunes",
        "sea": "the sea",
    }[terrain]
    when = {
        "dawn": ("at dawn", "in the early morning"),
        "day": ("at noon", "on a clear day"),
        "sunset": ("at sunset", "in the evening"),
        "night": ("at night", "under the stars"),
    }[time]
    when = when[rng.integers(2)]
    parts = []
    if subject:
        name = {"balloon": "hot air balloon", "house": "house", "sailboat": "sailboat", "tree": "pine tree"}[subject]
        art = "an" if color[0] in "o" else "a"
        prep = {
            "balloon": "over",
            "house": "in" if terrain != "desert" else "on",
            "sailboat": "on",
            "tree": "in" if terrain != "desert" else "on",
        }[subject]
        parts.append(f"{art} {color} {name} {prep} {land} {when}")
    else:
        parts.append(f"{land} {when}")
    if rng.random() < 0.5:
        parts.append(f"a {'full ' if body == 'moon' and rng.random() < 0.5 else ''}{body} in the sky")
    if clouds and rng.random() < 0.7:
        parts.append("clouds")
    cap = ", ".join(parts)
    if rng.random() < 0.3:
        cap = "a painting of " + cap
    return np.clip(img, 0, 1).astype(np.float32), cap
