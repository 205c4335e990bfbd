"""Which files hold data of arrays, told by their names alone; and the inputs that they must fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TABLES = (".npz", ".npy", ".csv")
RECORDINGS = ".wav"
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
BESIDE = ".labels.npy"  # labels of the .npy of that name
LABELS = ("labels.npy", "labels.csv")  # and of all in a folder
HIDDEN = (".", "__")  # how names begin that systems leave behind


def holds_arrays(place: Path) -> bool:
    """Whether data are arrays or recordings; not where there are pictures in the folder or in one
    of its subfolders.
    """
    if not place.is_dir():
        return place.suffix.lower() in TABLES
    found = False
    for folder in (place, *_folders(place)):
        with os.scandir(folder) as entries:
            for entry in entries:
                if Path(entry.name).suffix.lower() in PICTURES and is_shown(entry.name):
                    return False
                found |= _is_of_arrays(entry.name)
    return found


def is_shown(name: str) -> bool:
    """False for what systems leave behind."""
    return not name.startswith(HIDDEN)


def files_of(folder: Path) -> list[Path]:
    """The files of arrays, or recordings, directly in a folder, sorted; labels alone are none."""
    return sorted(path for path in folder.iterdir() if _is_of_arrays(path.name) and path.is_file())


def _is_of_arrays(name: str) -> bool:
    is_kind = Path(name).suffix.lower() in (*TABLES, RECORDINGS)
    return is_kind and is_shown(name) and name not in LABELS and not name.endswith(BESIDE)


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and is_shown(path.name)]


@dataclass(frozen=True)
class Input:
    """Its name in the file, the shape of one sample (no batch; None where free), its dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} (n{', ' * bool(sides)}{sides}) {self.dtype}"

    def taken(self, value: np.ndarray, where: str) -> np.ndarray:
        """A value of the data as the network takes it.

        Raises ValueError where it has another shape, is not finite, or an integer input cannot hold
        it.
        """
        if value.shape != self.shape:
            raise ValueError(
                f"{where} has shape {value.shape}, the input {self} takes {self.shape}"
            )
        dtype = np.dtype(self.dtype)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{where} holds NaN or infinity: remove the sample, or mend it")
        if dtype.kind in "iu" and value.size:
            limits = np.iinfo(dtype)
            is_whole = value.dtype.kind in "iub" or np.array_equal(value, np.rint(value))
            if not is_whole or value.min() < limits.min or value.max() > limits.max:
                raise ValueError(
                    f"{where} spans {value.min():g}..{value.max():g}, the input {self} takes whole "
                    f"numbers of {limits.min}..{limits.max}"
                )
        return value.astype(dtype)
