"""Simulated evaluations of a float and a quantized model whose true difference is known.

    MeanIou(2000, 0.02, 0.02, "rare class", presence=0.02).simulate(rng)

Each scenario has `n` samples, a `tolerance`, and a `drop`: what the metric of the quantized model
loses among very many samples of that kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from int8gate.validation.metrics.coco_matching import OBJECT, PADDING, THRESHOLDS
from int8gate.validation.metrics.registry import Metric, metric

ACCURACY = 0.85  # of the simulated float classifier
ICC = 0.5  # share of sources whose samples all behave alike
IOU = 0.9  # of the simulated float segmenter
CALIBRATED_ON = 50_000  # pictures, to find what share of lost objects makes a drop
CALIBRATION_ROUNDS = 3


@dataclass(frozen=True)
class Pairs:
    """One evaluation: rows (n, k) of both models and source ids (n,)."""

    metric: Metric
    reference: np.ndarray
    quantized: np.ndarray
    sources: np.ndarray
    baseline: np.ndarray | None = None


@dataclass(frozen=True)
class Candidates:
    """One evaluation of several quantized models: rows (n, k) of each, sources (n,)."""

    metric: Metric
    reference: np.ndarray
    quantized: list[np.ndarray]
    sources: np.ndarray


@dataclass(frozen=True)
class Top1:
    """A classifier: `symmetric` samples flip both ways in equal parts, and `drop` more are lost.

    Sources hold `cluster` samples; in a mixed scenario 1 to `cluster`, and the losses fall on
    sources by their size. `baseline` is the accuracy of a baseline that is right independently.
    """

    n: int
    tolerance: float
    drop: float
    symmetric: float = 0.01
    cluster: int = 1
    mixed: bool = False
    accuracy: float = ACCURACY
    baseline: float | None = None
    metric: str = "top1"

    @property
    def name(self) -> str:
        sizes = f"1..{self.cluster}" if self.mixed else str(self.cluster)
        return f"top1 within {self.tolerance:.1%}, flips {self.symmetric:.0%}, sources of {sizes}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        if self.mixed:
            sizes = rng.integers(1, self.cluster + 1, size=2 * self.n // (self.cluster + 1))
        else:
            sizes = np.full(self.n // self.cluster, self.cluster)
        sources = np.repeat(np.arange(len(sizes)), sizes)
        # Larger sources lose more, with the loss of an average sample kept.
        mean_square = (2 * self.cluster + 1) / 3 if self.mixed else self.cluster
        lost = self.drop * sizes / mean_square + self.symmetric / 2
        own, shared = rng.random(len(sources)), rng.random(len(sizes))[sources]
        draw = np.where(rng.random(len(sizes))[sources] < ICC, shared, own)
        loss = draw < lost[sources]
        gain = draw > 1 - self.symmetric / 2
        right = rng.random(len(sources)) < self.accuracy
        rows = [loss | (right & ~gain), gain | (right & ~loss)]
        if self.baseline is not None:
            rows.append(rng.random(len(sources)) < self.baseline)
        ones = np.ones(len(sources))
        reference, quantized, *blind = (np.stack([each, ones], axis=1) * 1.0 for each in rows)
        return Pairs(metric("top1"), reference, quantized, sources, *blind)

    def candidates(self, rng: np.random.Generator, count: int) -> Candidates:
        """Several quantized models of one float model, each with flips of its own: a sample that
        float gets right is lost, one that it gets wrong is gained, with the chance that makes the
        same drop; the samples of a source behave alike in a share `ICC` of the sources.
        """
        sources = np.arange(self.n) // self.cluster
        groups = sources[-1] + 1

        def drawn() -> np.ndarray:
            shared = rng.random(groups)[sources]
            return np.where(rng.random(groups)[sources] < ICC, shared, rng.random(self.n))

        right = drawn() < self.accuracy
        lost, gained = self.drop + self.symmetric / 2, self.symmetric / 2
        models = []
        for _ in range(count):
            draw = drawn()
            kept = draw >= lost / self.accuracy
            models.append(np.where(right, kept, draw < gained / (1 - self.accuracy)))
        ones = np.ones(self.n)
        reference, *quantized = (np.stack([each, ones], axis=1) * 1.0 for each in (right, *models))
        return Candidates(metric("top1"), reference, quantized, sources)


@dataclass(frozen=True)
class MeanIou:
    """A segmenter of `classes`, of which the first `rare` are in a share `presence` of the
    pictures, the others in half of them. `loss` says where the loss is:

        rare class        all of a rare class, in some of the pictures that have it
        large pictures    the same, the likelier the more of it a picture has
        pictures          all of some pictures
        classes           all of a class in a picture, of any class
        everywhere        a little everywhere, with noise
        both ways         all of a rare class, in as many pictures of one model as of the other
    """

    n: int
    tolerance: float
    drop: float
    loss: str = "everywhere"
    presence: float = 0.5
    rare: int = 1
    classes: int = 5
    noise: float = 0.02
    metric: str = "mean_iou"

    @property
    def name(self) -> str:
        many = f"{self.rare} x " if self.rare > 1 else ""
        return f"mean_iou {self.loss}, presence {many}{self.presence:.0%}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        shape = (self.n, self.classes)
        presence = np.full(self.classes, 0.5)
        presence[: self.rare] = self.presence
        union = rng.gamma(2.0, 50.0, shape) * (rng.random(shape) < presence)
        reference = union * rng.beta(18, 2, shape)  # of mean `IOU`
        first, second = self._shares(rng, union)
        rows = (np.hstack([reference * (1 - share), union]) for share in (first, second))
        return Pairs(metric("mean_iou"), *rows, np.arange(self.n))

    def _shares(self, rng: np.random.Generator, union: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each class in each picture, what the float and what the quantized model lose.

        The union stays, so that a class's IoU loses `IOU` times the mean share.
        """
        none, share = np.zeros_like(union), np.zeros_like(union)
        mean = self.drop / IOU
        of_rare = mean * self.classes / self.rare
        rare = union[:, : self.rare]
        match self.loss:
            case "rare class":
                share[:, : self.rare] = rng.random(rare.shape) < of_rare
            case "large pictures":  # E[u^2] / E[u] is 150
                share[:, : self.rare] = rng.random(rare.shape) < of_rare * rare / 150
            case "pictures":
                share[:] = rng.random((self.n, 1)) < mean
            case "classes":
                share[:] = rng.random(union.shape) < mean
            case "everywhere":
                share[:] = rng.normal(mean, self.noise, union.shape)
            case "both ways":
                drawn = rng.random(rare.shape)
                none[:, : self.rare], share[:, : self.rare] = drawn < 0.1, drawn > 0.9
        return none, share


