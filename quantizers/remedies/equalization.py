"""Cross-layer equalization: channels of neighbouring layers get like ranges.

Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction", ICCV 2019.
With one scale for a whole weight tensor, a channel whose weights are small against the largest has
few levels left. Dividing a channel by s in the layer that makes it and multiplying it by s in the
layers that read it changes nothing of what the network computes; s = sqrt(made / read), of the
ranges of the weights that make the channel and of those that read it, makes both alike. This is
done for every group of tensors that have their factors in common (`scaling_groups`), over and over
until no factor changes any more.

Where weights have a scale for each channel, what makes a channel has nothing to gain, and small
factors cost (`SPREAD`). Large ones pay there too: the tensor between has one scale, and channels of
very unlike weights have values as unlike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from int8gate.quantizers.remedies.float_network import Network, WeightedLayer
from int8gate.quantizers.remedies.notes import left_alone
from int8gate.quantizers.remedies.scaling_groups import Group, groups

SWEEPS = 200
CONVERGED = 1e-3  # of the logarithm of a factor
DEAD = 1e-6  # of the largest range: a channel below it is left alone
LARGEST = 2.0**12  # what a channel is multiplied or divided by at most
CAP = 6.0  # of RELU6
# Of the factors of a group, 95% over 5%: below it weights with a scale for each channel are left as
# they are. Measured at the logits: MobileNet v2 of the zoo, whose groups spread 1.2 to 3.9 times,
# lost 0.7 dB without this bound; separable networks of 5 and 30 times won 3 and 15.
SPREAD = 4.0


@dataclass(eq=False)
class _Ranges:
    """The largest weight between each output and each input of a layer, and the factors so far.

    `largest` is (groups, outputs of a group, inputs of a group), `made` (outputs,) and `read`
    (inputs,) are what its channels have been divided and multiplied by.
    """

    largest: np.ndarray
    made: np.ndarray
    read: np.ndarray

    @classmethod
    def of(cls, layer: WeightedLayer) -> _Ranges:
        weights = np.abs(layer.weights.astype(np.float64))
        flat = weights.reshape(*weights.shape[:2], -1).max(axis=2)
        largest = flat.reshape(layer.groups, -1, weights.shape[1])
        return cls(largest, np.ones(layer.outputs), np.ones(layer.inputs))

    def now(self) -> np.ndarray:
        count, outputs, inputs = self.largest.shape
        made, read = self.made.reshape(count, outputs, 1), self.read.reshape(count, 1, inputs)
        return self.largest * read / made

    def of_outputs(self) -> np.ndarray:
        """The range of the weights that make each channel: (outputs,)."""
        return self.now().max(axis=2).reshape(-1)

    def of_inputs(self) -> np.ndarray:
        """The range of the weights that read each channel: (inputs,)."""
        return self.now().max(axis=1).reshape(-1)


def equalize(network: Network, per_channel: bool, caps: bool = True) -> list[str]:
    """Scales channels of the network in place, and returns a sentence on what was done.

    Its outputs stay equal, but for the rounding of float32. `per_channel`: its weights will have a
    scale for each channel, so that only channels that are far from alike are changed. A RELU6
    between two layers becomes a RELU and a minimum with 6 / s; without `caps` such layers are left
    alone.
    """
    found = groups(network)
    for group in found if not caps else ():
        if group.capped:
            group.reasons.append(
                "its RELU6 would need a bound for each channel, computed on floats"
            )
    chosen = [group for group in found if not group.reasons]
    factors = _converged(network, chosen)
    if per_channel:
        chosen = [group for group in chosen if _spread(factors[group]) >= SPREAD]
        factors = _converged(network, chosen)
    changed = [group for group in chosen if (np.abs(np.log(factors[group])) > CONVERGED).any()]
    scale(network, {group: factors[group] for group in changed})
    return [_note(found, changed)]


def _converged(network: Network, chosen: list[Group]) -> dict[Group, np.ndarray]:
    """The factors of each group, (channels,), after as many sweeps as it takes."""
    ranges = {layer.name: _Ranges.of(layer) for layer in network.layers}
    total = {group: np.ones(group.makers[0].outputs) for group in chosen}
    for _ in range(SWEEPS):
        moved = 0.0
        for group in chosen:
            made = _largest([ranges[layer.name].of_outputs() for layer in group.makers])
            read = _largest(
                [reader.gathered(ranges[reader.layer.name].of_inputs()) for reader in group.readers]
            )
            alive = (made > DEAD) & (read > DEAD)
            step = np.sqrt(np.where(alive, made, 1) / np.where(alive, read, 1))
            wanted = np.clip(total[group] * step, 1 / LARGEST, LARGEST)
            step, total[group] = wanted / total[group], wanted
            for layer in group.makers:
                ranges[layer.name].made *= step
            for reader in group.readers:
                ranges[reader.layer.name].read *= reader.spread(step)
            moved = max(moved, float(np.abs(np.log(step)).max()))
        if moved < CONVERGED:
            break
    return total


def _spread(factors: np.ndarray) -> float:
    high, low = np.percentile(factors, (95, 5))
    return float(high / low)


def _largest(ranges: list[np.ndarray]) -> np.ndarray:
    """Of each channel over several layers, in parts of each layer's largest."""
    return np.max([each / max(each.max(), 1e-300) for each in ranges], axis=0)


def scale(network: Network, factors: dict[Group, np.ndarray]) -> None:
    """Divides channels of groups by these factors where they are made, in place, and multiplies by
    them where they are read; a RELU6 between becomes a RELU and a minimum with 6 / s.
    """
    for group, numbers in factors.items():
        for layer in group.makers:
            current = network.layer(layer.name)
            by = numbers.reshape(-1, *[1] * (current.weights.ndim - 1))
            network.set_weights(current, current.weights / by)
            if current.bias is not None:
                network.set_bias(network.layer(layer.name), current.bias / numbers)
        for reader in group.readers:
            current = network.layer(reader.layer.name)
            network.set_weights(current, times_inputs(current, reader.spread(numbers)))
    for group, numbers in factors.items():
        for operator in group.capped:
            current = network.producer(operator.output)
            if current is not None:
                network.set_cap(current, CAP / numbers)


def times_inputs(layer: WeightedLayer, factors: np.ndarray) -> np.ndarray:
    """A layer's weights with those that read each input times a factor: (inputs,)."""
    of_group = layer.weights.shape[1]
    apart = layer.weights.reshape(layer.groups, -1, *layer.weights.shape[1:])
    by = factors.reshape(layer.groups, 1, of_group, *[1] * (layer.weights.ndim - 2))
    return (apart * by).reshape(layer.weights.shape)


def _note(found: list[Group], changed: list[Group]) -> str:
    """What was done, in a sentence."""
    left = [(group.name, group.reasons[0]) for group in found if group.reasons]
    alike = len(found) - len(changed) - len(left)
    note = f"cross-layer equalization: {len(changed)} of {len(found)} pairs of layers"
    if alike:
        note += f"; {alike} were alike already"
    return note + left_alone(left)
