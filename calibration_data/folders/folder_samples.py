"""The `SampleSet` of a user's folder: its splits, and the pictures that cannot be used.

Where the folder does not hold the splits itself, `own_split` says which pictures calibrate and
which are scored. Pictures that cannot be used are told all at once, before anything is converted,
not one a run: a few that are too small or too thin for the network's frame are left out with a
note; one that cannot be read, or many that are too small, are refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from int8gate.calibration_data import sample_set
from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders.forms import FORMS
from int8gate.calibration_data.folders.listing import Example, Objects, Wanted
from int8gate.calibration_data.pictures import by, picture_size, shown, unfit
from int8gate.engine.file_digest import sha256_of

SPLITS = ("calibration", "evaluation")
CALIBRATION_SHARE = 0.2
CALIBRATION_MOST = 500
CALIBRATION_LEAST = 110  # static INT8 asks for 100, and shares are rounded
FEW = 200  # pictures, of which about half is enough to calibrate

NAMED = 10  # pictures that a message names
FEW_UNUSABLE = 0.1  # of all pictures: so many may be left out with a note


def own_split(examples: list[Example], split: str) -> list[Example]:
    """Stratified by class and grouped by content, the same on every machine.

    A picture that stands in several classes counts in the first of them and takes its copies along,
    one with several objects in the rarest of theirs.
    What a class's share leaves of a whole picture is drawn from its content, so that classes of
    few pictures each still give their share in sum, and no class depends on another.
    """
    copies: dict[str, list[Example]] = {}
    for example in examples:
        copies.setdefault(content_of(example.picture), []).append(example)
    strata: dict[int | None, list[str]] = {}
    stratum_of = _strata(examples)
    for content in sorted(copies):  # the order of sha256: random, but always the same
        strata.setdefault(stratum_of(copies[content][0].label), []).append(content)
    share = calibration_share(len(copies))
    chosen = []
    for contents in strata.values():
        draw = int(hashlib.sha256(contents[0].encode()).hexdigest()[:8], 16) / 16**8
        for_calibration = int(share * len(contents) + draw)
        part = {"calibration": contents[:for_calibration], "evaluation": contents[for_calibration:]}
        chosen += [example for content in part[split] for example in copies[content]]
    return chosen


def calibration_share(pictures: int) -> float:
    """A fifth, but of few pictures what static INT8 needs, and of many what suffices."""
    if pictures < FEW:
        return CALIBRATION_SHARE
    least, most = CALIBRATION_LEAST / pictures, CALIBRATION_MOST / pictures
    return min(max(CALIBRATION_SHARE, least), most)


def refuse_shared(calibration: list[Example], evaluation: list[Example]) -> None:
    """Raises ValueError on a picture, byte for byte, that both splits hold."""
    sides = [{content_of(path): path for path, _ in side} for side in (calibration, evaluation)]
    for content in sorted(sides[0].keys() & sides[1].keys()):
        raise ValueError(
            f"{shown(sides[0][content])} and {shown(sides[1][content])} are one picture: what is "
            "scored may not be seen in calibration, remove one of them"
        )


def content_of(path: Path) -> str:
    """Hex sha256 of a file; raises OSError with one sentence where it cannot be read."""
    try:
        status = path.stat()
        return _digest(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise OSError(
            f"{shown(path)} cannot be read ({error.strerror}): make it readable or remove it"
        ) from error


@cache
def _digest(path: Path, changed_ns: int, size: int) -> str:
    return sha256_of(path)


def _strata(examples: list[Example]):
    """A function from a label to its class; None for labels that have none."""
    objects = (label for _, label in examples if isinstance(label, Objects))
    pictures_with = Counter(c for label in objects for c in set(label.classes))

    def stratum(label) -> int | None:
        if isinstance(label, Objects):
            return min(label.classes, key=lambda c: (pictures_with[c], c), default=None)
        return label if isinstance(label, int) else None

    return stratum


def fitting(
    examples: list[Example], fit: Fit, root: object
) -> tuple[list[Example], tuple[str, ...]]:
    """The examples whose pictures fill the network's frame, and notes on those left out.

    Looks at headers alone. Raises ValueError that names all pictures that cannot be read, or those
    that do not fit where they are more than a few.
    """
    reasons: dict[int, str] = {}
    broken = []
    for number, (path, label) in enumerate(examples):
        try:
            size = label.size if isinstance(label, Objects) else picture_size(path)
        except ValueError as error:
            broken.append(str(error))
            continue
        if reason := unfit(size, fit):
            reasons[number] = f"{shown(path.name)} ({by(size)}: {reason})"
    refuse_all(broken, f"data folder {shown(str(root))}")
    if not reasons:
        return examples, ()
    told = _some(reasons.values())
    if len(reasons) > FEW_UNUSABLE * len(examples):
        raise ValueError(
            f"data folder {shown(str(root))}: {len(reasons)} of {len(examples)} pictures do not "
            f"fill the network's {by(fit.size[::-1])}: {told}: replace or remove them (a model of "
            "your own may say enlarge = true, which takes small ones)"
        )
    left = [example for number, example in enumerate(examples) if number not in reasons]
    return left, (f"left out {len(reasons)} of {len(examples)} pictures: {told}",)


def refuse_all(problems: list[str], where: str, what: str = "pictures") -> None:
    """One ValueError with every problem, each a sentence that names its file and its cure."""
    if not problems:
        return
    if len(problems) == 1:
        raise ValueError(problems[0])
    shown_ones = "\n".join(f"- {problem}" for problem in problems[:NAMED])
    more = f"\n- and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    raise ValueError(f"{where}: {len(problems)} {what} cannot be used:\n{shown_ones}{more}")


def problems_of(read: Callable[[int], object], count: int) -> list[str]:
    """What is wrong with each of so many samples, by reading every one."""
    found = []
    for number in range(count):
        try:
            read(number)
        except (ValueError, OSError) as error:
            found.append(str(error))
    return found


def _some(reasons: Iterable[str]) -> str:
    listed = list(reasons)
    return ", ".join(listed[:NAMED]) + (f", and {len(listed) - NAMED} more" * (len(listed) > NAMED))


class FolderSamples(sample_set.SampleSet):
    """Pictures of a folder, read when asked for: frames uint8 (h, w, channels), and labels.

    Attributes
    ----------
    labels : the form of the labels, a name of `FORMS`; without any (`has_labels`) each is -1.
    rows : of a label of objects, the most that a picture of the folder has, 1 or more.
    notes : sentences on what was left out or changed of the labels, and why.
    """

    def __init__(
        self,
        name: str,
        labels: str,
        wanted: Wanted,
        examples: list[Example],
        everything: list[Example],
        notes: tuple[str, ...] = (),
    ):
        self.name, self.labels, self.wanted = name, labels, wanted
        self.samples, self.notes = examples, notes
        objects = (label for _, label in everything if isinstance(label, Objects))
        self.rows = max((len(label.rows) for label in objects), default=0) or 1

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def has_labels(self) -> bool:
        return self.labels != "none"

    @cached_property
    def sources(self) -> np.ndarray:
        """Every picture is its own source, int (n,), and copies of one picture share theirs."""
        contents = [content_of(path) for path, _ in self.samples]
        return np.unique(contents, return_inverse=True)[1]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return FORMS[self.labels].read(self.samples[index], self.wanted, self.rows)

    def check(self) -> None:
        """Reads every sample; raises one ValueError with all that is wrong."""
        refuse_all(problems_of(self.sample, len(self)), self.name)

    def digest(self) -> str:
        """Hex sha256 of what determines every frame and label: files, fit, code, libraries."""
        content = hashlib.sha256(self.code().encode())
        wanted = (self.wanted.task, self.wanted.fit, self.labels, self.rows)
        content.update(repr(wanted).encode())
        for path, label in self.samples:
            content.update(content_of(path).encode())
            content.update(_identity(label))
        return content.hexdigest()


def _identity(label: int | str | Path | Objects) -> bytes:
    if isinstance(label, Objects):
        return repr((label.size, label.rows.shape)).encode() + label.rows.tobytes()
    return (content_of(label) if isinstance(label, Path) else repr(label)).encode()
