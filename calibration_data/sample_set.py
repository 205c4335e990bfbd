"""What every data set offers: images by index, labels, and which samples share a source."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from int8gate.engine import code_identity

PICTURE = "image"  # what the one input of a picture is called


class SampleSet(ABC):
    """A finite, ordered, deterministic sequence of samples with labels; here of pictures.

    `sources` (n,) names what a sample was made from; samples of one source are not independent.
    Two sets are equal when their digests are.
    """

    name: str
    sources: np.ndarray

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
