"""AdaRound as a remedy: every layer's weights are rounded for its own inputs (`rounding.py`).

The inputs are those that the layer has in the quantized network. The float artifact gets weights
that lie on the quantizer's grid, so that this, rounding to nearest, finds the integers chosen.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np

from int8gate.quantizers.recipe_type import Recipe
from int8gate.quantizers.remedies import rounding
from int8gate.quantizers.remedies.float_network import Network, WeightedLayer
from int8gate.quantizers.remedies.patches import Patches, patches_of
from int8gate.quantizers.remedies.trial import Quantized, Tools, Trial

ROWS = 2400  # patches of a layer, held out ones among them
MOST_INPUTS = 4608  # of an output: more make second moments of 85 MB and more


def round_adaptively(
    tools: Tools,
    float_model: Path,
    statistics: Path,
    samples: Path,
    recipe: Recipe,
    directory: Path,
    seed: int = 0,
) -> dict:
    """Writes `directory`/`tools.file`, the float artifact with weights on the quantizer's grid.

    Returns its notes. Where the outputs do not get closer to float on samples that were held out,
    it is the artifact as it was.
    """
    with Trial.of(tools, float_model, samples, recipe) as trial:
        network = tools.read(float_model)
        quantized = trial.quantize(network, statistics)
        grids, left = _grids(network, quantized)
        rows, before = _rows(trial, network, quantized, grids, seed)
        changed = 0
        for name, (fitted, held) in rows.items():
            weights = chosen_weights(network.layer(name), grids[name], fitted, held)
            if weights is not None:
                network.set_weights(network.layer(name), weights)
                changed += 1
        after, model = before, float_model
        if changed:
            quantized = trial.quantize(network)
            after, model = trial.compare(quantized), quantized.float_model
        lost = not changed or not after[1] >= before[1]
        shutil.copyfile(float_model if lost else model, directory / tools.file)
    told = trial.told(before, after)
    if lost:
        return {"notes": [f"AdaRound was undone: {told}"]}
    which = f"{changed} of {len(network.layers)} layers"
    notes = [f"AdaRound chose how the weights of {which} are rounded: {told}"]
    if left:
        notes.append(f"AdaRound left {len(left)} layers alone: {'; '.join(left[:3])}")
    return {"notes": notes}


def chosen_weights(
    layer: WeightedLayer, grid: rounding.Grid, fitted: np.ndarray, held: np.ndarray | None
) -> np.ndarray | None:
    """A layer's weights, of the shape of `layer.weights`, on the grid; None where all stay nearest.

    `fitted` and `held` are rows of its inputs (groups, n, k): outputs that err more on those held
    out than with rounding to nearest stay as they are.
    """
    integers = rounding.learn(grid, rounding.moments(fitted))
    if held is not None:
        of_held = rounding.moments(held)
        errors, before = (
            rounding.output_errors(grid.errors(each), of_held) for each in (integers, grid.nearest)
        )
        integers = np.where((errors > before)[..., None], grid.nearest, integers)
    if np.array_equal(integers, grid.nearest):
        return None
    real = np.where(grid.fixed, grid.weights, integers * grid.scale)
    return real.reshape(layer.weights.shape).astype(np.float32)


def _grids(network: Network, quantized: Quantized) -> tuple[dict[str, rounding.Grid], list[str]]:
    """The grids of the layers that can be rounded otherwise, and why others cannot, in words."""
    weights = {layer.name: layer.weights for layer in quantized.weights.layers}
    found, left = {}, []
    for layer in network.layers:
        grid = rounding.grid_of(layer.weights, weights[layer.name], layer.groups)
        if grid is None:
            left.append(f"{layer.name} stays float or has scales of its own kind")
        elif network.sharing(layer):
            left.append(f"{layer.name} shares its weights")
        elif grid.weights.shape[-1] > MOST_INPUTS:
            left.append(f"{layer.name} has {grid.weights.shape[-1]} weights for each output")
        elif patches_of(network, layer) is None:
            left.append(f"{layer.name} has inputs of unknown places")
        else:
            found[layer.name] = grid
    return found, left


def _rows(
    trial: Trial, network: Network, quantized: Quantized, names, seed: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray | None]], tuple[float, float]]:
    """Rows of each layer's inputs in the quantized network, for fitting and held out, and the ratio
    at the outputs.
    """
    random = np.random.default_rng(seed)
    layers: dict[str, Patches] = {
        layer.name: patches
        for layer in network.layers
        if layer.name in names and (patches := patches_of(network, layer))
    }
    most = math.ceil(ROWS / len(trial.is_held))
    found: dict[str, list[np.ndarray]] = {name: [] for name in layers}

    def see(number: int, wanted: dict, values: dict) -> None:
        for name, patches in layers.items():
            read = patches.layer.input
            source = values if read in values else wanted
            found[name].append(patches.rows(source[read], most, random))

    inputs = {patches.layer.input for patches in layers.values()}
    ratio = trial.compare(quantized, inputs, see)
    is_held = trial.is_held

    def joined(rows: list[np.ndarray], which: bool) -> np.ndarray | None:
        chosen = [row for row, held in zip(rows, is_held, strict=True) if held == which]
        return np.concatenate(chosen, axis=1) if chosen else None

    fitted = {name: joined(rows, False) for name, rows in found.items()}
    held = {name: joined(rows, True) for name, rows in found.items()}
    return {name: (rows, held[name]) for name, rows in fitted.items() if rows is not None}, ratio
