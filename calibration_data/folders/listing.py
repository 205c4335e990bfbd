"""Which files of a folder are pictures, that none lies outside it, and pictures with their labels.

A form of labels (`classes.py`, `texts.py`, `coco.py`, `pairs.py`) makes a `Listing` of `Example`:
pictures with their labels as the folder has them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.pictures import SUFFIXES, shown

NO_LABEL = -1


def pictures_in(folder: Path, home: Path) -> list[Path]:
    """The pictures directly in a folder, sorted; raises ValueError on a link out of `home`."""
    found = sorted(path for path in folder.iterdir() if _is_picture(path))
    if found:
        check_inside(folder, home)
    for path in found:
        if path.is_symlink():
            check_inside(path, home)
    return found


def pictures_below(folder: Path, home: Path) -> list[Path]:
    """The pictures in a folder and its subfolders; linked subfolders are not followed."""
    found = pictures_in(folder, home)
    for inner in visible_folders(folder):
        if not inner.is_symlink():
            found += pictures_below(inner, home)
    return found


def holds_pictures(folder: Path) -> bool:
    return any(_is_picture(path) for path in folder.iterdir())


def visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path))


def is_visible(path: Path) -> bool:
    """False for what systems leave behind: .ipynb_checkpoints, macOS's ._NAME.jpg, __MACOSX."""
    return not path.name.startswith((".", "__"))


def check_inside(path: Path, home: Path) -> None:
    """Raises ValueError where links lead from `path` out of the data folder."""
    if not _is_inside(path, home):
        raise ValueError(
            f"{shown(path)} leads outside of the data folder {shown(home)}: copy what it stands "
            "for into the folder, or name the folder that really holds the pictures"
        )


def named_picture(name: str, folders: list[Path], home: Path, where: str) -> Path | None:
    """The picture that a label file names, in the first of `folders` that has it; None: in none.

    `where` begins the sentence of the ValueError on a name that leads outside of `home`.
    """
    if "\0" in name or not name or os.path.isabs(name):
        raise ValueError(
            f"{where} names the picture {shown(name)!r}: expected a path relative to the data "
            "folder: mend it"
        )
    for folder in folders:
        path = folder / name
        if not _is_inside(path, home):
            raise ValueError(
                f"{where} names {shown(name)}, which leads outside of the data folder "
                f"{shown(home)}: copy the picture into it"
            )
        if _is_file(path):
            return path
    return None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and is_visible(path) and path.is_file()


def _is_inside(path: Path, home: Path) -> bool:
    """Of a `home` that is a real path itself: resolving is slow, and done for each picture."""
    return Path(os.path.realpath(path)).is_relative_to(home)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a picture as rows of the label that the metrics take, float32 (k, columns).

    `size` (width, height) is of the picture that they were placed from, `classes` (k,) of each.
    """

    rows: np.ndarray
    size: tuple[int, int]
    classes: tuple[int, ...]


class Example(NamedTuple):
    """A picture, and its class number, text, mask or large picture, or objects; `NO_LABEL`."""

    picture: Path
    label: int | str | Path | Objects


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
