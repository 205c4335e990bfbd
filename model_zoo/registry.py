"""The zoo: every declared model by name."""

from __future__ import annotations

import difflib
import importlib
from functools import cache

from int8gate.model_zoo.spec import ModelSpec
from int8gate.tasks.registry import tasks

LONGEST_NAME = 40  # of what a message repeats


@cache
def zoo() -> dict[str, ModelSpec]:
    """Every model by name, in the order of the tasks."""
    task_files = [importlib.import_module(task.zoo) for task in tasks().values() if task.zoo]
    return {spec.name: spec for file in task_files for spec in file.MODELS}


def model(name: str) -> ModelSpec:
    """The model of that name; raises ValueError naming the nearest ones."""
    if name not in zoo():
        near = difflib.get_close_matches(name, zoo(), n=3, cutoff=0.4) or sorted(zoo())
        raise ValueError(
            f"no model {name[:LONGEST_NAME]!r} in the zoo: did you mean {', '.join(near)}? "
            "(see `int8gate list`)"
        )
    return zoo()[name]
