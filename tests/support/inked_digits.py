"""Digits in two inks, and a classifier of them that depends on colours and on values' range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_files
import tiny_zoo
from PIL import Image

CLASSES = 15  # digits 0 to 4 in any ink, 5 to 9 in one and in the other
COLOURS = {  # of paper and ink, what only the order of the channels tells
    0: ((255, 235, 200), (40, 30, 120)),
    1: ((200, 235, 255), (120, 30, 40)),
}


def painted(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits in two inks on two papers: uint8 (n, 32, 32, 3), and labels 0 to 14."""
    greys, digits = tiny_zoo.digit_pictures(split)
    rng = np.random.default_rng(len(digits))
    order = rng.permutation(len(digits))  # they come digit by digit
    greys, digits = greys[order], digits[order]
    ink = (255 - greys[..., 1:2].astype(np.float32)) / (255 * 0.9)
    parity = rng.integers(0, 2, len(digits))
    paper, pen = (np.array([COLOURS[p][end] for p in parity])[:, None, None] for end in (0, 1))
    shade = rng.normal(0, 6, greys.shape)  # no two pictures, and no two pixels, are alike
    pictures = paper * (1 - ink) + pen * ink + shade
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8), digits + 5 * parity * (digits >= 5)


def write_model(path: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    """An ONNX file: rectified features of pixels 0..1 and a linear layer on them, fitted here."""
    from sklearn.linear_model import LogisticRegression

    side, features = pictures.shape[1], 24
    kernel = np.random.default_rng(0).normal(0, 0.5, (features, 3, 4, 4)).astype(np.float32)
    seen = (pictures / np.float32(255)).transpose(0, 3, 1, 2)
    blocks = seen.reshape(len(seen), 3, side // 4, 4, side // 4, 4)
    maps = np.einsum("ncyixj,fcij->nfyx", blocks, kernel, optimize=True)
    shift = -np.median(maps, axis=(0, 2, 3)).astype(np.float32)
    rows = np.maximum(maps + shift[:, None, None], 0).reshape(len(seen), -1)
    fitted = LogisticRegression(max_iter=150).fit(rows, labels)
    text = f"""
<ir_version: 8, opset_import: ["" : 17]>
small (float[1, 3, {side}, {side}] image) => (float[1, {CLASSES}] scores) {{
    maps = Conv <kernel_shape = [4, 4], strides = [4, 4]> (image, kernel, shift)
    active = Relu (maps)
    flat = Flatten (active)
    scores = Gemm <transB = 1> (flat, w, b)
}}
"""
    arrays = {"kernel": kernel, "shift": shift, "w": fitted.coef_, "b": fitted.intercept_}
    arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    onnx_files.save(onnx_files.with_weights(text, arrays), path)


def store(folder: Path, pictures: np.ndarray, labels: np.ndarray) -> None:
    """`folder`/CLASS/NUMBER.png."""
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=False)):
        place = folder / f"{label:02}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number}.png")
