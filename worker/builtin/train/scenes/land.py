"""The landscapes. Each function paints from the horizon down and says where things stand."""

from dataclasses import dataclass

import numpy as np

from .attributes import Scene
from .canvas import Canvas, Shape, mix, rgb, skyline, smooth
from .light import Light
from .sky import Body

# far, middle and near tone of the ground
_GROUND = {
    "spring": ((0.62, 0.80, 0.46), (0.50, 0.74, 0.33), (0.38, 0.64, 0.24)),
    "summer": ((0.44, 0.66, 0.38), (0.31, 0.57, 0.27), (0.20, 0.46, 0.19)),
    "autumn": ((0.80, 0.62, 0.34), (0.76, 0.50, 0.22), (0.62, 0.37, 0.15)),
    "winter": ((0.80, 0.86, 0.94), (0.88, 0.92, 0.97), (0.96, 0.97, 1.00)),
}
_FOLIAGE = {
    "spring": ((0.96, 0.66, 0.78), (0.98, 0.80, 0.86), (0.55, 0.78, 0.36)),
    "summer": ((0.16, 0.42, 0.18), (0.22, 0.50, 0.22), (0.14, 0.36, 0.20)),
    "autumn": ((0.86, 0.36, 0.12), (0.92, 0.60, 0.14), (0.66, 0.20, 0.12)),
    "winter": ((0.86, 0.91, 0.97), (0.72, 0.80, 0.88), (0.93, 0.96, 1.00)),
}
_PINES = {
    "spring": (0.24, 0.50, 0.30),
    "summer": (0.12, 0.36, 0.22),
    "autumn": (0.66, 0.34, 0.12),
    "winter": (0.62, 0.72, 0.80),
}


@dataclass
class Land:
    """Where subjects stand: feet on land and hulls on water are somewhere in these bands of y."""

    ground: tuple[float, float] | None
    water: tuple[float, float] | None


def paint_land(canvas: Canvas, scene: Scene, light: Light, body: Body, horizon: float, rng) -> Land:
    paint = {
        "mountains": _mountains,
        "hills": _hills,
        "desert": _desert,
        "forest": _forest,
        "lake": _lake,
        "sea": _sea,
    }[scene.terrain]
    return paint(canvas, scene, light, body, horizon, rng)


def _layer(canvas: Canvas, line: np.ndarray, top, bottom, depth) -> Shape:
    """Ground under a skyline, fading from `top` at the edge to `bottom` at `depth` below it."""
    shape = canvas.below(line)
    share = np.clip((canvas.y[shape.rows] - line[None]) / depth, 0, 1)[..., None]
    canvas.paint(shape, rgb(top) * (1 - share) + rgb(bottom) * share)
    return shape


def _flanks(canvas: Canvas, line: np.ndarray, shape: Shape, body: Body, light: Light, strength, lean):
    """Light on the slopes that face the sun, shade on the others; the boundary leans as it runs downhill."""
    slope = np.gradient(line) / canvas.pixel
    below = np.maximum(canvas.y[shape.rows] - line[None], 0)
    column = np.clip(canvas.x + lean * below, 0, canvas.aspect - canvas.pixel) / canvas.pixel
    facing = np.sign(canvas.x[0].mean() - body.x + 1e-6) * slope[column.astype(int)]
    lit = smooth(-0.5, 0.5, facing) - 0.5
    fade = np.exp(-below / 0.22)
    part = canvas.image[shape.rows]
    part *= 1 + (strength * 2 * lit * fade * shape.cover)[..., None] * (0.7 + 0.3 * light.tint)
    np.clip(part, 0, 1, out=part)


def _peaks(rng, canvas, base, height) -> np.ndarray:
    """A skyline of overlapping pointed peaks with broken flanks."""
    line = np.full(canvas.width, base, np.float32)
    x = rng.uniform(-0.15, 0.05)
    while x < canvas.aspect + 0.15:
        top = height * rng.uniform(0.55, 1.45)
        half = top * rng.uniform(0.9, 1.5)
        line = np.minimum(line, base - top * (1 - np.abs(canvas.x[0] - x) / half))
        x += rng.uniform(0.10, 0.26)
    return line + skyline(rng, canvas, 0.0, 0.16 * height, 0.55, 3, 0.14)


def _range(canvas, scene, light, body, base, height, distance, rng):
    """One range of mountains with snow on its tops."""
    line = _peaks(rng, canvas, base, height)
    rock = mix((0.40, 0.40, 0.50), (0.50, 0.42, 0.40), rng.random())
    if scene.season == "autumn":
        rock = mix(rock, (0.62, 0.42, 0.30), 0.4)
    shape = _layer(canvas, line, light.far(rock, distance), light.far(rock * 0.86, min(distance + 0.2, 1)), 0.25)
    line_of_snow = base - height * (0.05 if scene.season == "winter" else 0.50)
    wave = 0.018 * np.sin(canvas.x * 61 + rng.uniform(0, 6)) + 0.012 * np.sin(canvas.x * 127)
    snow = 1 - smooth(-0.012, 0.012, canvas.y[shape.rows] - line_of_snow + wave)
    if scene.season == "winter":
        snow = np.maximum(snow, 0.72)
    canvas.paint(
        Shape(shape.rows, shape.columns, shape.cover * snow), light.far((0.97, 0.98, 1.0), distance * 0.7), 0.95
    )
    _flanks(canvas, line, shape, body, light, 0.30 * (1 - 0.6 * distance), rng.uniform(0.15, 0.4))


