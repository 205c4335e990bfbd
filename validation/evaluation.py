"""Scores an artifact on the evaluation set: per-sample statistics, kept in the cache.

Runs in the worker process: the first execution of a model file is where a broken one crashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from calibration_data.preprocessing import Preprocessing
from calibration_data.sample_set import SampleSet
from runtimes.litert import LiteRTSession
from runtimes.saved_model import SavedModelSession
from validation.metrics import Fidelity, metric
from validation.statistics import DistinctOutputs

BATCH = 50
FIDELITY_SAMPLES = 200  # the first of the set, which go round the sources and so the classes
STATISTICS = "statistics.npz"
DRAWN_AT_ONCE = 4000  # samples kept drawn in memory between evaluations of one data set


@dataclass(frozen=True)
class Evaluation:
    """Per-sample statistics (n, k), sources (n,), chance level, and what the outputs look like.

    `sqnr_db` and `cosine` compare with the float artifact, for that itself with the SavedModel that
    it was converted from; None where the outputs are not comparable. `raw_pixels` are the
    statistics (m, k) when raw bytes are fed to the first m samples, None where the input is not
    uint8. `seconds` and `peak_rss_bytes` are what it took when it was measured.
    """

    statistics: np.ndarray
    sources: np.ndarray
    chance: float
    distinct_outputs: int
    sqnr_db: float | None
    cosine: float | None
    raw_pixels: np.ndarray | None
    seconds: float
    peak_rss_bytes: int | None


def evaluate(
    model: Path,
    reference: Path,
    samples: SampleSet,
    count: int,
    preprocessing: Preprocessing,
    metric_name: str,
    directory: Path,
) -> dict:
    """Scores the first `count` samples; writes `directory`/statistics.npz, returns the scalars.

    `reference` is a float `.tflite` file, or a SavedModel directory.
    """
    session = LiteRTSession(model)
    compared = SavedModelSession if reference.is_dir() else LiteRTSession
    reference_session = compared(reference)
    takes_bytes = session.inputs[0].dtype == "uint8"
    score = metric(metric_name)
    rows, raw_rows, labels_seen = [], [], []
    fidelity, distinct = Fidelity(), DistinctOutputs()
    done = 0
    for images, labels in _batches(samples, count):
        real = preprocessing.apply(images)
        outputs = session.predict(real)
        rows.append(score.sample_statistics(outputs[0], labels))
        distinct.add(outputs[0])
        labels_seen.append(labels)
        if done < FIDELITY_SAMPLES:
            for expected, found in zip(reference_session.predict(real), outputs, strict=True):
                fidelity.add(expected, found)
            if takes_bytes:
                raw = session.dequantize(session.run_each(images))
                raw_rows.append(score.sample_statistics(raw[0], labels))
        done += len(images)
    arrays = {"statistics": np.concatenate(rows), "sources": samples.sources[:done]}
    if raw_rows:
        arrays["raw_pixels"] = np.concatenate(raw_rows)
    np.savez_compressed(directory / STATISTICS, **arrays)
    return {
        "chance": float(score.chance(np.concatenate(labels_seen))),
        "distinct_outputs": distinct.count,
        "sqnr_db": fidelity.sqnr_db(),
        "cosine": fidelity.cosine(),
    }


def read_evaluation(directory: Path, scalars: dict) -> Evaluation:
    """What `evaluate` wrote, and the scalars that it returned."""
    with np.load(directory / STATISTICS, allow_pickle=False) as arrays:
        return Evaluation(
            statistics=arrays["statistics"],
            sources=arrays["sources"],
            raw_pixels=arrays.get("raw_pixels"),
            **scalars,
        )


def _batches(samples: SampleSet, count: int):
    """Batches in order; a set of ordinary size is drawn once for all the model's recipes."""
    if len(samples) > DRAWN_AT_ONCE or samples.sample(0)[0].size > 50_000:
        yield from samples.batches(BATCH, np.arange(min(count, len(samples))))
        return
    images, labels = _drawn(samples)
    for start in range(0, min(count, len(images)), BATCH):
        chosen = slice(start, min(start + BATCH, count))
        yield images[chosen], labels[chosen]


@lru_cache(maxsize=1)
def _drawn(samples: SampleSet) -> tuple[np.ndarray, np.ndarray]:
    return next(samples.batches(len(samples)))
