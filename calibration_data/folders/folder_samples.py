"""The `SampleSet` of a user's folder."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from int8gate.calibration_data import sample_set
from int8gate.calibration_data.folders.examples import Example, Objects, Wanted
from int8gate.calibration_data.folders.forms import FORMS
from int8gate.calibration_data.folders.soundness import problems_of, refuse_all
from int8gate.calibration_data.folders.splits import content_of


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


def _identity(label: int | Path | Objects) -> bytes:
    if isinstance(label, Objects):
        return repr((label.size, label.rows.shape)).encode() + label.rows.tobytes()
    return (content_of(label) if isinstance(label, Path) else repr(label)).encode()
