"""A user's own samples as arrays: of any shape and dtype, one for each input of the network.

    DATA.npz            an array (n, ...) for each input, by its name (any name where there is one
                        input), beside them `labels` (n, ...) and `sources` (n,)
    DATA.npy            (n, ...) of the only input; DATA.labels.npy beside it
    DATA.csv            a row for each sample, a header; the column `label` (or class, target), and
                        `source`; the others are features, in their order
    a folder of those   read one after another
    a folder of CLASS/*.wav   recordings, through the hook `features`

Samples of one source (a speaker, a machine, a day) never stand on both sides of a split; without
sources, samples of equal values share one. ``calibration`` and ``evaluation`` in a folder, files or
folders, are the splits themselves.

`open_arrays` is the door; reading.py reads files, samples.py is the `SampleSet`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.inputs import Input, matched
from int8gate.calibration_data.arrays.labels import labels_of
from int8gate.calibration_data.arrays.reading import Rows, rows_of
from int8gate.calibration_data.arrays.samples import ArraySamples
from int8gate.calibration_data.arrays.splitting import own_rows, refuse_shared
from int8gate.calibration_data.folders.splits import SPLITS
from int8gate.calibration_data.pictures import shown

__all__ = ["ArraySamples", "Input", "matched", "open_arrays", "rows_of"]

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
