"""Code of a user's own: modules that a TOML lists as plugins, and what is named ``module:name``.

    [tool.int8gate]                  # in pyproject.toml; at the top of another TOML of models
    plugins = ["team_npu"]           # team_npu.py beside the file, or a module that is installed

Plugins add targets, recipes and the like: each calls the `register` of what it adds. They are
imported before anything is collected, and in worker processes before their first task. What a
declaration names as ``module:name`` is looked up where it is used (`resolve`).
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

PYPROJECT = "pyproject.toml"
KEY = "plugins"
_LOADED: dict[str, None] = {}  # in order


def loaded() -> tuple[str, ...]:
    """The modules that this process loaded."""
    return tuple(_LOADED)


def load_plugins(file: Path) -> tuple[str, ...]:
    """Imports the modules that a TOML lists, and returns their names; none where it lists none.

    Raises ValueError naming the file and the module that is missing or fails. A file that is no
    TOML lists none: whoever reads its models says what is wrong with it.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ()
    if file.name == PYPROJECT:
        tool = content.get("tool")
        content = tool.get("int8gate") if isinstance(tool, dict) else None
    listed = content.get(KEY, []) if isinstance(content, dict) else []
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise ValueError(f"{file}: {KEY} = {listed!r:.60}: expected a list of names of modules")
    if listed:
        find_modules_in(file.absolute().parent)
    for name in listed:
        _load(name, file)
    return tuple(listed)


def find_modules_in(folder: Path) -> None:
    """Modules that a TOML names stand beside it; worker processes take over the path."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _load(name: str, file: Path) -> None:
    try:
        importlib.import_module(name)
        _LOADED[name] = None
    except Exception as error:  # it is not our code: anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise ValueError(
                f"{file}: {KEY} names {name!r}: there is no module of that name beside the file, "
                "nor is one installed: mend the name (without .py)"
            ) from error
        raise ValueError(
            f"{file}: {KEY}: {name} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def resolve(place: str) -> Any:
    """What ``module:name`` names, a function as a rule; imports the module."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def takes(function: Callable, parameter: str) -> bool:
    """Whether a user's function has a parameter of that name."""
    try:
        return parameter in signature(function).parameters
    except ValueError:  # of a function in C that tells nothing
        return False


def class_name(thing: object) -> str:
    """``module:Class`` of a thing: that of a module which was loaded again is the same."""
    return f"{type(thing).__module__}:{type(thing).__qualname__}"
