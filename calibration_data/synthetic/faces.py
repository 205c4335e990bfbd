"""Scenes for face detectors: faces among cut-outs that are none, on natural textures, toned grey.

The faces are those of scikit-image's `lfw_subset`, 100 grey crops of 25x25 pixels from Labeled
Faces in the Wild (Huang et al. 2007); what is pasted beside them are its 100 crops that show no
face, and pieces of the textures. All are cut out and blended alike, as soft ellipses, so that only
what is in one tells a face. The crops are grey, so the scenes are, toned as a whole like old
photographs: colour gives nothing away.

A crop and a tile belong to one split. A source is a private tile and two of the split's faces, but
the faces are few (35 in evaluation) and come again in other sources: a score says how a detector
fares on new places for these faces, not on new people. Some people stand in several crops, perhaps
in different splits.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from int8gate.calibration_data.synthetic.detection_scenes import free_corner
from int8gate.calibration_data.synthetic.picture_sources import SPLITS, TILE, tiles
from int8gate.calibration_data.synthetic.scenes import (
    SEED,
    DrawnScenes,
    SceneStyle,
    blend,
    draw_background,
    draw_stroke,
)

SHARES = {"train": 50, "calibration": 15, "evaluation": 35}  # of 100 faces, and of 100 others
SHOW_A_FACE = (25, 30)  # of the crops without a face: an eye and a nose, a mouth
FACES_PER_SOURCE = 2
MOST_FACES, MOST_OTHERS = 3, 3
HARD = SceneStyle(FACES_PER_SOURCE, (1, MOST_FACES), (0.19, 0.5), (30, 120), (0, 3), (1, 10))
EASY = SceneStyle(
    FACES_PER_SOURCE, (1, MOST_FACES), (0.25, 0.5), (30, 120), (0, 0), (0, 2), (0.05, 0.4)
)
SAMPLES = {"calibration": 300, "evaluation": 2000}
TURN = 15  # degrees to either side
FAINTEST = 6.0  # grey levels: an other crop with less variation shows nothing
TONE = 0.12  # how much a channel may be stronger or weaker than another
SOFTNESS = 0.08  # of an ellipse's radius: the width of its edge


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> FaceScenes:
    """The scenes that calibration and evaluation use."""
    return FaceScenes(split, size, channels, SAMPLES[split])


@cache
def crops(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The split's faces and its crops without one, float32 (n, 25, 25) in 0..255 each."""
    from skimage.data import lfw_subset

    pictures = lfw_subset().astype(np.float32) * 255
    order = np.random.default_rng(SEED).permutation(100)
    bounds = np.cumsum([0, *SHARES.values()])
    place = SPLITS.index(split)
    owned = order[bounds[place] : bounds[place + 1]]
    others = pictures[100 + owned[~np.isin(owned, SHOW_A_FACE)]]
    return pictures[owned], others[others.std((1, 2)) >= FAINTEST]


