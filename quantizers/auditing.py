"""The audit of the calibration pictures that a model gets, against those that it is scored on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from int8gate.calibration_data.folders import FolderSamples
from int8gate.calibration_data.preprocessing import Preprocessing

if TYPE_CHECKING:
    from int8gate.calibration_data.audit import AuditSet

MOST_CALIBRATION, MOST_EVALUATION = 500, 1000  # pictures: what is looked at is held in memory
INPUTS = 300  # samples whose network inputs are compared


def findings(
    calibration: FolderSamples,
    evaluation: FolderSamples,
    preprocessing: Preprocessing,
    classes: int | None,
    minimum: int,
    directory: Path | None = None,
) -> list[dict]:
    """What is wrong with the calibration set, worst first, as the record has it.

    Class numbers are compared for classification. Of a large set the first pictures of a fixed
    shuffle are looked at. Writes nothing to the `directory` that a stage is called with.
    """
    from int8gate.calibration_data.audit import audit  # with SciPy's statistics, a second to import

    sets = [
        _opened(samples, most, preprocessing)
        for samples, most in ((calibration, MOST_CALIBRATION), (evaluation, MOST_EVALUATION))
    ]
    found = audit(*sets, classes, preprocessing.range, min(minimum, MOST_CALIBRATION))
    return [finding.as_dict() for finding in found if _is_new(finding, len(calibration))]


def _is_new(finding, samples: int) -> bool:
    """A set that was cut for the audit is not small."""
    return finding.kind != "few_samples" or samples <= MOST_CALIBRATION


def _opened(samples: FolderSamples, most: int, preprocessing: Preprocessing) -> AuditSet:
    from int8gate.calibration_data.audit import AuditSet

    chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:most])
    drawn = [samples.sample(int(number)) for number in chosen]
    pictures = np.stack([picture for picture, _ in drawn])
    first = np.asarray(drawn[0][1])
    are_classes = samples.has_labels and first.ndim == 0 and first.dtype.kind == "i"
    return AuditSet(
        pictures,
        preprocessing.apply(pictures[:INPUTS]),
        np.array([label for _, label in drawn]) if are_classes else None,
        [samples.samples[number][0].name for number in chosen],
    )
