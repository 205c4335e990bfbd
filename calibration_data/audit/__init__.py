"""The audit of a calibration set: what is wrong with it, before it is used.

    findings.py        `AuditSet`, `Finding`
    counts.py          too few samples; classes missing, unbalanced, or one alone
    finite.py          NaN, infinity, constant pictures, random numbers in place of pictures
    duplicates.py      copies of one another, augmented copies, overlap with the evaluation set
    picture_pairs.py   who shows the same, by alignment.py
    network_inputs.py  scale, mean and layout against inference's
    colours.py         BGR for RGB, negatives
    domain.py          pictures of another kind than those that are scored

`audit` is the one door. A new detector is a function of an `Audited` and its entry in `DETECTORS`.
How often each raises a false alarm, and what it finds, is measured by benchmarks/audit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from int8gate.calibration_data.audit import (
    colours,
    counts,
    domain,
    duplicates,
    finite,
    network_inputs,
)
from int8gate.calibration_data.audit.findings import SEVERITIES, AuditSet, Finding
from int8gate.calibration_data.sample_set import MINIMUM_SAMPLES

__all__ = ["DETECTORS", "AuditSet", "Audited", "Finding", "audit"]


@dataclass(frozen=True)
class Audited:
    """What detectors look at."""

    calibration: AuditSet
    evaluation: AuditSet | None
    classes: int | None
    value_range: tuple[float, float] | None
    minimum: int


DETECTORS: dict[str, Callable[[Audited], Iterator[Finding]]] = {
    "samples": lambda a: counts.too_few(a.calibration, a.minimum),
    "classes": lambda a: counts.classes(a.calibration, a.evaluation, a.classes),
    "finite": lambda a: finite.not_finite(a.calibration),
    "constant": lambda a: finite.constant(a.calibration),
    "noise": lambda a: finite.noise(a.calibration),
    "duplicates": lambda a: duplicates.within(a.calibration),
    "overlap": lambda a: duplicates.overlap(a.calibration, a.evaluation),
    "range": lambda a: network_inputs.declared_range(a.calibration, a.value_range),
    "preprocessing": lambda a: network_inputs.against_evaluation(a.calibration, a.evaluation),
    "inverted": lambda a: colours.inverted(a.calibration, a.evaluation),
    "domain": lambda a: domain.mismatch(a.calibration, a.evaluation),
}


def audit(
    calibration: AuditSet,
    evaluation: AuditSet | None = None,
    classes: int | None = None,
    value_range: tuple[float, float] | None = None,
    minimum: int = MINIMUM_SAMPLES,
) -> list[Finding]:
    """What is wrong with a calibration set, worst first; an empty list if nothing is.

    `evaluation`  the set that is scored: overlap, preprocessing and domain are judged against it
    `classes`     how many the network has
    `value_range` what pixels 0 and 255 become by the declared preprocessing
    `minimum`     fewer samples are an error
    """
    if not len(calibration):
        return list(counts.too_few(calibration, max(1, minimum)))
    audited = Audited(calibration, evaluation, classes, value_range, minimum)
    found = [finding for detect in DETECTORS.values() for finding in detect(audited)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
