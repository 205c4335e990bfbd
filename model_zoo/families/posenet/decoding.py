"""From PoseNet's maps to people: the fast greedy decoding of PersonLab (Papandreou et al. 2018).

As TensorFlow.js's `decodeMultiplePoses` does it: local maxima of all heatmaps, best first, are the
roots of people; one that lies where a person found before has the same keypoint is left out. From
its root a person grows along the edges of the tree: a displacement leads to the neighbour, the
offsets there say where exactly. A person's score is the mean of the heatmap scores, those of
keypoints that a better person has at the same place counted as 0.
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.families.posenet.network import EDGES, KEYPOINTS, STRIDE
from int8gate.model_zoo.spec import Network

MOST_PEOPLE = 10
ROOT_SCORE = 0.3  # of the heatmap; a weaker local maximum is no root
SAME_PLACE = 20 / 353  # of the input's height: 20 pixels of the published network's 353
REFINEMENTS = 2  # how often the offsets correct where a displacement led


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """People, float32 (n, 10, 52), in pixels of the user's picture, best first.

    A row is score, then y, x and heatmap score of the 17 keypoints; score -1 in padding rows.
    `outputs` are the frozen graph's: heatmaps 0..1 (n, h', w', 17), offsets (n, h', w', 17, 2) and
    displacements forward and backward (n, h', w', 16, 2) in pixels of the network's input,
    candidates (n, m, 4): score, keypoint, row, column of local maxima, score 0 in padding.
    Raises ValueError where the outputs are other ones.
    """
    *maps, candidates = _checked(outputs)
    pictures, picked = np.nonzero(candidates[..., 0] >= ROOT_SCORE)
    roots = candidates[pictures, picked]
    points, scores = _grown(pictures, roots, *maps)
    picture_size = np.array(declared.picture or declared.size)
    scale = (picture_size - 1) / (np.array(declared.size) - 1)
    found = np.full((len(candidates), MOST_PEOPLE, 1 + KEYPOINTS * 3), -1, np.float32)
    for picture, people in enumerate(found):
        own = np.flatnonzero(pictures == picture)
        own = own[np.argsort(-roots[own, 0], kind="stable")]
        kept, person_scores = _distinct(
            points[own], scores[own], roots[own, 1].astype(int), SAME_PLACE * declared.size[0]
        )
        best_first = np.argsort(-person_scores, kind="stable")
        for row, person in zip(people, best_first, strict=False):
            who = own[kept[person]]
            row[0] = person_scores[person]
            row[1:] = np.hstack([points[who] * scale, scores[who, :, None]]).ravel()
    return found


def _grown(pictures, roots, heatmaps, offsets, forward, backward) -> tuple[np.ndarray, np.ndarray]:
    """Every root (m, 4) grown to a person: points (m, 17, 2), y and x, and scores (m, 17)."""
    keypoint, row, column = roots[:, 1:].astype(int).T
    points = np.zeros((len(roots), KEYPOINTS, 2), np.float32)
    scores = np.zeros((len(roots), KEYPOINTS), np.float32)
    known = np.zeros((len(roots), KEYPOINTS), bool)
    start = (np.arange(len(roots)), keypoint)
    exactly = offsets[pictures, row, column, keypoint]
    points[start] = np.stack([row, column], axis=1) * STRIDE + exactly
    scores[start] = roots[:, 0]
    known[start] = True

    def walk(edge: int, source: int, target: int, displacements: np.ndarray) -> None:
        rows = np.flatnonzero(known[:, source] & ~known[:, target])
        picture, here = pictures[rows], points[rows, source]
        there = here + displacements[(picture, *_place(here, heatmaps), edge)]
        for _ in range(REFINEMENTS):
            place = _place(there, heatmaps)
            there = np.stack(place, axis=1) * STRIDE + offsets[(picture, *place, target)]
        points[rows, target] = there
        scores[rows, target] = heatmaps[(picture, *_place(there, heatmaps), target)]
        known[rows, target] = True

    for edge, (parent, child) in reversed(list(enumerate(EDGES))):
        walk(edge, child, parent, backward)
    for edge, (parent, child) in enumerate(EDGES):
        walk(edge, parent, child, forward)
    return points, scores


def _place(points: np.ndarray, heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the map that are nearest to points (m, 2) in pixels."""
    last = np.array(heatmaps.shape[1:3]) - 1
    row, column = np.clip(np.floor(points / STRIDE + 0.5), 0, last).astype(int).T
    return row, column


def _distinct(points, scores, root_keypoints, radius: float) -> tuple[list[int], np.ndarray]:
    """Which of one picture's grown people (m, 17, 2), best root first, to keep; their scores."""
    kept, person_scores = [], []
    for person, root in enumerate(root_keypoints):
        apart = np.square(points[kept] - points[person]).sum(axis=-1) > radius**2
        if not apart[:, root].all():
            continue
        kept.append(person)
        person_scores.append(scores[person][apart.all(axis=0)].sum() / KEYPOINTS)
        if len(kept) == MOST_PEOPLE:
            break
    return kept, np.array(person_scores)


def _checked(outputs: list[np.ndarray]) -> list[np.ndarray]:
    wanted = ((KEYPOINTS,), (KEYPOINTS, 2), (len(EDGES), 2), (len(EDGES), 2))
    found = [np.shape(output) for output in outputs]
    fits = len(found) == 5 and all(
        len(shape) == 3 + len(last) and shape[3:] == last and shape[:3] == found[0][:3]
        for shape, last in zip(found, wanted, strict=False)
    )
    if not fits or len(found[4]) != 3 or found[4][::2] != (found[0][0], 4):
        raise ValueError(
            "posenet is decoded from heatmaps (n, h, w, 17), offsets (n, h, w, 17, 2), two "
            f"displacements (n, h, w, 16, 2) and candidates (n, m, 4), found {found}: pass the "
            "frozen graph's outputs in their order"
        )
    return [np.asarray(output, np.float32) for output in outputs]
