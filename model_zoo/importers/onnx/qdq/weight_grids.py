"""Weights of a file in QDQ form whose pair a tool computed away: they lie on a grid still.

tf2onnx folds what follows from constants, and so do simplifiers of ONNX files: the pair of the
weights goes, and rounded real values stay, often multiplied by a normalization's factors. Each
output's weights are then whole multiples of a step, at most 127 of them. The step is found by
trying: the largest weight is one step, two, three, until all the others are whole. Of random
weights 8 or more never are by chance (2e-4 of a step each).
"""

from __future__ import annotations

import numpy as np

from int8gate.model_zoo.importers.onnx.qdq.qdq_scales import QdqScales, WeightScales

MOST = 127  # steps of a weight, on either side
NEAR = 2e-4  # of a step: what float32 leaves of a whole number up to 127, and more
FEWEST = 8  # weights of an output
SAME = 1e-6  # relative: two steps are one


def find_rounded(graph, scales: QdqScales) -> list[str]:
    """Adds the scales of constants of convolutions and matrix products that lie on a grid, in
    place; returns their names.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        axis = _axis_of_outputs(node)
        if axis is None:
            continue
        name = node.input[1]
        if name not in stored or name in scales.weights or name in found:
            continue
        values = numpy_helper.to_array(stored[name])
        if values.dtype != np.float32 or values.ndim < 2 or not values.size:
            continue
        axis %= values.ndim
        steps = _steps(np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1))
        if steps is None:
            continue
        is_one = np.ptp(steps) <= SAME * steps.max()
        given = (float(steps[0]),) if is_one else tuple(steps.tolist())
        zeros = (0,) * len(given)
        scales.weights[name] = WeightScales(given, zeros, None if is_one else axis, "int8")
        found.append(name)
    return found


def _axis_of_outputs(node) -> int | None:
    """Along which the weights of a product have a scale each; None of another operator."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return -1
    if node.op_type == "Gemm":
        turned = next((entry.i for entry in node.attribute if entry.name == "transB"), 0)
        return 0 if turned else 1
    return None


def _steps(rows: np.ndarray) -> np.ndarray | None:
    """(outputs,) float64 of rows (outputs, k), the coarsest that each lies on; None where one lies
    on no grid. A row of zeros takes the largest.
    """
    if rows.shape[1] < FEWEST or not np.isfinite(rows).all():
        return None
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    steps = np.zeros(len(rows))
    few = rows[:, : 2 * FEWEST]  # most rows that lie on no grid show it there
    for count in range(1, MOST + 1):
        open_ = np.flatnonzero((steps == 0) & (largest > 0))
        if not len(open_):
            break
        for part in (few, rows):
            whole = part[open_] * (count / largest[open_, None])
            open_ = open_[np.abs(whole - np.round(whole)).max(axis=1) <= NEAR]
        steps[open_] = largest[open_] / count
    if (steps[largest > 0] == 0).any() or not steps.any():
        return None
    return np.where(steps > 0, steps, steps.max())