def _mountains(canvas, scene, light, body, horizon, rng) -> Land:
    _range(canvas, scene, light, body, horizon - 0.13, 0.17, 0.55, rng)
    _range(canvas, scene, light, body, horizon - 0.02, 0.13, 0.25, rng)
    tones = _GROUND[scene.season]
    line = skyline(rng, canvas, horizon + 0.09, 0.02, 0.35, 2, 0.8)
    _pine_row(canvas, line, light.far(_PINES[scene.season], 0.28), 0.045, rng)
    _layer(canvas, line, light.far(tones[1], 0.10), light.land(tones[2]), 0.22)
    _flowers(canvas, scene, light, horizon + 0.14, rng)
    return Land((0.84, 0.93), None)


def _hills(canvas, scene, light, body, horizon, rng) -> Land:
    lines = []
    for k, (tone, distance) in enumerate(zip(_GROUND[scene.season], (0.42, 0.18, 0.0), strict=True)):
        line = skyline(rng, canvas, horizon - 0.03 + 0.11 * k, 0.055, 0.32, 2, 0.62)
        dark = light.far(rgb(tone) * 0.84, distance)
        shape = _layer(canvas, line, light.far(tone, distance), dark, 0.20)
        _flanks(canvas, line, shape, body, light, 0.12, 0.3)
        lines.append(line)
        _bushes(canvas, scene, light, line, 0.020 + 0.010 * k, distance, rng)
    return Land((0.83, 0.92), None)


def _bushes(canvas, scene, light, line, size, distance, rng):
    """Round trees on a ridge, in the season's colours: by these a spring is told from a summer."""
    for _ in range(int(rng.integers(4, 8) * max(canvas.aspect, 0.7))):
        x = rng.uniform(0, canvas.aspect)
        y = float(line[min(int(x / canvas.pixel), canvas.width - 1)]) + rng.uniform(0.0, 0.035)
        r = size * rng.uniform(0.8, 1.35)
        color = light.far(_FOLIAGE[scene.season][int(rng.integers(3))], distance * 0.8)
        canvas.paint(
            canvas.box(x - 0.14 * r, y - 0.2 * r, x + 0.14 * r, y + 0.5 * r), light.far((0.32, 0.22, 0.15), distance)
        )
        canvas.paint(canvas.ellipse(x, y - 0.8 * r, r, r * 1.05), color)
        canvas.paint(canvas.ellipse(x - 0.28 * r, y - 1.1 * r, r * 0.5, r * 0.5, 0.5), np.clip(color * 1.22, 0, 1), 0.7)


def _flowers(canvas, scene, light, top, rng):
    """Blossoms in a spring meadow, fallen leaves in autumn."""
    colors = {
        "spring": ((0.98, 0.66, 0.80), (1.00, 0.90, 0.40), (0.99, 0.97, 0.97)),
        "autumn": ((0.86, 0.30, 0.10), (0.95, 0.68, 0.16), (0.62, 0.20, 0.10)),
    }.get(scene.season, ())
    for color in colors:
        for _ in range(int(9 * canvas.aspect)):
            near = rng.random()
            x, y = rng.uniform(0, canvas.aspect), top + (0.985 - top) * near
            size = 0.007 + 0.007 * near
            canvas.paint(canvas.ellipse(x, y, size, size * 0.8, 0.3), light.subject(color), 0.9)


def _desert(canvas, scene, light, body, horizon, rng) -> Land:
    if rng.random() < 0.5:
        mesa_x, width = rng.uniform(0.1, 0.9) * canvas.aspect, rng.uniform(0.10, 0.18)
        rise = rng.uniform(0.06, 0.11)
        rock = light.far((0.72, 0.40, 0.28), 0.40)
        top, foot = horizon - rise, horizon + 0.02
        canvas.paint(
            canvas.polygon(
                (mesa_x - width, foot),
                (mesa_x - 0.72 * width, top),
                (mesa_x + 0.72 * width, top),
                (mesa_x + width, foot),
            ),
            rock,
        )
    tones = ((0.93, 0.76, 0.50), (0.90, 0.68, 0.38), (0.84, 0.58, 0.28))
    for k, (tone, distance) in enumerate(zip(tones, (0.35, 0.14, 0.0), strict=True)):
        line = skyline(rng, canvas, horizon + 0.01 + 0.105 * k, 0.050, 0.25, 2, 0.75)
        shape = _layer(canvas, line, light.far(tone, distance), light.far(rgb(tone) * 0.86, distance), 0.20)
        _flanks(canvas, line, shape, body, light, 0.26, rng.uniform(0.8, 1.6))
    return Land((0.84, 0.93), None)