@dataclass(frozen=True)
class Detections:
    """A detector: objects of the first class are in a share `presence` of the pictures, those of
    the others in half of them. `loss` "rare class" forgets objects of the first class, "pictures"
    all objects of some pictures. Of people (oks_ap) there is one class.
    """

    n: int
    tolerance: float
    drop: float
    loss: str
    presence: float = 0.5
    classes: int = 4
    metric: str = "map_50"

    @property
    def name(self) -> str:
        return f"{self.metric} {self.loss}, presence {self.presence:.0%}"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        return self.with_lost(rng, share_lost(replace(self, n=0, tolerance=0.0)))

    def with_lost(self, rng: np.random.Generator, lost: float) -> Pairs:
        """The evaluation where a share of the objects or pictures is lost."""
        most = 2  # objects of a class in a picture
        shape = (self.n, self.classes, most)
        presence = np.full((self.classes, 1), 0.5)
        presence[0] = self.presence
        is_there = rng.random((self.n, self.classes, 1)) < presence
        is_there = is_there & np.array([True, False]) | (is_there & (rng.random(shape) < 0.3))
        category = np.broadcast_to(np.arange(self.classes)[:, None], shape)
        score, is_hit = rng.beta(5, 2, shape), is_there & (rng.random(shape) < 0.9)
        is_wrong, wrong_score = rng.random(shape) < 0.05, rng.beta(2, 5, shape)
        draw = rng.random(shape if self.loss == "rare class" else (self.n, 1, 1))
        is_lost = draw < lost
        if self.loss == "rare class":
            is_lost = is_lost & (category == 0)
        models = []
        for hit, scores in (
            (is_hit, score),
            (is_hit & ~is_lost, np.clip(score + rng.normal(0, 0.01, shape), 0.001, 1)),
        ):
            parts = (
                (hit, scores, 2.0**THRESHOLDS - 1),
                (is_wrong, wrong_score, 0.0),
                (is_there, np.full(shape, OBJECT), 0.0),
            )
            records = np.concatenate([_records(category, *part) for part in parts], axis=1)
            models.append(records.reshape(self.n, -1))
        return Pairs(metric(self.metric), *models, np.arange(self.n))


def _records(category: np.ndarray, where: np.ndarray, score: np.ndarray, bits: float) -> np.ndarray:
    """(n, slots, 3) records of `coco_matching`, padding where there is none."""
    columns = (
        np.where(where, category, PADDING),
        np.where(where, score, 0),
        np.where(where, bits, 0),
    )
    return np.stack([column.reshape(len(where), -1) for column in columns], axis=-1)


@cache
def share_lost(scenario: Detections) -> float:
    """What share must be lost for the scenario's drop among very many pictures, by the area under
    the curve: at COCO's 101 points of recall it would jump.

    A share that is lost by chance is a picture that counts for that share as lost.
    """
    if scenario.drop == 0:
        return 0.0
    many = replace(scenario, n=CALIBRATED_ON)
    kept = many.with_lost(np.random.default_rng(1), 0.0)
    lost_all = many.with_lost(np.random.default_rng(1), 1.0)
    score = kept.metric.even_score
    either = np.concatenate([kept.quantized, lost_all.quantized])
    before, lost = score(kept.reference), scenario.drop
    for _ in range(CALIBRATION_ROUNDS):
        weights = np.repeat([1 - lost, lost], CALIBRATED_ON)
        lost *= scenario.drop / (before - score(either, weights))
    return lost


@dataclass(frozen=True)
class Pictures:
    """Super-resolution: decibels that differ much from picture to picture, `gain` above bicubic's.

    A tenth of the pictures loses all of the drop, the rest scatters.
    """

    n: int
    tolerance: float
    drop: float
    gain: float = 1.4
    metric: str = "psnr"

    @property
    def name(self) -> str:
        return f"psnr within {self.tolerance:g} dB, {self.gain:g} dB above bicubic"

    def simulate(self, rng: np.random.Generator) -> Pairs:
        bicubic = rng.normal(28, 4, self.n)
        own = bicubic + self.gain + rng.normal(0, 0.5, self.n)
        hit = rng.random(self.n) < 0.1
        quantized = own - 10 * self.drop * hit + rng.normal(0, 0.05, self.n)
        flat, ones = np.full(self.n, 14.0), np.ones(self.n)
        rows = (np.stack([each, flat, ones], axis=1) for each in (own, quantized, bicubic))
        reference, second, baseline = rows
        return Pairs(metric("psnr"), reference, second, np.arange(self.n), baseline)
