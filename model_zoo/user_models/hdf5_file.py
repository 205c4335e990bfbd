"""HDF5 files of weights that somebody else made: nothing in them may stand outside, or be absurd.

HDF5 can link to other files, keep a dataset in any file of the system, compose it of those, and
declare far more than it stores
(https://support.hdfgroup.org/documentation/hdf5/latest/_h5_d__u_g.html, external storage, virtual
datasets).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

from int8gate.runtimes import archive


def stored_bytes(path: Path, content: BinaryIO | None = None) -> int:
    """Bytes of all datasets of a file, or of `content` where it is a member of the archive `path`.

    Raises ValueError naming the file and the dataset that stands elsewhere or is absurdly large,
    OSError for a file that is no HDF5.
    """
    import h5py

    with h5py.File(content or path, "r") as file:
        packed, total = path.stat().st_size, 0
        for name in _linked(file):
            raise ValueError(
                f"{path}: {name[:100]!r} in it is a link to another file, which is not read: save "
                "the model again"
            )
        for name, dataset in _datasets(file):
            if dataset.external or dataset.is_virtual:
                raise ValueError(
                    f"{path}: its dataset {name[:100]!r} is kept in another file, which is not "
                    "read: save the model again"
                )
            total += math.prod(dataset.shape or ()) * max(1, dataset.dtype.itemsize)
            archive.check_unpacked(path, total, packed)
        return total


def _linked(file) -> list[str]:
    """The names that stand for something in another file."""
    import h5py

    found: list[str] = []

    def note(name: str, link) -> None:  # what it returned but None would end the visit
        if isinstance(link, h5py.ExternalLink):
            found.append(name)

    file.visititems_links(note)
    return found


def _datasets(file) -> list[tuple]:
    """Name and `h5py.Dataset` of each, once."""
    import h5py

    found: list[tuple] = []

    def note(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    file.visititems(note)
    return found
