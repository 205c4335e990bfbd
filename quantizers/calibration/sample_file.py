"""Calibration samples on disk, read one at a time so that memory does not grow with their number.

A `.npy` holds the samples (n, ...) of the only input. A `.npz` holds an array (n, ...) for each
input, in the order of their names (numbers count as numbers); its arrays are read whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from int8gate.runtimes.artifact import in_order


class SampleFile:
    """The samples of a file: `len()` of them, each an array (1, ...) for every input.

    Raises ValueError for a file that holds something else. A `.npy` is read, not mapped: the pages
    of a map count as this process's memory as long as it stands.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            loaded = np.load(self.path, mmap_mode="r", allow_pickle=False)
            named = {} if isinstance(loaded, np.ndarray) else _inputs_of(loaded)
        except (ValueError, EOFError, OSError, KeyError) as error:
            raise ValueError(f"calibration samples {path} cannot be read: {error}") from error
        self._stored = list(named.values()) if named or not isinstance(loaded, np.ndarray) else None
        self.names = tuple(named)  # of the inputs, as far as the file tells
        arrays = [loaded] if self._stored is None else self._stored
        lengths = {len(array) if array.ndim else 0 for array in arrays}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"calibration samples {path}: expected arrays (n, ...) of the same n > 0, found "
                f"{', '.join(str(array.shape) for array in arrays) or 'none'}"
            )
        if self._stored is None and not loaded.flags.c_contiguous:
            raise ValueError(
                f"calibration samples {path} are in Fortran order: save np.ascontiguousarray of it"
            )
        self.shapes = [array.shape[1:] for array in arrays]
        self._count = lengths.pop()
        self._dtype, self._offset = arrays[0].dtype, getattr(loaded, "offset", 0)

    def __len__(self) -> int:
        return self._count

    def sample(self, number: int) -> list[np.ndarray]:
        """Raises IndexError beyond the last."""
        if not 0 <= number < self._count:
            raise IndexError(f"{self.path} holds {self._count} samples, there is no {number}")
        if self._stored is not None:
            return [array[number : number + 1] for array in self._stored]
        elements = int(np.prod(self.shapes[0]))
        start = self._offset + number * elements * self._dtype.itemsize
        flat = np.fromfile(self.path, self._dtype, elements, offset=start)
        return [flat.reshape(1, *self.shapes[0])]

    def digest(self, rows: range) -> str:
        """SHA-256 of the dtype, shape and values of those samples."""
        found = hashlib.sha256()
        for number in rows:
            for array in self.sample(number):
                found.update(repr((array.dtype.descr, array.shape)).encode())
                found.update(np.ascontiguousarray(array))
        return found.hexdigest()


def _inputs_of(loaded) -> dict[str, np.ndarray]:
    with loaded:
        return {name: loaded[name] for name in in_order(loaded.files)}


def where_to_look(sample: list[np.ndarray]) -> str:
    """What may have made a tensor hold NaN or infinity on a sample, in words for an error."""
    if all(np.isfinite(array).all() for array in sample):
        return "look there for a logarithm of zero, a division by zero or a mask of -inf"
    return "the sample itself holds some"
