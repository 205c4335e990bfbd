"""Names of files and functions: what is underscored is used in its own file, and a base name means
one thing.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tiny_run import ROOMS

# What a case goes through in several rooms: made in one, asserted, drawn or asked for in another.
ONE_THING = {
    *("fidelity", "history", "speed", "stages", "registry", "toolchain"),
    *("classification", "detection", "segmentation", "pose", "super_resolution"),  # tasks
    "diffusion",  # another
    "decoding",  # of a family, of the zoo for users
    "methods",  # compared, drawn, asked for
}


def product_files() -> list[Path]:
    return sorted(file for room in ROOMS.values() for file in room.rglob("*.py"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_imports(file: Path) -> list[str]:
    return [
        f"{file}: {alias.name} of {node.module}"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("int8gate")
        for alias in node.names
        if is_private(alias.name)
    ]


def private_attributes(file: Path) -> list[str]:
    """Of modules of ours that the file imports."""
    tree = ast.parse(file.read_text())
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("int8gate")
        for alias in node.names
        if alias.name.islower()
    }
    return [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in modules
    ]


def are_siblings(files: list[Path]) -> bool:
    """The same part in folders beside each other, such as each family's network."""
    return len({file.parents[1] for file in files}) == 1


def test_an_underscored_name_is_used_in_its_own_file():
    crossing = [
        said
        for file in product_files()
        for said in private_imports(file) + private_attributes(file)
    ]
    assert not crossing


def test_a_base_name_means_one_thing():
    by_name = defaultdict(list)
    for file in product_files():
        if file.name != "__init__.py" and file.stem not in ONE_THING:
            by_name[file.stem].append(file)
    unrelated = [files for files in by_name.values() if len(files) > 1 and not are_siblings(files)]
    assert not unrelated


def test_every_exception_is_one():
    stems = [file.stem for file in product_files()]
    assert all(stems.count(name) > 1 for name in ONE_THING)
