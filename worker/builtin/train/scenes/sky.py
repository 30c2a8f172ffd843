"""The sky: gradient, stars, sun or moon, clouds."""

from dataclasses import dataclass

import numpy as np

from .attributes import Scene
from .canvas import Canvas, mix, rgb, smooth
from .light import Light

_SUN = {"dawn": (1.0, 0.95, 0.80), "day": (1.0, 0.98, 0.80), "sunset": (1.0, 0.84, 0.42)}
_MOON = (0.96, 0.96, 0.88)


@dataclass
class Body:
    """Where the light comes from, also when clouds hide it."""

    x: float
    y: float
    color: np.ndarray


def paint_sky(canvas: Canvas, scene: Scene, light: Light, horizon: float, rng: np.random.Generator) -> Body:
    t = np.clip(canvas.y / horizon, 0, 1) ** rng.uniform(0.9, 1.3)
    lower = np.clip((t - 0.55) / 0.45, 0, 1)[..., None]
    upper = np.clip(t / 0.55, 0, 1)[..., None]
    column = light.zenith * (1 - upper) + light.middle * upper
    canvas.image[:] = column * (1 - lower) + light.horizon * lower
    body = _place_body(canvas, scene, horizon, rng)
    if light.dark and scene.weather in ("clear", "clouds"):
        _paint_stars(canvas, horizon, rng)
    if scene.weather == "clear" or scene.body != "none":
        radius, strength = {"dawn": (0.22, 0.16), "sunset": (0.30, 0.36)}.get(scene.time, (0.16, 0.20))
        canvas.glow(body.x, body.y, radius, body.color, strength)
    if scene.body != "none":
        _paint_body(canvas, scene, body, rng)
    np.clip(canvas.image, 0, 1, out=canvas.image)
    if scene.weather == "clouds":
        _paint_clouds(canvas, scene, light, body, horizon, rng)
    elif scene.weather in ("rain", "snow"):
        _paint_overcast(canvas, light, rng)
    return body


def _place_body(canvas, scene, horizon, rng) -> Body:
    x = rng.uniform(0.14, 0.86) * canvas.aspect
    if scene.time in ("dawn", "sunset"):
        # Low, but clear of the peaks and treetops.
        rise = {"mountains": 0.27, "lake": 0.25, "forest": 0.18}.get(scene.terrain, 0.08)
        y = rng.uniform(horizon - rise - 0.10, horizon - rise)
    else:
        y = rng.uniform(0.11, 0.24)
    return Body(x, y, rgb(_MOON if scene.time == "night" else _SUN[scene.time]))


def _paint_stars(canvas, horizon, rng):
    for _ in range(int(rng.integers(26, 46) * canvas.aspect)):
        x, y = rng.uniform(0, canvas.aspect), rng.uniform(0, horizon * 0.92)
        radius = rng.choice([0.0045, 0.006, 0.0085], p=[0.5, 0.35, 0.15])
        color = mix((0.86, 0.90, 1.0), (1.0, 0.96, 0.84), rng.random())
        canvas.paint(canvas.disc(x, y, radius, 0.3), color, rng.uniform(0.65, 1.0))


def _paint_body(canvas, scene, body, rng):
    if scene.body == "moon":
        radius = rng.uniform(0.045, 0.062)
        disc = canvas.disc(body.x, body.y, radius)
        full = rng.random() < 0.5
        if not full:
            # A crescent: what a second disc leaves of the first.
            x, y = body.x + 0.48 * radius, body.y - 0.18 * radius
            distance = np.hypot(canvas.x[:, disc.columns] - x, canvas.y[disc.rows] - y)
            disc.cover *= smooth(-0.5, 0.5, (distance - 0.92 * radius) / canvas.pixel)
        canvas.paint(disc, body.color)
        if full:
            for dx, dy, share in ((-0.3, -0.2, 0.26), (0.25, 0.30, 0.20), (0.35, -0.3, 0.13)):
                spot = canvas.disc(body.x + dx * radius, body.y + dy * radius, share * radius, 0.3)
                canvas.paint(spot, body.color * 0.86, 0.8)
        return
    radius = rng.uniform(0.045, 0.06) if scene.time == "day" else rng.uniform(0.06, 0.085)
    canvas.paint(canvas.disc(body.x, body.y, radius * 1.35, 0.25), body.color, 0.30)
    canvas.paint(canvas.disc(body.x, body.y, radius), body.color)


def _paint_clouds(canvas, scene, light, body, horizon, rng):
    white = mix(rgb((1.0, 1.0, 1.0)) * (0.30 + 0.70 * light.ambient), light.horizon, 0.30)
    shadow = mix(white * 0.80, light.middle, 0.35)
    for _ in range(int(rng.integers(3, 6) * max(canvas.aspect, 0.8))):
        cx, cy = rng.uniform(0, canvas.aspect), rng.uniform(0.06, horizon - 0.20)
        size = rng.uniform(0.05, 0.085) * (0.65 + 0.5 * (1 - cy / horizon))
        puffs = int(rng.integers(3, 6))
        if scene.body != "none" and abs(cy - body.y) < 0.16 and abs(cx - body.x) < 0.12 + 0.6 * puffs * size:
            # A sun that the caption names must be seen: such a cloud moves to the other side.
            cx = (body.x + 0.5 * canvas.aspect) % canvas.aspect
        places = [
            (cx + (k - (puffs - 1) / 2) * size * 0.95, cy - rng.uniform(0.0, 0.35) * size, size * rng.uniform(0.6, 1.0))
            for k in range(puffs)
        ]
        canvas.paint(canvas.ellipse(cx, cy + size * 0.30, puffs * size * 0.62, size * 0.42, 0.45), shadow, 0.75)
        for x, y, r in places:
            canvas.paint(canvas.ellipse(x, y, r, r * 0.72, 0.30), white, 0.92)


def _paint_overcast(canvas, light, rng):
    color = mix(light.zenith * 0.82, light.middle, 0.35)
    for k in range(int(6 * max(canvas.aspect, 0.7))):
        x, y = rng.uniform(0, canvas.aspect), rng.uniform(-0.02, 0.16)
        canvas.paint(
            canvas.ellipse(x, y, rng.uniform(0.18, 0.30), rng.uniform(0.05, 0.09), 0.6),
            color * (0.9 + 0.03 * (k % 5)),
            0.6,
        )
