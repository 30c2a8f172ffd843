"""The things that stand, float and fly in the landscape, each in one of eight colours."""

import numpy as np

from .attributes import Scene, Subject
from .canvas import Canvas, mix, rgb
from .land import Land
from .light import PALETTE, Light

# Centres are drawn from the inner part of each third, so that left, middle and right cannot be confused.
_CENTRES = {"left": (0.18, 0.31), "middle": (0.45, 0.55), "right": (0.69, 0.82)}
_GLASS_LIT = (1.0, 0.87, 0.45)


def paint_subjects(canvas: Canvas, scene: Scene, light: Light, land: Land, horizon: float, rng):
    # Those farther up are farther away: the balloon first, then whatever stands.
    for subject in sorted(scene.subjects, key=lambda subject: subject.kind != "balloon"):
        x = rng.uniform(*_CENTRES[subject.position]) * canvas.aspect
        # In narrow and in crowded pictures everything is smaller.
        scale = min(1.0, canvas.aspect * 1.2) * (0.88 if len(scene.subjects) > 1 else 1.0) * rng.uniform(0.88, 1.15)
        y = _foot(subject, land, horizon, rng)
        _PAINTERS[subject.kind](canvas, light, rgb(PALETTE[subject.color]), x, y, scale)


def _foot(subject: Subject, land: Land, horizon, rng) -> float:
    if subject.kind == "balloon":
        return rng.uniform(0.24, horizon - 0.24)
    band = land.water if subject.kind in ("sailboat", "lighthouse") else land.ground
    return rng.uniform(*band)


def _panes(light: Light) -> np.ndarray:
    return rgb(_GLASS_LIT) if light.ambient < 0.8 else light.subject((0.72, 0.88, 0.98))


def _shadow(canvas, x, y, half, light):
    canvas.paint(canvas.ellipse(x, y, half, 0.014, 0.5), light.land((0.12, 0.12, 0.16)), 0.35)


def _balloon(canvas, light, color, x, y, scale):
    r = 0.128 * scale
    lit = light.subject(color)
    rope = light.subject((0.30, 0.22, 0.16))
    for side in (-1, 1):
        canvas.paint(canvas.line(x + side * 0.40 * r, y + 0.85 * r, x + side * 0.17 * r, y + 1.62 * r, 0.006), rope)
    skirt = canvas.polygon(
        (x - 0.62 * r, y + 0.72 * r),
        (x + 0.62 * r, y + 0.72 * r),
        (x + 0.22 * r, y + 1.28 * r),
        (x - 0.22 * r, y + 1.28 * r),
    )
    canvas.paint(skirt, lit * 0.74)
    envelope = canvas.ellipse(x, y, r * 0.97, r * 1.04)
    # Gores: bands of light and shade that bulge with the envelope, brighter on the upper left.
    across = np.clip((canvas.x[:, envelope.columns] - x) / r, -1, 1)
    down = np.clip((canvas.y[envelope.rows] - y) / (r * 1.04), -1, 1)
    width = np.sqrt(np.clip(1 - down**2, 0.02, 1))
    gore = np.cos(np.clip(across / width, -1, 1) * 8.0) * 0.09
    shade = 0.98 + gore - 0.20 * np.clip(across + 0.25 + 0.7 * down, 0, 1)
    canvas.paint(envelope, np.clip(lit * shade[..., None] + 0.05, 0, 1))
    canvas.paint(canvas.ellipse(x - 0.34 * r, y - 0.40 * r, r * 0.26, r * 0.34, 0.7), np.clip(lit + 0.45, 0, 1), 0.5)
    basket = light.subject((0.52, 0.33, 0.17))
    canvas.paint(
        canvas.polygon(
            (x - 0.22 * r, y + 1.60 * r),
            (x + 0.22 * r, y + 1.60 * r),
            (x + 0.18 * r, y + 1.95 * r),
            (x - 0.18 * r, y + 1.95 * r),
        ),
        basket,
    )


