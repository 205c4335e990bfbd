"""Bias correction: the mean error that rounding brings to a channel is taken from its bias.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019
(https://arxiv.org/abs/1906.04721); Banner et al., NeurIPS 2019 (https://arxiv.org/abs/1810.05723).

A channel's mean before its activation is ``weights @ mean patch + bias``: that of the float network
and that of the quantized one, with its weights and its own inputs, follow from means of the
layer's inputs (`patches.py`), whatever activation is fused behind it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.quantizers.recipe import Recipe
from int8gate.quantizers.remedies.network import Network, WeightedLayer
from int8gate.quantizers.remedies.patches import Patches, patches_of
from int8gate.quantizers.remedies.trial import Quantized, Tools, Trial

SWEEPS = 4
SURE = 3.0  # standard errors of the mean over samples: nearer to zero a correction is noise
WITHOUT_PLACE = ("MatMul", "BATCH_MATMUL")  # a bias would be an operator more


@dataclass(frozen=True, eq=False)
class Means:
    """Mean patches of a layer's input on each sample, float64 (n, groups, inputs * kernel)."""

    patches: Patches
    wanted: np.ndarray  # of the float network
    found: np.ndarray  # of the quantized one


def correct(
    tools: Tools,
    float_model: Path,
    statistics: Path,
    samples: Path,
    recipe: Recipe,
    directory: Path,
) -> dict:
    """Writes `directory`/`tools.file`, the float artifact with other biases; returns its notes.

    Where the outputs do not get closer to float on samples that were held out, it is the artifact
    as it was.
    """
    with Trial.of(tools, float_model, samples, recipe) as trial:
        network = tools.read(float_model)
        chosen = {
            layer.name: patches
            for layer in network.layers
            if not _lacks_place(layer) and (patches := patches_of(network, layer))
        }
        before = best = None
        corrected: set[str] = set()
        quantized = trial.quantize(network, statistics)
        for sweep in range(SWEEPS + 1):
            means, ratio = _measured(trial, quantized, chosen)
            before = before or ratio
            if best is None or ratio[0] > best[0][0]:
                best = ratio, quantized.float_model, len(corrected)
            elif sweep > 1:
                break
            if sweep == SWEEPS:
                break
            corrected |= _sweep(trial, network, quantized, means, sweep == 0)
            quantized = trial.quantize(network)
        (_, held), model, channels = best
        lost = held < before[1] or not channels
        shutil.copyfile(float_model if lost else model, directory / tools.file)
    count = trial.is_held.sum() if trial.has_held_out else len(trial.is_held)
    told = f"{before[1]:.1f} to {held:.1f} dB on {count} samples"
    told += " held out" if trial.has_held_out else ""
    if lost:
        return {"notes": [f"bias correction was undone: SQNR at the outputs went from {told}"]}
    return {
        "notes": [
            f"bias correction changed the biases of {channels} of {len(network.layers)} layers: "
            f"SQNR at the outputs went from {told}"
        ]
    }


def _lacks_place(layer: WeightedLayer) -> bool:
    return layer.bias is None and layer.product.kind in WITHOUT_PLACE


def _measured(
    trial: Trial, quantized: Quantized, chosen: dict[str, Patches]
) -> tuple[dict[str, Means], tuple[float, float]]:
    """The layers' mean patches, and the ratio at the outputs."""
    rows: dict[str, tuple[list, list]] = {name: ([], []) for name in chosen}

    def see(number: int, wanted: dict, found: dict) -> None:
        known: dict[tuple, tuple] = {}
        for name, patches in chosen.items():
            read = patches.layer.input
            if read not in wanted:
                continue
            key = read, patches.form
            if key not in known:
                of_float = patches.means(wanted[read])
                known[key] = of_float, patches.means(found[read]) if read in found else of_float
            for kept, mean in zip(rows[name], known[key], strict=True):
                kept.append(mean)

    inputs = {patches.layer.input for patches in chosen.values()}
    ratio = trial.compare(quantized, inputs, see)
    means = {
        name: Means(chosen[name], *map(np.array, found)) for name, found in rows.items() if found[0]
    }
    return means, ratio


def mean_errors(layer: WeightedLayer, rounded: np.ndarray, bias, means: Means) -> np.ndarray:
    """By how much each channel's mean before activation is off, float64 (n, outputs).

    `layer` is the float one, `rounded` its weights and `bias` its bias in the quantized network.
    """
    of_float = _sums(layer, layer.weights, means.wanted)
    of_quantized = _sums(layer, rounded, means.found)
    real = 0 if layer.bias is None else layer.bias.astype(np.float64)
    return of_quantized + bias - of_float - real


def _sums(layer: WeightedLayer, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    apart = weights.reshape(layer.groups, layer.outputs // layer.groups, -1).astype(np.float64)
    return np.einsum("gok,ngk->ngo", apart, means).reshape(len(means), -1)


def sure_means(errors: np.ndarray) -> np.ndarray:
    """The mean over samples of errors (n, channels), 0 where it is within noise."""
    mean = errors.mean(axis=0)
    noise = errors.std(axis=0, ddof=1) / np.sqrt(len(errors)) if len(errors) > 1 else np.inf
    return np.where(np.abs(mean) > SURE * noise, mean, 0.0)


def _sweep(
    trial: Trial, network: Network, quantized: Quantized, means: dict[str, Means], is_first: bool
) -> set[str]:
    """Corrects all layers' biases, in place; returns the layers that got another.

    At first for what a layer's own rounding does to right inputs alone: what comes from above goes
    with the correction of the layers above.
    """
    corrected = set()
    originals = {layer.name: layer for layer in trial.original.layers}
    weights = {layer.name: layer.weights for layer in quantized.weights.layers}
    for name, found in means.items():
        layer, now = originals[name], network.layer(name)
        if is_first:
            found = Means(found.patches, found.wanted, found.wanted)
        bias = np.zeros(layer.outputs) if now.bias is None else now.bias.astype(np.float64)
        errors = mean_errors(layer, weights[name], bias, found)[~trial.is_held]
        change = sure_means(errors)
        if change.any():
            network.set_bias(now, (bias - change).astype(np.float32))
            corrected.add(name)
    return corrected
