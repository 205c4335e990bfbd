"""Small sets of real pictures for the tests of the audit."""

from __future__ import annotations

from functools import cache

import numpy as np

from int8gate import calibration_data
from int8gate.calibration_data.audit import AuditSet, audit


@cache
def scenes(split: str = "calibration", count: int = 120, size: int = 64) -> np.ndarray:
    """uint8 (count, size, size, 3), not to be written to."""
    drawn = calibration_data.load("detection", split, (size, size), 3)
    pictures = np.stack([drawn.image(index) for index in range(count)])
    pictures.setflags(write=False)
    return pictures


def pictures(count: int = 120) -> np.ndarray:
    """A copy to spoil."""
    return scenes(count=count).copy()


def unit(found: np.ndarray) -> np.ndarray:
    return found.astype(np.float32) / 255


def kinds(calibration, evaluation=None, **options) -> dict:
    """The findings by kind; `minimum` is 1 unless given."""
    given = calibration if isinstance(calibration, AuditSet) else AuditSet(calibration)
    scored = AuditSet(evaluation) if isinstance(evaluation, np.ndarray) else evaluation
    found = audit(given, scored, **{"minimum": 1, **options})
    assert len({finding.kind for finding in found}) == len(found), "one kind twice"
    return {finding.kind: finding for finding in found}


def faults(*arguments, **options) -> set[str]:
    """Kinds found, but for the advice to take 500 samples."""
    return set(kinds(*arguments, **options)) - {"few_samples"}
