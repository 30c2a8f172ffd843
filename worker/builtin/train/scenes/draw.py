"""A scene as a picture."""

import numpy as np

from .attributes import Scene
from .canvas import Canvas
from .land import paint_land
from .light import light_of
from .sky import paint_sky
from .subjects import paint_subjects
from .weather import paint_fall, paint_fog


def draw(scene: Scene, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """`[height, width, 3]` u8. What the scene leaves open (places, shapes, small differences of colour) is by lot."""
    canvas = Canvas(width, height)
    light = light_of(scene, rng)
    horizon = rng.uniform(0.56, 0.64)
    body = paint_sky(canvas, scene, light, horizon, rng)
    land = paint_land(canvas, scene, light, body, horizon, rng)
    if scene.weather == "fog":
        paint_fog(canvas, light, horizon, 0.82)
    elif scene.weather in ("rain", "snow"):
        paint_fog(canvas, light, horizon, 0.25)
    paint_subjects(canvas, scene, light, land, horizon, rng)
    if scene.weather == "fog":
        # A thin veil also lies before the subject.
        paint_fog(canvas, light, horizon, 0.20)
    paint_fall(canvas, scene, light, rng)
    return (np.clip(canvas.image, 0, 1) * 255 + 0.5).astype(np.uint8)
