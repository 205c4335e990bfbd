"""A PyTorch program (`torch.export`) on the host: what an export is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from int8gate.runtimes import program_archive
from int8gate.runtimes.onnx_session import in_layout

ONLY = "model"  # what `torch.export.save` calls the program of an archive


def read(path: Path, trust: bool = False):
    """The `torch.export.ExportedProgram` of a file.

    Raises ValueError naming a damaged one and, without `trust`, one that would run code of its own
    to be loaded: see `program_archive`.
    """
    import torch
    from torch.export.pt2_archive._package import load_pt2  # without the old formats, all pickles

    try:
        if trust:
            return torch.export.load(str(path))
        program_archive.check(path)
        return load_pt2(str(path)).exported_programs[ONLY]
    except OSError:
        raise
    # The archive is parsed by Python: a damaged one raises whatever its values provoke.
    except Exception as error:
        if str(error).startswith(str(path)):
            raise
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise ValueError(f"{path} is no whole PyTorch program ({said}): export it again") from error


class TorchProgramSession:
    """A `.pt2` file of `torch.export.save` whose batch dimension is 1.

    Raises ValueError naming the file when it cannot be read, or may not: `trust` as in `read`.
    """

    def __init__(self, path: Path, trust: bool = False):
        program = read(path, trust)
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
