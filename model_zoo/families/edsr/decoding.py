"""From EDSR's colours to what super-resolution is scored on: the luminance of its bytes."""

from __future__ import annotations

import numpy as np

from int8gate.calibration_data.synthetic.super_resolution import luminance
from int8gate.model_zoo.spec import Network


def decode(outputs: list[np.ndarray], declared: Network) -> np.ndarray:
    """RGB [(n, 2h, 2w, 3)], grey levels, to Y of BT.601, uint8 (n, 2h, 2w, 1), 16..235.

    Colours are clipped to 0..255 and rounded first: what a user would see is scored.
    """
    colours = np.rint(np.clip(outputs[0], 0, 255)).astype(np.uint8)
    return luminance(colours)[..., None]
