"""Artifacts on disk, addressed by what they were made of.

    cache = open_cache(None)
    entry = cache.get_or_build("tflite", {"model": "unet", "weights": digest}, build)
    entry.path / "model.tflite"

An entry is `<root>/<kind>/<key[:2]>/<key>/`, the files that `build` left plus `entry.json` with
their sizes and SHA-256. It is built beside its place under a lock of its own, flushed to the disk,
and renamed, so that a kill at any moment leaves all of it or nothing, and two runs that want the
same entry build it once. A hit reads every byte of the entry, and needs no lock and no write.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from quantizers.cache_entry import (
    DamagedEntry,
    array_digest,
    cache_key,
    read_entry,
    sync,
    write_entry,
)

__all__ = [
    "ArtifactCache",
    "CacheEntry",
    "CacheUnusable",
    "CacheWarning",
    "array_digest",
    "cache_key",
    "default_cache_dir",
    "open_cache",
]

_BUILDING = ".building"
_LOCKS = ".locks"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


class CacheUnusable(RuntimeError):
    """The cache directory cannot be written: read-only, full, or not a directory."""


class CacheWarning(UserWarning):
    """A damaged entry was removed and is built again."""


@dataclass(frozen=True)
class CacheEntry:
    """An entry's directory, what `build` returned (as JSON keeps it), and whether it was there."""

    path: Path
    meta: dict
    hit: bool


class ArtifactCache:
    """A content-addressed store below `root`, shared by any number of processes.

    Directories that killed builders left behind are swept when it is opened: those whose lock
    nobody holds. No process id and no clock decides, so containers may share the directory.
    Lock files stay, empty, one for each key that was ever built.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self._sweep()

    def get_or_build(
        self, kind: str, parts: dict, build: Callable[[Path], dict | None]
    ) -> CacheEntry:
        """The entry of `parts` (see `cache_key`), built by `build(directory)` if it is not there.

        `build` fills an empty directory with files and may return what else is worth keeping, as
        plain JSON values (no paths: the directory moves to its place afterwards). Another process
        that builds the same entry is waited for.
        Raises CacheUnusable, ValueError for a `kind` that does not match `[a-z0-9_]+`, TypeError
        for parts or meta that are not plain values, and whatever `build` raises.
        """
        if not re.fullmatch(r"[a-z0-9_]+", kind):
            raise ValueError(f"cache kind {kind!r} must match [a-z0-9_]+")
        key = cache_key(parts)
        place = self.root / kind / key[:2] / key
        with contextlib.suppress(FileNotFoundError, DamagedEntry):
            return CacheEntry(place, read_entry(place, key), hit=True)
        with self._lock(f"{kind}-{key}"):
            try:
                return CacheEntry(place, read_entry(place, key), hit=True)
            except FileNotFoundError:
                pass
            except DamagedEntry as damage:
                self._discard(place, f"{kind}-{key}")
                warnings.warn(f"{damage}: removed, building it again", CacheWarning, stacklevel=2)
            return CacheEntry(place, self._build(place, kind, key, parts, build), hit=False)

    def _build(
        self, place: Path, kind: str, key: str, parts: dict, build: Callable[[Path], dict | None]
    ) -> dict:
        directory = self._temporary(f"{kind}-{key}")
        try:
            with self._clear_errors():
                directory.mkdir(parents=True)
            with self._clear_errors(_NO_ROOM):
                meta = build(directory)
            with self._clear_errors():
                meta = write_entry(directory, kind, key, parts, meta or {})
                place.parent.mkdir(parents=True, exist_ok=True)
                directory.rename(place)
                sync(place.parent)
            return meta
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _temporary(self, name: str) -> Path:
        return self.root / _BUILDING / f"{name}.{os.urandom(8).hex()}"

    def _discard(self, place: Path, name: str) -> None:
        """Remove an entry at once: what is left of an interrupted removal is swept later."""
        grave = self._temporary(name)
        with self._clear_errors():
            grave.mkdir(parents=True)
            place.rename(grave / name)
        shutil.rmtree(grave, ignore_errors=True)

    @contextlib.contextmanager
    def _lock(self, name: str, blocking: bool = True) -> Iterator[None]:
        from filelock import FileLock

        lock = FileLock(self.root / _LOCKS / f"{name}.lock", blocking=blocking)
        with self._clear_errors():
            (self.root / _LOCKS).mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _sweep(self) -> None:
        from filelock import Timeout

        for abandoned in sorted(self.root.glob(f"{_BUILDING}/*.*")):
            with (
                contextlib.suppress(Timeout, CacheUnusable),  # being built, or not ours to clean
                self._lock(abandoned.name.partition(".")[0], blocking=False),
            ):
                shutil.rmtree(abandoned, ignore_errors=True)

    @contextlib.contextmanager
    def _clear_errors(self, errnos: set[int] = _NO_ROOM | _NOT_WRITABLE) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in errnos:
                raise
            raise CacheUnusable(
                f"the artifact cache {self.root} cannot be written ({error.strerror}): pass "
                "--artifact-cache DIR with a writable directory that has room, "
                "or --artifact-cache none"
            ) from error


def default_cache_dir() -> Path:
    """`~/.cache/int8gate` on Linux, the system's cache directory for the user elsewhere."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("int8gate", appauthor=False))


def open_cache(option: str | None) -> ArtifactCache:
    """The cache that `--artifact-cache` asks for: a directory, the default one, or "none".

    "none" is a temporary directory of this process: nothing is found in it that this process did
    not build, and it is deleted when the process exits (a SIGKILL leaves it behind).
    """
    if option == "none":
        root = Path(tempfile.mkdtemp(prefix="int8gate-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        return ArtifactCache(root)
    return ArtifactCache(Path(option).expanduser() if option else default_cache_dir())
