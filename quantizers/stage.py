"""`Stage`, a function that makes something of files, and `StageRunner`, which runs each once.

A stage runs in the worker process where the cache does not have its result. It writes into its own
directory alone: what it reads is the same before and after. Converters write where they please:
onnx2tf saves the graph that it simplified over the file that it was given. Modes do not stop a
process that runs as root, so that known writers get copies, and whatever a stage is handed is
looked at when it ends: sizes and times, which costs no reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from int8gate.engine import code_identity
from int8gate.engine.cache import BUILDING, LOGS, SHARDS, ArtifactCache, CacheEntry, cache_key
from int8gate.engine.errors import again
from int8gate.engine.worker import TaskResult, Worker, WorkerError, task_name
from int8gate.quantizers.diagnosis import ConversionFailed, diagnosed
from int8gate.quantizers.settings import Settings

State = tuple[int, int]  # size in bytes, time of the last change in ns

RECYCLE_ABOVE = 2e9  # bytes


@dataclass(frozen=True)
class Stage:
    """A function (``module:name``), and what it looks up by name: functions likewise, packages.

    It writes into the directory that is its last argument. Which code a result depends on follows
    from the function: nothing is listed but what no import names. Its module is loaded where it
    runs: a run that finds everything in the cache loads no converter.
    """

    kind: str
    function: str
    named: tuple[str, ...] = ()

    @property
    def roots(self) -> tuple[str, ...]:
        """What reaches all the code that the result depends on."""
        return (self.function, *self.named)

    def identity(self) -> dict:
        """What a cache key holds of the code, ours, a user's and that of libraries."""
        return code_identity.identity(*self.roots)


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


class StageRunner:
    """Runs stages over one cache and one worker."""

    def __init__(self, settings: Settings, cache: ArtifactCache, worker: Worker):
        self.settings, self.cache, self.worker = settings, cache, worker
        self._failures: dict[str, WorkerError | ConversionFailed] = {}
        self._limit_s: float | None = None
        self.training: Path | None = None  # where the last training keeps its checkpoint

    def run(
        self, stage: Stage, parts: dict, arguments: Callable[[], tuple], grace_s: float = 0.0
    ) -> CacheEntry:
        """The cached result of a stage, whose code and libraries belong to its identity; it may
        take `grace_s` longer than others.
        """
        identified = parts | stage.identity()
        return self.kept(stage.kind, identified, stage.function, arguments, grace_s)

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Stages in the block end after so many seconds at most; one that does not may be tried
        again.
        """
        self._limit_s = seconds
        try:
            yield
        finally:
            self._limit_s = None

    def in_worker(
        self, function: str | Callable, *arguments, log: Path | None = None, grace_s: float = 0.0
    ) -> TaskResult:
        """What a function (or ``module:name``) gives in the worker process, within the time limit
        of a stage.

        It writes into the directory that is being built and leaves all else that its arguments
        name as it is: raises InputChanged where it does not.
        """
        limit, root = self.settings.stage_timeout_s + grace_s, self.cache.root
        limit = limit if self._limit_s is None else min(limit, self._limit_s)
        with unchanged(task_name(function), arguments, root, (root / BUILDING, root / SHARDS)):
            return self.worker.run(function, *arguments, timeout_s=limit, log=log)

    def kept(
        self,
        kind: str,
        parts: dict,
        function: str | Callable,
        arguments: Callable[[], tuple],
        grace_s: float = 0.0,
    ) -> CacheEntry:
        """The cached result of a function (or ``module:name``) that is called with a directory as
        last argument: run in the worker on a miss, its log kept either way.

        The other `arguments` are asked for on a miss alone, which is when the files that they name
        are read and so have to be whole.

        A stage that failed raises a fresh exception for every recipe that needs it:
        ConversionFailed where the reason is known, else the WorkerError.
        """
        key = cache_key({"kind": kind, "parts": parts})
        if key in self._failures:
            raise again(self._failures[key])

        def build(directory: Path) -> dict:
            log = self.cache.root / LOGS / f"{directory.name}.log"
            result = self.in_worker(function, *arguments(), directory, log=log, grace_s=grace_s)
            log.replace(directory / "converter.log")
            if (result.peak_rss_bytes or 0) > RECYCLE_ABOVE:
                self.worker.close()  # converters give little back: the next stage starts afresh
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return took | {"result": result.value}

        try:
            return self.cache.get_or_build(kind, parts, build, opened=False)
        except WorkerError as error:
            failure = diagnosed(error, kind)
            if self._limit_s is None:
                self._failures[key] = failure
            raise failure from error
