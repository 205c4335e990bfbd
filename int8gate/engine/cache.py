"""Artifacts on disk, addressed by what they were made of.

    cache = open_cache(None)
    entry = cache.get_or_build("tflite", {"model": "unet", "weights": digest}, build)
    entry.path / "model.tflite"

An entry is `<root>/<kind>/<key[:2]>/<key>/`, the files that `build` left plus `entry.json` with
their sizes and SHA-256. It is built beside its place under a lock of its own, flushed to the disk,
and renamed, so that a kill at any moment leaves all of it or nothing, and two runs that want the
same entry build it once. A hit needs no lock and no write. It reads every byte of the entry, once
in a process for as long as size and times of the files stand; of an entry that is asked for with
``opened=False`` only when its `path` is, and compares the sizes before.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from int8gate.engine.cache_entry import (
    DamagedEntry,
    Reader,
    array_digest,
    cache_key,
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

BUILDING = ".building"  # below the root: what is not whole yet
SHARDS = "shards"  # of a calibration that was killed, to go on with
_LOCKS = ".locks"
LOGS = "logs"  # of what is built and of what failed, each named as its temporary directory
_OF_A_PROCESS = "int8gate-cache-"  # the beginning of the name of a temporary cache
_ALIVE = ".alive"  # the lock in it
_LEAST_ROOM = 1 << 20  # bytes; a disk with less is full
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


class CacheUnusable(RuntimeError):
    """The cache directory cannot be written: read-only, full, or not a directory."""


class CacheWarning(UserWarning):
    """A damaged entry was removed and is built again."""


@dataclass(frozen=True)
class CacheEntry:
    """An entry's directory, what `build` returned (as JSON keeps it), and whether it was there.

    `meta` is shared by all who ask for the entry: it is read, not changed.
    """

    place: Path
    meta: dict
    hit: bool
    checked: Callable[[], Path] = field(repr=False, compare=False)

    @property
    def key(self) -> str:
        """What later keys name the entry by; its files need not be there for it."""
        return self.place.name

    @property
    def path(self) -> Path:
        """The directory, after its files were found to hold what was built, or built again."""
        return self.checked()


class ArtifactCache:
    """A content-addressed store below `root`, shared by any number of processes.

    Directories that killed builders left behind are swept when it is opened: those whose lock
    nobody holds. No process id and no clock decides, so containers may share the directory.
    Lock files stay, empty, one for each key that was ever built.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self._reader = Reader()
        self._sweep()

    def get_or_build(
        self,
        kind: str,
        parts: dict,
        build: Callable[[Path], dict | None],
        *,
        opened: bool = True,
    ) -> CacheEntry:
        """The entry of `parts` (see `cache_key`), built by `build(directory)` if it is not there.

        `build` fills an empty directory with files and may return what else is worth keeping, as
        plain JSON values (no paths: the directory moves to its place afterwards). Another process
        that builds the same entry is waited for. `opened` says that the files will be read; else
        their contents are checked when the entry's `path` is asked for, which may build it again.
        Raises CacheUnusable, ValueError for a `kind` that does not match `[a-z0-9_]+`, TypeError
        for parts or meta that are not plain values, and whatever `build` raises.
        """
        if not re.fullmatch(r"[a-z0-9_]+", kind):
            raise ValueError(f"cache kind {kind!r} must match [a-z0-9_]+")
        key = cache_key(parts)
        place = self.root / kind / key[:2] / key

        def found(hit: bool, meta: dict) -> CacheEntry:
            def checked() -> Path:
                return place if opened else self.get_or_build(kind, parts, build).place

            return CacheEntry(place, meta, hit, checked)

        with contextlib.suppress(FileNotFoundError, DamagedEntry):
            return found(True, self._reader.read(place, key, opened))
        with self._lock(f"{kind}-{key}"):
            try:
                return found(True, self._reader.read(place, key))
            except FileNotFoundError:
                pass
            except DamagedEntry as damage:
                self._discard(place, f"{kind}-{key}")
                warnings.warn(f"{damage}: removed, building it again", CacheWarning, stacklevel=2)
            return found(False, self._build(place, kind, key, parts, build))

    def remembered(self, kind: str, parts: dict, find: Callable[[], Any]) -> Any:
        """What `find()` returns, a plain value: found once, where the cache can be written.

        Where it cannot, the value is found again: nothing stands in the way of a run but time.
        Raises as `get_or_build` does, but for CacheUnusable. The value is not to be changed.
        """
        values: list = []

        def build(directory: Path) -> dict:
            values.append(find())
            return {"value": values[0]}

        try:
            return self.get_or_build(kind, parts, build).meta["value"]
        except CacheUnusable:
            return values[0] if values else find()

    def _build(
        self, place: Path, kind: str, key: str, parts: dict, build: Callable[[Path], dict | None]
    ) -> dict:
        directory = self._temporary(f"{kind}-{key}")
        try:
            with self._clear_errors():
                directory.mkdir(parents=True)
            with self._clear_errors(_NO_ROOM), self._full_disk_told():
                meta = build(directory)
            with self._clear_errors():
                meta = write_entry(directory, kind, key, parts, meta or {})
                place.parent.mkdir(parents=True, exist_ok=True)
                directory.rename(place)
                sync(place.parent)
            return meta
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @contextlib.contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        """Whatever a converter says of a full disk, or dies of on it, it is this."""
        try:
            yield
        except Exception as error:
            if shutil.disk_usage(self.root).free < _LEAST_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise

    def _temporary(self, name: str) -> Path:
        return self.root / BUILDING / f"{name}.{os.urandom(8).hex()}"

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

        for abandoned in sorted(self.root.glob(f"{BUILDING}/*.*")):
            with (
                contextlib.suppress(Timeout, CacheUnusable),  # being built, or not ours to clean
                self._lock(abandoned.name.partition(".")[0], blocking=False),
            ):
                shutil.rmtree(abandoned, ignore_errors=True)
                with contextlib.suppress(OSError):
                    (self.root / LOGS / f"{abandoned.name}.log").unlink(missing_ok=True)

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
    not build, and it is deleted when the process exits; after a SIGKILL the next one deletes it.
    """
    if option == "none":
        return _temporary_cache()
    return ArtifactCache(Path(option).expanduser() if option else default_cache_dir())


def _temporary_cache() -> ArtifactCache:
    from filelock import FileLock, Timeout

    for alive in Path(tempfile.gettempdir()).glob(f"{_OF_A_PROCESS}*/{_ALIVE}"):
        with contextlib.suppress(Timeout, OSError), FileLock(alive, blocking=False):
            shutil.rmtree(alive.parent, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix=_OF_A_PROCESS))
    lock = FileLock(root / _ALIVE)
    lock.acquire()

    def remove() -> None:
        shutil.rmtree(root, ignore_errors=True)
        lock.release()

    atexit.register(remove)
    return ArtifactCache(root)
