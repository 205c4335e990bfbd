"""Which pictures calibrate and which are scored, where the folder does not say so itself."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache
from pathlib import Path

from int8gate.calibration_data.folders.examples import Example, Objects
from int8gate.calibration_data.pictures import shown

SPLITS = ("calibration", "evaluation")
CALIBRATION_SHARE = 0.2
CALIBRATION_MOST = 500
CALIBRATION_LEAST = 110  # static INT8 asks for 100, and shares are rounded
FEW = 200  # pictures, of which about half is enough to calibrate


def own_split(examples: list[Example], split: str) -> list[Example]:
    """Stratified by class and grouped by content, the same on every machine.

    A picture that stands in several classes counts in the first of them and takes its copies along,
    one with several objects in the rarest of theirs.
    What a class's share leaves of a whole picture is drawn from its content, so that classes of
    few pictures each still give their share in sum, and no class depends on another.
    """
    copies: dict[str, list[Example]] = {}
    for example in examples:
        copies.setdefault(content_of(example.picture), []).append(example)
    strata: dict[int | None, list[str]] = {}
    stratum_of = _strata(examples)
    for content in sorted(copies):  # the order of sha256: random, but always the same
        strata.setdefault(stratum_of(copies[content][0].label), []).append(content)
    share = calibration_share(len(copies))
    chosen = []
    for contents in strata.values():
        draw = int(hashlib.sha256(contents[0].encode()).hexdigest()[:8], 16) / 16**8
        for_calibration = int(share * len(contents) + draw)
        part = {"calibration": contents[:for_calibration], "evaluation": contents[for_calibration:]}
        chosen += [example for content in part[split] for example in copies[content]]
    return chosen


def calibration_share(pictures: int) -> float:
    """A fifth, but of few pictures what static INT8 needs, and of many what suffices."""
    if pictures < FEW:
        return CALIBRATION_SHARE
    least, most = CALIBRATION_LEAST / pictures, CALIBRATION_MOST / pictures
    return min(max(CALIBRATION_SHARE, least), most)


def refuse_shared(calibration: list[Example], evaluation: list[Example]) -> None:
    """Raises ValueError on a picture, byte for byte, that both splits hold."""
    sides = [{content_of(path): path for path, _ in side} for side in (calibration, evaluation)]
    for content in sorted(sides[0].keys() & sides[1].keys()):
        raise ValueError(
            f"{shown(sides[0][content])} and {shown(sides[1][content])} are one picture: what is "
            "scored may not be seen in calibration, remove one of them"
        )


def content_of(path: Path) -> str:
    """Hex sha256 of a file; raises OSError with one sentence where it cannot be read."""
    try:
        status = path.stat()
        return _digest(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise OSError(
            f"{shown(path)} cannot be read ({error.strerror}): make it readable or remove it"
        ) from error


@cache
def _digest(path: Path, changed_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _strata(examples: list[Example]):
    """A function from a label to its class; None for labels that have none."""
    objects = (label for _, label in examples if isinstance(label, Objects))
    pictures_with = Counter(c for label in objects for c in set(label.classes))

    def stratum(label) -> int | None:
        if isinstance(label, Objects):
            return min(label.classes, key=lambda c: (pictures_with[c], c), default=None)
        return label if isinstance(label, int) else None

    return stratum
