"""What a form of labels lists: pictures with their labels as the folder has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from int8gate.calibration_data.fit import Fit

NO_LABEL = -1


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a picture as rows of the label that the metrics take, float32 (k, columns).

    `size` (width, height) is of the picture that they were placed from, `classes` (k,) of each.
    """

    rows: np.ndarray
    size: tuple[int, int]
    classes: tuple[int, ...]


class Example(NamedTuple):
    """A picture, and its class number, its mask or large picture, its objects; `NO_LABEL`."""

    picture: Path
    label: int | Path | Objects


@dataclass(frozen=True)
class Wanted:
    """What a declaration says of its data. No link may lead outside `home`, its real folder.

    Raises ValueError on `class_names`, the list `classes` of a TOML, that contradict themselves or
    `classes`.
    """

    home: Path
    task: str
    fit: Fit
    classes: int | None = None
    class_names: tuple[str | int, ...] | None = None

    def __post_init__(self):
        names = self.class_names
        if names is None:
            return
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"classes lists {twice!r} twice: a class has one number, remove one")
        if self.classes is not None and len(names) > self.classes:
            raise ValueError(
                f"classes lists {len(names)} names, the network has {self.classes} classes: "
                "list as many, or fewer where the last ones are never shown"
            )


@dataclass(frozen=True)
class Listing:
    """The examples of a folder; `notes` are sentences on what was left out or changed, and why."""

    examples: list[Example]
    notes: tuple[str, ...] = ()
