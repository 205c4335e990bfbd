"""The inputs of a network that takes arrays, and which array of the data each one gets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.reading import Rows
from int8gate.calibration_data.pictures import shown


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


def matched(inputs: tuple[Input, ...], rows: Rows, place: Path) -> tuple[str, ...]:
    """The name of each input's array in the data: its own, or the only one.

    Raises ValueError where they do not fit each other.
    """
    given = [name for name in rows.shapes if name not in rows.ignored]
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
