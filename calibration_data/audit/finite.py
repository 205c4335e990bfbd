"""Samples that no converter may see: NaN, infinity, and pictures that show nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from int8gate.calibration_data.audit.findings import AuditSet, Finding, listed

FLATTEST = 2  # grey levels between a picture's darkest and lightest value: less shows nothing
FLATTEST_SHARE = FLATTEST / 255  # the same, of the values of all inputs
MANY = 0.1  # of the samples: so many constant pictures are an error


def not_finite(calibration: AuditSet) -> Iterator[Finding]:
    inputs = calibration.inputs
    if inputs is None or inputs.dtype.kind != "f":
        return
    # A sum is finite unless a value is not, or it overflows: only then is every value looked at.
    rows = [
        row
        for row, sample in enumerate(inputs)
        if not np.isfinite(np.sum(sample, dtype=np.float64)) and not np.isfinite(sample).all()
    ]
    if rows:
        first = inputs[rows[0]]
        bad = first[~np.isfinite(first)]
        names = calibration.named(rows)
        yield Finding(
            "not_finite",
            "error",
            f"{len(rows)} of {len(inputs)} samples hold NaN or infinity: {listed(names, len(rows))}"
            f" ({bad.size} values of {names[0]}, the first is {bad[0]})",
            "remove these samples or mend their preprocessing (a division by a standard deviation "
            "of 0, a logarithm of 0): converters crash on them",
            names,
        )


def constant(calibration: AuditSet) -> Iterator[Finding]:
    rows = _constant_rows(calibration)
    if not len(rows):
        return
    names = calibration.named(rows)
    many = len(rows) > MANY * len(calibration)
    yield Finding(
        "constant_pictures",
        "error" if many else "warning",
        f"{len(rows)} of {len(calibration)} pictures are of one value everywhere: "
        f"{listed(names, len(rows))}",
        "remove them, and look for pictures that were not decoded or cropped to a border",
        names,
    )


def _constant_rows(calibration: AuditSet) -> np.ndarray:
    if calibration.pictures is not None:
        return np.array(
            [row for row, picture in enumerate(calibration.pictures) if _spans(picture) < FLATTEST],
            int,
        )
    inputs = calibration.inputs.reshape(len(calibration.inputs), -1)
    low, high = (end(inputs, axis=1).astype(np.float64) for end in (np.min, np.max))
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.any():
        return np.zeros(0, int)
    spans = high[finite].max() - low[finite].min()
    within = np.where(finite, high - low, np.inf)
    return np.flatnonzero(within <= FLATTEST_SHARE * spans) if spans else np.flatnonzero(finite)


def _spans(picture: np.ndarray) -> int:
    """The largest difference within a channel."""
    corner = picture[::8, ::8]
    if (np.ptp(corner, axis=(0, 1)) >= FLATTEST).any():
        return FLATTEST
    return int(np.ptp(picture, axis=(0, 1)).max())
