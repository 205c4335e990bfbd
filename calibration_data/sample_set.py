"""`SampleSet`, what every data set offers; a `Subset` of one; the check of a calibration set.

A set gives images by index, labels, and which samples share a source. A subset takes a bounded
number of samples from all over a set: the head of a folder is one class. `check_calibration` says
what must hold before a converter sees the samples.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from int8gate.engine import code_identity

PICTURE = "image"  # what the one input of a picture is called

MINIMUM_SAMPLES = 100
RANGE_MARGIN = 0.01  # of the declared range: so much beyond it, and so little of it, is wrong


class SampleSet(ABC):
    """A finite, ordered, deterministic sequence of samples with labels; here of pictures.

    `sources` (n,) names what a sample was made from; samples of one source are not independent.
    `groups` (n,) names the part of the set that a sample is of, where each part is judged by
    itself, too. Two sets are equal when their digests are.
    """

    name: str
    sources: np.ndarray
    groups: np.ndarray | None = None
    has_labels: bool = True
    notes: Sequence[str] = ()  # for the record

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (h, w, channels) and its label: an int, or a label map (h, w)."""

    def image(self, index: int) -> np.ndarray:
        return self.sample(index)[0]

    def batches(
        self, size: int, indices: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images uint8 (b, h, w, channels) and labels (b, ...), in order, `size` at a time."""
        chosen = np.arange(len(self)) if indices is None else indices
        for start in range(0, len(chosen), size):
            drawn = [self.sample(int(index)) for index in chosen[start : start + size]]
            yield np.stack([image for image, _ in drawn]), np.stack([label for _, label in drawn])

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """What the network's inputs get of a sample, by name, and its label: one picture."""
        image, label = self.sample(index)
        return {PICTURE: image}, label

    def feeds(
        self, size: int, indices: np.ndarray | None = None
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Arrays (b, ...) by input, in the network's order, and labels (b, ...), `size` at a time.

        This is the form in which every stage takes samples, of whatever kind.
        """
        chosen = np.arange(len(self)) if indices is None else indices
        for start in range(0, len(chosen), size):
            drawn = [self.named(int(index)) for index in chosen[start : start + size]]
            arrays, labels = zip(*drawn, strict=True)
            yield (
                {name: np.stack([a[name] for a in arrays]) for name in arrays[0]},
                np.stack(labels),
            )

    def digest(self) -> str:
        """Hex sha256 of every image and label: the set's name in cache keys."""
        content = hashlib.sha256()
        for images, labels in self.batches(64):
            content.update(repr((images.shape, labels.dtype.str)).encode())
            content.update(images.tobytes())
            content.update(labels.tobytes())
        return content.hexdigest()

    def code(self) -> str:
        """What the samples depend on besides data and parameters: all code that the module of
        their class reaches, and libraries.
        """
        return repr(sorted(code_identity.identity(type(self).__module__).items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SampleSet) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())


class Subset(SampleSet):
    """At most `most` samples of `whole`, the same each time, in its order.

    A smaller number's samples are among those of a larger one.
    """

    def __init__(self, whole: SampleSet, most: int):
        self.whole = whole
        self.rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:most])
        self.name = f"{len(self.rows)} of {whole.name}"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sources(self) -> np.ndarray:
        return self.whole.sources[self.rows]

    @property
    def groups(self) -> np.ndarray | None:
        return None if self.whole.groups is None else self.whole.groups[self.rows]

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.whole.sample(int(self.rows[index]))

    def named(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return self.whole.named(int(self.rows[index]))

    def digest(self) -> str:
        """Of the whole set's and the numbers of its samples: the samples are not read."""
        return hashlib.sha256(self.whole.digest().encode() + self.rows.tobytes()).hexdigest()


def check_calibration(
    samples: np.ndarray,
    name: str,
    shape: tuple[int, ...],
    value_range: tuple[float, float] | None,
    minimum: int = MINIMUM_SAMPLES,
) -> None:
    """Raises ValueError naming the first thing wrong with preprocessed samples (n, h, w, channels).

    `shape` is one sample's. `value_range` is what pixels 0 and 255 become, None of arrays: values
    outside it mean another preprocessing, a sliver of it constant pictures or a preprocessing done
    twice. Infinities must never reach TensorFlow's converter: it segfaults on -inf (tensorflow
    issue 120295).
    """
    if len(samples) < max(1, minimum):
        raise ValueError(
            f"calibration set for {name} has {len(samples)} samples; static quantization needs at "
            f"least {minimum}: add samples or pass --min-calibration-samples {len(samples)}"
        )
    if samples.shape[1:] != tuple(shape):
        raise ValueError(
            f"calibration set for {name} has samples of shape {samples.shape[1:]}, the network "
            f"takes {tuple(shape)}: resize the pictures or mend the declaration"
        )
    extremes = np.array([(sample.min(), sample.max()) for sample in samples])
    finite = np.isfinite(extremes).all(axis=1)
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        values = samples[first][~np.isfinite(samples[first])]
        raise ValueError(
            f"calibration set for {name}: sample {first} holds {values[0]} ({(~finite).sum()} of "
            f"{len(samples)} samples are not finite): remove them, converters crash on them"
        )
    if value_range is None:
        return
    low, high = value_range
    margin = RANGE_MARGIN * (high - low)
    least, most = extremes.min(), extremes.max()
    if least < low - margin or most > high + margin:
        raise ValueError(
            f"calibration set for {name} spans {least:g}..{most:g}, its preprocessing gives "
            f"{low:g}..{high:g}: the samples were not preprocessed as inference does"
        )
    if most - least < margin:
        raise ValueError(
            f"calibration set for {name} spans only {least:g}..{most:g} of the {low:g}..{high:g} "
            "that its preprocessing gives: constant pictures, or preprocessed twice: use real "
            "samples"
        )
