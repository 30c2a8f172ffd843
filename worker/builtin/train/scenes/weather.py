"""What falls or hangs in front of the landscape."""

import numpy as np

from .attributes import Scene
from .canvas import Canvas, mix
from .light import Light


def paint_fog(canvas: Canvas, light: Light, horizon: float, strength: float):
    """A bank of mist around the horizon, thinning upwards and towards the viewer."""
    color = mix(light.horizon, (0.92, 0.94, 0.96), 0.30) * (0.45 + 0.55 * light.ambient)
    height = np.where(canvas.y < horizon, 0.20, 0.30)
    density = strength * np.exp(-(((canvas.y - horizon) / height) ** 2)) + 0.12 * strength
    canvas.image += (color - canvas.image) * np.clip(density, 0, 1)[..., None].astype(np.float32)


def paint_fall(canvas: Canvas, scene: Scene, light: Light, rng: np.random.Generator):
    """Rain in slanted strokes or snow in flakes: few and large, so that the autoencoder can keep them."""
    if scene.weather == "rain":
        color = mix(light.horizon, (0.88, 0.93, 1.0), 0.6)
        slant = rng.uniform(-0.28, 0.28)
        for _ in range(int(46 * canvas.aspect)):
            x, y, length = rng.uniform(-0.05, canvas.aspect), rng.uniform(-0.05, 1), rng.uniform(0.06, 0.10)
            canvas.paint(canvas.line(x, y, x + slant * length, y + length, 0.0055), color, 0.42)
    elif scene.weather == "snow":
        color = mix((1.0, 1.0, 1.0), light.tint, 0.25) * (0.55 + 0.45 * light.ambient)
        for _ in range(int(54 * canvas.aspect)):
            x, y, radius = rng.uniform(0, canvas.aspect), rng.uniform(0, 1), rng.uniform(0.006, 0.0125)
            canvas.paint(canvas.disc(x, y, radius, 0.35), np.clip(color, 0, 1), 0.9)
