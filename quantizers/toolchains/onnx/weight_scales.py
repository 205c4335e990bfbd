"""The scales and integers of weights for each output channel, in one step.

ONNX Runtime's quantizer computes both in a loop of Python over the channels, most of its time where
one layer of many channels is quantized. These are the same, bit for bit.
"""

from __future__ import annotations

import numpy as np

LEVELS = 127  # of int8 on either side of zero: symmetric


def channel_scales(weights: np.ndarray, axis: int, levels: int = LEVELS) -> np.ndarray | None:
    """(channels,) of the weights' dtype; None where a weight is not finite. The largest weight of
    a channel is `levels` steps.

    A channel of zeros has the scale 1, as in `onnxruntime.quantization.quant_utils`.
    """
    others = tuple(each for each in range(weights.ndim) if each != axis % weights.ndim)
    widest = np.maximum(abs(weights.min(axis=others)), abs(weights.max(axis=others)))
    if not np.isfinite(widest).all():
        return None
    scales = 2 * widest.astype(np.float64) / (2 * levels)
    return np.where(scales < np.finfo(weights.dtype).tiny, 1.0, scales).astype(weights.dtype)


def channel_integers(weights: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """int8, of the shape of the float32 weights: rounded to steps of their channel's scale, ties to
    even, within -128..127. `scales` are (channels,), zero points 0.
    """
    shape = [1] * weights.ndim
    shape[axis] = -1
    steps = np.round(weights / scales.astype(np.float32).reshape(shape))
    return np.clip(steps, -128, 127).astype(np.int8)
