"""Palettes: what the time of day and the weather do to colours."""

from dataclasses import dataclass

import numpy as np

from .attributes import Scene
from .canvas import mix, rgb

# zenith, middle, horizon, tint of the light, ambient strength
_TIMES = {
    "dawn": ((0.37, 0.47, 0.76), (0.88, 0.70, 0.80), (1.00, 0.84, 0.70), (1.00, 0.86, 0.84), 0.82),
    "day": ((0.13, 0.44, 0.88), (0.42, 0.71, 0.97), (0.82, 0.94, 1.00), (1.00, 1.00, 0.98), 1.00),
    "sunset": ((0.24, 0.13, 0.42), (0.82, 0.31, 0.40), (1.00, 0.67, 0.25), (1.00, 0.78, 0.62), 0.76),
    "night": ((0.02, 0.03, 0.14), (0.06, 0.10, 0.30), (0.17, 0.25, 0.50), (0.58, 0.68, 1.00), 0.54),
}
PALETTE = {
    "red": (0.87, 0.14, 0.15),
    "orange": (0.99, 0.52, 0.07),
    "yellow": (1.00, 0.86, 0.16),
    "green": (0.13, 0.64, 0.28),
    "blue": (0.13, 0.35, 0.90),
    "purple": (0.55, 0.20, 0.76),
    "white": (0.97, 0.97, 0.96),
    "black": (0.08, 0.08, 0.10),
}


@dataclass
class Light:
    zenith: np.ndarray
    middle: np.ndarray
    horizon: np.ndarray
    tint: np.ndarray
    ambient: float
    dark: bool

    def land(self, color) -> np.ndarray:
        """A colour of the landscape in this light."""
        return np.clip(rgb(color) * self.tint * (0.20 + 0.80 * self.ambient), 0, 1)

    def subject(self, color) -> np.ndarray:
        """A colour of a subject: dimmed and tinted half as much, so that a name of a colour stays true at night."""
        return np.clip(rgb(color) * (0.62 + 0.38 * self.tint) * (0.52 + 0.48 * self.ambient), 0, 1)

    def far(self, color, distance) -> np.ndarray:
        """`land` seen through air: `distance` 0 is near, 1 is the horizon itself."""
        return mix(self.land(color), self.horizon * (0.55 + 0.45 * self.ambient), distance)


def light_of(scene: Scene, rng: np.random.Generator) -> Light:
    zenith, middle, horizon, tint, ambient = _TIMES[scene.time]
    jitter = rng.normal(0, 0.02, 3)
    zenith, middle, horizon = (
        np.clip(rgb(color) + jitter, 0, 1).astype(np.float32) for color in (zenith, middle, horizon)
    )
    grey = {"clear": 0.0, "clouds": 0.05, "rain": 0.55, "snow": 0.40, "fog": 0.35}[scene.weather]
    if grey > 0.1:
        # Bad weather takes the colour out of the sky but keeps the hour's own hue, by which it is told.
        dull = mix(rgb((0.62, 0.66, 0.72)) * (0.30 + 0.62 * ambient), horizon, 0.30)
        zenith, middle = mix(zenith, dull * 0.86, grey), mix(middle, dull, grey)
        horizon = mix(horizon, dull * 1.06, grey)
        ambient *= 1 - 0.22 * grey
    return Light(zenith, middle, horizon, rgb(tint), ambient, scene.time == "night")
