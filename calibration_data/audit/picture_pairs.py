"""Pairs of pictures that show the same: likely ones by their low frequencies, sure ones aligned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from int8gate.calibration_data.audit.alignment import (
    SYMMETRIES,
    Alignment,
    Symmetry,
    align,
    spectra,
    windowed,
)

NEAREST = 2  # pictures of the other set that are looked at for each one
LEAST_LIKENESS = 0.3  # of spectra: less likely pairs are not aligned
# The same picture: what it takes, on thumbnails. Measured by benchmarks/audit.py: scenes that
# share a background disagree by 0.7 of the variance in some block, copies by less than 0.5.
LEAST_CORRELATION, LEAST_DETAIL, MOST_IN_A_BLOCK, LEAST_OVERLAP = 0.95, 0.6, 0.5, 0.6
# Where little has texture, one outline that pictures share (an eyepiece's rim) makes up the rest.
TEXTURED, LEAST_IF_BARE = 0.8, 0.9  # share of the picture; detail asked for with less
# Pictures of one simple thing (digits) are all alike: a copy must agree so much better than
# pictures that are no copies do.
BETTER_THAN_OTHERS = 0.15  # of the square of how little ordinary pairs agree
OTHERS = 64  # pairs that tell how much pictures of the set agree anyway
SURELY = (0.998, 0.98, 0.1)  # correlation, detail, worst block: a copy however alike the set is
LEAST_DETAIL_LEVELS = 1.0  # grey levels of detail: without it only equal pixels prove a copy
UPRIGHT_SHIFT, UPRIGHT_SCALE = 0.02, 0.02  # halves of the side: less is no crop
SAME_GAIN, SAME_LEVEL = 0.08, 5.0  # relative; grey levels: less is no change of light


@dataclass(frozen=True)
class Match:
    """Pictures `first` and `second` (their numbers) show the same; `how` they differ, in words."""

    first: int
    second: int
    how: str
    correlation: float

    @property
    def is_augmented(self) -> bool:
        """They differ by more than encoding, size or noise do."""
        return self.how != ""


def within(small: np.ndarray) -> list[Match]:
    """Pairs of one set's thumbnails, float32 (n, 48, 48); each pair once, first < second."""
    found = {}
    for match in _search(small, small, is_one_set=True):
        pair = tuple(sorted((match.first, match.second)))
        if pair not in found or (found[pair].is_augmented and not match.is_augmented):
            found[pair] = Match(*pair, match.how, match.correlation)
    return [found[pair] for pair in sorted(found)]


def between(small: np.ndarray, other: np.ndarray) -> list[Match]:
    """Pairs of thumbnails of two sets, in the order of the first's."""
    return _search(small, other, is_one_set=False)


def _search(small: np.ndarray, other: np.ndarray, is_one_set: bool) -> list[Match]:
    if len(small) < 2 or len(other) < 2:
        return []
    likeness, variants = _likeness(small, other)
    if is_one_set:
        np.fill_diagonal(likeness[0], -2)
    ordinary = _ordinary(small, other, *likeness, variants)
    nearest = min(NEAREST, len(other) - 1)
    seconds = np.argpartition(-likeness[0], nearest - 1, axis=1)[:, :nearest].ravel()
    firsts = np.repeat(np.arange(len(small)), nearest)
    likely = likeness[0][firsts, seconds] >= LEAST_LIKENESS
    firsts, seconds = firsts[likely], seconds[likely]
    which = likeness[1][firsts, seconds]
    aligned = _aligned(small, other, firsts, seconds, which, variants)
    is_same = _agree(aligned, ordinary)
    is_same &= (_detail_levels(small)[firsts] >= LEAST_DETAIL_LEVELS) & (
        _detail_levels(other)[seconds] >= LEAST_DETAIL_LEVELS
    )
    levels = small.mean((1, 2))
    return [
        Match(
            int(firsts[row]),
            int(seconds[row]),
            _difference(aligned, row, variants[which[row]][1], levels[firsts[row]]),
            float(aligned.correlation[row]),
        )
        for row in np.flatnonzero(is_same)
    ]


def _likeness(small: np.ndarray, other: np.ndarray):
    """Of all pairs (n, m): the best likeness -1..1 and the number of its (window, symmetry)."""
    against = spectra(other).reshape(len(other), -1).T
    best = np.full((len(small), len(other)), -2, np.float32)
    which = np.zeros(best.shape, np.int16)
    variants = []
    for window, part in windowed(small):
        seen = spectra(part)
        for symmetry in SYMMETRIES:
            likeness = symmetry.lay_spectra(seen).reshape(len(seen), -1) @ against
            better = likeness > best
            np.copyto(best, likeness, where=better)
            np.copyto(which, np.int16(len(variants)), where=better)
            variants.append((symmetry.lay_window(window), symmetry))
    return (best, which), variants


def _aligned(small, other, firsts, seconds, which, variants) -> Alignment:
    moving = np.empty((len(firsts), *small.shape[1:]), np.float32)
    for row, (first, variant) in enumerate(zip(firsts, which, strict=True)):
        moving[row] = variants[variant][1].lay(small[first])
    windows = np.array([variants[variant][0] for variant in which]).reshape(-1, 3)
    return align(other[seconds], moving, windows)


def _ordinary(small, other, likeness, which, variants) -> float:
    """How much pictures that are no copies agree: a high correlation among ordinary pairs.

    Ordinary is a picture that is the other's median neighbour: no set holds so many copies of one.
    """
    firsts = np.unique(np.linspace(0, len(small) - 1, OTHERS).astype(int))
    middle = likeness.shape[1] // 2
    seconds = np.argpartition(likeness[firsts], middle, axis=1)[:, middle]
    aligned = _aligned(small, other, firsts, seconds, which[firsts, seconds], variants)
    return float(np.quantile(aligned.correlation, 0.9))


def _agree(aligned: Alignment, ordinary: float) -> np.ndarray:
    missing = 1 - aligned.correlation
    close = (
        (missing <= min(1 - LEAST_CORRELATION, BETTER_THAN_OTHERS * (1 - ordinary) ** 2))
        & (aligned.detail >= np.where(aligned.textured >= TEXTURED, LEAST_DETAIL, LEAST_IF_BARE))
        & (aligned.worst <= MOST_IN_A_BLOCK)
    )
    correlation, detail, worst = SURELY
    surely = (
        (aligned.correlation >= correlation) & (aligned.detail >= detail) & (aligned.worst <= worst)
    )
    return (close | surely) & (aligned.overlap >= LEAST_OVERLAP) & (aligned.gain > 0)


def _detail_levels(small: np.ndarray) -> np.ndarray:
    """Standard deviation of each thumbnail's detail, grey levels (n,)."""
    return (small - ndimage.gaussian_filter(small, (0, 3, 3))).std((1, 2))


def _difference(aligned: Alignment, row: int, symmetry: Symmetry, level: float) -> str:
    said = [] if symmetry.name == "upright" else [symmetry.name]
    shift = max(abs(aligned.y[row]), abs(aligned.x[row]))
    scale = max(abs(aligned.high[row] - 1), abs(aligned.wide[row] - 1))
    if shift > UPRIGHT_SHIFT or scale > UPRIGHT_SCALE:
        said.append("cropped or shifted")
    gain = aligned.gain[row]
    lift = (gain - 1) * level + aligned.offset[row]
    if abs(gain - 1) > SAME_GAIN or abs(lift) > SAME_LEVEL:
        said.append("of other brightness or contrast")
    return ", ".join(said)