def _house(canvas, light, color, x, y, scale):
    w, h = 0.118 * scale, 0.125 * scale
    lit = light.subject(color)
    _shadow(canvas, x, y, w * 1.3, light)
    canvas.paint(canvas.box(x + 0.45 * w, y - 1.85 * h, x + 0.68 * w, y - 1.1 * h), light.subject((0.45, 0.28, 0.24)))
    canvas.paint(canvas.box(x - w, y - h, x + w, y), lit)
    canvas.paint(canvas.box(x + 0.35 * w, y - h, x + w, y), lit * 0.86)
    roof = light.subject((0.42, 0.24, 0.20))
    canvas.paint(
        canvas.polygon(
            (x - 1.22 * w, y - 0.96 * h),
            (x + 1.22 * w, y - 0.96 * h),
            (x + 0.30 * w, y - 1.80 * h),
            (x - 0.30 * w, y - 1.80 * h),
        ),
        roof,
    )
    frame, glass = light.subject((0.96, 0.94, 0.88)), _panes(light)
    for centre in (-0.58, 0.58):
        left, top = x + (centre - 0.24) * w, y - 0.76 * h
        canvas.paint(canvas.box(left - 0.05 * w, top - 0.05 * h, left + 0.53 * w, top + 0.46 * h), frame)
        canvas.paint(canvas.box(left, top, left + 0.48 * w, top + 0.41 * h), glass)
    canvas.paint(canvas.box(x - 0.18 * w, y - 0.62 * h, x + 0.18 * w, y), light.subject((0.36, 0.20, 0.12)))
    if light.dark:
        canvas.glow(x, y - 0.5 * h, 0.09 * scale, _GLASS_LIT, 0.12)


def _sailboat(canvas, light, color, x, y, scale):
    s = 0.17 * scale
    lit = light.subject(color)
    canvas.paint(canvas.ellipse(x, y + 0.30 * s, 0.62 * s, 0.05 * s, 0.4), lit * 0.7, 0.35)
    canvas.paint(canvas.line(x, y - 1.42 * s, x, y, 0.008), light.subject((0.34, 0.24, 0.18)))
    canvas.paint(
        canvas.polygon((x + 0.05 * s, y - 1.34 * s), (x + 0.05 * s, y - 0.09 * s), (x + 0.70 * s, y - 0.09 * s)), lit
    )
    canvas.paint(
        canvas.polygon((x - 0.05 * s, y - 1.12 * s), (x - 0.56 * s, y - 0.09 * s), (x - 0.05 * s, y - 0.09 * s)),
        lit * 0.84,
    )
    hull = light.subject((0.45, 0.27, 0.16))
    canvas.paint(
        canvas.polygon(
            (x - 0.66 * s, y), (x + 0.74 * s, y), (x + 0.46 * s, y + 0.27 * s), (x - 0.46 * s, y + 0.27 * s)
        ),
        hull,
    )
    canvas.paint(
        canvas.line(x - 0.62 * s, y + 0.03 * s, x + 0.70 * s, y + 0.03 * s, 0.008), light.subject((0.95, 0.93, 0.88))
    )


def _tree(canvas, light, color, x, y, scale):
    s = 0.22 * scale
    lit = light.subject(color)
    _shadow(canvas, x, y, 0.42 * s, light)
    canvas.paint(canvas.box(x - 0.075 * s, y - 0.4 * s, x + 0.075 * s, y), light.subject((0.38, 0.24, 0.14)))
    for k in range(3):
        foot, half = y - (0.20 + 0.36 * k) * s, (0.50 - 0.12 * k) * s
        tip = foot - 0.66 * s
        canvas.paint(
            canvas.polygon((x - half, foot), (x + half, foot), (x, tip)), np.clip(lit * (0.84 + 0.09 * k), 0, 1)
        )
        canvas.paint(
            canvas.polygon((x - half, foot), (x - 0.1 * half, foot), (x, tip)),
            np.clip(lit * (0.98 + 0.09 * k) + 0.03, 0, 1),
        )


def _windmill(canvas, light, color, x, y, scale):
    s = 0.23 * scale
    lit = light.subject(color)
    _shadow(canvas, x, y, 0.36 * s, light)
    canvas.paint(
        canvas.polygon((x - 0.27 * s, y), (x + 0.27 * s, y), (x + 0.16 * s, y - s), (x - 0.16 * s, y - s)), lit
    )
    canvas.paint(
        canvas.polygon((x + 0.06 * s, y), (x + 0.27 * s, y), (x + 0.16 * s, y - s), (x + 0.04 * s, y - s)), lit * 0.84
    )
    canvas.paint(
        canvas.polygon((x - 0.20 * s, y - 0.98 * s), (x + 0.20 * s, y - 0.98 * s), (x, y - 1.26 * s)),
        light.subject((0.40, 0.24, 0.20)),
    )
    canvas.paint(canvas.box(x - 0.07 * s, y - 0.22 * s, x + 0.07 * s, y), light.subject((0.32, 0.20, 0.13)))
    hub_y, blade = y - 0.98 * s, light.subject((0.96, 0.94, 0.88))
    pole = light.subject((0.34, 0.26, 0.20))
    for quarter in range(4):
        angle = 0.62 + quarter * np.pi / 2
        dx, dy = np.cos(angle), np.sin(angle)
        at = [
            (x + (a * dx - b * dy) * s, hub_y + (a * dy + b * dx) * s)
            for a, b in ((0.16, 0.02), (0.70, 0.02), (0.70, 0.18), (0.16, 0.18))
        ]
        canvas.paint(canvas.polygon(*at), blade)
        canvas.paint(canvas.line(x, hub_y, x + 0.72 * dx * s, hub_y + 0.72 * dy * s, 0.008), pole)
    canvas.paint(canvas.disc(x, hub_y, 0.055 * s), pole)


