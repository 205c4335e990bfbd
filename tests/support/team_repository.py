"""A repository of a team: a trained classifier as ONNX, pictures of its classes, a declaration."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx_files
import tiny_zoo

TABLE = """
[models.gadget]
file = "gadget.onnx"
task = "classification"
data = "pictures"
range = [-1, 1]
expect = { accuracy = "0.9 * float", cpu_speedup_x86 = 0.01, size_ratio = 0.9 }
"""


def write(folder: Path, with_head: bool = False) -> Path:
    """The repository, with a test of the team's own; the classifier with a second layer, `head`."""
    _write_model(folder / "gadget.onnx", with_head)
    tiny_zoo.store_pictures(folder / "pictures", 600)
    (folder / "models.toml").write_text(TABLE)
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    return folder


@cache
def _fitted() -> tuple[np.ndarray, np.ndarray]:
    """A kernel (10, channels, side, side) and a bias (10,), float32, of the linear classifier."""
    from sklearn.linear_model import LogisticRegression

    pictures, labels = tiny_zoo.digit_pictures("train")
    side = pictures.shape[1]
    rows = (pictures.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2).reshape(len(labels), -1)
    fitted = LogisticRegression(max_iter=200).fit(rows, labels)
    kernel = fitted.coef_.reshape(10, -1, side, side)
    return kernel.astype(np.float32), fitted.intercept_.astype(np.float32)


def _write_model(path: Path, with_head: bool) -> None:
    """A linear classifier of the pictures that `store_pictures` writes, fitted here; a head halves
    its scores.
    """
    kernel, bias = _fitted()  # a kernel as large as the picture
    _, channels, side, _ = kernel.shape
    last = "scores = Flatten (maps)"
    if with_head:
        last = "flat = Flatten (maps)\n    scores = Gemm (flat, half, none)"
    text = f"""
<ir_version: 8, opset_import: ["" : 17]>
linear (float[1, {channels}, {side}, {side}] image) => (float[1, 10] scores) {{
    maps = Conv <kernel_shape = [{side}, {side}]> (image, w, b)
    {last}
}}
"""
    arrays = {"w": kernel, "b": bias}
    if with_head:
        arrays |= {"half": np.eye(10, dtype=np.float32) / 2, "none": np.zeros(10, np.float32)}
    model = onnx_files.with_weights(text, arrays)
    if with_head:
        model.graph.node[-1].name = "head"
    onnx_files.save(model, path)
