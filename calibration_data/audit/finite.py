"""Samples that no converter may see: NaN, infinity, pictures of one value, and random numbers.

White noise has no structure at any scale: averages over blocks of b x b pixels vary 1 / b**2 as
much as pixels do. Of real pictures, textures and noisy ones included, they vary several times more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from int8gate.calibration_data.audit.findings import AuditSet, Finding, listed

FLATTEST = 2  # grey levels between a picture's darkest and lightest value: less shows nothing
FLATTEST_SHARE = FLATTEST / 255  # the same, of the values of all inputs
MANY_CONSTANT = 0.1  # of the samples: so many constant pictures are an error

# Random numbers.
BLOCKS = (4, 8)
PATCH = 128  # pixels a side, from the middle: enough to tell
SMALLEST_SIDE = 16
LEAST_BLOCKS = 16  # of a picture: of fewer the variance says nothing
STRUCTURE = 3.2  # variance of averages, relative to white noise's; noise resized a little has 2.7
MANY, FEWEST = 0.05, 3  # of the samples, and samples: fewer may be odd pictures
MOST = 0.5  # share: the set is noise


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
    many = len(rows) > MANY_CONSTANT * len(calibration)
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
    inputs = calibration.given.reshape(len(calibration), -1)
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


def noise(calibration: AuditSet) -> Iterator[Finding]:
    pictures = calibration.seen
    if pictures is None or min(pictures.shape[1:3]) < SMALLEST_SIDE:
        return
    found = np.array([structure(picture) for picture in pictures])
    rows = np.flatnonzero(found < STRUCTURE)
    if len(rows) < max(min(FEWEST, len(pictures)), MANY * len(pictures)):
        return
    names = calibration.named(rows)
    yield Finding(
        "random_noise",
        "error",
        f"{len(rows)} of {len(pictures)} pictures are random noise ({listed(names, len(rows))}): "
        f"averages over blocks vary {np.median(found[rows]):.1f} times as much as those of white "
        f"noise, those of real pictures at least {STRUCTURE:g} times",
        "calibrate on real samples: activations of noise are not those of pictures, and the ranges "
        "come out wrong",
        names,
    )


def structure(picture: np.ndarray) -> float:
    """Variance of block averages of a picture (h, w, c), times the block's area, over that of
    pixels: about 1 for white noise, infinite for a constant picture."""
    height, width = picture.shape[:2]
    top, left = max(0, (height - PATCH) // 2), max(0, (width - PATCH) // 2)
    patch = picture[top : top + PATCH, left : left + PATCH].astype(np.float32)
    patch -= patch.mean((0, 1))
    largest = 0.0
    for block in BLOCKS:
        rows, columns = patch.shape[0] // block, patch.shape[1] // block
        if rows * columns < LEAST_BLOCKS:
            continue
        cut = patch[: rows * block, : columns * block]
        whole = float(np.square(cut).mean())
        if whole < 1e-3:
            return np.inf
        means = cut.reshape(rows, block, columns, block, -1).mean((1, 3))
        largest = max(largest, float(np.square(means).mean()) * block**2 / whole)
    return largest