def _pine_row(canvas, line, color, height, rng):
    """Treetops along a skyline."""
    x = rng.uniform(-0.02, 0.02)
    while x < canvas.aspect + 0.03:
        h = height * rng.uniform(0.6, 1.25)
        y = float(line[int(np.clip(x / canvas.pixel, 0, canvas.width - 1))]) + 0.012
        canvas.paint(canvas.polygon((x - 0.30 * h, y), (x + 0.30 * h, y), (x, y - h)), color)
        x += 0.36 * height * rng.uniform(0.8, 1.5)


def _forest(canvas, scene, light, body, horizon, rng) -> Land:
    pine = rgb(_PINES[scene.season])
    for k, (distance, height) in enumerate(((0.55, 0.12), (0.30, 0.16), (0.08, 0.20))):
        line = skyline(rng, canvas, horizon + 0.01 + 0.065 * k, 0.03, 0.3, 2, 0.7)
        color = light.far(pine * (0.90 + 0.10 * k), distance)
        _pine_row(canvas, line, color, height, rng)
        _layer(canvas, line, color, color * 0.9, 0.2)
    tones = _GROUND[scene.season]
    line = skyline(rng, canvas, horizon + 0.19, 0.015, 0.3, 2, 0.8)
    _layer(canvas, line, light.land(tones[1]), light.land(tones[2]), 0.16)
    _flowers(canvas, scene, light, horizon + 0.23, rng)
    return Land((0.87, 0.94), None)


def _water(canvas, light, shore, tint, reflect, rng):
    """Mirrors what is above `shore`, darker and bluer, stretched towards the viewer."""
    row = int(shore * canvas.height)
    depth = np.arange(canvas.height - row)
    source = np.clip(row - 1 - (depth * 0.92).astype(int), 0, row - 1)
    share = np.clip((depth / canvas.height) / (1 - shore), 0, 1)[:, None, None]
    mirrored = canvas.image[source]
    water = mirrored * reflect + rgb(tint) * (1 - reflect)
    canvas.image[row:] = water * (1 - 0.28 * share)
    for k in range(int(rng.integers(7, 11))):
        # Ripples widen towards the viewer.
        near = (k + rng.random()) / 10
        y = shore + (1 - shore) * near**1.3
        x = rng.uniform(0, canvas.aspect)
        stroke = canvas.ellipse(x, y, 0.05 + 0.10 * near, 0.002 + 0.004 * near, 0.4)
        canvas.paint(stroke, light.horizon, 0.30)


def _glitter(canvas, scene, body, shore, rng):
    """The path of light on the water under a visible sun or moon."""
    if scene.body == "none":
        return
    for k in range(13):
        near = (k + 0.5) / 13
        y = shore + (1 - shore) * near
        x = body.x + rng.normal(0, 0.010 + 0.02 * near)
        canvas.paint(
            canvas.ellipse(x, y, 0.022 + 0.055 * near, 0.0045 + 0.006 * near, 0.4), body.color, 0.75 * (1 - 0.45 * near)
        )


def _lake(canvas, scene, light, body, horizon, rng) -> Land:
    _range(canvas, scene, light, body, horizon - 0.10, 0.15, 0.38, rng)
    shore = horizon + 0.015
    line = skyline(rng, canvas, horizon - 0.005, 0.008, 0.3, 2, 0.7)
    color = light.far(_PINES[scene.season], 0.25)
    _pine_row(canvas, line, color, 0.055, rng)
    _layer(canvas, line, color, color, 0.1)
    _water(canvas, light, shore, light.land((0.16, 0.38, 0.52)), 0.72, rng)
    tones = _GROUND[scene.season]
    bank = skyline(rng, canvas, 0.87, 0.02, 0.3, 2, 0.8)
    _layer(canvas, bank, light.land(tones[1]), light.land(tones[2]), 0.12)
    _flowers(canvas, scene, light, 0.91, rng)
    return Land((0.89, 0.95), (shore + 0.06, 0.79))


def _sea(canvas, scene, light, body, horizon, rng) -> Land:
    deep = light.land((0.05, 0.30, 0.52))
    _water(canvas, light, horizon, deep, 0.55, rng)
    _glitter(canvas, scene, body, horizon, rng)
    for k in range(3):
        # Long soft swells give the water a surface.
        y = horizon + (1 - horizon) * (0.30 + 0.26 * k)
        line = skyline(rng, canvas, y, 0.006 + 0.005 * k, 0.3, 2, 0.35)
        shape = canvas.below(line)
        falloff = np.exp(-np.maximum(canvas.y[shape.rows] - line[None], 0) / 0.05)
        canvas.paint(Shape(shape.rows, shape.columns, shape.cover * falloff), deep * 0.72, 0.45)
    return Land(None, (horizon + 0.10, 0.84))
