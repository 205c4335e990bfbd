"""A PyTorch program (`torch.export`) on the host: what an export is compared with."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from runtimes.onnx_session import in_layout


def read(path: Path):
    """The `torch.export.ExportedProgram` of a file; raises ValueError naming a damaged one."""
    import torch

    try:
        return torch.export.load(str(path))
    except (RuntimeError, OSError, ValueError, BadZipFile) as error:
        raise ValueError(
            f"{path} is no whole PyTorch program ({error}): export it again"
        ) from error


class TorchProgramSession:
    """A `.pt2` file of `torch.export.save` whose batch dimension is 1.

    Raises ValueError naming the file when it cannot be read.
    """

    def __init__(self, path: Path):
        program = read(path)
        placed = {node.name: node.meta.get("val") for node in program.graph.nodes}
        named = program.graph_signature.user_inputs, program.graph_signature.user_outputs
        self._inputs, self._outputs = ({n: placed[n] for n in names} for names in named)
        self._module = program.module()

    @property
    def ends(self) -> tuple[list[tuple], list[tuple]]:
        """Name, shape (None where a side is free) and dtype of the inputs, and of the outputs."""
        return tuple([_end(*end) for end in ends.items()] for ends in (self._inputs, self._outputs))

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        return [tuple(map(int, value.shape)) for value in self._inputs.values()]

    def predict(self, *batches: np.ndarray) -> list[np.ndarray]:
        """Real inputs (n, ...) to real outputs (n, ...), a sample at a time.

        Pictures (n, h, w, c) are turned where the network takes (1, c, h, w).
        """
        import torch

        if len(batches) != len(self._shapes):
            raise ValueError(f"the program takes {len(self._shapes)} inputs, got {len(batches)}")
        turned = [in_layout(*pair) for pair in zip(batches, self._shapes, strict=True)]
        rows = []
        with torch.no_grad():
            for i in range(len(turned[0])):
                fed = [torch.from_numpy(np.float32(batch[i : i + 1])) for batch in turned]
                outputs = self._module(*(tensor.contiguous() for tensor in fed))
                outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
                rows.append([output.numpy() for output in outputs])
        return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _end(name: str, value) -> tuple:
    sides = tuple(side if isinstance(side, int) else None for side in value.shape)
    return name, sides, str(value.dtype).removeprefix("torch.")
