"""Labels of arrays, as the metrics take them: class numbers, values, 0 and 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.reading import Rows
from int8gate.calibration_data.pictures import shown


def labels_of(
    rows: Rows,
    kind: str,
    classes: int | None,
    class_names: tuple[str, ...] | None,
    place: Path,
) -> np.ndarray | None:
    """Labels (n, ...), None where there are none.

    `kind` is "class": int64 (n,), names numbered in sorted order or as `class_names` lists them;
    "anomaly": int64 (n,) of 0 and 1; "values": float32 (n, k); "any": as they are. Raises
    ValueError for others.
    """
    found = rows.labels
    if found is None or kind == "any":
        return found
    where = f"data {shown(place)}"
    if kind == "values":
        values = found.reshape(len(found), -1)
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError(f"{where}: labels are {found.dtype}, expected finite numbers")
        return values.astype(np.float32)
    numbers = _numbered(found, class_names, where)
    most = 2 if kind == "anomaly" else classes
    if numbers.min() < 0 or (most and numbers.max() >= most):
        numbered = f"0..{most - 1}" if most else "numbers from 0"
        raise ValueError(
            f"{where}: labels span {numbers.min()}..{numbers.max()}, expected "
            f"{'0 (normal) and 1 (anomalous)' if kind == 'anomaly' else numbered}"
        )
    return numbers


def _numbered(found: np.ndarray, class_names: tuple[str, ...] | None, where: str) -> np.ndarray:
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(f"{where}: labels have shape {found.shape}, expected one for each sample")
    if found.dtype.kind == "f" and np.array_equal(found, np.rint(found)):
        found = found.astype(np.int64)
    if found.dtype.kind in "iub":
        return found.astype(np.int64)
    if found.dtype.kind not in "US":
        raise ValueError(f"{where}: labels are {found.dtype}, expected whole numbers or names")
    texts = found.astype(str)
    order = [str(name) for name in class_names] if class_names else sorted(set(texts.tolist()))
    if unknown := sorted(set(texts.tolist()) - set(order)):
        raise ValueError(f"{where}: label {unknown[0]!r:.60} is not one of the key classes: add it")
    return np.array([order.index(text) for text in texts], np.int64)
