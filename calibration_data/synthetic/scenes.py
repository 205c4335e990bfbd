"""Scenes composed from real pictures: handwritten digits on natural textures (`DigitScenes`).

A scene is drawn from one *source*: a private set of digits and a private background tile. Scenes of
one source are not independent (statistics resample whole sources); scenes of different sources
share neither a labelled digit nor a background. Scene `i` of a split depends on nothing but the
seed, the split, its size and `i`: the same on every machine, in any order.

`DrawnScenes` is what other kinds of scenes (faces, people) have in common: a count of
them in one style, drawn when asked for, going round a split's tiles.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from int8gate.calibration_data.sample_set import SampleSet
from int8gate.calibration_data.synthetic.picture_sources import SPLITS, TILE, digits, tiles

SEED = 20260101

SAMPLES = {
    "classification": {"calibration": 300, "evaluation": 4000},
    "segmentation": {"calibration": 300, "evaluation": 2000},
}


@dataclass(frozen=True)
class SceneStyle:
    """What makes a task's scenes hard. Sizes are fractions of the scene's side."""

    digits_per_source: int
    digits_per_scene: tuple[int, int]
    digit_size: tuple[float, float]
    contrast: tuple[float, float]
    strokes: tuple[int, int]
    noise: tuple[float, float]
    texture: tuple[float, float] = (0.2, 1.0)  # how much of the background's contrast is kept


CLASSIFICATION = SceneStyle(1, (1, 1), (0.45, 0.8), (50, 200), (0, 4), (1, 12))
SEGMENTATION = SceneStyle(1, (1, 2), (0.4, 0.6), (15, 120), (1, 5), (3, 22))
STYLES = {"classification": CLASSIFICATION, "segmentation": SEGMENTATION}
# What training sees: for classification also fainter digits than those that are scored.
TRAINING_STYLES = {
    "classification": replace(CLASSIFICATION, contrast=(35, 200)),
    "segmentation": SEGMENTATION,
}
# What training begins with: on the hard scenes alone a network stays at chance for many epochs.
EASY_STYLES = {
    "classification": replace(
        CLASSIFICATION,
        digit_size=(0.7, 0.9),
        contrast=(120, 200),
        strokes=(0, 0),
        noise=(0, 2),
        texture=(0.05, 0.3),
    ),
    "segmentation": replace(
        SEGMENTATION, contrast=(120, 200), strokes=(0, 0), noise=(0, 2), texture=(0.05, 0.3)
    ),
}


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> DigitScenes:
    """The scenes of a task and split that calibration and evaluation use."""
    return DigitScenes(task, split, size, channels, SAMPLES[task][split])


class DigitScenes(SampleSet):
    """Scenes of one task and split, drawn when asked for.

    `classification`: one digit, label 0..9. `segmentation`: one or two digits; the label map is 1
    where a digit is, 0 on the background and on the strokes that imitate one.
    """

    def __init__(
        self,
        task: str,
        split: str,
        size: tuple[int, int],
        channels: int,
        count: int,
        style: SceneStyle | None = None,
    ):
        self.task, self.split, self.size, self.channels = task, split, size, channels
        self.style = style or STYLES[task]
        self.name = f"{task} scenes, {split}"
        self._count = count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def sources(self) -> np.ndarray:
        """Source of each scene, int (n,): scenes go round the sources, which alternate classes."""
        return np.arange(self._count) % len(self._digits_of_sources)

    @cached_property
    def _digits_of_sources(self) -> np.ndarray:
        """Indices into the split's digits, (sources, digits_per_source); no digit stands twice."""
        _, labels, _ = digits(self.split)
        rng = np.random.default_rng([SEED, SPLITS.index(self.split)])
        order = rng.permutation(len(labels))
        rank = np.empty(len(labels), int)  # the how-manieth of its class
        for digit in range(10):
            of_class = order[labels[order] == digit]
            rank[of_class] = np.arange(len(of_class))
        alternating = order[np.argsort(rank[order], kind="stable")]
        per_source = self.style.digits_per_source
        wanted = len(labels) // per_source
        if self.split != "train":  # one private tile each
            wanted = min(wanted, len(tiles(self.split)))
        return alternating[: wanted * per_source].reshape(wanted, per_source)

    def label(self, index: int) -> np.ndarray:
        if self.task == "classification":
            _, labels, _ = digits(self.split)
            return labels[self._digits_of_sources[self.sources[index], 0]]
        return self._draw(index)[1]

    def image(self, index: int) -> np.ndarray:
        return self._draw(index)[0]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = self._draw(index)
        return image, self.label(index) if self.task == "classification" else mask

    def digest(self) -> str:
        """Hex sha256 of what determines every scene: sources, code, parameters, libraries."""
        content = hashlib.sha256(self.code().encode())
        for array in (tiles(self.split), *digits(self.split)):
            content.update(array.tobytes())
        parameters = (self.task, self.split, self.size, self.channels, len(self), self.style)
        content.update(repr(parameters).encode())
        return content.hexdigest()

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (h, w, channels) and label map uint8 (h, w)."""
        rng = np.random.default_rng([SEED, SPLITS.index(self.split), index])
        source = int(self.sources[index])
        height, width = self.size
        canvas = draw_background(rng, self.split, source, self.size, self.style.texture)
        mask = np.zeros((height, width), np.uint8)
        pictures, _, _ = digits(self.split)
        for _ in range(rng.integers(*self.style.strokes, endpoint=True)):
            blend(canvas, draw_stroke(rng, self.size), rng, self.style.contrast)
        owned = rng.permutation(self._digits_of_sources[source])
        for place in range(rng.integers(*self.style.digits_per_scene, endpoint=True)):
            which = owned[place % len(owned)]
            coverage = _digit(rng, pictures[which], self.size, self.style.digit_size, mask)
            if coverage is None:
                continue
            blend(canvas, coverage, rng, self.style.contrast)
            mask[coverage > 0.45] = 1
        noise = np.float32(rng.uniform(*self.style.noise))
        canvas += noise * rng.standard_normal(canvas.shape, np.float32)
        image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
        if self.channels == 1:
            image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
        return image, mask


def draw_background(rng, split, source, size, texture) -> np.ndarray:
    """A turned, mirrored, resized piece of one tile, its contrast reduced, float32 (h, w, 3)."""
    owned = tiles(split)
    tile = owned[rng.integers(len(owned)) if split == "train" else source]
    side = int(rng.integers(TILE * 2 // 3, TILE, endpoint=True))
    top, left = rng.integers(0, TILE - side, size=2, endpoint=True)
    piece = np.rot90(tile[top : top + side, left : left + side], rng.integers(4))
    piece = piece[:, ::-1] if rng.random() < 0.5 else piece
    resized = Image.fromarray(np.ascontiguousarray(piece)).resize(
        size[::-1], Image.Resampling.BICUBIC
    )
    pixels = np.asarray(resized, np.float32)
    mean = pixels.mean()
    level = np.clip(mean + rng.normal(0, 25), 30, 225)
    return (pixels - mean) * np.float32(rng.uniform(*texture)) + np.float32(level)


def _digit(rng, picture, size, limits, taken) -> np.ndarray | None:
    """Coverage 0..1, float32 (h, w), of a digit at a free place; None when there is no room."""
    height, width = size
    side = round(rng.uniform(*limits) * min(size))
    grey = Image.fromarray(np.uint8(np.pad(picture, 1) * 255))  # a margin: pens touch the border
    grey = grey.resize(
        (max(6, round(side * rng.uniform(0.8, 1.15))), side), Image.Resampling.BICUBIC
    )
    grey = grey.rotate(rng.uniform(-18, 18), Image.Resampling.BILINEAR, expand=True)
    for _ in range(12):
        left = int(rng.integers(-side // 8, max(1, width - grey.width + side // 8)))
        top = int(rng.integers(-side // 8, max(1, height - grey.height + side // 8)))
        layer = Image.new("L", (width, height))
        layer.paste(grey, (left, top))
        coverage = np.clip(np.asarray(layer, np.float32) / 255 * 1.6 - 0.2, 0, 1)
        if not taken[coverage > 0].any():
            return coverage
    return None


def draw_stroke(rng, size: tuple[int, int]) -> np.ndarray:
    """Coverage of a random line or arc, float32 (h, w): clutter as thick as a digit's pen."""
    height, width = size
    layer = Image.new("L", (width, height))
    pen = ImageDraw.Draw(layer)
    thickness = max(1, round(rng.uniform(0.02, 0.06) * min(size)))
    x, y = np.sort(rng.uniform(-0.1, 1.1, (2, 2)) * [[width], [height]], axis=1)
    if rng.random() < 0.5:
        pen.line([x[0], y[rng.integers(2)], x[1], y[rng.integers(2)]], 255, thickness)
    else:
        start = rng.uniform(0, 360)
        box = [x[0], y[0], x[1] + 2, y[1] + 2]
        pen.arc(box, start, start + rng.uniform(60, 200), 255, thickness)
    soft = layer.filter(ImageFilter.GaussianBlur(min(size) / 160))
    return np.asarray(soft, np.float32) / 255


