"""From a checkpoint on disk to a quantized ONNX model, without the model in memory.

    quantize_checkpoint(Path("Llama-3.2-3B"), RECIPES["onnx_weight_int4"], Path("llama-int4"))

writes `llama-int4/model.onnx` and `model.onnx.data`. All is made in `llama-int4.partial`, which
takes the directory's name once it is whole; killed, the same call goes on where that one was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from int8gate.engine import atomic_file, extras
from int8gate.engine.code_identity import identity
from int8gate.quantizers.out_of_core.checkpoint import Checkpoint, open_checkpoint
from int8gate.quantizers.out_of_core.data_plan import (
    BATCH_VALUES,
    DataPlan,
    check_recipe,
    plan_data,
)
from int8gate.quantizers.out_of_core.data_writer import (
    Journal,
    Progress,
    sync_directory,
    write_data,
)
from int8gate.quantizers.recipe_type import Recipe
from int8gate.runtimes.artifact import ONNX
from int8gate.runtimes.onnx_file import EXTERNAL_SUFFIX

PACKAGES = ("onnx", "onnxruntime", "onnxscript", "safetensors", "torch", "transformers")
DATA = ONNX + EXTERNAL_SUFFIX
_HERE = "int8gate.quantizers.out_of_core.quantized_checkpoint:quantize_checkpoint"


@dataclass(frozen=True)
class QuantizedCheckpoint:
    """The directory with the model, the bytes that were read and are stored, and whether an
    earlier run's work was used.
    """

    directory: Path
    source_bytes: int
    stored_bytes: int
    is_resumed: bool


def quantize_checkpoint(
    directory: Path,
    recipe: Recipe,
    output: Path,
    length: int | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    batch_values: int = BATCH_VALUES,
) -> QuantizedCheckpoint:
    """Writes `output`, a directory with model.onnx and model.onnx.data, of a checkpoint.

    The model takes ``input_ids``, int64 (batch, length), or (1, `length`) where that is given, and
    returns ``logits``, float32 (batch, length, vocabulary). `batch_values` weights are written
    between two entries of the journal. Raises ValueError, in one sentence, for a checkpoint that
    is not one of `causal_network.ARCHITECTURES`, damaged or incomplete, for a recipe that does not
    quantize weights alone, for an `output` that exists, and where the disk has no room.
    """
    from filelock import FileLock, Timeout

    extras.require("quantizing a checkpoint", PACKAGES)
    check_recipe(recipe)
    checkpoint = open_checkpoint(Path(directory))
    run = _Run(checkpoint, recipe, Path(os.path.abspath(output)), length, batch_values)
    run.partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.partial / "lock", timeout=0):
            is_resumed = run.finish(progress)
    except Timeout as error:
        raise ValueError(
            f"another run is writing {output}: wait for it, or choose another --output"
        ) from error
    except (ValueError, RuntimeError):
        if not run.journal.path.exists():  # there is nothing to go on with
            shutil.rmtree(run.partial)
        raise
    stored = sum(file.stat().st_size for file in run.output.iterdir())
    return QuantizedCheckpoint(run.output, checkpoint.nbytes, stored, is_resumed)


@dataclass(frozen=True)
class _Run:
    """One output in the making: its files, journal and plan stand in `partial` until they are
    whole.
    """

    checkpoint: Checkpoint
    recipe: Recipe
    output: Path
    length: int | None
    batch_values: int

    @property
    def partial(self) -> Path:
        return self.output.with_name(f"{self.output.name}.partial")

    @property
    def files(self) -> Path:
        return self.partial / "files"

    @property
    def journal(self) -> Journal:
        return Journal(self.partial / "journal")

    def finish(self, progress: Callable[[Progress], None]) -> bool:
        """Makes the output, from where an earlier run ended; returns whether one had begun it."""
        known, digests, is_complete = self.journal.read()
        is_known = known == self._identity()
        is_moved = is_known and is_complete and not self.files.exists()
        if not is_moved:
            if self.output.exists():
                raise ValueError(
                    f"{self.output} exists already: remove it, or choose another --output"
                )
            plan = _read_plan(self.partial / "plan.json") if is_known else None
            if plan is None:
                plan, digests, is_complete = self._begin(), {}, False
            if not is_complete:
                tensors = self.checkpoint.tensors
                write_data(plan, tensors, self.files / DATA, self.journal, progress)
                sync_directory(self.files)
                self.journal.complete()
            os.rename(self.files, self.output)
            sync_directory(self.output.parent)
        shutil.rmtree(self.partial)
        return bool(digests)

    def _begin(self) -> DataPlan:
        """Writes the model file, the plan of its data and an empty journal, in place of what an
        earlier run left.
        """
        from int8gate.quantizers.out_of_core import causal_network

        config = causal_network.read_config(self.checkpoint)
        causal_network.check_tensors(self.checkpoint, config)
        self.journal.path.unlink(missing_ok=True)
        shutil.rmtree(self.files, ignore_errors=True)
        model = causal_network.export_graph(config, self.length)
        plan = plan_data(model, self.checkpoint, self.recipe, DATA, self.batch_values)
        self.files.mkdir()
        model.producer_name = f"int8gate {self.recipe.name}"
        _write_durably(self.files / ONNX, model.SerializeToString(deterministic=True))
        _write_durably(self.partial / "plan.json", plan.as_json().encode())
        self.journal.begin(self._identity())
        return plan

    def _identity(self) -> str:
        """Of all that the result depends on, this code and its libraries too: what another version
        began is begun anew.
        """
        inputs = [self.checkpoint.identity, repr(self.recipe), self.length, self.batch_values]
        content = json.dumps([*inputs, identity(_HERE)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def _read_plan(file: Path) -> DataPlan | None:
    """What `_begin` wrote; None where it is not whole."""
    try:
        return DataPlan.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_durably(path: Path, content: bytes) -> None:
    atomic_file.write(path, content)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)
