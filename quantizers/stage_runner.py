"""Stages, each once: looked up in the cache, run in the worker process where it is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from int8gate.engine.again import again
from int8gate.engine.cache import BUILDING, LOGS, SHARDS, ArtifactCache, CacheEntry, cache_key
from int8gate.engine.worker import TaskResult, Worker, WorkerError
from int8gate.quantizers.diagnosis import ConversionFailed, diagnosed
from int8gate.quantizers.settings import Settings
from int8gate.quantizers.stage import Stage
from int8gate.quantizers.stage_inputs import unchanged

RECYCLE_ABOVE = 2e9  # bytes


class StageRunner:
    """Runs stages over one cache and one worker."""

    def __init__(self, settings: Settings, cache: ArtifactCache, worker: Worker):
        self.settings, self.cache, self.worker = settings, cache, worker
        self._failures: dict[str, WorkerError | ConversionFailed] = {}

    def run(self, stage: Stage, parts: dict, arguments: Callable[[], tuple]) -> CacheEntry:
        """The cached result of a stage, whose code and libraries belong to its identity."""
        return self.kept(stage.kind, parts | stage.identity(), stage.function, arguments)

    def in_worker(
        self, function: Callable, *arguments, log: Path | None = None, grace_s: float = 0.0
    ) -> TaskResult:
        """What a function gives in the worker process, within the time limit of a stage.

        It writes into the directory that is being built and leaves all else that its arguments
        name as it is: raises InputChanged where it does not.
        """
        limit, root = self.settings.stage_timeout_s + grace_s, self.cache.root
        with unchanged(function.__name__, arguments, root, (root / BUILDING, root / SHARDS)):
            return self.worker.run(function, *arguments, timeout_s=limit, log=log)

    def kept(
        self, kind: str, parts: dict, function: Callable, arguments: Callable[[], tuple]
    ) -> CacheEntry:
        """The cached result of a function that is called with a directory as last argument: run in
        the worker on a miss, its log kept either way.

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
            result = self.in_worker(function, *arguments(), directory, log=log)
            log.replace(directory / "converter.log")
            if (result.peak_rss_bytes or 0) > RECYCLE_ABOVE:
                self.worker.close()  # converters give little back: the next stage starts afresh
            took = {"seconds": result.seconds, "peak_rss_bytes": result.peak_rss_bytes}
            return took | {"result": result.value}

        try:
            return self.cache.get_or_build(kind, parts, build, opened=False)
        except WorkerError as error:
            self._failures[key] = diagnosed(error, kind)
            raise self._failures[key] from error
