"""Samples that are copies of one another, and samples that are scored as well."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

import numpy as np

from int8gate.calibration_data.audit import picture_pairs as pairs
from int8gate.calibration_data.audit.findings import AuditSet, Finding, listed, spread

MANY = 0.05  # of the samples: so many to spare are a warning, fewer advice
LEAST_SHARE, FEWEST = 0.02, 3  # fewer pairs than this are as like as pictures of one thing may be
LEAST_SHARED, FEWEST_SHARED = 0.01, 2  # the same for pairs across the two sets
MOST_SCORED = 2000  # evaluation samples that are compared
SMALLEST_SIDE = 16  # pixels: below, different samples look alike


def within(calibration: AuditSet) -> Iterator[Finding]:
    """Equal pictures, then nearly equal ones, then augmented ones, each sample counted once."""
    pictures = calibration.seen
    if pictures is None or len(pictures) < 2:
        return
    copies = _copies(_digests(pictures))
    yield from _equal(calibration, copies)
    if min(pictures.shape[1:3]) < SMALLEST_SIDE:
        return
    kept = np.setdiff1d(np.arange(len(pictures)), copies[:, 1])
    matches = [
        pairs.Match(int(kept[m.first]), int(kept[m.second]), m.how, m.correlation)
        for m in pairs.within(calibration.thumbnails[kept])
    ]
    for kind, is_augmented in (("near_duplicates", False), ("augmented_samples", True)):
        yield from _alike(calibration, kind, [m for m in matches if m.is_augmented == is_augmented])


def overlap(calibration: AuditSet, evaluation: AuditSet | None) -> Iterator[Finding]:
    """Calibration samples that stand in the evaluation set too, equal or nearly so."""
    if evaluation is None or calibration.seen is None or evaluation.seen is None:
        return
    scored = {digest: row for row, digest in enumerate(_digests(evaluation.seen))}
    own = _digests(calibration.seen)
    equal = [row for row, digest in enumerate(own) if digest in scored]
    if equal:
        names = calibration.named(equal)
        twin = evaluation.named([scored[own[equal[0]]]])[0]
        yield Finding(
            "evaluation_overlap",
            "error",
            f"{len(equal)} of {len(own)} calibration samples stand in the evaluation set too: "
            f"{listed(names, len(equal))} ({names[0]} is {twin} there)",
            "take them out of one of the sets: what is scored may not be seen in calibration",
            names,
        )
    sides = (*calibration.seen.shape[1:3], *evaluation.seen.shape[1:3])
    if min(sides) < SMALLEST_SIDE:
        return
    rest = np.setdiff1d(np.arange(len(own)), equal)
    chosen = spread(len(evaluation), MOST_SCORED)
    matches = pairs.between(calibration.thumbnails[rest], evaluation.thumbnails[chosen])
    twins = {int(rest[m.first]): m for m in reversed(matches)}
    if len(twins) < max(FEWEST_SHARED, LEAST_SHARED * len(own)):
        return
    rows = sorted(twins)
    names, match = calibration.named(rows), twins[rows[0]]
    twin = evaluation.named([chosen[match.second]])[0]
    yield Finding(
        "evaluation_near_overlap",
        "warning",
        f"{len(rows)} of {len(own)} calibration samples show what an evaluation sample shows: "
        f"{listed(names, len(rows))} ({names[0]} is {twin} there, "
        f"{match.how or 're-encoded or resized'}, correlation {match.correlation:.3f})",
        "keep pictures of one scene, and copies of one picture, on one side of the split",
        names,
    )


def _digests(pictures: np.ndarray) -> list[bytes]:
    return [
        hashlib.blake2b(np.ascontiguousarray(picture), digest_size=16).digest()
        for picture in pictures
    ]


def _copies(digests: list[bytes]) -> np.ndarray:
    """Rows (first, copy) of equal pictures, int (k, 2)."""
    firsts: dict[bytes, int] = {}
    rows = [(firsts.setdefault(digest, row), row) for row, digest in enumerate(digests)]
    return np.array([pair for pair in rows if pair[0] != pair[1]], int).reshape(-1, 2)


def _equal(calibration: AuditSet, copies: np.ndarray) -> Iterator[Finding]:
    if not len(copies):
        return
    names = calibration.named(copies[:, 1])
    first = calibration.named(copies[:1, 0])[0]
    yield Finding(
        "exact_duplicates",
        "warning" if len(copies) > MANY * len(calibration) else "advice",
        f"{len(copies)} of {len(calibration)} pictures repeat another one pixel by pixel: "
        f"{listed(names, len(copies))} ({names[0]} repeats {first})",
        "remove the copies: they add nothing to the ranges and make the set look larger",
        names,
    )


def _alike(calibration: AuditSet, kind: str, matches: list[pairs.Match]) -> Iterator[Finding]:
    spare = _spare(matches, len(calibration))
    if len(spare) < max(FEWEST, LEAST_SHARE * len(calibration)):
        return
    names = calibration.named(sorted(spare))
    match = next(m for m in matches if min(spare) in (m.first, m.second))
    example = " and ".join(calibration.named([match.second, match.first]))
    if kind == "near_duplicates":
        said = "are nearly equal to another one (re-encoded, resized or with a little noise)"
        cure = "remove all but one of each: they add nothing to the ranges"
    else:
        how = Counter(part for m in matches for part in m.how.split(", ")).most_common(2)
        said = "are another one augmented (mostly " + ", ".join(name for name, _ in how) + ")"
        cure = (
            "calibrate on distinct samples, preprocessed as inference does, not on augmented "
            "training batches"
        )
    yield Finding(
        kind,
        "warning" if len(spare) > MANY * len(calibration) else "advice",
        f"{len(spare)} of {len(calibration)} pictures {said}: {listed(names, len(spare))} "
        f"({example}: correlation {match.correlation:.3f})",
        cure,
        names,
    )


def _spare(matches: list[pairs.Match], count: int) -> set[int]:
    """The samples left over when of each group of matching ones the first is kept."""
    root = list(range(count))

    def find(row: int) -> int:
        while root[row] != row:
            row = root[row]
        return row

    for match in matches:
        one, other = sorted((find(match.first), find(match.second)))
        root[other] = one
    return {row for row in range(count) if find(row) != row}
