"""What a case scored on each sample, kept so that a later run can be compared with it in pairs.

    kept = store(directory, Predictions(case, metric, evaluation_set, statistics, sources))
    find([directory], kept.sha256)

A file holds the gated metric's rows, the samples' sources and a classifier's answers, compressed,
as the evaluation's `statistics.npz` in the cache does, and what they are of. Its name ends in its
own digest, so that the same predictions are one file, and an interrupted run never leaves a name
with other contents.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.engine import atomic_file
from int8gate.validation.answers import Answers, answers_in, arrays_of

FORMAT = 1
MOST_BYTES = 2**30  # unpacked: a hundred times the largest of the zoo
DIGITS = 16  # of the digest in a file's name


@dataclass(frozen=True, eq=False)
class Predictions:
    """Rows (n, k) float64 of `metric`'s statistics, and sources (n,) of the same samples.

    `case` is the case's key (`case_summary.case_key`), `evaluation_set` the digest of its samples.
    `answers` are those of a classifier, where they were kept.
    """

    case: str
    metric: str
    evaluation_set: str
    statistics: np.ndarray
    sources: np.ndarray
    answers: Answers | None = None


@dataclass(frozen=True)
class Stored:
    """A file of predictions and the SHA-256 of its bytes."""

    path: Path
    sha256: str


def store(directory: Path, predictions: Predictions) -> Stored:
    """Writes the predictions into `directory`, whole or not at all; what is there is left alone.

    Raises ValueError where rows and sources are not of the same samples, OSError where the
    directory cannot be written.
    """
    _check(predictions, "predictions")
    about = {"format": FORMAT, "case": predictions.case, "metric": predictions.metric}
    about["evaluation_set"] = predictions.evaluation_set
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        about=np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8),
        statistics=_narrowed(predictions.statistics),
        sources=predictions.sources,
        **arrays_of(predictions.answers),
    )
    return _write(directory, predictions.case, packed.getvalue())


def copy(sha256: str, folders: Iterable[Path], directory: Path) -> Stored:
    """Puts the file of that digest into `directory`. Raises as `find` and `store` do."""
    path = _locate(sha256, folders)
    return _write(directory, read(path, sha256).case, path.read_bytes())


def find(folders: Iterable[Path], sha256: str) -> Predictions:
    """The predictions of that digest in the first of `folders` that has them.

    Raises FileNotFoundError where none has, ValueError for a damaged file.
    """
    return read(_locate(sha256, folders), sha256)


def read(path: Path, sha256: str | None = None) -> Predictions:
    """What `store` wrote. Raises ValueError for a file that is damaged, or not of that digest."""
    try:
        packed = path.read_bytes()
        if sha256 and hashlib.sha256(packed).hexdigest() != sha256:
            raise ValueError("its SHA-256 is another than recorded")
        with zipfile.ZipFile(io.BytesIO(packed)) as members:
            unpacked = sum(member.file_size for member in members.infolist())
        if unpacked > MOST_BYTES:
            raise ValueError(f"it unpacks to {unpacked} bytes, more than {MOST_BYTES}")
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if about.pop("format") != FORMAT:
                raise ValueError("another version wrote it")
            rows = arrays["statistics"].astype(np.float64)
            read_whole = {"sources": arrays["sources"], "answers": answers_in(arrays)}
            predictions = Predictions(**about, statistics=rows, **read_whole)
        _check(predictions, path.name)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for damaged files
        raise ValueError(
            f"{path} holds no predictions that can be read ({error}): delete it and record it again"
        ) from error
    return predictions


def prune(directory: Path, referenced: Iterable[str]) -> list[Path]:
    """Deletes the files that no digest of `referenced` names; returns them."""
    kept = {sha256[:DIGITS] for sha256 in referenced}
    unused = [path for path in sorted(directory.glob("*.npz")) if _digits(path) not in kept]
    for path in unused:
        path.unlink(missing_ok=True)
    return unused


def _check(predictions: Predictions, where: str) -> None:
    rows, sources = predictions.statistics, predictions.sources
    if rows.ndim != 2 or sources.shape != rows.shape[:1] or not len(rows):
        raise ValueError(
            f"{where}: statistics {rows.shape} and sources {sources.shape} are not (n, k) and (n,) "
            "of the same samples"
        )
    if predictions.answers is not None and len(predictions.answers) != len(rows):
        raise ValueError(f"{where}: {len(predictions.answers)} answers of {len(rows)} samples")
    if sources.dtype.hasobject or not np.issubdtype(rows.dtype, np.number):
        raise ValueError(f"{where}: statistics are {rows.dtype}, sources {sources.dtype}")


def _narrowed(rows: np.ndarray) -> np.ndarray:
    """As float32 where that loses nothing: counts and scores come from float32 models."""
    narrow = rows.astype(np.float32)
    return narrow if np.array_equal(narrow.astype(rows.dtype), rows) else rows


def _write(directory: Path, case: str, packed: bytes) -> Stored:
    sha256 = hashlib.sha256(packed).hexdigest()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", case)[:120]
    place = directory / f"{name}.{sha256[:DIGITS]}.npz"
    with suppress(FileNotFoundError):
        if place.read_bytes() == packed:
            return Stored(place, sha256)
    directory.mkdir(parents=True, exist_ok=True)
    atomic_file.write(place, packed)
    return Stored(place, sha256)


def _locate(sha256: str, folders: Iterable[Path]) -> Path:
    folders = list(folders)
    for folder in folders:
        for path in sorted(folder.glob(f"*.{sha256[:DIGITS]}.npz")):
            return path
    looked = ", ".join(map(str, folders)) or "no folder"
    raise FileNotFoundError(f"the predictions {sha256[:DIGITS]} are not in {looked}")


def _digits(path: Path) -> str:
    return path.name.removesuffix(".npz").rpartition(".")[2]
