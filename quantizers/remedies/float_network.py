"""A float network whose weights can be changed: what remedies look at, whatever the file's format.

    network = tflite.weighted_network.read(path)     (or onnx.weighted_network.read)
    for layer in network.layers: ...
    network.set_weights(layer, values)
    network.save(other_path)

Layers are the convolutions and matrix products with constant weights; what stands between them are
operators whose kinds have the same names in every format (`KINDS` of the adapters).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

CONVOLUTION, DEPTHWISE, TRANSPOSED = "convolution", "depthwise", "transposed_convolution"
DENSE = "dense"
# Kinds of operators between layers, as remedies know them; any other has its format's own name.
RELU, RELU6, PRELU, LEAKY_RELU, CLIP = "relu", "relu6", "prelu", "leaky_relu", "clip"
MAX_POOL, AVERAGE_POOL, MEAN, PAD, RESIZE = "max_pool", "average_pool", "mean", "pad", "resize"
RESHAPE, TRANSPOSE, IDENTITY, CONCAT = "reshape", "transpose", "identity", "concat"
ADD, SUB, MUL, MINIMUM = "add", "sub", "mul", "minimum"
LAYER_NORM = "layer_norm"


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of the file.

    `name` is the one that rules match: a node's of ONNX, in TFLite the first output's. `kind` is
    one of the words above, or the format's own name. `inputs` and `outputs` are names of tensors,
    constants among them, "" for an input left out. `activation` is one that the operator applies
    itself (TFLite), None without. `settings` are its attributes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    activation: str | None = None
    settings: Mapping = field(default_factory=dict)

    @property
    def output(self) -> str:
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class WeightedLayer:
    """A convolution or matrix product with constant float32 weights.

    `weights` are (outputs, inputs of one group, *kernel) in every format, `bias` is (outputs,) or
    None. Both are the file's at the time when the layer was read: after a change ask the network
    for its `layer` again. `input` and `output` are names of tensors; the output is the one behind a
    bias that is an operator of its own and behind an `activation` that the operator applies itself.
    `operators` are those of the file that the layer is made of: the product, then maybe a sum.
    """

    name: str
    kind: str
    weights: np.ndarray
    bias: np.ndarray | None
    groups: int
    input: str
    output: str
    activation: str | None
    operators: tuple[Operator, ...]

    @property
    def outputs(self) -> int:
        return self.weights.shape[0]

    @property
    def inputs(self) -> int:
        """Channels that the layer reads, of all groups."""
        return self.weights.shape[1] * self.groups

    @property
    def product(self) -> Operator:
        return self.operators[0]


class Network(ABC):
    """The first graph of a float artifact: its layers, its operators, and who reads what.

    Attributes
    ----------
    inputs, outputs : names of the tensors that the caller gives and takes.
    channel_axis : of a tensor of rank 4, where its channels are: 3 or 1.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    channel_axis: int

    @property
    @abstractmethod
    def operators(self) -> list[Operator]:
        """All operators, in the order of the file."""

    @property
    @abstractmethod
    def layers(self) -> list[WeightedLayer]:
        """The layers with constant weights, in the order of the file."""

    @abstractmethod
    def shape(self, tensor: str) -> tuple[int, ...]:
        """The static shape of a tensor; () where it is unknown."""

    @abstractmethod
    def constant(self, tensor: str) -> np.ndarray | None:
        """The values of a constant tensor (of any dtype); None of one that is computed."""

    @abstractmethod
    def set_constant(self, operator: Operator, place: int, values: np.ndarray) -> None:
        """Gives an operator another constant (float32) at that place of its inputs.

        Where other operators read the old one they keep it.
        """

    @abstractmethod
    def set_weights(self, layer: WeightedLayer, values: np.ndarray) -> None:
        """Gives a layer other weights, of the shape of `layer.weights`.

        Layers that shared the old ones keep them, as the file then holds both. Raises ValueError
        for another shape, and for values that are not finite.
        """

    @abstractmethod
    def set_bias(self, layer: WeightedLayer, values: np.ndarray) -> None:
        """Gives a layer another bias (outputs,), or one where it has none.

        Where the format's operator takes none, a sum is put behind it, which gives the tensor of
        that name. Raises ValueError as `set_weights` does.
        """

    @abstractmethod
    def set_cap(self, operator: Operator, caps: np.ndarray) -> None:
        """Bounds an operator's output at a number for each channel instead of at 6.

        `operator` applies RELU6 to its result or is one (RELU6, or a CLIP of 0 to 6); it becomes
        a RELU, and a minimum with the constant caps (channels,) gives the tensor of that name.
        """

    @abstractmethod
    def run(self, samples: Path, tensors: Sequence[str], count: int | None = None) -> Iterator:
        """What tensors hold on the first `count` samples of a file (`SampleFile`), all by default.

        Gives a dict of float32 arrays by tensor for each sample, from the network as it is now.
        Raises ValueError where samples and inputs do not fit.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the network to a file of the artifact's format."""

    def values(self, tensor: str) -> np.ndarray:
        """`constant` of one that is; raises ValueError for one that is computed."""
        found = self.constant(tensor)
        if found is None:
            raise ValueError(f"tensor {tensor} is no constant of the network, it is computed")
        return found

    def layer(self, name: str) -> WeightedLayer:
        """The layer of that name as it is now; raises KeyError for one that there is none of."""
        return {layer.name: layer for layer in self.layers}[name]

    def producer(self, tensor: str) -> Operator | None:
        """What computes a tensor; None of constants and inputs."""
        return next((each for each in self.operators if tensor in each.outputs), None)

    def readers(self, tensor: str) -> list[Operator]:
        """The operators that read a tensor, each once."""
        return [each for each in self.operators if tensor in each.inputs]

    def sharing(self, layer: WeightedLayer) -> list[WeightedLayer]:
        """The other layers whose weights are the same tensor of the file."""
        stored = self.weights_stored(layer)
        return [
            other
            for other in self.layers
            if other.name != layer.name and self.weights_stored(other) == stored
        ]

    @abstractmethod
    def weights_stored(self, layer: WeightedLayer) -> object:
        """What tells where the file keeps a layer's weights: equal for layers that share them."""


def checked(layer: WeightedLayer, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The values as float32; raises ValueError unless they have that shape and are finite."""
    values = np.asarray(values, np.float32)
    if values.shape != shape:
        raise ValueError(f"layer {layer.name} takes values {shape}, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"layer {layer.name} was given NaN or infinity")
    return values
