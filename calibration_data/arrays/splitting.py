"""Which samples calibrate and which are scored: by source, the same on every machine."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.reading import Rows
from int8gate.calibration_data.folders.splits import calibration_share
from int8gate.calibration_data.pictures import shown


def sources_of(rows: Rows) -> np.ndarray:
    """(n,) text: the declared source of each sample, else a digest of its values."""
    return _sources(rows, tuple(file.stat().st_mtime_ns for file in rows.files))


@lru_cache(maxsize=4)  # each split and each recipe asks
def _sources(rows: Rows, changed_ns: tuple[int, ...]) -> np.ndarray:
    if rows.sources is not None:
        return np.array([str(each) for each in rows.sources.reshape(len(rows), -1)])
    return np.array([_digest(rows.row(number)) for number in range(len(rows))])


def own_rows(rows: Rows, labels: np.ndarray | None, split: str) -> np.ndarray:
    """The numbers of a split's samples, sorted; whole sources, stratified by label where each
    source has one.
    """
    members: dict[str, list[int]] = {}
    for number, source in enumerate(sources_of(rows)):
        members.setdefault(source, []).append(number)
    has_strata = labels is not None and all(
        len(set(labels[numbers].tolist())) == 1 for numbers in members.values()
    )
    strata: dict[object, list[str]] = {}
    for source in sorted(members, key=_shuffled):
        stratum = int(labels[members[source][0]]) if has_strata else None
        strata.setdefault(stratum, []).append(source)
    share = calibration_share(len(rows))
    chosen: list[int] = []
    for stratum, sources in strata.items():
        draw = int(_shuffled(f"{stratum} {sources[0]}")[:8], 16) / 16**8
        for_calibration = int(share * len(sources) + draw)
        if len(strata) == 1 and len(sources) > 1:
            for_calibration = min(max(for_calibration, 1), len(sources) - 1)
        part = {"calibration": sources[:for_calibration], "evaluation": sources[for_calibration:]}
        chosen += [number for source in part[split] for number in members[source]]
    return np.sort(np.array(chosen, np.int64))


def refuse_shared(calibration: Rows, evaluation: Rows, place: Path) -> None:
    """Raises ValueError on a source, or a sample, that both splits hold."""
    shared = set(sources_of(calibration).tolist()) & set(sources_of(evaluation).tolist())
    if shared:
        what = f"source {min(shared)}" if calibration.sources is not None else "equal samples"
        raise ValueError(
            f"data {shown(place)}: calibration and evaluation both hold {what}: what is scored may "
            "not be seen in calibration, remove it from one of them"
        )


def _shuffled(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(row: dict[str, np.ndarray]) -> str:
    content = hashlib.sha256()
    for name in sorted(row):
        content.update(f"{name} {row[name].dtype} {row[name].shape}".encode())
        content.update(np.ascontiguousarray(row[name]))
    return content.hexdigest()
