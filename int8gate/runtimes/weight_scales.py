"""How unlike the channels of a layer are: from the weight scales of a per-channel TFLite file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ChannelSpread:
    """The weight tensor whose channels' scales differ most.

    `ratio` is the largest over the 10th percentile: with one scale for the whole tensor, a tenth
    of the channels would be left 127 / `ratio` levels or fewer.
    """

    tensor: str
    ratio: float


def channel_spread(model: Path) -> ChannelSpread:
    """Looks at every per-channel weight tensor of a `.tflite` file, which it loads.

    Raises ValueError where no tensor has a scale for each channel.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    spreads = []
    for details in Interpreter(str(model)).get_tensor_details():
        scales = details["quantization_parameters"]["scales"]
        if len(scales) > 1:
            ratio = float(scales.max() / np.percentile(scales, 10))
            name = details["name"].partition(";")[0]  # of a fused tensor: the names of its parts
            spreads.append(ChannelSpread(name, ratio))
    if not spreads:
        raise ValueError(f"{model} has no weight tensor with a scale for each channel")
    return max(spreads, key=lambda spread: spread.ratio)
