"""Calibration in shards: ranges of the samples that run apart, and whose statistics are merged.

Shards run by joblib, with whatever back end it is told to use: processes of this machine (loky) by
default, threads, or a cluster, by the caller's own choice::

    with joblib.parallel_config(backend="dask", n_jobs=32):  # or "ray", after its register_ray()
        found = shards.calibrate(onnx_collector.collect, model, samples, directory, jobs=None)

On a cluster the model, the samples and the directory must be on a file system that all its machines
see. A finished shard is a file in the directory, named by all that its content depends on: a run
that was killed goes on where it was, and never takes a shard of another model or other samples.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

from int8gate.engine import code_identity
from int8gate.engine.cache import cache_key
from int8gate.engine.file_digest import sha256_of
from int8gate.quantizers.calibration.sample_file import SampleFile
from int8gate.quantizers.calibration.table import Table, merge_tables, read_table, write_table
from int8gate.runtimes import onnx_file

SHARD = 64  # samples: seconds of work, and little lost by a kill
Collect = Callable[[Path, Path, range], Table]


def calibrate(
    collect: Collect,
    float_model: Path,
    samples: Path,
    directory: Path,
    jobs: int | None = 1,
    shard: int = SHARD,
) -> Table:
    """The statistics of all the samples; the same, bit for bit, however they were split.

    `collect` is called with (float_model, samples, rows), `jobs` at a time, rows being a `range` of
    `shard` sample numbers or fewer; it must be a function of a module, or a `functools.partial` of
    one with JSON values. `jobs` None leaves the number to joblib's configuration. Finished shards
    stay in `directory`. Raises what `collect` raises.
    """
    if shard < 1:
        raise ValueError(f"a shard holds at least 1 sample, asked for {shard}")
    directory.mkdir(parents=True, exist_ok=True)
    files = _files(collect, Path(float_model), Path(samples), directory, shard)
    missing = {rows: file for rows, file in files.items() if _finished(file) is None}
    done = sum(len(rows) for rows in files.keys() - missing.keys())
    work = ((collect, float_model, samples, rows, file) for rows, file in missing.items())
    for finished in _shown(_run(work, jobs), float_model, done, sum(map(len, files))):
        del finished
    return functools.reduce(merge_tables, map(read_table, files.values()))


def _files(
    collect: Collect, float_model: Path, samples: Path, directory: Path, shard: int
) -> dict[range, Path]:
    """Where the statistics of each shard are kept, by its rows."""
    stored = SampleFile(samples)
    is_onnx = float_model.suffix == ".onnx"
    common = {
        "model": onnx_file.digest(float_model) if is_onnx else sha256_of(float_model),
        "of": len(stored),  # how many elements a collector counts may depend on it
        "collect": _described(collect),
        **code_identity.identity(*_roots(collect)),
    }
    every = range(len(stored))
    shards = [every[first : first + shard] for first in range(0, len(stored), shard)]
    return {
        rows: directory / f"{cache_key({**common, **_content(stored, rows)})}.npz"
        for rows in shards
    }


def _content(stored: SampleFile, rows: range) -> dict:
    return {"samples": stored.digest(rows), "rows": [rows.start, rows.stop]}


def _described(collect: Collect) -> list:
    if isinstance(collect, functools.partial):
        return [*_described(collect.func), list(collect.args), collect.keywords]
    return [collect.__module__, collect.__qualname__]


def _roots(collect: Collect) -> tuple[str, ...]:
    """The function that counts, and what merges and writes its tables: this module."""
    while isinstance(collect, functools.partial):
        collect = collect.func
    return f"{collect.__module__}:{collect.__qualname__}", __name__


def _finished(file: Path) -> Table | None:
    """What is kept of a shard; None where there is nothing, or it is damaged."""
    try:
        return read_table(file)
    except (FileNotFoundError, ValueError):
        return None


def _run(work: Iterable[tuple], jobs: int | None) -> Iterator[int]:
    """Runs shards, and gives the number of samples of each as it ends."""
    import joblib

    tasks = (joblib.delayed(_run_shard)(*arguments) for arguments in work)
    try:
        parallel = joblib.Parallel(jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    except ValueError:  # a back end that gives results at the end alone, as Ray's
        parallel = joblib.Parallel(jobs)
    yield from cast(Iterator[int], parallel(tasks))


def _run_shard(collect: Collect, float_model: Path, samples: Path, rows: range, file: Path) -> int:
    write_table(file, collect(float_model, samples, rows))
    return len(rows)


def _shown(finished: Iterator[int], float_model: Path, done: int, total: int) -> Iterator[int]:
    """Passes them on; on a terminal with a line that says how far it is."""
    if not sys.stderr.isatty():
        yield from finished
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(
            f"calibrating {Path(float_model).name}: samples", total=total, completed=done
        )
        for samples in finished:
            progress.advance(task, samples)
            yield samples
