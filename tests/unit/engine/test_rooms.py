"""Imports go down through the rooms, and never in a circle; drawn from the code, lazy ones too."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from tiny_run import ROOMS

FLOORS = (  # each may import from those before it
    "engine",
    "runtimes",
    "tasks",
    "calibration_data",
    "model_zoo",
    "quantizers",
    "targets",
    "validation",
    "analysis",
    "reporting",
    "cli",
    "plugin",
)


def modules() -> dict[str, Path]:
    return {
        ".".join((package, *file.relative_to(folder).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): file
        for package, folder in ROOMS.items()
        for file in folder.rglob("*.py")
    }


def imported(file: Path, known: dict[str, Path]) -> set[str]:
    """Our modules that a file imports; of `from package import module` the module alone. Not what
    types alone need.
    """
    found, tree = set(), ast.parse(file.read_text())
    of_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - of_types:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & known.keys()
            if names - known.keys():
                found.add(node.module)
    return found & known.keys()


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    assert len(known) > 200
    return {name: imported(file, known) - {name, "int8gate"} for name, file in known.items()}


def room(module: str) -> str | None:
    return module.split(".")[1] if "." in module else None


def test_no_import_goes_in_a_circle(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_import_goes_up(graph):
    upwards = [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in others
        if room(module) and FLOORS.index(room(other)) > FLOORS.index(room(module))
    ]
    assert not upwards


def test_every_folder_is_a_room(graph):
    assert {room(module) for module in graph} == {None, *FLOORS}


def test_relative_imports_are_not_used():
    """What a file needs stands in it in full: it can be moved, and be looked for."""
    for file in modules().values():
        for node in ast.walk(ast.parse(file.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), file
