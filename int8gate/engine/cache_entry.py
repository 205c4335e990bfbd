"""Keys and entries of `engine.cache`: what is hashed, and what `entry.json` holds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from int8gate.engine.file_digest import sha256_of

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
SETTLED_NS = 2_000_000_000  # the coarsest file times in use are FAT's, of two seconds
_ENTRY = "entry.json"


class DamagedEntry(Exception):
    """The entry is there, but it is not what was built."""


def cache_key(parts: dict) -> str:
    """SHA-256 of the canonical JSON of `parts`: keys sorted, floats by repr.

    1, 1.0, True and "1" differ; a tuple is the list of its items. Raises TypeError for anything but
    dict (with str keys), list, tuple, str, int, float, bool and None, subclasses included: a NumPy
    float is no float here.
    """
    return hashlib.sha256(_canonical(parts, "parts")).hexdigest()


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype (byte order included), shape and values in C order.

    Raises TypeError for an array of Python objects.
    """
    if array.dtype.hasobject:
        raise TypeError(f"an array of dtype {array.dtype} holds references, not values to hash")
    digest = hashlib.sha256(repr((array.dtype.descr, array.shape)).encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def write_entry(directory: Path, kind: str, key: str, parts: dict, meta: dict) -> dict:
    """Write `entry.json` for the files in `directory`, flush all to the disk, give back `meta`.

    Raises TypeError for meta that is not plain, ValueError for a symbolic link, a special file, or
    a file named entry.json.
    """
    _canonical(meta, "meta")
    files = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()) or name == _ENTRY:
            raise ValueError(f"a cache entry holds files and directories, not {name}")
        if path.is_file():
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        sync(path)
    entry = {
        "schema": SCHEMA,
        "kind": kind,
        "key": key,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "parts": parts,
        "meta": meta,
        "files": files,
    }
    entry["sha256"] = hashlib.sha256(_canonical(entry, _ENTRY)).hexdigest()
    text = json.dumps(entry, indent=1)
    (directory / _ENTRY).write_text(text)
    sync(directory / _ENTRY)
    sync(directory)
    return json.loads(text)["meta"]


class Reader:
    """Reads entries; what it found whole it reads again only when a file's size or times change.

    A file that was changed a moment before it was read is not remembered: another change in the
    same tick of the clock would not show.
    """

    def __init__(self) -> None:
        self._entries: dict[Path, tuple[tuple, dict]] = {}
        self._contents: dict[Path, tuple[tuple, str]] = {}

    def read(self, place: Path, key: str, opened: bool = True) -> dict:
        """The meta of an entry, whose files have their sizes (not what was added later).

        `opened`: and their contents. Raises FileNotFoundError if there is no entry, DamagedEntry
        if it is not what was built.
        """
        if not os.path.lexists(place):
            raise FileNotFoundError(place)
        try:
            entry = self._entry(place)
            if (entry["schema"], entry["key"]) != (SCHEMA, key):
                raise ValueError(f"{_ENTRY} is of schema {entry['schema']}, key {entry['key']}")
            for name, expected in entry["files"].items():
                self._check_file(place, name, expected, opened)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedEntry(f"cache entry {place} is damaged ({error})") from error
        return entry["meta"]

    def _entry(self, place: Path) -> dict:
        path = place / _ENTRY
        state = path.stat()
        known = self._entries.get(path)
        if known and known[0] == _times(state):
            return known[1]
        is_settled = _is_settled(state)
        entry = json.loads(path.read_bytes())
        digest = entry.pop("sha256")
        if digest != hashlib.sha256(_compact(entry)).hexdigest():
            raise ValueError(f"{_ENTRY} was altered")
        if is_settled:
            self._entries[path] = _times(state), entry
        return entry

    def _check_file(self, place: Path, name: str, expected: dict, opened: bool) -> None:
        path = place / name
        state = path.stat()
        if state.st_size != expected["bytes"]:
            raise ValueError(f"{name} has {state.st_size} bytes instead of {expected['bytes']}")
        known = (_times(state), expected["sha256"])
        if not opened or self._contents.get(path) == known:
            return
        is_settled = _is_settled(state)
        if sha256_of(path) != expected["sha256"]:
            raise ValueError(f"{name} was altered")
        if is_settled:
            self._contents[path] = known


def _times(state: os.stat_result) -> tuple:
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _is_settled(state: os.stat_result) -> bool:
    """Long enough unchanged for the next change to get another time; False if it is to come."""
    return max(state.st_mtime_ns, state.st_ctime_ns) < time.time_ns() - SETTLED_NS


def sync(path: Path) -> None:
    """Flush a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _canonical(value: Any, name: str) -> bytes:
    _require_plain(value, name)
    return _compact(value)


def _compact(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _require_plain(value: Any, where: str) -> None:
    if value is None or type(value) in (bool, int, float, str):
        return
    if type(value) in (list, tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{where}[{index}]")
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{where} has the key {key!r}: keys must be str")
            _require_plain(item, f"{where}[{key!r}]")
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(
            f"{where} is a {kind}: expected dict, list, str, int, float, bool or None; pass an "
            "array as array_digest(array), a file as its SHA-256, a NumPy scalar as .item()"
        )
