"""A transposed convolution as a convolution and DepthToSpace, which ONNX Runtime has for integers.

Of a stride s, output pixel Y = s * q + r (before cropping) sums the weights k = r + s * m over the
inputs q - m: each of the s * s phases r is a convolution of the input with every s-th weight, and
DepthToSpace sets the phases beside each other (Shi et al., 2016, arXiv:1609.07009). Bias, groups,
padding and output padding keep their meaning; the values stay the same.
"""

from __future__ import annotations

import math

import numpy as np

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView


def as_convolution(node, view: GraphView) -> list:
    """The nodes in the place of a ConvTranspose over maps; itself where it has another form."""
    from onnx import helper

    settings = view.settings(node)
    weights, bias = view.array(node, 1), view.array(node, 2)
    shape = view.shapes.get(node.input[0], ())
    if weights is None or weights.ndim != 4 or len(shape) != 4 or not all(shape):
        return [node]
    has_bias = len(node.input) > 2 and bool(node.input[2])
    strides = settings.get("strides", [1, 1])
    is_plain = (
        settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in settings
        and set(settings.get("dilations", [1])) == {1}
        and len(set(strides)) == 1
        and (bias is not None or not has_bias)
    )
    if not is_plain:
        return [node]
    stride, kernel = strides[0], weights.shape[2:]
    pads, extra = settings.get("pads", [0] * 4), settings.get("output_padding", [0, 0])
    taps = [math.ceil(side / stride) for side in kernel]
    sizes = [
        (side - 1) * stride + k - pads[i] - pads[i + 2] + extra[i]
        for i, (side, k) in enumerate(zip(shape[2:], kernel, strict=True))
    ]
    # From the first phase group that the output needs to the last: what is cut off is not computed.
    first = [min(pads[i] // stride, taps[i] - 1) for i in (0, 1)]
    last = [(pads[i] + sizes[i] - 1) // stride for i in (0, 1)]
    before = [taps[i] - 1 - first[i] for i in (0, 1)]
    after = [last[i] - (shape[i + 2] - 1) for i in (0, 1)]
    if min(after) < 0 or min(sizes) < 1:
        return [node]
    groups = settings.get("group", 1)
    phases = _phases(weights, groups, stride, taps)
    name = node.name or node.output[0]
    inputs = [node.input[0], view.constant(f"{name}_phases", phases)]
    if has_bias:
        inputs.append(view.constant(f"{name}_bias", np.repeat(bias, stride**2)))
    maps, whole = view.names.new(f"{name}_maps"), view.names.new(f"{name}_whole")
    made = helper.make_node(
        "Conv",
        inputs,
        [maps],
        node.name,
        group=groups,
        kernel_shape=taps,
        pads=[*before, *after],
    )
    if stride == 1:
        whole, nodes = maps, [made]
    else:
        turn = view.names.new(f"{name}_turn")
        turned = {"blocksize": stride, "mode": "CRD"}
        nodes = [made, helper.make_node("DepthToSpace", [maps], [whole], turn, **turned)]
    starts = [pads[i] - first[i] * stride for i in (0, 1)]
    computed = [(last[i] - first[i] + 1) * stride for i in (0, 1)]
    if starts == [0, 0] and computed == sizes:
        nodes[-1].output[0] = node.output[0]
        return nodes
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    parts = {"start": starts, "end": ends, "axes": [2, 3]}
    bounds = [view.integers(f"{name}_{part}", values) for part, values in parts.items()]
    cut = view.names.new(f"{name}_cut")
    return [*nodes, helper.make_node("Slice", [whole, *bounds], [node.output[0]], cut)]


def _phases(weights: np.ndarray, groups: int, stride: int, taps: list[int]) -> np.ndarray:
    """(inputs, outputs of a group, h, w) as a convolution's (outputs * s * s, inputs of one, h, w).

    Outputs are in the order of DepthToSpace's CRD mode: channel, row, column of the phase.
    """
    inputs, outputs, *kernel = weights.shape
    padded = np.zeros((inputs, outputs, taps[0] * stride, taps[1] * stride), weights.dtype)
    padded[:, :, : kernel[0], : kernel[1]] = weights
    parted = padded.reshape(groups, inputs // groups, outputs, taps[0], stride, taps[1], stride)
    flipped = parted[:, :, :, ::-1, :, ::-1]
    ordered = flipped.transpose(0, 2, 4, 6, 1, 3, 5)
    return ordered.reshape(groups * outputs * stride**2, inputs // groups, *taps)
