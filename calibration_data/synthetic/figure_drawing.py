"""Drawn people: how one is built, stands and looks. What `figures.py` composes scenes of.

Figures face the viewer, so a person's left is on the right of the picture, as in a photograph of
somebody who looks into the camera. Lengths are fractions of the standing height, the origin lies
between the hips, x runs to the right and y down. Every keypoint of COCO is a thing that can be
seen: eyes, nose and ears are drawn, sleeves change at elbows, trousers at knees, hands and shoes
stand at wrists and ankles; the person's right limbs lie in the shade.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from int8gate.tasks.keypoints import KEYPOINTS

# COCO's order: the left one of a pair has the odd index.
NOSE, EYES, EARS, SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES = 0, 1, 3, 5, 7, 9, 11, 13, 15
SIDES = np.array([1.0, -1.0])  # left, right
SHADE = 0.8
TORSO, UPPER_ARM, FOREARM, THIGH, SHIN = 0.27, 0.15, 0.14, 0.22, 0.22
HEAD_ABOVE_SHOULDERS = 0.14
HEAD = (0.095, 0.115)  # half axes


@dataclass(frozen=True)
class Person:
    """Who somebody is: proportions (half widths and a limb's thickness) and colours 0..255."""

    shoulders: float
    hips: float
    thickness: float
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    eyes: tuple[int, int, int]
    shirt: tuple[int, int, int]
    sleeves: tuple[int, int, int]
    trousers: tuple[int, int, int]
    shins: tuple[int, int, int]
    shoes: tuple[int, int, int]


def draw_person(rng: np.random.Generator) -> Person:
    """A random person."""
    shoulders, hips, thickness, tone, short = rng.random(5)
    skin = np.array([90, 55, 40]) + tone * np.array([150, 145, 130])
    shirt, trousers, shoes, hair = rng.uniform(10, 245, (4, 3)) * [[1], [1], [0.6], [0.5]]
    colours = {
        "skin": skin,
        "hair": hair,
        "eyes": rng.uniform(0, 50, 3) if tone > 0.3 else rng.uniform(220, 255, 3),
        "shirt": shirt,
        "sleeves": skin if short < 0.5 else shirt * 0.65,
        "trousers": trousers,
        "shins": skin if short < 0.25 else trousers * 0.65,
        "shoes": shoes,
    }
    return Person(
        0.11 + 0.03 * shoulders,
        0.065 + 0.02 * hips,
        0.034 + 0.01 * thickness,
        **{name: tuple(int(level) for level in colour) for name, colour in colours.items()},
    )


def draw_pose(rng: np.random.Generator, person: Person, liveliness: float) -> np.ndarray:
    """A random pose: keypoints (17, 2), x and y; `liveliness` 0 stands still, 1 gesticulates."""
    lean, tilt, turn, nod = (
        rng.normal(0, 1, 4).clip(-1.5, 1.5) * liveliness * [0.14, 0.16, 0.02, 0.012]
    )
    arms, elbows = rng.uniform(0, 1, (2, 2))
    legs, knees = rng.uniform(0, 1, (2, 2))
    foreshortened = 1 - 0.2 * liveliness * rng.random((4, 2))
    arm = 0.25 + liveliness * (2.4 * arms - 0.25)
    forearm = arm + 0.1 + liveliness * (2.2 * elbows - 1.0)
    leg = 0.08 + liveliness * (0.6 * legs - 0.05)
    shin = leg - liveliness * 0.7 * knees

    points = np.zeros((KEYPOINTS, 2))
    middle = np.array([turn, -TORSO - HEAD_ABOVE_SHOULDERS + nod])
    points[NOSE] = middle + np.array([turn, 0.02])
    points[EYES : EYES + 2] = _pair(0.042, middle + np.array([turn / 2, -0.02]))
    points[EARS : EARS + 2] = _pair(HEAD[0], middle - np.array([turn, 0.0]))
    points[: EARS + 2] = _turned(points[: EARS + 2], tilt, (0, -TORSO))
    shoulders = _pair(person.shoulders, (0, -TORSO))
    points[SHOULDERS : SHOULDERS + 2] = shoulders
    points[ELBOWS : ELBOWS + 2] = shoulders + _limb(UPPER_ARM * foreshortened[0], arm)
    points[WRISTS : WRISTS + 2] = points[ELBOWS : ELBOWS + 2] + _limb(
        FOREARM * foreshortened[1], forearm
    )
    points[:HIPS] = _turned(points[:HIPS], lean, (0, 0))
    points[HIPS : HIPS + 2] = _pair(person.hips, (0, 0))
    points[KNEES : KNEES + 2] = points[HIPS : HIPS + 2] + _limb(THIGH * foreshortened[2], leg)
    points[ANKLES : ANKLES + 2] = points[KNEES : KNEES + 2] + _limb(SHIN * foreshortened[3], shin)
    return points


def _pair(half: float, middle) -> np.ndarray:
    """The left and the right one (2, 2), each `half` away from their middle."""
    x, y = middle
    return np.array([[x + half, y], [x - half, y]])


def _limb(length: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Limbs (2, 2) of both sides; the angle opens outwards from straight down, in radians."""
    return length[:, None] * np.stack([SIDES * np.sin(angle), np.cos(angle)], axis=1)


def _turned(points: np.ndarray, angle: float, about: tuple[float, float]) -> np.ndarray:
    sine, cosine = np.sin(angle), np.cos(angle)
    return (points - about) @ np.array([[cosine, sine], [-sine, cosine]]) + about


def paint(layer: Image.Image, person: Person, points: np.ndarray, height: float) -> None:
    """Paints a person into a layer of four channels (red, green, blue, coverage), in place.

    `points` (17, 2) are x and y in pixels of the layer, `height` the standing height in pixels.
    """
    pen = ImageDraw.Draw(layer)
    thick = person.thickness * height
    for side in (1, 0):
        shade = SHADE if side else 1.0
        hip, knee, ankle = (points[joint + side] for joint in (HIPS, KNEES, ANKLES))
        _capsule(pen, knee, ankle, thick, lit(person.shins, shade))
        _capsule(pen, hip, knee, thick * 1.2, lit(person.trousers, shade))
        _disc(pen, ankle, thick * 1.25, lit(person.shoes, shade))
    neck = points[SHOULDERS : SHOULDERS + 2].mean(axis=0)
    head = points[EARS : EARS + 2].mean(axis=0)
    _capsule(pen, neck, head, thick * 0.9, lit(person.skin, SHADE))
    outline = [tuple(points[joint]) for joint in (SHOULDERS, SHOULDERS + 1, HIPS + 1, HIPS)]
    pen.polygon(outline, lit(person.shirt))
    _capsule(pen, *points[SHOULDERS : SHOULDERS + 2], thick, lit(person.shirt))
    _capsule(pen, *points[HIPS : HIPS + 2], thick, lit(person.trousers))
    for side in (1, 0):
        shade = SHADE if side else 1.0
        shoulder, elbow, wrist = (points[joint + side] for joint in (SHOULDERS, ELBOWS, WRISTS))
        _capsule(pen, elbow, wrist, thick * 0.8, lit(person.sleeves, shade))
        _capsule(pen, shoulder, elbow, thick, lit(person.shirt, 0.9 * shade))
        _disc(pen, wrist, thick * 1.15, lit(person.skin, shade))
    draw_head(pen, person, points, height)


def draw_head(pen, person: Person, points: np.ndarray, height: float) -> None:
    ears, eyes = points[EARS : EARS + 2], points[EYES : EYES + 2]
    middle = ears.mean(axis=0)
    up = (eyes.mean(axis=0) - points[NOSE]) * [0.3, 1.0]
    _disc(pen, middle + up, HEAD[0] * height * 1.08, lit(person.hair))
    for side in (0, 1):
        _disc(pen, ears[side], 0.026 * height, lit(person.skin, 0.7 - 0.1 * side))
    across, tall = HEAD[0] * height * 0.93, HEAD[1] * height * 0.9
    x, y = middle
    pen.ellipse([x - across, y - tall * 0.8, x + across, y + tall], lit(person.skin))
    for side in (0, 1):
        _disc(pen, eyes[side], 0.017 * height, lit(person.eyes))
    _disc(pen, points[NOSE], 0.015 * height, lit(person.skin, 0.55))


def lit(colour: tuple[int, int, int], light: float = 1.0) -> tuple[int, int, int, int]:
    red, green, blue = colour
    return int(red * light), int(green * light), int(blue * light), 255


def _capsule(pen, start, end, radius: float, colour) -> None:
    pen.line([*start, *end], colour, max(1, round(2 * radius)))
    _disc(pen, start, radius, colour)
    _disc(pen, end, radius, colour)


def _disc(pen, middle, radius: float, colour) -> None:
    x, y = middle
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour)
