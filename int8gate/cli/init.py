"""`int8gate init`: looks into a model file and writes the TOML that begins its declaration."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from int8gate.engine import atomic_file, extras
from int8gate.engine.worker import TaskFailed, Worker, WorkerError
from int8gate.model_zoo.user_models.declaration import format_of
from int8gate.model_zoo.user_models.inspection import ModelFile, inspect
from int8gate.model_zoo.user_models.template import check_name, template
from int8gate.quantizers.sources import PACKAGES_OF_FORMAT

TIME_LIMIT_S = 120


def _inspected(
    model_file: Path, kind: str, worker: Worker, trust: bool, signature: str | None
) -> ModelFile:
    """In a process of its own: the file is untrusted, and its library may crash on it."""
    try:
        chosen = {"trust": trust, "signature": signature}
        return worker.run(inspect, model_file, kind, **chosen, timeout_s=TIME_LIMIT_S).value
    except TaskFailed as error:
        raise ValueError(error.message) from error
    except WorkerError as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"{model_file} cannot be read: {said}: export it again") from error


def begin(
    model_file: Path,
    output: Path,
    worker: Worker | None = None,
    trust: bool = False,
    signature: str | None = None,
    name: str | None = None,
) -> str:
    """Writes `output` and returns its text; a table is added to a file that has others.

    `worker` is where the file is opened, a new one for it alone by default. Raises ValueError or
    OSError saying what is wrong with the file, or that `output` has a model of this name already.
    """
    if name is not None:
        check_name(name)
    if not model_file.exists():
        raise FileNotFoundError(f"{model_file}: no such file: mend the path")
    kind = format_of(model_file)
    extras.require(model_file.name, PACKAGES_OF_FORMAT[kind])
    with nullcontext(worker) if worker else Worker() as process:
        found = _inspected(model_file, kind, process, trust, signature)
    relative = Path(os.path.relpath(model_file, output.absolute().parent))
    text = template(relative, found, signature, name)
    table = next(line for line in text.splitlines() if line.startswith("[models."))
    before = output.read_text(encoding="utf-8") if output.exists() else ""
    if table in before:
        raise ValueError(f"{output} has {table} already: edit it there, or choose another --name")
    atomic_file.write(output, (before + ("\n" if before else "") + text).encode())
    return text
