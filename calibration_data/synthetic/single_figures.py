"""Crops around one drawn person each, as a person detector cuts them: the data of top-down pose.

The subject's box fills most of the crop and stands a little off its middle; somebody else may stand
at the edge, in front or behind. Who owns which people and tiles is as in `figures.py`. Sample `i`
of a split depends on nothing but the seed, the split, its size and `i`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from int8gate.calibration_data.synthetic.figure_drawing import KEYPOINTS, draw_pose, paint
from int8gate.calibration_data.synthetic.figures import EASY_STYLE as EASY_SCENES
from int8gate.calibration_data.synthetic.figures import (
    FINER,
    FigureScenes,
    keypoints_of,
    mark_occluded,
    silhouette_of,
)
from int8gate.calibration_data.synthetic.figures import STYLE as SCENES

# `height` is here how much of the crop the subject's box fills, up and down or from side to side.
STYLE = replace(SCENES, people=(1, 2), height=(0.65, 0.98))
EASY_STYLE = replace(EASY_SCENES, people=(1, 1), height=(0.75, 0.95))
AROUND = 0.08  # of the standing height: a box reaches so far beyond the keypoints
ASTRAY = 0.03  # of the crop's side: standard deviation of where the box is cut, at most twice that
BESIDE = (0.35, 0.6)  # of the crop's width: how far from the subject somebody else stands
ELSE = (0.8, 1.25)  # how tall they are beside the subject
SAMPLES = {"calibration": 300, "evaluation": 1200}


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> SingleFigures:
    """The crops of a split that calibration and evaluation use; `task` is "keypoints"."""
    return SingleFigures(split, size, channels, SAMPLES[split])


class SingleFigures(FigureScenes):
    """Crops of one split, drawn when asked for.

    A label is float32 (1, 52), the subject's row as in `FigureScenes`: area in px², then y, x in
    pixels and v of 17 keypoints.
    """

    title, usual_style = "crops of people", STYLE

    def _paint_people(self, rng, layer: Image.Image, people: list) -> np.ndarray:
        """Paints them far to near, in place; returns the subject's label."""
        figures = self._placed(rng, people)
        subject = figures[0]
        label = np.zeros((1, 1 + KEYPOINTS * 3), np.float32)
        label[0, 0] = silhouette_of(self.size, *subject).sum()
        label[0, 1:] = keypoints_of(subject[1], self.size).ravel()
        for person, points, height in sorted(figures, key=lambda figure: figure[2]):
            paint(layer, person, points * FINER + (FINER - 1) / 2, height * FINER)
            if height > subject[2]:
                nearer = silhouette_of(self.size, person, points, height)
                mark_occluded(label[0, 1:].reshape(KEYPOINTS, 3), nearer)
        return label

    def _placed(self, rng, people: list) -> list[tuple]:
        """Person, keypoints (17, 2) in pixels, height in pixels of each, the subject first."""
        crop = np.array(self.size[::-1])
        pose = draw_pose(rng, people[0], rng.uniform(*self.style.liveliness))
        low, high = pose.min(axis=0) - AROUND, pose.max(axis=0) + AROUND
        height = rng.uniform(*self.style.height) * (crop / (high - low)).min()
        astray = rng.normal(0, ASTRAY, 2).clip(-2 * ASTRAY, 2 * ASTRAY) * crop
        hips = crop / 2 + astray - (low + high) / 2 * height
        figures = [(people[0], pose * height + hips, height)]
        for person in people[1 : rng.integers(*self.style.people, endpoint=True)]:
            own = height * rng.uniform(*ELSE)
            side = rng.choice((-1, 1)) * rng.uniform(*BESIDE) * crop[0]
            place = hips + np.array([side, rng.normal(0, ASTRAY) * crop[1]])
            pose = draw_pose(rng, person, rng.uniform(*self.style.liveliness))
            figures.append((person, pose * own + place, own))
        return figures
