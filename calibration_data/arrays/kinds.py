"""What is data of arrays, told by names alone; no library is needed for it."""

from __future__ import annotations

import os
from pathlib import Path

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
