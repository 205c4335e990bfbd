"""What the cases of hostile archives share: packing them again, and where their code would show."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path


def witness(path: Path) -> Path:
    """The file, outside the case's folder, that is there once code of the case ran."""
    return path.parent.parent / "outside" / f"ran-{path.parent.name}"


def repacked(sound: Callable, change: Callable, method: int = zipfile.ZIP_STORED, root: str = ""):
    """A case: the members of the archive that `sound` writes, by name below `root`, changed."""

    def write(path: Path) -> None:
        sound(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            members = {name.removeprefix(root): archive.read(name) for name in names}
        change(members, path)
        with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
            for name, content in members.items():
                archive.writestr(f"{root}{name}", content)

    return write
