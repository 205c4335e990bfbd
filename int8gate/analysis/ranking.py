"""Layers in the order of their noise at the output, quantized alone, with few samples.

All layers are measured on one sample, some of them on a second, which shows how much the noise of
one sample scatters. The order would be like that of another draw of samples by so much (expected
rank correlation, simulated): as long as that is less than `RELIABLE`, layers that stand too close
to a neighbour to be told apart get twice as many samples. What is compared is the noise of the same
samples, so that samples which are harder for all layers do not count.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from int8gate.analysis.chain import FLOAT, Chain
from int8gate.quantizers.layer import Layer
from int8gate.validation.fidelity import SQNR_CEILING_DB

MOST = 32  # samples
RELIABLE = 0.995  # rank correlation that another draw of as many samples is expected to have
PROBES = 9  # layers that get a second sample to begin with
SEPARATE = 2.0  # standard errors of the difference of two neighbours
DRAWS = 200


@dataclass(frozen=True)
class Ranked:
    """A layer, its SQNR at the worst output in dB, and on how many samples that was measured."""

    layer: Layer
    sqnr_db: float
    samples: int


def rank(chain: Chain, layers: Sequence[Layer], most: int = MOST, seed: int = 0) -> list[Ranked]:
    """The layers, least SQNR first; each on at most so many samples of the chain.

    The signal is the variance of the float outputs over the first two samples, the same for all.
    Raises ValueError where a variant cannot be made, and for fewer than two samples.
    """
    most = min(most, chain.samples)
    if most < 2:
        raise ValueError(f"{most} samples: the variance of outputs takes two at least")
    signal = [_variance(output) for output in chain.part(0, 2).outputs(FLOAT)]
    blocks: dict[int, Chain] = {}  # by the first sample: 0, 1, 2 to 3, 4 to 7, ...
    noise = {layer.name: np.zeros(0) for layer in layers}

    def add(names: Collection[str]) -> None:
        for layer in layers:
            if layer.name in names:
                known = noise[layer.name]
                start, stop = len(known), min(max(1, 2 * len(known)), most)
                if start not in blocks:
                    blocks[start] = chain.part(start, stop)
                more = _noise(blocks[start], layer, signal)
                noise[layer.name] = np.concatenate([known, more])

    add(noise.keys())
    asked = _spread(noise)
    while asked:
        add(asked)
        scatter = _scatter(noise)
        close = [] if _is_reliable(noise, scatter, seed) else _close(noise, scatter)
        asked = [name for name in close if len(noise[name]) < most]
    found = ((layer, noise[layer.name]) for layer in layers)
    ranked = [Ranked(layer, _decibels(each), len(each)) for layer, each in found]
    return sorted(ranked, key=lambda each: each.sqnr_db)


def _variance(output: np.ndarray) -> float:
    """Around the mean of each of its elements over samples (n, ...)."""
    real = np.asarray(output, np.float64)
    return float(np.mean((real - real.mean(axis=0)) ** 2))


def _noise(chain: Chain, layer: Layer, signal: Sequence[float]) -> np.ndarray:
    """(n,): the mean squared error of each sample's worst output, by that output's signal."""
    wanted = chain.outputs(FLOAT)
    found = chain.outputs(FLOAT, chain.network.alone(layer))
    ratios = []
    for real, given, power in zip(wanted, found, signal, strict=True):
        if power > 0:
            error = (np.asarray(given, np.float64) - real).reshape(len(real), -1)
            ratios.append((error**2).mean(axis=1) / power)
    floor = 10 ** (-SQNR_CEILING_DB / 10)
    return np.maximum(np.max(ratios, axis=0), floor) if ratios else np.full(len(wanted[0]), floor)


def _decibels(noise: np.ndarray) -> float:
    return -10 * math.log10(float(noise.mean()))


def _spread(noise: dict[str, np.ndarray]) -> list[str]:
    """Names of some layers, evenly over the order."""
    order = _order(noise)
    return [order[int(place)] for place in np.linspace(0, len(order) - 1, min(PROBES, len(order)))]


def _order(noise: dict[str, np.ndarray]) -> list[str]:
    return sorted(noise, key=lambda name: float(noise[name].mean()))


def _scatter(noise: dict[str, np.ndarray]) -> float:
    """Standard deviation in dB of one sample's noise, without what all layers have in common."""
    several = [10 * np.log10(each) for each in noise.values() if len(each) > 1]
    count = min(map(len, several), default=0)
    if len(several) < 2:
        return 0.0
    cells = np.array([each[:count] for each in several])
    rest = cells - cells.mean(axis=1, keepdims=True)
    rest -= rest.mean(axis=0, keepdims=True)
    freedom = (len(cells) - 1) * (count - 1)
    return math.sqrt(float((rest**2).sum()) / freedom)


def _is_reliable(noise: dict[str, np.ndarray], scatter: float, seed: int) -> bool:
    """Whether another draw of samples is expected to give the same order, nearly."""
    if len(noise) < 3:
        return True
    decibels = 10 * np.log10([each.mean() for each in noise.values()])
    errors = scatter / np.sqrt([len(each) for each in noise.values()])
    drawn = np.random.default_rng(seed).normal(decibels, errors, (DRAWS, len(errors)))
    ranks = drawn.argsort(axis=1).argsort(axis=1)
    own = decibels.argsort().argsort()
    count = len(own)
    expected = 1 - 6 * ((ranks - own) ** 2).sum(axis=1) / (count * (count**2 - 1))
    return float(expected.mean()) >= RELIABLE


def _close(noise: dict[str, np.ndarray], scatter: float) -> set[str]:
    """Names of the layers that cannot be told from a neighbour in rank."""
    found = set()
    for one, other in itertools.pairwise(_order(noise)):
        apart = 10 * math.log10(noise[other].mean() / noise[one].mean())
        error = scatter * math.sqrt(1 / len(noise[one]) + 1 / len(noise[other]))
        if apart < SEPARATE * error:
            found |= {one, other}
    return found
