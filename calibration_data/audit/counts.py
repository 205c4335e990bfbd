"""Too few samples; classes missing, unbalanced, or one alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special

from int8gate.calibration_data.audit.findings import AuditSet, Finding

ADVISED = 500
BY_CHANCE = 1e-4  # what is likelier than this in a random sample is no fault of a set
UNBALANCED = 0.25  # share of the samples that would have to be of another class
NAMED_CLASSES = 8


def too_few(calibration: AuditSet, minimum: int) -> Iterator[Finding]:
    count = len(calibration)
    if count < minimum:
        yield Finding(
            "too_few_samples",
            "error",
            f"the calibration set has {count} samples; static INT8 needs at least {minimum}",
            f"add {minimum - count} samples or more ({ADVISED} are advised), or pass "
            f"--min-calibration-samples {count}",
        )
    elif count < ADVISED:
        yield Finding(
            "few_samples",
            "advice",
            f"the calibration set has {count} samples; ranges settle at about {ADVISED}",
            f"add samples up to {ADVISED}",
        )


def classes(
    calibration: AuditSet, evaluation: AuditSet | None, count: int | None
) -> Iterator[Finding]:
    """Classes against those of the evaluation set, or against equal shares when it has no labels.

    `count` is how many classes the network has, None when it is not known.
    """
    if calibration.labels is None or not len(calibration.labels):
        return
    labels = np.asarray(calibration.labels)
    scored = None if evaluation is None else evaluation.labels
    known = max(
        count or 0, int(labels.max()) + 1, int(np.max(scored)) + 1 if scored is not None else 0
    )
    counts = np.bincount(labels, minlength=known)
    shares = _expected(scored, known)
    expects_several = np.count_nonzero(shares) > 1 or (count or 0) > 1
    if np.count_nonzero(counts) == 1 and expects_several and len(labels) > 1:
        only = int(labels[0])
        yield Finding(
            "one_class",
            "error",
            f"all {len(labels)} samples are of class {only}, of {known}",
            "take samples of every class: ranges of one are not those of the others",
            calibration.named(range(len(labels))),
        )
        return
    yield from _missing(counts, shares)
    yield from _unbalanced(counts, shares, calibration)


def _expected(scored: np.ndarray | None, known: int) -> np.ndarray:
    """Each class's expected share (known,)."""
    if scored is None or not len(scored):
        return np.full(known, 1 / known)
    return np.bincount(np.asarray(scored), minlength=known) / len(scored)


def _missing(counts: np.ndarray, shares: np.ndarray) -> Iterator[Finding]:
    missing = np.flatnonzero((counts == 0) & (shares > 0))
    if not len(missing):
        return
    from scipy import stats  # a second of imports, where a class is missing

    chances = (1 - shares) ** counts.sum()
    # so many are missing in a random sample, nearly always
    usual = stats.poisson.isf(BY_CHANCE, max(chances[shares > 0].sum(), 1e-12))
    if len(missing) <= usual:
        return
    first = ", ".join(map(str, missing[:NAMED_CLASSES]))
    yield Finding(
        "missing_classes",
        "warning",
        f"{len(missing)} of {np.count_nonzero(shares)} classes have no sample (class {first}"
        f"{', ...' * (len(missing) > NAMED_CLASSES)}); a random sample of {counts.sum()} would "
        f"miss {usual:.0f} at most",
        "add samples of the missing classes, or draw the calibration set at random",
    )


def _unbalanced(counts: np.ndarray, shares: np.ndarray, calibration) -> Iterator[Finding]:
    present = shares > 0
    total = counts[present].sum()
    if not total:
        return
    expected = shares[present] / shares[present].sum() * total
    off = np.abs(counts[present] - expected).sum() / 2 / total
    chi_square = (np.square(counts[present] - expected) / expected).sum()
    # With few samples a class the statistic is not chi-square: its variance grows by 1 / expected.
    freedom = np.count_nonzero(present) - 1
    spread = np.sqrt(2 * freedom + (1 / expected).sum())
    deviations = -special.ndtri(BY_CHANCE)  # of a normal distribution, beyond which so few lie
    beyond = freedom + deviations * spread + deviations**2
    usual = 0.8 * np.sqrt(expected).sum() / 2 / total  # the mean of |counts - expected|
    if chi_square <= beyond or off < UNBALANCED + usual:
        return
    largest = int(np.argmax(np.where(present, counts - shares * total, -np.inf)))
    rows = np.flatnonzero(np.asarray(calibration.labels) == largest)
    yield Finding(
        "unbalanced_classes",
        "warning",
        f"{off:.0%} of the samples would have to be of another class for expected shares: class "
        f"{largest} has {counts[largest]} samples, expected {shares[largest] * total:.0f}",
        "draw the same number of samples from every class, or draw as the evaluation set was drawn",
        calibration.named(rows),
    )
