"""Scenes of drawn people with and without safety helmets: the data of helmet detection.

Classes: a helmet (dome and brim, with nothing of the head), a bare head (hair and ears included), a
person (from helmet or hair to shoes). Scenes, people and sources are those of `figures.py`; what a
source's people wear on their heads belongs to the source too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from int8gate.calibration_data.synthetic.figure_drawing import (
    EARS,
    HEAD,
    Person,
    draw_head,
    lit,
    paint,
)
from int8gate.calibration_data.synthetic.figures import (
    FINER,
    FOUR_CHANNELS,
    PEOPLE,
    SEED,
    FigureScenes,
)
from int8gate.calibration_data.synthetic.picture_sources import SPLITS

CLASSES = ("helmet", "head", "person")
HELMET, BARE_HEAD, PERSON = range(3)
MOST_OBJECTS = 2 * PEOPLE  # rows of a label
SAMPLES = {"calibration": 300, "evaluation": 1200}
WORN = 0.55  # share of people who wear a helmet
COLOURS = ((235, 235, 225), (240, 200, 30), (235, 120, 25), (200, 40, 35), (40, 90, 190))
DRESSED = 2  # tells the random numbers of helmets from those of people
# Whoever shows less of the head, or of the whole figure, is not drawn.
LEAST_HEAD, LEAST_FIGURE = 0.6, 0.35


@dataclass(frozen=True)
class Helmet:
    """Half widths and height in parts of the standing height, colour 0..255."""

    dome: float
    brim: float
    height: float
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Worker(Person):
    """A person, and the helmet that is worn, if any."""

    helmet: Helmet | None = None


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> HelmetScenes:
    """The scenes of a split that calibration and evaluation use."""
    return HelmetScenes(split, size, channels, SAMPLES[split])


class HelmetScenes(FigureScenes):
    """Scenes of one split, drawn when asked for.

    A label is float32 (6, 5), rows [class, ymin, xmin, ymax, xmax] in parts of the scene's height
    and width: bounds of what can be seen, one behind another included. Class -1 pads.
    """

    title = "helmet scenes"

    def _people(self, rng, source: int) -> list[Worker]:
        """Whom the source owns, and what they wear."""
        people = super()._people(rng, source)
        if self.split != "train":
            rng = np.random.default_rng([SEED, SPLITS.index(self.split), source, DRESSED])
        return [draw_worker(rng, person) for person in people]

    def _paint_people(self, rng, layer: Image.Image, people: list) -> np.ndarray:
        """Paints those who can be seen well enough far to near, in place; returns the label."""
        shown, in_front = [], np.zeros(layer.size[::-1], bool)
        for worker, points, height in reversed(self._placed(rng, people)):
            figure = worker, points * FINER + (FINER - 1) / 2, height * FINER
            silhouette, head = _coverage(layer.size, paint_worker, figure), _head(layer, figure)
            seen, head_seen = silhouette & ~in_front, head & ~in_front
            whole_head = _head_area(worker, figure[2])
            if (
                head_seen.sum() < LEAST_HEAD * max(head.sum(), whole_head)
                or seen.sum() < LEAST_FIGURE * silhouette.sum()
            ):
                continue
            in_front |= silhouette
            shown.append((figure, head_seen, seen))
        label = np.full((MOST_OBJECTS, 5), -1, np.float32)
        for number, (figure, head_seen, seen) in enumerate(reversed(shown)):
            paint_worker(layer, *figure)
            wears = HELMET if figure[0].helmet else BARE_HEAD
            label[2 * number] = wears, *_bounds(head_seen)
            label[2 * number + 1] = PERSON, *_bounds(seen)
        return label


def draw_worker(rng: np.random.Generator, person: Person) -> Worker:
    """The person with a random helmet, or bareheaded."""
    worn, dome, brim, height = rng.random(4)
    colour = np.clip(COLOURS[rng.integers(len(COLOURS))] + rng.normal(0, 18, 3), 0, 255)
    helmet = Helmet(
        0.103 + 0.01 * dome,
        0.118 + 0.025 * brim,
        0.1 + 0.025 * height,
        tuple(int(level) for level in colour),
    )
    return Worker(**vars(person), helmet=helmet if worn < WORN else None)


def paint_worker(layer: Image.Image, worker: Worker, points: np.ndarray, height: float) -> None:
    """Paints a person and the helmet into a layer, in place; as `figure_drawing.paint`."""
    paint(layer, worker, points, height)
    if worker.helmet:
        paint_helmet(layer, worker, points, height)


def paint_helmet(layer: Image.Image, worker: Worker, points: np.ndarray, height: float) -> None:
    """Paints the helmet alone, in place: it sits above the eyes and tilts with the head."""
    pen, helmet = ImageDraw.Draw(layer), worker.helmet
    assert helmet is not None  # it is asked for a worker who wears one
    ears = points[EARS : EARS + 2]
    across = (ears[0] - ears[1]) / max(np.linalg.norm(ears[0] - ears[1]), 1e-6)
    up = np.array([across[1], -across[0]])
    rim = ears.mean(axis=0) + 0.058 * height * up

    def shape(start: float, end: float, half: float, tall: float, light: float) -> None:
        angle = np.linspace(start, end, 24)[:, None] * np.pi
        outline = rim + height * (half * np.cos(angle) * across + tall * np.sin(angle) * up)
        pen.polygon([tuple(point) for point in outline], lit(helmet.colour, light))

    shape(0, 1, helmet.dome, helmet.height, 0.95)
    shape(0.42, 0.58, helmet.dome, helmet.height, 0.75)  # the ridge
    shape(0, 2, helmet.brim, 0.02, 0.8)


def _head(layer: Image.Image, figure: tuple) -> np.ndarray:
    """Where the helmet, or the bare head, of one figure is: bool (h, w)."""
    if figure[0].helmet:
        return _coverage(layer.size, paint_helmet, figure)

    def paint_head(canvas, *figure):
        draw_head(ImageDraw.Draw(canvas), *figure)

    return _coverage(layer.size, paint_head, figure)


def _head_area(worker: Worker, height: float) -> float:
    """Pixels of a helmet or a bare head of which nothing lies outside the picture, about."""
    if worker.helmet:
        return np.pi / 2 * worker.helmet.dome * worker.helmet.height * height**2
    return np.pi * HEAD[0] * HEAD[1] * height**2


def _coverage(size: tuple[int, int], painter, figure: tuple) -> np.ndarray:
    """The pixels, bool (h, w), that a painter covers; `size` is (w, h)."""
    layer = Image.new(FOUR_CHANNELS, size)
    painter(layer, *figure)
    return np.asarray(layer.getchannel(3)) > 0


def _bounds(mask: np.ndarray) -> np.ndarray:
    """[ymin, xmin, ymax, xmax] of what is true in a mask, in parts of its height and width."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    height, width = mask.shape
    return np.array(
        [rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width]
    )
