"""`pytest -p tiny_zoo_plugin` (this folder on PYTHONPATH): the tiny models in the place of the zoo.

TINY_MODELS names them; where TINY_EXPECTATIONS names a file, that takes the place of
`expectations.toml`.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import tiny_zoo


def pytest_configure() -> None:
    from int8gate.tasks.registry import tasks
    from int8gate.validation import expectations

    for task in tasks().values():
        if task.zoo:
            importlib.import_module(task.zoo).MODELS.clear()
    chosen = [tiny_zoo.MODELS[name] for name in os.environ["TINY_MODELS"].split()]
    importlib.import_module("int8gate.model_zoo.classification").MODELS[:] = chosen
    if file := os.environ.get("TINY_EXPECTATIONS"):
        read = expectations.expectations_for
        expectations.expectations_for = lambda case_id, profile: read(case_id, Path(file), profile)
