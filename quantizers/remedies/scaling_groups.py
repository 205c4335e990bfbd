"""Tensors of a network whose channels can be scaled together, and the layers around them.

A network computes the same when a tensor's channel is divided by a number in the weights and biases
of what makes it, and multiplied by that in the weights of what reads it (Nagel et al., "Data-Free
Quantization through Weight Equalization and Bias Correction", ICCV 2019). Between them stand only
operators that pass a positive factor on: ReLU, PReLU, LeakyReLU, pooling, padding with zeros,
enlarging, sums of tensors that have the same factors, products with what has none. All tensors
that such operators join have one factor for each channel: a group. A residual network's stream is
one.

A group can be scaled when all that makes and all that reads its tensors can take the factors in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from int8gate.quantizers.remedies import float_network as kinds
from int8gate.quantizers.remedies.float_network import Network, Operator, WeightedLayer

ALIKE = (  # pass a positive factor of a channel on, whatever their settings
    *(kinds.RELU, kinds.PRELU, kinds.LEAKY_RELU, kinds.IDENTITY),
    *(kinds.MAX_POOL, kinds.AVERAGE_POOL, kinds.RESIZE),
)
OUTPUT = "an output of the network"
PASSED = (None, kinds.RELU, kinds.RELU6)  # activations that an operator applies itself


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that reads a group's channels, each `repeats` times in a row, `tiles` times over.

    Both are 1 but of a dense layer that reads a flattened map.
    """

    layer: WeightedLayer
    repeats: int = 1
    tiles: int = 1

    def spread(self, factors: np.ndarray) -> np.ndarray:
        """A number for each of the group's channels, as one for each of the layer's inputs."""
        return np.tile(np.repeat(factors, self.repeats), self.tiles)

    def gathered(self, values: np.ndarray) -> np.ndarray:
        """The largest of the numbers (inputs,) that belong to each of the group's channels."""
        return values.reshape(self.tiles, -1, self.repeats).max(axis=(0, 2))


