"""GPTQ: weights in blocks, rounded one input after the other (Frantar et al., 2023,
arXiv:2210.17323).

The error of each is taken out of the weights of the inputs that follow, as far as these say the
same: by the inverse of the second moments of what the layer reads. Moments are collected in one
pass of the float network for each `MOST_BYTES` of them; activations are not kept. Layer by layer,
with those before it rounded, would take a pass for each, and what a layer reads would depend on it.

An output's weights do not depend on another's: where they err more by these moments than rounded to
the nearest, which can happen as no error is looked ahead for, they are rounded to the nearest. So
are all of a layer that read only zeros, or whose moments no damping makes positive definite: a note
tells of those.

ONNX Runtime 1.31 has a GPTQ that rounds to the nearest: it multiplies errors by a column of the
triangular factor where the paper has a row, which is zero beside the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.remedies.notes import left_alone
from int8gate.quantizers.toolchains.onnx.graph_view import GraphView
from int8gate.runtimes import ort
from int8gate.runtimes.session import in_layout

LEVELS = 15  # of int4 above the lowest
DAMPING = (0.01, 0.1, 1.0)  # of the mean of the moments' diagonal: more where that does not do
MOST_BYTES = 2**30
SUFFIXES = "_Q4", "_scales", "_zero_points"  # of what ONNX Runtime's quantizer makes of a weight


def round_weights(model, quantized, samples: Path, block: int) -> list[str]:
    """Sets the weights that ONNX Runtime's quantizer rounded to the nearest (int4, with a zero
    point for each block) to those of GPTQ, in place; returns notes on those that stay as they are.

    `model` is what it was made from, `samples` hold the network's inputs (.npy, or .npz of several,
    (n, ...)). Raises ValueError where a layer reads NaN or infinity of them.
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
    left: list[tuple[str, str]] = []
    for names, moments in _moments(model, readers, samples):
        for name in names:
            together = np.sum([moments[tensor] for tensor in readers[name]], axis=0)
            factor = _factor(together)
            if reason := _unusable(together, factor):
                left.append((name, reason))
            else:
                _set(stored, name, *_better(arrays[name], together, factor, block))
    if not left:
        return []
    done = len(readers) - len(left)
    return [f"GPTQ rounded {done} of {len(readers)} weights{left_alone(left)}"]


def _unusable(moments: np.ndarray, factor: np.ndarray | None) -> str:
    """Why nothing can be told by these moments; empty where something can."""
    if not np.diag(moments).any():
        return "it is multiplied by zeros alone"
    return "" if factor is not None else "its moments are not positive definite"


def rounded(
    weights: np.ndarray, moments: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels uint8 (inputs, outputs) of weights float32 (inputs, outputs), with scales float32 and
    zero points uint8, (blocks, outputs): a weight is about (level - zero point) * scale.

    `moments` (inputs, inputs) are sums of products of the inputs with each other, finite. By these
    no output errs more than rounded to the nearest.
    """
    return _better(weights, moments, _factor(moments), block)


def _better(
    weights: np.ndarray, moments: np.ndarray, factor: np.ndarray | None, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `rounded`; `factor` is that of the moments."""
    nearest = _nearest(weights, block)
    if factor is None:
        return nearest
    found = _in_turn(weights, factor, block)
    worse = _errors(weights, found, moments, block) > _errors(weights, nearest, moments, block)
    levels, scales, zeros = (
        np.where(worse, other, one) for one, other in zip(found, nearest, strict=True)
    )
    return levels, scales, zeros


def _nearest(weights: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `rounded`, each weight by itself."""
    starts = range(0, len(weights), block)
    parts = [weights[start : start + block].astype(np.float64) for start in starts]
    grids = [_grid(part) for part in parts]
    levels = [_levels(part, *grid) for part, grid in zip(parts, grids, strict=True)]
    scales, zeros = (np.stack(each) for each in zip(*grids, strict=True))
    return np.concatenate(levels), scales, zeros


def _errors(
    weights: np.ndarray, found: tuple[np.ndarray, ...], moments: np.ndarray, block: int
) -> np.ndarray:
    """The squared error of each output, summed over what the moments are of."""
    levels, scales, zeros = (each.astype(np.float64) for each in found)
    of_row = np.arange(len(levels)) // block
    off = (levels - zeros[of_row]) * scales[of_row] - weights
    return np.einsum("io,io->o", moments @ off, off)


def _in_turn(
    weights: np.ndarray, factor: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `rounded`, by the triangular factor of the moments' inverse."""
    rest = weights.astype(np.float64)
    count = -(-len(rest) // block)
    levels = np.empty(rest.shape, np.uint8)
    scales = np.empty((count, rest.shape[1]), np.float32)
    zeros = np.empty(scales.shape, np.uint8)
    for number in range(count):
        rows = slice(number * block, min((number + 1) * block, len(rest)))
        scale, zero = scales[number], zeros[number] = _grid(rest[rows])
        errors = np.empty_like(rest[rows])
        for place, row in enumerate(range(rows.start, rows.stop)):
            levels[row] = _levels(rest[row], scale, zero)
            stored = (levels[row].astype(np.float64) - zero) * scale
            errors[place] = (rest[row] - stored) / factor[row, row]
            rest[row + 1 : rows.stop] -= np.outer(factor[row, row + 1 : rows.stop], errors[place])
        rest[rows.stop :] -= factor[rows, rows.stop :].T @ errors
    return levels, scales, zeros


def _grid(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale, float32, and zero point, uint8, of each column: from its least to its largest, zero
    among them, with the operations of ONNX Runtime's quantizer; the scale of zeros alone is 0.
    """
    kept = weights.astype(np.float32)
    low, high = np.minimum(kept.min(axis=0), 0), np.maximum(kept.max(axis=0), 0)
    scale = (high - low) / np.float32(LEVELS)
    zero = np.clip(np.rint(-low / _divisor(scale)), 0, LEVELS)
    return scale, zero.astype(np.uint8)


def _levels(weights: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """The nearest of each weight, uint8."""
    return np.clip(np.rint(weights / _divisor(scale)) + zero, 0, LEVELS).astype(np.uint8)


def _divisor(scale: np.ndarray) -> np.ndarray:
    return np.where(scale == 0, np.float32(1), scale)


def _factor(moments: np.ndarray) -> np.ndarray | None:
    """The upper triangular factor of the moments' inverse, damped; None where no damping makes them
    positive definite.
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
    return None


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
    for tensor, of_tensor in sums.items():
        if not np.isfinite(of_tensor).all():
            raise ValueError(
                f"tensor {tensor} is multiplied by a weight to round and holds NaN or infinity for "
                "a sample of calibration: mend the sample or the float network, or choose an int4 "
                "recipe without samples"
            )
    return sums


def _fed(model, samples: Path) -> Iterator[dict[str, np.ndarray]]:
    """Each sample by the names of the network's inputs, (1, ...)."""
    stored, infos = SampleFile(samples), list(model.graph.input)
    shapes = [tuple(side.dim_value for side in info.type.tensor_type.shape.dim) for info in infos]
    for number in range(len(stored)):
        triples = zip(infos, stored.sample(number), shapes, strict=True)
        yield {info.name: in_layout(array, shape) for info, array, shape in triples}


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
