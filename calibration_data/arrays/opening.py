"""Opens a user's arrays for a network: which array each input gets, which samples a split has.

`open_arrays` gives the `SampleSet` of a split. Where the data do not hold the splits themselves,
whole sources are divided between them, the same on every machine (`own_rows`).
"""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from int8gate.calibration_data import sample_set
from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.arrays.reading import Rows, labels_of, rows_of
from int8gate.calibration_data.folders.folder_samples import (
    SPLITS,
    calibration_share,
    content_of,
    problems_of,
    refuse_all,
)
from int8gate.calibration_data.folders.listing import NO_LABEL
from int8gate.calibration_data.pictures import shown
from int8gate.engine import code_identity

WHOLE = "whole"  # all samples, where nothing is calibrated


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
    if labels is not None and any(
        len(set(labels[numbers].tolist())) != 1 for numbers in members.values()
    ):
        labels = None
    strata: dict[object, list[str]] = {}
    for source in sorted(members, key=_shuffled):
        stratum = None if labels is None else int(labels[members[source][0]])
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


class ArraySamples(sample_set.SampleSet):
    """Chosen rows of a user's arrays, each an array for every input of the network.

    `names` are those of the inputs' arrays in the data, `labels` (n, ...) of all rows, None
    without any.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        name: str,
        rows: Rows,
        chosen: np.ndarray,
        inputs: tuple[Input, ...],
        names: tuple[str, ...],
        labels: np.ndarray | None,
    ):
        self.name, self.rows, self.chosen = name, rows, chosen
        self.inputs, self.names, self._labels = inputs, names, labels

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def has_labels(self) -> bool:
        return self._labels is not None

    @cached_property
    def sources(self) -> np.ndarray:
        """Int (n,): samples of one source share it."""
        return np.unique(sources_of(self.rows), return_inverse=True)[1][self.chosen]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The first input's array and the label."""
        arrays, label = self.named(index)
        return arrays[self.inputs[0].name], label

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """An array for every input, of its shape (without a batch) and dtype, and the label."""
        number = int(self.chosen[index])
        row = self.rows.row(number)
        where = f"{self.rows.place.name}: sample {number}"
        arrays = {
            given.name: given.taken(row[name], f"{where}, array {name},")
            for given, name in zip(self.inputs, self.names, strict=True)
        }
        label = NO_LABEL if self._labels is None else self._labels[number]
        return arrays, np.asarray(label)

    def check(self) -> None:
        """Reads every sample; raises one ValueError with all that is wrong."""
        refuse_all(problems_of(self.named, len(self)), self.name, "samples")
        self.rows.check_rates(self.chosen)

    def digest(self) -> str:
        """Hex sha256 of what determines every array and label: files, rows, inputs, code."""
        content = hashlib.sha256(self.code().encode())
        content.update(repr((self.inputs, self.names)).encode())
        for file in self.rows.files:
            content.update(content_of(file).encode())
        if self.rows.features:
            content.update(repr(code_identity.identity(self.rows.features)).encode())
        content.update(self.chosen.tobytes())
        if self._labels is not None:
            labels = np.asarray(self._labels)
            content.update(f"{labels.dtype} {labels.shape}".encode() + labels.tobytes())
        return content.hexdigest()


def open_arrays(
    place: Path,
    split: str,
    inputs: tuple[Input, ...],
    kind: str,
    classes: int | None = None,
    class_names: tuple[str, ...] | None = None,
    features: str | None = None,
) -> ArraySamples:
    """The samples of "calibration", "evaluation" or `WHOLE`, as the network takes them.

    `inputs` are the network's, `kind` says what labels are (`Task.arrays`), `features` is the hook
    that makes features of recordings. Raises ValueError or OSError with one sentence on what is
    wrong with the data.
    """
    places = split_places(place)
    if split == WHOLE and places:
        split = "evaluation"
    tables = {name: rows_of(each, features) for name, each in places.items()}
    tables = tables or {split: rows_of(place, features)}
    rows = tables[split]
    names = matched(inputs, rows, place)
    labels = labels_of(rows, kind, classes, class_names, place)
    if places:
        refuse_shared(*(tables[name] for name in SPLITS), place)
    chosen = np.arange(len(rows))
    if not places and split != WHOLE:
        chosen = own_rows(rows, labels if kind in ("class", "anomaly") else None, split)
    if not len(chosen):
        raise ValueError(
            f"data {shown(place)}: no sample is left for the {split} split: add samples, or samples"
            " of more sources"
        )
    return ArraySamples(f"{place}, {split}", rows, chosen, inputs, names, labels)


def split_places(place: Path) -> dict[str, Path]:
    """Where calibration and evaluation lie, where a folder holds both; ValueError for one alone."""
    if not place.is_dir():
        return {}
    found = {}
    for name in SPLITS:
        for each in (place / name, *(place / f"{name}{suffix}" for suffix in (".npz", ".csv"))):
            if each.exists():
                found[name] = each
    if len(found) == 1:
        raise ValueError(
            f"data {shown(place)} holds {next(iter(found.values())).name} alone; expected both of "
            f"{' and '.join(SPLITS)}, or neither, and the samples are split here: add the other one"
        )
    return found


def first_rows(place: Path, features: str | None = None) -> Rows:
    """What tells the shapes and dtypes of the data."""
    return rows_of(split_places(place).get("evaluation", place), features)


def matched(inputs: tuple[Input, ...], rows: Rows, place: Path) -> tuple[str, ...]:
    """The name of each input's array in the data: its own, or the only one.

    Raises ValueError where they do not fit each other.
    """
    given = list(rows.shapes)
    if len(inputs) == len(given) == 1:
        return tuple(given)
    missing = [each for each in inputs if each.name not in given]
    if missing or len(given) != len(inputs):
        arrays = (str(Input(name, rows.shapes[name], "")).strip() for name in given)
        listed = ", ".join(arrays) or "none"
        raise ValueError(
            f"data {shown(place)} holds the arrays {listed}; the network takes "
            f"{', '.join(map(str, inputs))}: name an array after each input, beside labels and "
            "sources"
        )
    return tuple(each.name for each in inputs)
