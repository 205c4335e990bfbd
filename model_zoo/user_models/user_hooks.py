"""Functions of a user's own, ``module:function``: looked up before a run, called in the worker."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb

import numpy as np

from int8gate.engine.plugins import takes

OURS = "int8gate."  # the decoders of the project


def check_hook(where: str, key: str, place: str) -> None:
    """Raises ValueError naming table and key where there is no such module, or nothing of that
    name in it. Its code is not run.
    """
    module, _, name = place.partition(":")
    source = _source(module)
    if source is None:
        raise ValueError(
            f"{where}: {key} = {place!r}: there is no module {module} beside the TOML, nor is one "
            "installed: mend the name"
        )
    known = _names_in(source)
    if known is not None and name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"{where}: {key} = {place!r}: {source.name} has no {name}{hint}: mend the name"
        )


def decoded(
    place: str,
    function: Callable,
    outputs: list[np.ndarray],
    network,
    inputs: list[np.ndarray] | None = None,
) -> np.ndarray:
    """What a `decode` function makes of a batch of outputs; of what was fed, too, where it has a
    parameter `inputs`.

    Raises ValueError naming the user's function where it fails, or returns no array with a row for
    each picture; the project's own ones say themselves what is wrong.
    """
    given = {"inputs": inputs} if takes(function, "inputs") else {}
    if place.startswith(OURS):
        return function(outputs, network, **given)
    try:
        found = function(outputs, network, **given)
    except Exception as error:  # it is not our code: anything
        raise ValueError(raised(f"decode = {place!r}", error)) from error
    count = len(outputs[0])
    if not isinstance(found, np.ndarray) or found.shape[:1] != (count,):
        what = f"shape {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise ValueError(
            f"decode = {place!r} returned {what} for {count} samples: expected one numpy array "
            f"with a row for each, ({count}, ...)"
        )
    return found


def raised(told: str, error: Exception) -> str:
    """On one line what a user's function raised, and where, behind `told`, which names it."""
    last = extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return f"{told} raised {type(error).__name__}: {' '.join(str(error).split())} ({where})"


def _source(module: str) -> Path | None:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # of a package around it
        return None
    return Path(found.origin) if found and found.has_location else None


def _names_in(source: Path) -> set[str] | None:
    """What a module defines at its top level; None where only running it would tell."""
    try:
        body = ast.parse(source.read_text(encoding="utf-8")).body
    except (SyntaxError, ValueError, OSError):
        return None
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif not isinstance(node, ast.Expr):
            return None  # an if, a try: names may come from within
    return None if "*" in names else names