@dataclass(eq=False)
class Group:
    """Tensors with one factor for each channel.

    `makers` give the first of them, `readers` read the last, `capped` are operators that apply
    RELU6 on the way. `reasons` say why the group cannot be scaled: none if it can.
    """

    tensors: list[str]
    makers: list[WeightedLayer] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    capped: list[Operator] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of the first layer that makes one of its tensors."""
        return self.makers[0].name


def groups(network: Network) -> list[Group]:
    """Those that a layer makes, in the order of the file; see `Group.reasons`.

    Not those that end the network: what its last layers give, which nothing but the caller reads.
    """
    return _Search(network).groups()


class _Search:
    """Joins tensors by the operators between them, and notes what stands in the way."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.parent: dict[str, str] = {}
        self.reasons: dict[str, list[str]] = {}
        self.capped: dict[str, list[Operator]] = {}
        self.flattened: dict[str, tuple[int, int]] = {}
        self.layers = network.layers
        self.members = {each.output for layer in self.layers for each in layer.operators}

    def groups(self) -> list[Group]:
        network = self.network
        for name in network.inputs:
            self.refuse(name, "the network's input")
        for name in network.outputs:
            self.refuse(name, OUTPUT)
        for operator in network.operators:
            if operator.output not in self.members:
                self.join(operator)
        shared = {layer.name for layer in self.layers if network.sharing(layer)}
        readers: dict[str, list[Reader]] = {}
        for layer in self.layers:
            if layer.name in shared:
                for name in (layer.input, layer.output):
                    self.refuse(name, f"the weights of {layer.name} are another layer's too")
            self.check_made(layer)
            reader = self.reader(layer)
            if reader is not None:
                readers.setdefault(self.root(layer.input), []).append(reader)
        made: dict[str, list[WeightedLayer]] = {}
        for layer in self.layers:
            made.setdefault(self.root(layer.output), []).append(layer)
        tensors: dict[str, list[str]] = {}
        for name in list(self.parent):
            tensors.setdefault(self.root(name), []).append(name)
        found = [
            Group(
                tensors[root],
                makers,
                readers.get(root, []),
                self.gathered(self.capped, tensors[root]),
                self.gathered(self.reasons, tensors[root]),
            )
            for root, makers in made.items()
        ]
        return [group for group in found if group.readers or {*group.reasons} - {OUTPUT}]

    @staticmethod
    def gathered(by_tensor: dict[str, list], tensors: list[str]) -> list:
        return [entry for name in tensors for entry in by_tensor.get(name, ())]

    def root(self, tensor: str) -> str:
        self.parent.setdefault(tensor, tensor)
        while self.parent[tensor] != tensor:
            tensor = self.parent[tensor]
        return tensor

    def unite(self, *tensors: str) -> None:
        first, *others = (self.root(tensor) for tensor in tensors)
        for other in others:
            self.parent[self.root(other)] = first

    def refuse(self, tensor: str, reason: str) -> None:
        self.root(tensor)
        self.reasons.setdefault(tensor, []).append(reason)

    def channels(self, tensor: str) -> int:
        """0 of a tensor whose shape is unknown, and of one that is no batch of maps or vectors."""
        shape = self.network.shape(tensor)
        if len(shape) < 2:
            return 0
        return shape[self.network.channel_axis if len(shape) == 4 else -1]

    def join(self, operator: Operator) -> None:
        """Unites the tensors of an operator between layers, or refuses them."""
        computed = [
            name for name in operator.inputs if name and self.network.constant(name) is None
        ]
        joined = self.joined(operator, computed)
        if not joined or operator.activation not in PASSED:
            for name in (*computed, *operator.outputs):
                self.refuse(name, f"{operator.name} ({operator.kind}) takes no factors")
            return
        self.unite(*joined)
        for name in {*computed} - {*joined}:
            self.refuse(name, f"{operator.name} ({operator.kind}) multiplies by it")
        if kinds.RELU6 in (operator.kind, operator.activation):
            self.capped.setdefault(operator.output, []).append(operator)

    def joined(self, operator: Operator, computed: list[str]) -> list[str]:
        """The tensors of an operator that have the same factors; none where it takes no factors."""
        if not computed or len(operator.outputs) != 1 or self.flattened.keys() & computed:
            return []
        first, output, shape = computed[0], operator.output, self.network.shape
        together = [*computed, output]
        match operator.kind:
            case kinds.ADD | kinds.SUB:
                alike = len(computed) == 2 and shape(first) == shape(computed[1]) == shape(output)
                return together if alike and self.channels(output) else []
            case kinds.MUL:
                whole = [name for name in computed if shape(name) == shape(output)]
                if len(computed) == 2 and (len(whole) != 1 or computed[0] == computed[1]):
                    return []
                return [whole[0], output] if whole else []
            case kinds.RESHAPE:
                return together if len(computed) == 1 and self.keeps_channels(operator) else []
            case kinds.MEAN:
                return together if self.is_over_places(operator) else []
            case kinds.PAD:
                return together if self.is_around_places(operator) else []
        is_one = operator.kind in (*ALIKE, kinds.RELU6) and first == operator.inputs[0]
        same = self.channels(first) == self.channels(output) > 0
        return together if is_one and len(computed) == 1 and same else []

    def keeps_channels(self, reshape: Operator) -> bool:
        """Whether it leaves channels in their place, or flattens a map (which is noted)."""
        source, output = reshape.inputs[0], reshape.output
        before, after = self.network.shape(source), self.network.shape(output)
        channels = self.channels(source)
        if source in self.flattened or not channels or len(after) < 2 or 0 in (*before, *after):
            return False
        count = int(np.prod(before))
        if count == channels:
            return self.channels(output) == channels
        is_last = len(before) != 4 or self.network.channel_axis == 3
        if is_last and after[-1] == channels and (len(after) != 4 or self.channels(output)):
            return self.channels(output) == channels
        if before[0] != 1 or after != (1, count):
            return False
        copies = count // channels
        self.flattened[output] = (1, copies) if is_last else (copies, 1)
        return True

    def is_over_places(self, mean: Operator) -> bool:
        """Whether a mean of a map is over its height or width, or both, alone."""
        source, output = mean.inputs[0], mean.output
        given = self.network.constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
        axes = mean.settings.get("axes", ()) if given is None else np.ravel(given)
        rank = len(self.network.shape(source))
        taken = {int(axis) % rank for axis in axes} if rank == 4 else set()
        others = {0, self.network.channel_axis}
        is_whole = len(self.network.shape(output)) == 4 or len(taken) == 2
        return bool(taken) and not taken & others and is_whole

    def is_around_places(self, pad: Operator) -> bool:
        """Whether zeros are put around a map, and no channels to it."""
        source, output = pad.inputs[0], pad.output
        value = self.network.constant(pad.inputs[2]) if len(pad.inputs) > 2 else None
        is_zero = not (len(pad.inputs) > 2 and pad.inputs[2]) or (
            value is not None and not value.any()
        )
        is_plain = pad.settings.get("mode", b"constant") == b"constant" and is_zero
        return is_plain and 0 < self.channels(source) == self.channels(output)

    def check_made(self, layer: WeightedLayer) -> None:
        """Refuses a layer's output where its channels are not the weights' outputs."""
        rank = len(self.network.shape(layer.output))
        if not self.fits(layer, rank) or self.channels(layer.output) != layer.outputs:
            self.refuse(layer.output, f"the channels of what {layer.name} gives are unknown")
        if layer.activation not in PASSED:
            self.refuse(layer.output, f"{layer.name} applies {layer.activation}")
        if layer.activation == kinds.RELU6:
            self.capped.setdefault(layer.output, []).append(layer.operators[-1])

    def reader(self, layer: WeightedLayer) -> Reader | None:
        """A layer as reader of its input's group; None where that is refused."""
        rank = len(self.network.shape(layer.input))
        repeats, tiles = self.flattened.get(layer.input, (1, 1))
        channels = self.channels(layer.input)
        if not self.fits(layer, rank) or channels != layer.inputs:
            self.refuse(layer.input, f"the channels of what {layer.name} reads are unknown")
            return None
        return Reader(layer, repeats, tiles)

    def fits(self, layer: WeightedLayer, rank: int) -> bool:
        """Whether a tensor of that rank has the layer's channels where all others have them."""
        if layer.kind == kinds.DENSE:
            return rank in (2, 3) or (rank == 4 and self.network.channel_axis == 3)
        return rank == 4
