"""A PyTorch program (`torch.export`) on the host: what an export is compared with."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from runtimes.onnx_session import in_layout


class TorchProgramSession:
    """A `.pt2` file of `torch.export.save` whose batch dimension is 1.

    Raises ValueError naming the file when it cannot be read.
    """

    def __init__(self, path: Path):
        import torch

        try:
            program = torch.export.load(str(path))
        except (RuntimeError, OSError, ValueError, BadZipFile) as error:
            raise ValueError(
                f"{path} is no whole PyTorch program ({error}): export it again"
            ) from error
        names = set(program.graph_signature.user_inputs)
        placed = {node.name: node for node in program.graph.nodes if node.name in names}
        self._shapes = [
            tuple(int(side) for side in placed[name].meta["val"].shape)
            for name in program.graph_signature.user_inputs
        ]
        self._module = program.module()

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
