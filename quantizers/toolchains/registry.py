"""Every toolchain by name: the folders beside this file, and those that plugins register."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

import int8gate.quantizers.toolchains
from int8gate.engine.plugins import class_name
from int8gate.quantizers.toolchains.toolchain import Toolchain

_REGISTERED: dict[str, Toolchain] = {}


def register(toolchain: Toolchain) -> None:
    """Makes a toolchain known by its name; raises ValueError where that is taken."""
    known = _REGISTERED.setdefault(toolchain.name, toolchain)
    if class_name(known) != class_name(toolchain):
        raise ValueError(f"there is a toolchain {toolchain.name} already: choose another name")
    _REGISTERED[toolchain.name] = toolchain


def toolchains() -> dict[str, Toolchain]:
    """All of them by name."""
    for name in _folders():
        _load(name)
    return dict(_REGISTERED)


def find(name: str) -> Toolchain:
    """Of a recipe, or of an artifact's format. Raises ValueError for an unknown one."""
    if name in _folders():
        _load(name)  # and no other: each loads what it converts with
    if name in _REGISTERED:
        return _REGISTERED[name]
    known = toolchains()
    near = difflib.get_close_matches(name, known, n=1) or sorted(known)
    raise ValueError(f"there is no toolchain {name!r}: did you mean {' or '.join(near)}?")


def packages(name: str | None = None) -> tuple[str, ...]:
    """The distributions that the figures of a toolchain (None: of any) depend on."""
    chosen = [find(name)] if name else toolchains().values()
    return tuple(dict.fromkeys(each for found in chosen for each in found.packages))


@cache
def _folders() -> tuple[str, ...]:
    package = int8gate.quantizers.toolchains
    return tuple(found.name for found in pkgutil.iter_modules(package.__path__) if found.ispkg)


def _load(name: str) -> None:
    importlib.import_module(f"{int8gate.quantizers.toolchains.__name__}.{name}.toolchain")
