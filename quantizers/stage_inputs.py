"""A stage writes into its own directory alone: what it reads is the same before and after.

Converters write where they please: onnx2tf saves the graph that it simplified over the file that it
was given. Modes do not stop a process that runs as root, so that known writers get copies, and
whatever a stage is handed is looked at when it ends: sizes and times, which costs no reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path

State = tuple[int, int]  # size in bytes, time of the last change in ns


class InputChanged(RuntimeError):
    """A file that a stage reads is not what it was when the stage began."""


@contextmanager
def unchanged(
    stage: str, arguments: tuple, root: Path, written: tuple[Path, ...] = ()
) -> Iterator[None]:
    """Compares the files that `arguments` name before and after the stage runs in its block.

    Of a file in the cache below `root` the whole entry is compared, of a directory all that is in
    it. Below the directories `written` the stage may write. Raises InputChanged naming stage and
    file; a cache entry that was changed is built again when it is next asked for.
    """
    places = {_entry_of(path, root) for path in paths_in(arguments)}
    watched = [place for place in sorted(places) if not any(map(place.is_relative_to, written))]
    before = _states(watched)
    yield
    after = _states(watched)
    changed = sorted(
        path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
    )
    if changed:
        how = "was removed" if changed[0] not in after else "was changed"
        how = "was written" if changed[0] not in before else how
        raise InputChanged(
            f"{changed[0]} {how} while the stage {stage} ran, which reads it: a stage may write "
            "into its own directory alone; its result is thrown away. Run again, and report it if "
            "nothing else writes there"
        )


def paths_in(arguments: tuple) -> Iterator[Path]:
    """The paths among a stage's arguments and in the fields of those that are dataclasses.

    Not deeper: what a declaration names, a folder of pictures, is not what the stage opens.
    """
    for value in arguments:
        values = [value]
        if is_dataclass(value) and not isinstance(value, type):
            values = [getattr(value, each.name) for each in fields(value)]
        yield from (each for each in values if isinstance(each, Path))


def _entry_of(path: Path, root: Path) -> Path:
    """The directory of the cache entry that a path leads into; elsewhere the path itself."""
    path = path.absolute()
    if not path.is_relative_to(root):
        return path
    return root.joinpath(*path.relative_to(root).parts[:3])  # kind, two digits, key


def _states(places: list[Path]) -> dict[Path, State]:
    """Of every file at the places; one that is not there, or goes meanwhile, has none."""
    found = {}
    for place in places:
        for path in place.rglob("*") if place.is_dir() else (place,):
            try:
                state = path.stat()
            except OSError:
                continue
            if not path.is_dir():
                found[path] = state.st_size, state.st_mtime_ns
    return found
