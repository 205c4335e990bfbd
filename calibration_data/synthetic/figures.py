"""Scenes of drawn people on natural textures, with exact keypoints: the data of pose estimation.

A scene is drawn from one *source*: a private background tile and up to three private people, whose
proportions and clothes come from a seed of their own. Poses, places and sizes differ from scene to
scene. Scene `i` of a split depends on nothing but the seed, the split, its size and `i`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from int8gate.calibration_data.synthetic.figure_drawing import (
    KEYPOINTS,
    draw_person,
    draw_pose,
    paint,
)
from int8gate.calibration_data.synthetic.picture_sources import SPLITS
from int8gate.calibration_data.synthetic.scenes import DrawnScenes, draw_background

SEED = 20260117
PEOPLE = 3  # rows of a label: so many people at most
FINER = 2  # figures are drawn on a grid so many times finer, then averaged: soft edges
FOUR_CHANNELS = "CMYK"  # of Pillow's, the one whose four it averages without a thought of colours
OUTSIDE, OCCLUDED, VISIBLE = 0, 1, 2  # COCO's v
LEAST_KEYPOINTS = 6  # a figure that shows fewer inside the picture is not drawn
TRIES = 6  # to find a figure a place; after that it is left out
DISTANCE = 0.3  # of the mean standing height, between the hips of two people
SAMPLES = {"calibration": 300, "evaluation": 1200}


@dataclass(frozen=True)
class FigureStyle:
    """What makes scenes hard. `height` is a standing person's, as a fraction of the scene's."""

    people: tuple[int, int]
    height: tuple[float, float]
    liveliness: tuple[float, float]
    clutter: tuple[int, int]
    noise: tuple[float, float]
    texture: tuple[float, float]  # how much of the background's contrast is kept


STYLE = FigureStyle((1, PEOPLE), (0.55, 0.95), (0.3, 1.0), (0, 4), (1, 8), (0.3, 1.0))
EASY_STYLE = FigureStyle((1, 2), (0.65, 0.95), (0.2, 0.7), (0, 0), (0, 2), (0.05, 0.4))


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> FigureScenes:
    """The scenes of a split that calibration and evaluation use; `task` is "pose"."""
    return FigureScenes(split, size, channels, SAMPLES[split])


class FigureScenes(DrawnScenes):
    """Scenes of one split, drawn when asked for.

    A label is float32 (3, 52), a row a person: area of the person's figure in px² (inside the
    picture, whoever stands in front of it), then y, x in pixels and v of each of COCO's 17
    keypoints: 0 outside the picture (y and x are 0), 1 behind another person, 2 visible. Rows of
    area 0 pad.
    """

    title, usual_style = "pose scenes", STYLE

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (h, w, channels) and label float32 (3, 52)."""
        rng = np.random.default_rng([SEED, SPLITS.index(self.split), index])
        source = int(self.sources[index])
        style = self.style
        canvas = draw_background(rng, self.split, source, self.size, style.texture)
        layer = Image.new(FOUR_CHANNELS, (self.size[1] * FINER, self.size[0] * FINER))
        for _ in range(rng.integers(*style.clutter, endpoint=True)):
            _paint_clutter(rng, layer)
        label = self._paint_people(rng, layer, self._people(rng, source))
        figures = np.asarray(layer.reduce(FINER), np.float32)
        canvas *= 1 - figures[..., 3:] * np.float32(1 / 255)
        canvas += figures[..., :3]  # black where nobody stands
        noise = rng.standard_normal((*self.size, 1), np.float32)
        canvas += np.float32(rng.uniform(*style.noise)) * noise
        image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
        if self.channels == 1:
            image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
        return image, label

    def _people(self, rng, source: int) -> list:
        """Whom the source owns; training scenes show new people each."""
        if self.split != "train":
            rng = np.random.default_rng([SEED, SPLITS.index(self.split), source, PEOPLE])
        return [draw_person(rng) for _ in range(PEOPLE)]

    def _paint_people(self, rng, layer: Image.Image, people: list) -> np.ndarray:
        """Paints them far to near, in place; returns the label."""
        label = np.zeros((PEOPLE, 1 + KEYPOINTS * 3), np.float32)
        silhouettes = []
        for person, points, height in self._placed(rng, people):
            paint(layer, person, points * FINER + (FINER - 1) / 2, height * FINER)
            silhouette = silhouette_of(self.size, person, points, height)
            row = label[len(silhouettes)]
            row[0] = silhouette.sum()
            row[1:] = keypoints_of(points, self.size).ravel()
            silhouettes.append(silhouette)
        for behind in range(len(silhouettes)):
            for nearer in silhouettes[behind + 1 :]:
                mark_occluded(label[behind, 1:].reshape(KEYPOINTS, 3), nearer)
        return label

    def _placed(self, rng, people: list) -> list[tuple]:
        """Who stands where, far to near: person, keypoints (17, 2) in pixels, height in pixels."""
        rows, columns = self.size
        low, high = np.array([0.1 * columns, 0.42 * rows]), np.array([0.9 * columns, 0.68 * rows])
        placed = []
        for person in people[: rng.integers(*self.style.people, endpoint=True)]:
            height = rng.uniform(*self.style.height) * rows
            pose = draw_pose(rng, person, rng.uniform(*self.style.liveliness)) * height
            lower = 0.2 * (height - 0.75 * rows)  # the hips of a tall person
            for x, y in low + rng.random((TRIES, 2)) * (high - low):
                points = pose + np.array([x, y + lower])
                seen = _inside(points, self.size).sum() >= LEAST_KEYPOINTS
                if seen and all(abs(x - at) > DISTANCE * (height + h) / 2 for *_, h, at in placed):
                    placed.append((person, points, height, x))
                    break
        return [figure[:3] for figure in sorted(placed, key=lambda figure: figure[2])]


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which of the points (n, 2), x and y, lie in the picture."""
    return np.asarray(((points >= 0) & (points <= np.array(size)[::-1] - 1)).all(axis=1))


def keypoints_of(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Rows y, x, v (17, 3) of one person standing alone."""
    inside = _inside(points, size)[:, None]
    return np.hstack([points[:, ::-1], np.full((len(points), 1), VISIBLE)]) * inside


def mark_occluded(keypoints: np.ndarray, nearer: np.ndarray) -> None:
    """Sets v, in place, of keypoints (17, 3) that lie behind a nearer person's silhouette."""
    y, x = np.rint(keypoints[:, :2]).astype(int).T
    keypoints[(keypoints[:, 2] == VISIBLE) & nearer[y, x], 2] = OCCLUDED


def silhouette_of(size, person, points: np.ndarray, height: float) -> np.ndarray:
    """The pixels, bool (h, w), that a person alone covers."""
    layer = Image.new(FOUR_CHANNELS, size[::-1])
    paint(layer, person, points, height)
    return np.asarray(layer.getchannel(3)) > 0


def _paint_clutter(rng, layer: Image.Image) -> None:
    """A bar or a ball of one colour, behind the people."""
    pen = ImageDraw.Draw(layer)
    side = layer.height
    x, y = rng.random(2) * layer.size
    colour = (*(int(level) for level in rng.uniform(0, 255, 3)), 255)
    if rng.random() < 0.5:
        radius = rng.uniform(0.02, 0.07) * side
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour)
    else:
        dx, dy = rng.uniform(-0.4, 0.4, 2) * side
        pen.line([x, y, x + dx, y + dy], colour, round(rng.uniform(0.02, 0.06) * side))
