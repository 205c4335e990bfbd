"""The inputs of a network that takes arrays, and whether a value fits one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
