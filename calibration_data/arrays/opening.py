"""Opens a user's arrays for a network: which array each input gets, which samples a split has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.inputs import Input
from int8gate.calibration_data.arrays.labels import labels_of
from int8gate.calibration_data.arrays.reading import Rows, rows_of
from int8gate.calibration_data.arrays.samples import ArraySamples
from int8gate.calibration_data.arrays.splitting import own_rows, refuse_shared
from int8gate.calibration_data.folders.splits import SPLITS
from int8gate.calibration_data.pictures import shown

WHOLE = "whole"  # all samples, where nothing is calibrated


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
