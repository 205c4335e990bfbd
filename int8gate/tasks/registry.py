"""Every task by name: the modules of this folder that have a `TASK`, and those of plugins.

A module of a user's own that `plugins` of a TOML names hands its `Task` to `register`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import int8gate.tasks
from int8gate.tasks.task import Scenes, Task

HELPERS = ("registry", "task")
_REGISTERED: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Makes a task of a plugin known by its name; raises ValueError where that is taken."""
    if tasks().get(task.name, task) != task:
        raise ValueError(f"there is a task {task.name} already: choose another name")
    _REGISTERED[task.name] = task
    for known in (tasks, scenes):
        known.cache_clear()
    return task


@cache
def tasks() -> dict[str, Task]:
    """In their order."""
    names = [found.name for found in pkgutil.iter_modules(int8gate.tasks.__path__)]
    modules = [
        importlib.import_module(f"int8gate.tasks.{name}") for name in names if name not in HELPERS
    ]
    every = [*(module.TASK for module in modules), *_REGISTERED.values()]
    every.sort(key=lambda task: (task.order, task.name))
    return {task.name: task for task in every}


def task(name: str) -> Task:
    """Raises ValueError that lists the known ones."""
    if name not in tasks():
        raise ValueError(f"there is no task {name!r:.60}: expected one of {', '.join(tasks())}")
    return tasks()[name]


def names() -> str:
    """Those that a TOML may name, for a message."""
    return ", ".join(name for name, each in tasks().items() if each.is_for_users)


def with_form(form: str) -> tuple[str, ...]:
    """The tasks whose labels come in a form of `calibration_data.folders.forms`."""
    return tuple(each.name for each in tasks().values() if form in each.folders)


@cache
def scenes() -> dict[str, Scenes]:
    """What draws the compact zoo's samples, by the name of the data."""
    return {name: drawn for each in tasks().values() for name, drawn in each.scenes.items()}
