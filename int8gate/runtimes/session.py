"""A session executes a model file: arrays in, arrays out, whichever runtime computes them.

    session.predict(pictures)               real values, in the order of `inputs` and `outputs`
    session.predict_named({"image": ...})   the same by the tensors' names
    session.run([stored])                   values of exactly the declared shapes and dtypes

A new runtime is a subclass with its `inputs`, `outputs` and three methods: `set_input`, `invoke`,
`get_outputs`; and its suffix in `sessions.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from int8gate.runtimes.artifact import TensorSpec

UNKNOWN = -1  # a side that the file leaves open


class Session(ABC):
    """A loaded model that runs one sample at a time (its batch dimension is 1)."""

    def __init__(
        self, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        self.path, self.inputs, self.outputs = Path(path), tuple(inputs), tuple(outputs)

    @abstractmethod
    def set_input(self, position: int, value: np.ndarray) -> None:
        """Copies an array that was checked into the input at that position."""

    @abstractmethod
    def invoke(self) -> None:
        """Runs the network on the inputs that were set: what a speed gate times.

        Raises ValueError naming a file that loads and cannot run.
        """

    @abstractmethod
    def get_outputs(self) -> list[np.ndarray]:
        """Copies of the outputs of the last `invoke`, in the order of `outputs`."""

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Checks and copies the inputs; see `run`."""
        self._check_count(inputs)
        for position, (spec, value) in enumerate(zip(self.inputs, inputs, strict=True)):
            check_input(self.path.name, spec, value)
            self.set_input(position, value)

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One inference on arrays of exactly the declared shapes and dtypes; so are the outputs.

        Raises TypeError for another dtype, ValueError for another shape: nothing is cast silently.
        """
        self.feed(inputs)
        self.invoke()
        return self.get_outputs()

    def run_each(self, *batches: np.ndarray) -> list[np.ndarray]:
        """Stored inputs (n, ...) each to stored outputs (n, ...), a sample at a time."""
        rows = [self.run([batch[i : i + 1] for batch in batches]) for i in range(len(batches[0]))]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def predict(
        self, *batches: np.ndarray, pixel_range: tuple[float, float] | None = None
    ) -> list[np.ndarray]:
        """Real inputs (n, ...) to real outputs (n, ...): quantized and dequantized around `run`.

        `pixel_range` is what pixels 0 and 255 have become in them; see `TensorSpec.quantize`.
        """
        self._check_count(batches)
        stored = [
            spec.quantize(self.laid_out(batch, spec), pixel_range)
            for spec, batch in zip(self.inputs, batches, strict=True)
        ]
        return self.dequantize(self.run_each(*stored))

    def predict_named(
        self,
        batches: Mapping[str, np.ndarray],
        pixel_range: tuple[float, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """`predict` by the names of inputs and outputs.

        Raises ValueError where the names are not exactly those of the inputs, or two tensors share
        one.
        """
        takes, gives = ([spec.name for spec in specs] for specs in (self.inputs, self.outputs))
        for names, what in ((takes, "inputs"), (gives, "outputs")):
            if len(set(names)) < len(names):
                raise ValueError(
                    f"{self.path.name} has {what} of one name ({', '.join(names)}): "
                    "feed and read them in their order, with predict"
                )
        if set(batches) != set(takes):
            raise ValueError(
                f"{self.path.name} takes the inputs {', '.join(takes)}, "
                f"got {', '.join(batches) or 'none'}"
            )
        outputs = self.predict(*(batches[name] for name in takes), pixel_range=pixel_range)
        return dict(zip(gives, outputs, strict=True))

    def laid_out(self, batch: np.ndarray, spec: TensorSpec) -> np.ndarray:
        """A batch (n, ...) in the layout that the input takes: by default as it is."""
        return batch

    def dequantize(self, outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Stored outputs to float32 reals."""
        return [spec.dequantize(output) for spec, output in zip(self.outputs, outputs, strict=True)]

    def description(self, sha256: str) -> dict:
        """What `artifact.as_artifact` takes of a file: its digest, its inputs and outputs."""
        return {
            "sha256": sha256,
            "inputs": [asdict(spec) for spec in self.inputs],
            "outputs": [asdict(spec) for spec in self.outputs],
        }

    def _check_count(self, inputs: Sequence[np.ndarray]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{self.path.name} takes {len(self.inputs)} inputs, got {len(inputs)}")


class ChannelsFirstSession(Session):
    """Of a runtime whose networks take (1, c, h, w): pictures (n, h, w, c) are turned for them."""

    def laid_out(self, batch: np.ndarray, spec: TensorSpec) -> np.ndarray:
        return in_layout(batch, spec.shape)


def in_layout(batch: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures (n, h, w, c) as the input of `shape` (1, c, h, w) takes them, else as they are.

    The artifact's own shape decides; pictures that fit it as they are stay so.
    """
    if batch.ndim != 4 or len(shape) != 4 or batch.shape[1:] == tuple(shape[1:]):
        return batch
    turned = batch.transpose(0, 3, 1, 2)
    return turned if turned.shape[1:] == tuple(shape[1:]) else batch


def check_input(model: str, spec: TensorSpec, value: np.ndarray) -> None:
    """Raises TypeError for an array of another dtype, ValueError for one of another shape."""
    if value.dtype.name != spec.dtype:
        how = (
            f" (scale {spec.scale:g}, zero point {spec.zero_point}): quantize it first, "
            "with TensorSpec.quantize or Session.predict"
            if spec.is_quantized
            else ": convert it first"
        )
        raise TypeError(
            f"{model}: input {spec.name} takes {spec.dtype}, got {value.dtype.name}{how}"
        )
    fits = len(value.shape) == len(spec.shape) and all(
        wanted in (UNKNOWN, side) for wanted, side in zip(spec.shape, value.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{model}: input {spec.name} takes shape {spec.shape}, got {value.shape}")
