"""The scales and zero points of a QuantizeLinear or DequantizeLinear, as a file has them."""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.importers.onnx.folded_constants import Constants
from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import LIMITS, ActivationScale

BIAS = "int32"


def named(node) -> str:
    """A node in a sentence."""
    return f"node {node.name or node.output[0]} ({node.op_type})"


class Parameters:
    """Read from a model's constants; raises ValueError naming the node for what is no rounding to 8
    bits.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def of_activation(self, node) -> ActivationScale:
        scales, zero_points, _ = self.of_channels(node)
        if scales.size != 1:
            raise ValueError(
                f"{named(node)} gives an activation {scales.size} scales, expected one: neither "
                "runtime has kernels for scales of channels there; train it per tensor"
            )
        dtype = str(zero_points.dtype)
        return ActivationScale(float(scales.item()), int(zero_points.item()), dtype)

    def of_channels(self, node) -> tuple[np.ndarray, np.ndarray, int | None]:
        """Scales and zero points (channels,) or (1,), and their axis."""
        found = [self._constants.values(name) for name in node.input[1:3] if name]
        if any(values is None for values in found):
            raise ValueError(
                f"{named(node)} has a scale or zero point that is computed, expected constants: "
                "export the network in evaluation mode, its observers frozen"
            )
        settings = {entry.name: entry for entry in node.attribute}
        if "block_size" in settings and settings["block_size"].i:
            raise ValueError(
                f"{named(node)} has scales of blocks, expected one scale or one for each channel"
            )
        scales = np.atleast_1d(found[0]).astype(np.float64)
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise ValueError(
                f"{named(node)} has the scale {scales.min():g}, expected positive numbers: its "
                "observer saw nothing or the training diverged; train it again"
            )
        zero_points = np.atleast_1d(found[1]) if len(found) > 1 else self._zeros(node, scales)
        if str(zero_points.dtype) not in (*LIMITS, BIAS):
            raise ValueError(
                f"{named(node)} quantizes to {zero_points.dtype}, expected int8 or uint8: train "
                "the network with 8 bits"
            )
        axis = settings["axis"].i if "axis" in settings else 1
        return scales, np.broadcast_to(zero_points, scales.shape), axis if scales.size > 1 else None

    def _zeros(self, node, scales: np.ndarray) -> np.ndarray:
        """The zero points that are left out: of what is stored, else of uint8."""
        stored = self._constants.values(node.input[0])
        kind = np.uint8 if stored is None or stored.dtype.kind == "f" else stored.dtype
        return np.zeros(scales.shape, kind)
