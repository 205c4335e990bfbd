"""A PyTorch program (`torch.export`) on the host: what an export is compared with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from int8gate.runtimes import program_archive
from int8gate.runtimes.artifact import TensorSpec
from int8gate.runtimes.session import UNKNOWN, ChannelsFirstSession

# Operators that hold scales: of fake quantization, of PT2E, of torchao, of eager mode.
QUANTIZED = re.compile(
    r"(fake_quantize_per|quantized_decomposed\W+|(de)?quantize_(affine|per_))\w*|\bquantized\.\w+"
)
ONLY = "model"  # what `torch.export.save` calls the program of an archive


def read(path: Path, trust: bool = False):
    """The `torch.export.ExportedProgram` of a file.

    Raises ValueError naming a damaged one, one with quantized operators and, without `trust`, one
    that would run code of its own to be loaded: see `program_archive`.
    """
    try:
        program = _loaded(path, trust)
    except OSError:
        raise
    # The archive is parsed by Python: a damaged one raises whatever its values provoke.
    except Exception as error:
        if str(error).startswith(str(path)):
            raise
        said = " ".join(str(error).split())
        if found := QUANTIZED.search(said):
            raise _quantized(path, found[0]) from error
        said = said[:160] or type(error).__name__
        raise ValueError(f"{path} is no whole PyTorch program ({said}): export it again") from error
    for node in program.graph.nodes:
        if found := QUANTIZED.search(str(node.target)):
            raise _quantized(path, found[0])
    return program


def _loaded(path: Path, trust: bool):
    import torch
    from torch.export.pt2_archive._package import load_pt2  # without the old formats, all pickles

    if trust:
        return torch.export.load(str(path))
    program_archive.check(path)
    return load_pt2(str(path)).exported_programs[ONLY]


def _quantized(path: Path, operator: str) -> ValueError:
    return ValueError(
        f"{path} was quantized in PyTorch (it calls {operator}), and calibration would replace its "
        "scales: export it as ONNX in QDQ form (torch.onnx.export with dynamo=True) and give that "
        "file"
    )


class TorchProgramSession(ChannelsFirstSession):
    """A `.pt2` file of `torch.export.save` whose batch dimension is 1.

    Raises ValueError naming the file when it cannot be read, or may not: `trust` as in `read`.
    """

    def __init__(self, path: Path, trust: bool = False):
        program = read(path, trust)
        placed = {node.name: node.meta.get("val") for node in program.graph.nodes}
        named = program.graph_signature.user_inputs, program.graph_signature.user_outputs
        super().__init__(path, *([_spec(name, placed[name]) for name in names] for names in named))
        self._module = program.module()
        self._tensors, self._results = [None] * len(self.inputs), ()

    def set_input(self, position: int, value: np.ndarray) -> None:
        import torch

        self._tensors[position] = torch.from_numpy(np.array(value, order="C"))

    def invoke(self) -> None:
        import torch

        with torch.no_grad(), one_thread():
            results = self._module(*self._tensors)
        self._results = results if isinstance(results, (tuple, list)) else (results,)

    def get_outputs(self) -> list[np.ndarray]:
        return [result.numpy().copy() for result in self._results]


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, as every other session does.

    Several that wait for each other on cores which are busy otherwise take 200 times as long, for
    operators as small as these.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _spec(name: str, value) -> TensorSpec:
    shape = tuple(side if isinstance(side, int) else UNKNOWN for side in value.shape)
    return TensorSpec(name, shape, str(value.dtype).removeprefix("torch."))