class FaceScenes(DrawnScenes):
    """Scenes with one to three faces, drawn when asked for.

    A label is float32 (MOST_FACES, 5), rows [class, ymin, xmin, ymax, xmax]: class 0, and the
    bounds of the face's ellipse in parts of the scene's height and width; class -1 in padding rows.
    Boxes do not overlap.
    """

    title, usual_style = "face scenes", HARD

    def _drawn_from(self) -> tuple[np.ndarray, ...]:
        return (*super()._drawn_from(), *crops(self.split))

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (h, w, channels) and label float32 (MOST_FACES, 5)."""
        rng = np.random.default_rng([SEED, SPLITS.index(self.split), index])
        source = int(self.sources[index])
        canvas = draw_background(rng, self.split, source, self.size, self.style.texture)
        for _ in range(rng.integers(*self.style.strokes, endpoint=True)):
            blend(canvas, draw_stroke(rng, self.size), rng, self.style.contrast)
        canvas = canvas.mean(-1, keepdims=True)
        faces = [self._face(rng, source) for _ in range(rng.integers(1, MOST_FACES, endpoint=True))]
        others = [self._other(rng, source) for _ in range(rng.integers(0, MOST_OTHERS + 1))]
        boxes = self._paste(rng, canvas, faces, [])
        self._paste(rng, canvas, others, boxes)
        label = np.full((MOST_FACES, 5), -1, np.float32)
        for row, box in zip(label, boxes, strict=False):
            row[:] = [0, *(box / [*self.size, *self.size])]
        return self._developed(rng, canvas), label

    def _face(self, rng, source: int) -> np.ndarray:
        """One of the source's faces; in training any, or the mean of two, which is a face too."""
        faces, _ = crops(self.split)
        if self.split != "train":
            owned = (source * FACES_PER_SOURCE + np.arange(FACES_PER_SOURCE)) % len(faces)
            return faces[rng.choice(owned)]
        one, other = faces[rng.integers(len(faces), size=2)]
        other = other[:, ::-1] if rng.random() < 0.5 else other
        share = rng.uniform(0, 1) if rng.random() < 0.5 else 0
        return one * np.float32(1 - share) + other * np.float32(share)

    def _other(self, rng, source: int) -> np.ndarray:
        """A crop without a face, or a piece of a tile: the source's own but in training."""
        _, others = crops(self.split)
        if rng.random() < 0.5:
            return others[rng.integers(len(others))]
        owned = tiles(self.split)
        tile = owned[rng.integers(len(owned)) if self.split == "train" else source]
        side = int(rng.integers(16, TILE // 2))
        top, left = rng.integers(0, TILE - side, size=2)
        return tile[top : top + side, left : left + side].mean(-1, dtype=np.float32)

    def _paste(self, rng, canvas: np.ndarray, cut: list, taken: list) -> list[np.ndarray]:
        """Blends in place the crops that find room beside the boxes `taken`; returns all boxes."""
        boxes = list(taken)
        for crop in cut:
            pixels, coverage = _cut_out(rng, crop, self.size, self.style.digit_size)
            corner = free_corner(rng, coverage.shape, self.size, boxes)
            if corner is None:
                continue
            (top, left), (height, width) = corner, coverage.shape
            below = canvas[top : top + height, left : left + width]
            below += coverage[..., None] * (pixels[..., None] - below)
            boxes.append(_bounds(coverage) + np.tile(corner, 2))
        return boxes

    def _developed(self, rng, canvas: np.ndarray) -> np.ndarray:
        """The grey scene as an image uint8 (h, w, channels), toned unless it has one channel."""
        tone = rng.uniform(1 - TONE, 1 + TONE, 3).astype(np.float32)
        spread = np.float32(rng.uniform(*self.style.noise) * 12**0.5)
        canvas = canvas + spread * (rng.random((*self.size, 1), np.float32) - 0.5)
        toned = canvas * tone if self.channels == 3 else canvas
        return np.clip(np.rint(toned), 0, 255).astype(np.uint8)


def _cut_out(rng, crop: np.ndarray, size: tuple[int, int], limits) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels and coverage 0..1, float32 (h, w): mirrored, resized, turned, of another light.

    The height of the ellipse before the turn is `limits`, drawn evenly, of the scene's shorter
    side.
    """
    height = round(rng.uniform(*limits) * min(size))
    extent = (max(8, round(height * rng.uniform(0.82, 0.95))), height)  # a face is not round
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    low, high = crop.min(), crop.max()
    level, spread = rng.uniform(70, 180), rng.uniform(90, 200)
    grey = (crop - crop.mean()) / max(high - low, 1) * spread + level
    grey = Image.fromarray(np.ascontiguousarray(grey, np.float32)).resize(
        extent, Image.Resampling.BICUBIC
    )
    angle = rng.uniform(-TURN, TURN)
    pixels = np.asarray(grey.rotate(angle, Image.Resampling.BILINEAR, expand=True))
    coverage = _ellipse(pixels.shape, extent[::-1], np.deg2rad(angle))
    rows, columns = (np.flatnonzero(coverage.any(axis)) for axis in (1, 0))
    covered = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return pixels[covered], coverage[covered]


def _ellipse(shape: tuple[int, int], extent: tuple[int, int], angle: float) -> np.ndarray:
    """Coverage 0..1, float32 of `shape`, of a soft ellipse in its middle.

    `extent` (h, w) is that of the ellipse before it is turned by `angle` (radians) to the left.
    """
    down, across = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in shape)
    down, across = down[:, None], across[None]
    upright = down * np.cos(angle) + across * np.sin(angle)
    level = across * np.cos(angle) - down * np.sin(angle)
    radius = np.hypot(upright / (extent[0] / 2), level / (extent[1] / 2))
    return np.clip(0.5 + (1 - SOFTNESS - radius) / SOFTNESS, 0, 1).astype(np.float32)


def _bounds(coverage: np.ndarray) -> np.ndarray:
    """First row and column that are covered by half, and those after the last: y, x, y, x."""
    rows, columns = (np.flatnonzero((coverage > 0.5).any(axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
