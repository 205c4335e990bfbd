"""What is installed: every package, wherever a checkout has its folder, with its files."""

from __future__ import annotations

import ast

from tiny_run import ROOMS, SETTINGS


def test_every_package_is_listed():
    """setuptools cannot look for packages in folders that are mapped."""
    folders = {
        ".".join((package, *file.parent.relative_to(folder).parts))
        for package, folder in ROOMS.items()
        for file in folder.rglob("__init__.py")
    }
    assert sorted(SETTINGS["packages"]) == sorted(folders)


def test_no_folder_of_modules_is_no_package():
    for folder in ROOMS.values():
        for file in folder.rglob("*.py"):
            assert (file.parent / "__init__.py").is_file()


def test_every_package_says_what_stands_in_it():
    for folder in ROOMS.values():
        for file in folder.rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(file.read_text())), file
