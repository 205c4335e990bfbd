"""Files of arrays, read row by row: `.npz`, `.npy`, CSV, recordings, folders of them; their labels.

No pickle is read. A file is opened when a row of it is asked for, and a few stay open. Labels come
as the metrics take them: class numbers, values, 0 and 1, texts.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from int8gate.calibration_data.arrays.kinds import BESIDE, RECORDINGS, TABLES, files_of
from int8gate.calibration_data.folders.listing import visible_folders
from int8gate.calibration_data.pictures import shown
from int8gate.engine.plugins import resolve, takes

LABELS = ("labels", "label", "class", "target", "y")
SOURCES = ("sources", "source", "groups", "group")
ASIDE = (*LABELS, *SOURCES)  # arrays that no input gets


@dataclass(frozen=True)
class Rows:
    """The samples of a place, in the order of their files and rows.

    `files` are what they lie in; of recordings each is a sample, and `features` (module:function)
    makes float32 (...) of its float32 (t,) in -1..1, mono, and of its `rate` in Hz where it has
    such a parameter.
    """

    place: Path
    files: tuple[Path, ...]
    features: str | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def _starts(self) -> np.ndarray:
        if self.are_recordings:
            return np.arange(len(self.files) + 1)
        return np.cumsum([0, *(_length(self._open(file)) for file in self.files)])

    @property
    def are_recordings(self) -> bool:
        return self.files[0].suffix.lower() == RECORDINGS

    def check_rates(self, chosen: Iterable[int]) -> None:
        """Raises ValueError where recordings have unlike sampling rates and no hook knows of it."""
        if not self.are_recordings or (self.features and takes(resolve(self.features), "rate")):
            return
        first: dict[int, Path] = {}
        for number in chosen:
            file = self.files[number]
            first.setdefault(_recording(file)[0], file)
        if len(first) > 1:
            found = ", ".join(f"{shown(file)} {rate} Hz" for rate, file in first.items())
            raise ValueError(
                f"data {shown(self.place)}: the recordings have unlike sampling rates ({found}): "
                "bring them all to that of the network, or give the hook features a second "
                "parameter rate"
            )

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one sample of each array."""
        return {name: np.shape(value) for name, value in self.row(0).items()}

    def row(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of a sample, without their first axis."""
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        inside = number - int(self._starts[part])
        table = self._open(self.files[part])
        return {
            name: np.asarray(value[inside]) for name, value in table.items() if name not in ASIDE
        }

    @cached_property
    def labels(self) -> np.ndarray | None:
        """(n, ...), of recordings the names of their folders; None where there are none."""
        return self._labels(_numbers)

    @cached_property
    def texts(self) -> np.ndarray | None:
        """As `labels`, but those of a CSV as they stand there: 007 is a text."""
        return self._labels(np.asarray)

    def _labels(self, of_csv: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
        if self.are_recordings:
            folders = [file.parent for file in self.files]
            names = [folder.name for folder in folders]
            return None if set(folders) == {self.place} else np.array(names)
        return self._column(LABELS, of_csv)

    @cached_property
    def sources(self) -> np.ndarray | None:
        """(n,), as the data name them."""
        return None if self.are_recordings else self._column(SOURCES, _numbers)

    def _column(
        self, names: tuple[str, ...], of_csv: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray | None:
        """The arrays of such a name, put together; `of_csv` makes one of a CSV's column of text."""
        found = [_named(self._open(file), names) for file in self.files]
        if all(each is None for each in found):
            return None
        if any(each is None for each in found):
            lacking = self.files[[each is None for each in found].index(True)]
            raise ValueError(
                f"{shown(lacking)} has no array {names[0]}, other files of {shown(self.place)} "
                "have: add it"
            )
        pairs = zip(self.files, found, strict=True)
        return np.concatenate(
            [of_csv(each) if file.suffix.lower() == ".csv" else each for file, each in pairs]
        )

    def _open(self, file: Path) -> dict[str, np.ndarray]:
        state = file.stat()
        return _opened(str(file), self.features, state.st_mtime_ns, state.st_size)


def rows_of(place: Path, features: str | None = None) -> Rows:
    """The rows of a file or folder. Raises ValueError or OSError in a sentence."""
    if not place.exists():
        raise FileNotFoundError(f"data {shown(place)}: there is no such file or folder")
    files = files_of(place) if place.is_dir() else [place]
    if place.is_dir() and not files:
        files = [file for folder in visible_folders(place) for file in files_of(folder)]
    recordings = [file for file in files if file.suffix.lower() == RECORDINGS]
    if not files or (recordings and len(recordings) < len(files)):
        raise ValueError(
            f"data {shown(place)}: expected files of arrays ({', '.join(TABLES)}) or recordings "
            f"({RECORDINGS}), of one kind, found {'both' if files else 'none'}"
        )
    rows = Rows(place, tuple(files), features)
    if not len(rows):
        raise ValueError(f"data {shown(place)} has no sample: add some")
    return rows


def _length(table: dict[str, np.ndarray]) -> int:
    return len(next(iter(table.values())))


def _named(table: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((table[name] for name in names if name in table), None)


@lru_cache(maxsize=4)
def _opened(file: str, features: str | None, changed_ns: int, size: int) -> dict:
    path = Path(file)
    try:
        table = _READERS[path.suffix.lower()](path, features)
    except (OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{shown(path)} cannot be read: {error}: save it again") from error
    lengths = {name: np.shape(value)[:1] for name, value in table.items()}
    if not table or () in lengths.values() or len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {np.shape(value)}" for name, value in table.items())
        raise ValueError(
            f"{shown(path)} holds {listed or 'no array'}: expected arrays (n, ...) of the same n"
        )
    return table


def _npz(path: Path, features: str | None) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except ValueError as error:
        raise ValueError(
            f"{shown(path)} cannot be read: {error}: save numbers, and texts as str"
        ) from error


def _npy(path: Path, features: str | None) -> dict[str, np.ndarray]:
    labels = next(
        (p for p in (path.with_suffix(BESIDE), path.parent / "labels.npy") if p.is_file()), None
    )
    try:
        table = {"samples": np.load(path, mmap_mode="r", allow_pickle=False)}
        if labels:
            table["labels"] = np.load(labels, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{shown(path)} cannot be read: {error}") from error
    return table


def _csv(path: Path, features: str | None) -> dict[str, np.ndarray]:
    """Features float32 (n, columns), labels and sources as text."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *lines = [row for row in csv.reader(file) if row]
        names = [name.strip().lower() for name in header]
        aside = {
            kind[0]: names.index(found)
            for kind in (LABELS, SOURCES)
            if (found := next((name for name in kind if name in names), None))
        }
        kept = [place for place in range(len(names)) if place not in aside.values()]
        values = np.array([[row[place] for place in kept] for row in lines], np.float32)
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(
            f"{shown(path)} is no table of numbers with a header ({error}): expected a line of "
            "names, then a row of numbers for each sample, with a column label"
        ) from error
    table = {"samples": values}
    for kind, place in aside.items():
        table[kind] = np.array([row[place].strip() for row in lines], str)
    return table


def _numbers(column: np.ndarray) -> np.ndarray:
    """Whole numbers where all are, else real ones, else text."""
    for dtype in (np.int64, np.float64):
        try:
            return np.array([dtype(cell) for cell in column])
        except ValueError:
            continue
    return column


def _recording(path: Path) -> tuple[int, np.ndarray]:
    """The sampling rate in Hz, and float32 (t,) in -1..1, mono."""
    from scipy.io import wavfile

    try:
        rate, stored = wavfile.read(path)
    except ValueError as error:
        raise ValueError(f"{shown(path)} is no recording that is read: {error}") from error
    if stored.dtype.kind in "iu":
        limits = np.iinfo(stored.dtype)
        middle = 0 if stored.dtype.kind == "i" else (int(limits.max) + 1) // 2
        sound = (stored.astype(np.float32) - middle) / (int(limits.max) - middle + (middle == 0))
    else:
        sound = stored.astype(np.float32)
    return int(rate), sound.mean(axis=1) if sound.ndim == 2 else sound


def _wav(path: Path, features: str | None) -> dict[str, np.ndarray]:
    """One sample: the recording, or what the hook makes of it."""
    rate, sound = _recording(path)
    if features:
        hook = resolve(features)
        given = {"rate": rate} if takes(hook, "rate") else {}
        sound = np.asarray(hook(sound, **given), np.float32)
    return {"samples": sound[None]}


_READERS = {".npz": _npz, ".npy": _npy, ".csv": _csv, RECORDINGS: _wav}


def labels_of(
    rows: Rows,
    kind: str,
    classes: int | None,
    class_names: tuple[str, ...] | None,
    place: Path,
) -> np.ndarray | None:
    """Labels (n, ...), None where there are none.

    `kind` is "class": int64 (n,), names numbered in sorted order or as `class_names` lists them;
    "anomaly": int64 (n,) of 0 and 1; "values": float32 (n, k); "text": str (n,); "any": as they
    are. Raises ValueError for others.
    """
    found = rows.texts if kind == "text" else rows.labels
    if found is None or kind == "any":
        return found
    where = f"data {shown(place)}"
    if kind == "text":
        return _texts(found, where)
    if kind == "values":
        values = found.reshape(len(found), -1)
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError(f"{where}: labels are {found.dtype}, expected finite numbers")
        return values.astype(np.float32)
    numbers = _numbered(found, class_names, where)
    most = 2 if kind == "anomaly" else classes
    if numbers.min() < 0 or (most and numbers.max() >= most):
        numbered = f"0..{most - 1}" if most else "numbers from 0"
        raise ValueError(
            f"{where}: labels span {numbers.min()}..{numbers.max()}, expected "
            f"{'0 (normal) and 1 (anomalous)' if kind == 'anomaly' else numbered}"
        )
    return numbers


def _one_each(found: np.ndarray, where: str) -> np.ndarray:
    """(n,), also of (n, 1)."""
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(f"{where}: labels have shape {found.shape}, expected one for each sample")
    return found


def _texts(found: np.ndarray, where: str) -> np.ndarray:
    texts = _one_each(found, where)
    if texts.dtype.kind != "U":
        raise ValueError(f"{where}: labels are {texts.dtype}, expected texts: save them as str")
    empty = np.flatnonzero(np.char.strip(texts) == "")
    if len(empty):
        raise ValueError(
            f"{where}: sample {empty[0]} has an empty text ({len(empty)} of {len(texts)} have): "
            "remove what shows or says nothing"
        )
    return texts


def _numbered(found: np.ndarray, class_names: tuple[str, ...] | None, where: str) -> np.ndarray:
    found = _one_each(found, where)
    if found.dtype.kind == "f" and np.array_equal(found, np.rint(found)):
        found = found.astype(np.int64)
    if found.dtype.kind in "iub":
        return found.astype(np.int64)
    if found.dtype.kind not in "US":
        raise ValueError(f"{where}: labels are {found.dtype}, expected whole numbers or names")
    texts = found.astype(str)
    order = [str(name) for name in class_names] if class_names else sorted(set(texts.tolist()))
    if unknown := sorted(set(texts.tolist()) - set(order)):
        raise ValueError(f"{where}: label {unknown[0]!r:.60} is not one of the key classes: add it")
    return np.array([order.index(text) for text in texts], np.int64)
