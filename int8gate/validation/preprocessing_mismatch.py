"""Is a team's own classifier fed as it was trained? Labels tell.

The accuracy gate compares the quantized model with the float one: with red and blue exchanged, or
pixels of another range, both are wrong alike and their difference is small. So the float model is
asked again, on a few labelled pictures that are preprocessed otherwise. Where another preprocessing
gives significantly more right answers than the declared one, the declaration is wrong.

A model that has too few wrong answers for anything to be significantly better is not run again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.calibration_data.preprocessing import PIXELS, SIGNED_UNIT, UNIT, Hooked, Preprocessing
from int8gate.calibration_data.sample_set import SampleSet, Subset
from int8gate.engine.plugins import resolve
from int8gate.engine.worker import WorkerError
from int8gate.model_zoo.spec import Network
from int8gate.model_zoo.user_models.declaration import OwnModel
from int8gate.runtimes.sessions import open_session
from int8gate.validation.cached_results import fact
from int8gate.validation.metrics.registry import metric

if TYPE_CHECKING:  # the code of `right_answers` is part of a key, which is to stay narrow
    from int8gate.quantizers.pipeline import Built, Pipeline
    from int8gate.validation.cached_results import KeptEvaluation
    from int8gate.validation.case_plan import CasePlan, ScoringPlan

KIND = "other_preprocessing"
METRIC = "top1"
TRIED = 200  # pictures
BATCH = 32
LEAST_GAIN = 0.05  # of the share of right answers
LEVEL = 1e-3  # of McNemar's exact test, one-sided
FEWEST_WRONG = math.ceil(-math.log2(LEVEL))  # so many gained and none lost are significant
IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # torchvision's
RANGES = {  # and the keys that declare each
    "pixels of 0..255": (PIXELS, {"range": [0, 255]}),
    "pixels of 0..1": (UNIT, {"range": [0, 1]}),
    "pixels of -1..1": (SIGNED_UNIT, {"range": [-1, 1]}),
    "ImageNet's mean and standard deviation": (
        IMAGENET,
        {"mean": list(IMAGENET.mean), "std": list(IMAGENET.std)},
    ),
}
RANGE_KEYS = ("scale", "mean", "std", "range")  # of which one way excludes the others


@dataclass(frozen=True)
class Exchanged(Preprocessing):
    """`inner` on pictures with their first and last channel exchanged."""

    inner: Preprocessing

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        return self.inner.apply(pixels[..., ::-1])


def fed_otherwise(
    plan: CasePlan,
    scoring: ScoringPlan,
    pipeline: Pipeline,
    judged: Callable[[], KeptEvaluation],
    built: Callable[[], Built],
) -> list[dict]:
    """A finding when the model answers better under another preprocessing; else nothing.

    `judged` gives the evaluation of the float artifact `built`, where there is none of the
    quantized one. Nothing is said of models without class labels, nor of graphs that preprocess by
    themselves.
    """
    spec = plan.spec
    if not plan.own or scoring.unscored_reason or plan.metrics != (METRIC,):
        return []
    if plan.source.is_cut or plan.own.takes_arrays:
        return []
    few = Subset(pipeline.data.samples(spec, "evaluation"), TRIED)
    declared = judged().statistics[few.rows, 0] > 0
    if np.count_nonzero(~declared) < FEWEST_WRONG:
        return []
    artifact, network = built().artifact, plan.network
    others = alternatives(spec.preprocessing, network.picture_shape[-1])
    asked = (artifact.path, few, others, spec.decode, network)
    parts = {
        "model": artifact.sha256,
        "samples": few.digest(),
        "others": repr(others),
        "around": [spec.decode, repr(network)],
    }
    named = (*spec.preprocessing.hooks, *([spec.decode] if spec.decode else []))
    roots = ("int8gate.validation.preprocessing_mismatch:right_answers", *named)

    def ask() -> dict[str, list[bool]]:
        return pipeline.runner.in_worker(right_answers, *asked).value

    try:
        found = fact(pipeline.cache, "fed_otherwise", parts, ask, *roots)
    except WorkerError:
        return []  # a hook may refuse what the declared preprocessing never gives
    better = {name: np.array(right, bool) for name, right in found.items()}
    return _findings(declared, better, plan)


def alternatives(declared: Preprocessing, channels: int) -> dict[str, Preprocessing]:
    """Other ways to feed pictures of so many channels, by what they are called."""
    others = {}
    if channels == 3:
        others["red and blue exchanged"] = Exchanged(declared.mean, declared.std, declared)
    if isinstance(declared, Hooked):
        return others  # what it does to a pixel is its own
    for name, (other, _) in RANGES.items():
        fits = other.channels in (None, channels)
        if fits and not _same(other, declared):
            others[name] = other
    return others


def right_answers(
    model: Path,
    samples: SampleSet,
    others: dict[str, Preprocessing],
    decode: str | None,
    network: Network,
) -> dict[str, list[bool]]:
    """Whether each sample is classified rightly, by preprocessing. Runs in the worker process."""
    session, decoded = open_session(model), decode and resolve(decode)
    right: dict[str, list[bool]] = {name: [] for name in others}
    for pictures, labels in samples.batches(BATCH):
        for name, preprocessing in others.items():
            fed, pixel_range = preprocessing.apply(pictures), preprocessing.uniform_range
            outputs = session.predict(fed, pixel_range=pixel_range)
            scores = decoded(outputs, network) if decoded else outputs[0]
            is_number = ~np.isnan(scores).any(axis=-1)  # a root of what was never negative
            rows = metric(METRIC).sample_statistics(np.nan_to_num(scores), labels)
            right[name] += ((rows[:, 0] > 0) & is_number).tolist()
    return right


def significantly_better(declared: np.ndarray, other: np.ndarray) -> bool:
    """Whether `other`, bool (n,), has more right answers than `declared` on the same samples.

    McNemar's exact test (Psychometrika 12, 1947) of the samples on which they differ, and a gain
    that is worth a word.
    """
    from scipy import stats

    gained, lost = np.count_nonzero(other & ~declared), np.count_nonzero(declared & ~other)
    if gained - lost < LEAST_GAIN * len(declared):
        return False
    test = stats.binomtest(int(gained), int(gained + lost), alternative="greater")
    return bool(test.pvalue < LEVEL)


def _findings(declared: np.ndarray, others: dict[str, np.ndarray], plan: CasePlan) -> list[dict]:
    from int8gate.calibration_data.audit import (
        Finding,
    )  # with SciPy's statistics, a second to import

    better = {
        name: right for name, right in others.items() if significantly_better(declared, right)
    }
    if not better:
        return []
    best = max(better, key=lambda name: np.count_nonzero(better[name]))
    right = better[best]
    gained, lost = np.count_nonzero(right & ~declared), np.count_nonzero(declared & ~right)
    model = "float" if plan.has_float else "the model's"
    evidence = (
        f"{model} {METRIC} on {len(declared)} evaluation pictures is {declared.mean():.2f} as "
        f"declared and {right.mean():.2f} with {best} ({gained} gained, {lost} lost)"
    )
    return [Finding(KIND, "error", evidence, _cure(best, plan.own)).as_dict()]


def _cure(name: str, own) -> str:
    if name in RANGES:
        return change_of_keys(own, RANGES[name][1])
    colours = own.fit.get("colours", "rgb")
    other = "rgb" if colours == "bgr" else "bgr"
    return (
        f'{change_of_keys(own, {"colours": other})} (it is "{colours}"), or write the pictures in '
        "the order that their format has"
    )


def change_of_keys(own: OwnModel, written: dict) -> str:
    """Which lines of the model's table to write, and which of those that it has to delete.

    The keys of a range of values exclude each other: those that are not written have to go.
    """
    lines = " and ".join(f"`{key} = {json.dumps(value)}`" for key, value in written.items())
    is_range = any(key in RANGE_KEYS for key in written)
    stale = [key for key in RANGE_KEYS if is_range and key in own.keys and key not in written]
    deleted = f", delete the line of {' and that of '.join(f'`{key}`' for key in stale)}"
    replaced = [key for key in written if key in own.keys]
    how = f" (in place of the present {' and '.join(replaced)})" if replaced else ""
    return f"in {own.where} write {lines}{how}{deleted if stale else ''}"


def _same(one: Preprocessing, other: Preprocessing) -> bool:
    """Within half a grey level."""
    pairs = np.broadcast_arrays(np.array(one.channel_ranges), np.array(other.channel_ranges))
    grey = np.ptp(pairs[1], axis=-1, keepdims=True) / 255
    return bool(np.all(np.abs(pairs[0] - pairs[1]) < grey / 2))
