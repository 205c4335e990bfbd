"""Scenes for detectors: handwritten digits at many sizes among strokes, on natural textures.

Two digits that are easily taken for each other make one class, so that a compact network learns the
classes in minutes and the score tells how well it finds and bounds. A source is a private
background and two private digits, each of which may stand several times in its scenes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from int8gate.calibration_data.synthetic.picture_sources import SPLITS, digits
from int8gate.calibration_data.synthetic.scenes import (
    SEED,
    DigitScenes,
    SceneStyle,
    blend,
    draw_background,
    draw_stroke,
)

CLASSES = ("0 or 6", "1 or 7", "2 or 5", "3 or 8", "4 or 9")
CLASS_OF_DIGIT = (0, 1, 2, 3, 4, 2, 0, 1, 3, 4)
MOST_OBJECTS = 4
HARD = SceneStyle(2, (1, MOST_OBJECTS), (0.26, 0.5), (45, 180), (0, 3), (1, 12))
EASY = SceneStyle(2, (1, MOST_OBJECTS), (0.3, 0.5), (120, 200), (0, 0), (0, 2), (0.05, 0.3))
SAMPLES = {"calibration": 300, "evaluation": 2000}
INK = 0.45  # of a pixel: what it takes to be part of a digit
GAP = 0.02  # of the scene's shorter side: the least between two boxes
PLACES_TRIED = 12


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> DetectionScenes:
    """The scenes that calibration and evaluation use."""
    return DetectionScenes(split, size, channels, SAMPLES[split])


class DetectionScenes(DigitScenes):
    """Scenes with one to four digits, drawn when asked for.

    A label is float32 (MOST_OBJECTS, 5), rows [class, ymin, xmin, ymax, xmax]: the exact bounds of
    the ink in parts of the scene's height and width, 0..1; class -1 in padding rows. Boxes do not
    overlap.
    """

    def __init__(
        self,
        split: str,
        size: tuple[int, int],
        channels: int,
        count: int,
        style: SceneStyle = HARD,
    ):
        super().__init__("detection", split, size, channels, count, style)

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (h, w, channels) and label float32 (MOST_OBJECTS, 5)."""
        rng = np.random.default_rng([SEED, SPLITS.index(self.split), index])
        source = int(self.sources[index])
        canvas = draw_background(rng, self.split, source, self.size, self.style.texture)
        for _ in range(rng.integers(*self.style.strokes, endpoint=True)):
            blend(canvas, draw_stroke(rng, self.size), rng, self.style.contrast)
        label = self._draw_digits(rng, canvas, source)
        spread = np.float32(rng.uniform(*self.style.noise) * 12**0.5)
        canvas += spread * (rng.random(canvas.shape, np.float32) - np.float32(0.5))
        image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
        if self.channels == 1:
            image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
        return image, label

    def _draw_digits(self, rng, canvas: np.ndarray, source: int) -> np.ndarray:
        """Paints in place as many digits as find room, and returns the scene's label."""
        pictures, labels, _ = digits(self.split)
        owned = self._digits_of_sources
        owned = owned.ravel() if self.split == "train" else owned[source]
        found = []
        for _ in range(rng.integers(*self.style.digits_per_scene, endpoint=True)):
            which = rng.choice(owned)
            coverage = _turned_digit(rng, pictures[which], self.size, self.style.digit_size)
            corner = free_corner(rng, coverage.shape, self.size, [box for _, box in found])
            if corner is None:
                continue
            top, left = corner
            height, width = coverage.shape
            blend(
                canvas[top : top + height, left : left + width], coverage, rng, self.style.contrast
            )
            found.append((CLASS_OF_DIGIT[labels[which]], _ink_box(coverage) + np.tile(corner, 2)))
        label = np.full((MOST_OBJECTS, 5), -1, np.float32)
        for row, (of_class, box) in zip(label, found, strict=False):
            row[:] = [of_class, *(box / [*self.size, *self.size])]
        return label


def _turned_digit(rng, picture: np.ndarray, size: tuple[int, int], limits) -> np.ndarray:
    """Coverage 0..1 of a digit, float32, cut to what is covered at all."""
    side = round(rng.uniform(*limits) * min(size))
    grey = Image.fromarray(np.uint8(np.pad(picture, 1) * 255))  # a margin: pens touch the border
    grey = grey.resize(
        (max(6, round(side * rng.uniform(0.8, 1.15))), side), Image.Resampling.BICUBIC
    )
    grey = grey.rotate(rng.uniform(-18, 18), Image.Resampling.BILINEAR, expand=True)
    coverage = np.clip(np.asarray(grey, np.float32) / 255 * 1.6 - 0.2, 0, 1)
    rows, columns = (np.flatnonzero(coverage.any(axis)) for axis in (1, 0))
    return coverage[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _ink_box(coverage: np.ndarray) -> np.ndarray:
    """First row and column of the ink, and those after its last: [ymin, xmin, ymax, xmax]."""
    ink = coverage > INK
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def free_corner(rng, extent, size, taken: list[np.ndarray]) -> np.ndarray | None:
    """Top and left of a place wholly inside the scene and apart from the boxes `taken`, pixels."""
    gap = GAP * min(size)
    room = np.subtract(size, extent)
    for _ in range(PLACES_TRIED):
        corner = rng.integers(0, room, endpoint=True)
        end = corner + extent
        if all((corner >= box[2:] + gap).any() or (end + gap <= box[:2]).any() for box in taken):
            return corner
    return None