def _lighthouse(canvas, light, color, x, y, scale):
    s = 0.30 * scale
    lit = light.subject(color)
    rock = light.land((0.36, 0.34, 0.36))
    canvas.paint(canvas.ellipse(x, y + 0.04 * s, 0.42 * s, 0.13 * s), rock)
    canvas.paint(canvas.ellipse(x - 0.10 * s, y, 0.22 * s, 0.08 * s, 0.4), rock * 1.25, 0.8)
    canvas.paint(
        canvas.polygon((x - 0.15 * s, y), (x + 0.15 * s, y), (x + 0.10 * s, y - s), (x - 0.10 * s, y - s)), lit
    )
    canvas.paint(
        canvas.polygon((x + 0.03 * s, y), (x + 0.15 * s, y), (x + 0.10 * s, y - s), (x + 0.02 * s, y - s)), lit * 0.82
    )
    trim = light.subject((0.30, 0.30, 0.34))
    canvas.paint(canvas.box(x - 0.15 * s, y - 1.04 * s, x + 0.15 * s, y - 0.98 * s), trim)
    canvas.paint(canvas.box(x - 0.075 * s, y - 1.19 * s, x + 0.075 * s, y - 1.04 * s), rgb(_GLASS_LIT))
    canvas.paint(canvas.polygon((x - 0.11 * s, y - 1.18 * s), (x + 0.11 * s, y - 1.18 * s), (x, y - 1.34 * s)), trim)
    canvas.glow(
        x, y - 1.11 * s, 0.07 * scale if not light.dark else 0.12 * scale, _GLASS_LIT, 0.5 if light.dark else 0.2
    )


def _castle(canvas, light, color, x, y, scale):
    s = 0.165 * scale
    lit = light.subject(color)
    _shadow(canvas, x, y, 1.05 * s, light)
    canvas.paint(canvas.box(x - 0.70 * s, y - 0.78 * s, x + 0.70 * s, y), lit * 0.90)
    roof = light.subject((0.40, 0.26, 0.30))
    for centre, half, top in ((-0.74, 0.23, 1.12), (0.74, 0.23, 1.12), (0.0, 0.27, 1.46)):
        cx = x + centre * s
        canvas.paint(canvas.box(cx - half * s, y - top * s, cx + half * s, y), lit)
        canvas.paint(canvas.box(cx + 0.3 * half * s, y - top * s, cx + half * s, y), lit * 0.86)
        peak = y - (top + 0.52) * s
        canvas.paint(
            canvas.polygon((cx - 1.3 * half * s, y - top * s), (cx + 1.3 * half * s, y - top * s), (cx, peak)), roof
        )
        canvas.paint(
            canvas.box(cx - 0.07 * s, y - (top - 0.20) * s, cx + 0.07 * s, y - (top - 0.46) * s), _panes(light)
        )
    gate = mix(light.subject((0.20, 0.14, 0.11)), (0.0, 0.0, 0.0), 0.2)
    canvas.paint(canvas.disc(x, y - 0.34 * s, 0.15 * s), gate)
    canvas.paint(canvas.box(x - 0.15 * s, y - 0.34 * s, x + 0.15 * s, y), gate)


def _tent(canvas, light, color, x, y, scale):
    s = 0.155 * scale
    lit = light.subject(color)
    _shadow(canvas, x, y, 1.1 * s, light)
    canvas.paint(
        canvas.polygon((x - s, y), (x + s, y), (x + 0.06 * s, y - 1.15 * s), (x - 0.06 * s, y - 1.15 * s)), lit
    )
    canvas.paint(canvas.polygon((x + 0.30 * s, y), (x + s, y), (x + 0.06 * s, y - 1.15 * s)), lit * 0.80)
    inside = rgb(_GLASS_LIT) * 0.95 if light.dark else light.subject((0.22, 0.16, 0.14))
    canvas.paint(canvas.polygon((x - 0.32 * s, y), (x + 0.30 * s, y), (x, y - 0.82 * s)), inside)
    canvas.paint(canvas.line(x, y - 1.32 * s, x, y - 1.1 * s, 0.008), light.subject((0.32, 0.24, 0.18)))
    if light.dark:
        canvas.glow(x, y - 0.3 * s, 0.10 * scale, _GLASS_LIT, 0.14)


_PAINTERS = {
    "balloon": _balloon,
    "house": _house,
    "sailboat": _sailboat,
    "tree": _tree,
    "windmill": _windmill,
    "lighthouse": _lighthouse,
    "castle": _castle,
    "tent": _tent,
}
