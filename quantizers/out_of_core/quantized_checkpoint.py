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
from int8gate.quantizers.recipe import Recipe
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
    output = Path(os.path.abspath(output))
    checkpoint = open_checkpoint(Path(directory))
    run = _identity(checkpoint, recipe, length, batch_values)
    partial = output.with_name(f"{output.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(partial / "lock", timeout=0):
            return _quantize(checkpoint, recipe, output, length, progress, batch_values, run)
    except Timeout as error:
        raise ValueError(
            f"another run is writing {output}: wait for it, or choose another --output"
        ) from error
    except (ValueError, RuntimeError):
        if not (partial / "journal").exists():  # there is nothing to go on with
            shutil.rmtree(partial)
        raise


def _quantize(
    checkpoint: Checkpoint,
    recipe: Recipe,
    output: Path,
    length: int | None,
    progress: Callable[[Progress], None],
    batch_values: int,
    run: str,
) -> QuantizedCheckpoint:
    partial = output.with_name(f"{output.name}.partial")
    files, journal = partial / "files", Journal(partial / "journal")
    known, digests, is_complete = journal.read()
    if output.exists() and not (known == run and is_complete and not files.exists()):
        raise ValueError(f"{output} exists already: remove it, or choose another --output")
    plan = _read_plan(partial) if known == run else None
    if plan is None:
        plan, digests = _begin(checkpoint, recipe, length, batch_values, partial), {}
        journal.begin(run)
    if not is_complete or known != run:
        write_data(plan, checkpoint.tensors, files / DATA, journal, progress)
        sync_directory(files)
        journal.complete()
    if files.exists():
        os.rename(files, output)
        sync_directory(output.parent)
    shutil.rmtree(partial)
    return QuantizedCheckpoint(
        output, checkpoint.nbytes, plan.nbytes + (output / ONNX).stat().st_size, bool(digests)
    )


def _begin(
    checkpoint: Checkpoint, recipe: Recipe, length: int | None, batch_values: int, partial: Path
) -> DataPlan:
    """Writes the model file and the plan of its data, in place of what an earlier run left."""
    from int8gate.quantizers.out_of_core import causal_network

    config = causal_network.read_config(checkpoint)
    causal_network.check_tensors(checkpoint, config)
    (partial / "journal").unlink(missing_ok=True)
    shutil.rmtree(partial / "files", ignore_errors=True)
    model = causal_network.export_graph(config, length)
    plan = plan_data(model, checkpoint, recipe, DATA, batch_values)
    (partial / "files").mkdir()
    model.producer_name = f"int8gate {recipe.name}"
    _write_durably(partial / "files" / ONNX, model.SerializeToString(deterministic=True))
    _write_durably(partial / "plan.json", plan.as_json().encode())
    return plan


def _read_plan(partial: Path) -> DataPlan | None:
    """What `_begin` wrote; None where it is not whole."""
    try:
        return DataPlan.from_json((partial / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_durably(path: Path, content: bytes) -> None:
    atomic_file.write(path, content)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)


def _identity(checkpoint: Checkpoint, recipe: Recipe, length: int | None, batch_values: int) -> str:
    """Of all that the result depends on, this code and its libraries too: what another version
    began is begun anew.
    """
    content = [checkpoint.identity, repr(recipe), length, batch_values, identity(_HERE)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