def blend(canvas: np.ndarray, coverage: np.ndarray, rng, contrast: tuple[float, float]) -> None:
    """Paints in place with a colour that differs from what lies below by `contrast` grey levels."""
    covered = coverage > 0.5
    if not covered.any():
        return
    below = canvas[covered].mean(axis=0)
    difference = rng.uniform(*contrast)
    lighter = below.mean() + difference < 250 and (below.mean() < 110 or rng.random() < 0.5)
    colour = below + (difference if lighter else -difference) + rng.normal(0, 12, 3)
    canvas += coverage[..., None] * (np.clip(colour, 0, 255).astype(np.float32) - canvas)


class DrawnScenes(SampleSet):
    """Scenes of one split, `count` of them, at `size` (h, w).

    A kind of scenes sets `title` and `usual_style` (a frozen dataclass).
    """

    title: str
    usual_style: Any

    def __init__(
        self, split: str, size: tuple[int, int], channels: int, count: int, style: Any = None
    ):
        style = style or self.usual_style
        self.split, self.size, self.channels, self.style = split, size, channels, style
        self.name = f"{self.title}, {split}"
        self._count = count

    def __len__(self) -> int:
        return self._count

    @cached_property
    def sources(self) -> np.ndarray:
        """Source of each scene, int (n,): scenes go round the split's tiles."""
        return np.arange(self._count) % len(tiles(self.split))

    def digest(self) -> str:
        """Hex sha256 of what determines every scene: sources, code, parameters, libraries."""
        content = hashlib.sha256(self.code().encode())
        for array in self._drawn_from():
            content.update(array.tobytes())
        parameters = (self.split, self.size, self.channels, len(self), self.style)
        content.update(repr(parameters).encode())
        return content.hexdigest()

    def _drawn_from(self) -> tuple[np.ndarray, ...]:
        """The arrays of the split that scenes are made of."""
        return (tiles(self.split),)
