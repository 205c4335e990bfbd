"""The first pictures that a model draws, as the case record has them: one row, a small PNG.

    "pictures": {"count": 10, "float": BASE64, "quantized": BASE64}

Both rows show the same samples, in their order.
"""

from __future__ import annotations

import base64
import io

import numpy as np

TALLEST = 96  # pixels of a picture in the row


def strips(pictures: dict[str, np.ndarray]) -> dict | None:
    """The record's entry of pictures uint8 (n, h, w, 1 or 3) by row; None where there are none."""
    if not pictures:
        return None
    rows = {name: base64.b64encode(png(_row(each))).decode() for name, each in pictures.items()}
    return {"count": len(next(iter(pictures.values()))), **rows}


def png(picture: np.ndarray) -> bytes:
    """The PNG of a picture uint8 (h, w, 1 or 3)."""
    from PIL import Image

    drawn = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(drawn, "PNG")
    return drawn.getvalue()


def _row(pictures: np.ndarray) -> np.ndarray:
    """Side by side, (h, n * w, channels), large ones thinned out."""
    every = -(-pictures.shape[1] // TALLEST)
    return np.concatenate(list(pictures[:, ::every, ::every]), axis=1)
