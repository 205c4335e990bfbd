"""GPTQ: weights in blocks, rounded one input after the other (Frantar et al., 2023,
arXiv:2210.17323).

The error of each is taken out of the weights of the inputs that follow, as far as these say the
same: by the inverse of the second moments of what the layer reads. Moments are collected in one
pass of the float network for each `MOST_BYTES` of them; activations are not kept.

ONNX Runtime 1.31 has a GPTQ that rounds to the nearest: it multiplies errors by a column of the
triangular factor where the paper has a row, which is zero beside the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.quantizers.toolchains.onnx.graph_view import GraphView
from int8gate.runtimes import ort
from int8gate.runtimes.artifact import in_order
from int8gate.runtimes.session import in_layout

LEVELS = 15  # of int4 above the lowest
DAMPING = (0.01, 0.1, 1.0)  # of the mean of the moments' diagonal: more where that does not do
MOST_BYTES = 2**30
SUFFIXES = "_Q4", "_scales", "_zero_points"  # of what ONNX Runtime's quantizer makes of a weight


def round_weights(model, quantized, samples: Path, block: int) -> None:
    """Sets the weights that ONNX Runtime's quantizer rounded to the nearest (int4, with a zero
    point for each block) to those of GPTQ, in place.

    `model` is what it was made from, `samples` hold the network's inputs (.npy, or .npz of several,
    (n, ...)).
    """
    readers: dict[str, list[str]] = {}  # what is multiplied by a weight
    view = GraphView(model.graph)
    stored = {tensor.name: tensor for tensor in quantized.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMul" and f"{node.input[1]}{SUFFIXES[0]}" in stored:
            readers.setdefault(node.input[1], []).append(node.input[0])
    arrays = {
        node.input[1]: view.array(node, 1)
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in readers
    }
    for names, moments in _moments(model, readers, samples):
        for name in names:
            weights = arrays[name]
            together = sum(moments[tensor] for tensor in readers[name])
            _set(stored, name, *rounded(weights, together, block))


def rounded(
    weights: np.ndarray, moments: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels uint8 (inputs, outputs) of weights float32 (inputs, outputs), with scales float32 and
    zero points uint8, (blocks, outputs): a weight is about (level - zero point) * scale.

    `moments` (inputs, inputs) are sums of products of the inputs with each other.
    """
    rest = weights.astype(np.float64)
    count = -(-len(rest) // block)
    levels = np.empty(rest.shape, np.uint8)
    scales = np.empty((count, rest.shape[1]), np.float32)
    zeros = np.empty(scales.shape, np.uint8)
    factor = _factor(moments)
    for number in range(count):
        rows = slice(number * block, min((number + 1) * block, len(rest)))
        scale, zero = _grid(rest[rows])
        scales[number], zeros[number] = scale, zero
        errors = np.empty_like(rest[rows])
        for place, row in enumerate(range(rows.start, rows.stop)):
            level = np.clip(np.rint(rest[row] / scale) + zero, 0, LEVELS)
            levels[row] = level
            errors[place] = (rest[row] - (level - zero) * scale) / factor[row, row]
            rest[row + 1 : rows.stop] -= np.outer(factor[row, row + 1 : rows.stop], errors[place])
        rest[rows.stop :] -= factor[rows, rows.stop :].T @ errors
    return levels, scales, zeros


def _grid(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of each column: from its least to its largest, zero among them."""
    low, high = np.minimum(weights.min(axis=0), 0), np.maximum(weights.max(axis=0), 0)
    scale = ((high - low) / LEVELS).astype(np.float32).astype(np.float64)
    scale[scale == 0] = 1.0
    return scale, np.clip(np.rint(-low / scale), 0, LEVELS)


def _factor(moments: np.ndarray) -> np.ndarray:
    """The upper triangular factor of the moments' inverse, damped; an identity, with which weights
    are rounded to the nearest, where no damping makes them positive definite.
    """
    diagonal = np.diag(moments).copy()
    dead = diagonal <= 0  # an input that was never seen
    mean = diagonal[~dead].mean() if not dead.all() else 1.0
    for share in DAMPING:
        damped = moments + np.diag(np.where(dead, mean, share * mean))
        try:
            return np.linalg.cholesky(np.linalg.inv(damped)).T
        except np.linalg.LinAlgError:
            continue
    return np.eye(len(moments))


def _moments(
    model, readers: dict[str, list[str]], samples: Path
) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """Names of weights, with the moments of all that is multiplied by them, some at a time."""
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    names: list[str] = []
    taken = 0
    for name in readers:
        takes = 8 * sizes[name] ** 2 * len(set(readers[name]))
        if names and taken + takes > MOST_BYTES:
            yield names, _collected(model, readers, names, samples)
            names, taken = [], 0
        names.append(name)
        taken += takes
    if names:
        yield names, _collected(model, readers, names, samples)


def _collected(
    model, readers: dict[str, list[str]], names: list[str], samples: Path
) -> dict[str, np.ndarray]:
    """For each tensor that these weights are multiplied by, sums of products, float64 (k, k)."""
    import onnx

    tensors = list(dict.fromkeys(tensor for name in names for tensor in readers[name]))
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inputs = [info.name for info in model.graph.input]
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
        for tensor in tensors
        if tensor not in inputs
    )
    if not watched.graph.output:
        watched.graph.output.extend(model.graph.output)
    session = ort.open_model(watched.SerializeToString(), ort.options())
    outputs = [info.name for info in session.get_outputs()]
    sums: dict[str, np.ndarray] = {}
    for feeds in _fed(model, samples):
        values = feeds | dict(zip(outputs, ort.run(session, feeds), strict=True))
        for tensor in tensors:
            rows = values[tensor].reshape(-1, values[tensor].shape[-1]).astype(np.float64)
            sums[tensor] = sums.get(tensor, 0) + rows.T @ rows
    return sums


def _fed(model, samples: Path) -> Iterator[dict[str, np.ndarray]]:
    """Each sample by the names of the network's inputs, (1, ...)."""
    stored = np.load(samples, allow_pickle=False)
    several = not isinstance(stored, np.ndarray)
    arrays = [stored[name] for name in in_order(stored.files)] if several else [stored]
    infos = list(model.graph.input)
    shapes = [tuple(side.dim_value for side in info.type.tensor_type.shape.dim) for info in infos]
    arrays = [in_layout(array, shape) for array, shape in zip(arrays, shapes, strict=True)]
    for row in range(len(arrays[0])):
        pairs = zip(infos, arrays, strict=True)
        yield {info.name: array[row : row + 1] for info, array in pairs}


def _set(
    stored: dict, name: str, levels: np.ndarray, scales: np.ndarray, zeros: np.ndarray
) -> None:
    """Writes levels, scales and zero points as MatMulNBits reads them."""
    packed, of_scales, of_zeros = (stored[f"{name}{suffix}"] for suffix in SUFFIXES)
    outputs, blocks, size = packed.dims
    whole = np.zeros((blocks * size * 2, outputs), np.uint8)
    whole[: len(levels)] = levels
    by_block = whole.T.reshape(outputs, blocks, size * 2)
    packed.raw_data = _pairs(by_block).tobytes()
    of_scales.raw_data = np.ascontiguousarray(scales.T).tobytes()
    if blocks % 2:
        zeros = np.vstack([zeros, np.zeros((1, outputs), np.uint8)])
    of_zeros.raw_data = _pairs(np.ascontiguousarray(zeros.T)).tobytes()


def _pairs(levels: np.ndarray) -> np.ndarray:
    """Two levels of 4 bits a byte, the first in its lower half, along the last axis."""
    return levels[..., 0::2] | (levels[..., 1::2] << 4)
