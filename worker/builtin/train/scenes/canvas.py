"""Antialiased shapes on a float32 RGB picture.

Coordinates: y runs down from 0 to 1, x runs right from 0 to `aspect` = width / height, so a circle is round at
every size. A shape is a window of the picture and the share of each pixel in it that the shape covers.
"""

from dataclasses import dataclass

import numpy as np


def smooth(low, high, value):
    """Hermite step from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def rgb(color) -> np.ndarray:
    return np.asarray(color, np.float32)


def mix(a, b, share) -> np.ndarray:
    return rgb(a) * (1 - share) + rgb(b) * share


@dataclass
class Shape:
    rows: slice
    columns: slice
    cover: np.ndarray  # [rows, columns] f32 in [0, 1]


class Canvas:
    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.aspect = width / height
        self.pixel = 1.0 / height
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / height)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.image = np.zeros((height, width, 3), np.float32)

    def window(self, left, top, right, bottom) -> tuple[slice, slice]:
        margin = 2
        rows = slice(
            min(max(int(top * self.height) - margin, 0), self.height),
            min(max(int(bottom * self.height) + margin, 0), self.height),
        )
        columns = slice(
            min(max(int(left * self.height) - margin, 0), self.width),
            min(max(int(right * self.height) + margin, 0), self.width),
        )
        return rows, columns

    def ellipse(self, cx, cy, rx, ry, softness=0.0) -> Shape:
        """`softness` is the share of the radius over which the edge fades; 0 leaves one pixel for antialiasing."""
        reach = 1 + softness
        rows, columns = self.window(cx - rx * reach, cy - ry * reach, cx + rx * reach, cy + ry * reach)
        distance = np.sqrt(((self.x[:, columns] - cx) / rx) ** 2 + ((self.y[rows] - cy) / ry) ** 2)
        edge = max(softness, self.pixel / min(rx, ry))
        return Shape(rows, columns, 1 - smooth(1 - edge, 1 + edge, distance))

    def disc(self, cx, cy, radius, softness=0.0) -> Shape:
        return self.ellipse(cx, cy, radius, radius, softness)

    def polygon(self, *points) -> Shape:
        """A convex polygon, its corners in either order."""
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        rows, columns = self.window(min(xs), min(ys), max(xs), max(ys))
        x, y = self.x[:, columns], self.y[rows]
        turn = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(points, (*points[1:], points[0]), strict=True))
        inside = np.full((rows.stop - rows.start, columns.stop - columns.start), 9.0, np.float32)
        for (x0, y0), (x1, y1) in zip(points, (*points[1:], points[0]), strict=True):
            ex, ey = x1 - x0, y1 - y0
            length = float(np.hypot(ex, ey)) + 1e-9
            inside = np.minimum(inside, ((y - y0) * ex - (x - x0) * ey) * np.sign(turn) / length)
        return Shape(rows, columns, np.clip(inside / self.pixel + 0.5, 0, 1))

    def box(self, left, top, right, bottom) -> Shape:
        return self.polygon((left, top), (right, top), (right, bottom), (left, bottom))

    def line(self, x0, y0, x1, y1, thickness) -> Shape:
        """A stroke with round ends."""
        half = thickness / 2
        rows, columns = self.window(min(x0, x1) - half, min(y0, y1) - half, max(x0, x1) + half, max(y0, y1) + half)
        x, y = self.x[:, columns] - x0, self.y[rows] - y0
        ex, ey = x1 - x0, y1 - y0
        along = np.clip((x * ex + y * ey) / (ex * ex + ey * ey + 1e-9), 0, 1)
        distance = np.hypot(x - along * ex, y - along * ey)
        return Shape(rows, columns, np.clip((half - distance) / self.pixel + 0.5, 0, 1))

    def below(self, skyline) -> Shape:
        """Everything under a skyline, `[width]` heights."""
        top = max(int(float(skyline.min()) * self.height) - 2, 0)
        rows = slice(min(top, self.height), self.height)
        return Shape(rows, slice(0, self.width), np.clip((self.y[rows] - skyline[None]) / self.pixel + 0.5, 0, 1))

    def paint(self, shape: Shape, color, opacity=1.0):
        """`color` is one RGB or `[rows, columns, 3]`."""
        cover = (shape.cover * opacity)[..., None]
        part = self.image[shape.rows, shape.columns]
        part += (np.asarray(color, np.float32) - part) * cover

    def glow(self, cx, cy, radius, color, strength):
        """Adds light that falls off as a Gaussian."""
        reach = 2.6 * radius
        rows, columns = self.window(cx - reach, cy - reach, cx + reach, cy + reach)
        square = (self.x[:, columns] - cx) ** 2 + (self.y[rows] - cy) ** 2
        falloff = np.exp(-square / radius**2) - np.exp(-(2.6**2))
        self.image[rows, columns] += (strength * np.clip(falloff, 0, 1))[..., None] * rgb(color)


def skyline(rng: np.random.Generator, canvas: Canvas, base, height, roughness, octaves=4, wavelength=0.6):
    """The upper edge of a range, `[width]`: value noise with `octaves` octaves around `base`.

    Rough ranges have straight flanks, smooth ones are rounded.
    """
    line = np.zeros(canvas.width, np.float32)
    amplitude, frequency = 1.0, 1.0 / (wavelength * rng.uniform(0.8, 1.25))
    for _ in range(octaves):
        points = rng.uniform(-1, 1, int(np.ceil(canvas.aspect * frequency)) + 3).astype(np.float32)
        position = canvas.x[0] * frequency + rng.uniform(0, 1)
        index = np.floor(position).astype(int)
        t = position - index
        if roughness < 0.45:
            t = t * t * (3 - 2 * t)
        line += amplitude * (points[index] * (1 - t) + points[index + 1] * t)
        amplitude *= roughness
        frequency *= 2.1
    return (base - height * line / 1.5).astype(np.float32)
