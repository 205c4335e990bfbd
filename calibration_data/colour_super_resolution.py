"""Pairs for super-resolution by two in colour: `super_resolution.py` for networks that take RGB.

The picture is an RGB one reduced by the same filter; the label is the luminance of the large one,
on which networks of both kinds are scored. Regions, rounds and training crops are as there.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from calibration_data import sources
from calibration_data.sample_set import SampleSet
from calibration_data.sources import PICTURES
from calibration_data.super_resolution import (
    REDUCED,
    SAMPLES,
    SCALE,
    SEED,
    TRAINING_SIZES,
    TRIES,
    _has_detail,
    _oriented,
    luminance,
)


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> ColourPairs:
    """The pairs that calibration and evaluation use; `size` is the small picture's."""
    if channels != 3:
        raise ValueError(
            f"colour super-resolution pairs have 3 channels, found a network of {channels}: "
            'declare an input of 3, or leave `scenes="colour_super_resolution"` out'
        )
    return ColourPairs(split, size, SAMPLES.get(split))


class ColourPairs(SampleSet):
    """Images uint8 (h, w, 3) and labels uint8 (2h, 2w, 1), the luminance, of one split.

    Evaluation and calibration go round the split's regions; a later round shows them mirrored or
    turned. Training pairs are random crops of resized pictures. `count` None is each region once.
    Raises ValueError where no region of the split has the picture size.
    """

    def __init__(self, split: str, size: tuple[int, int], count: int | None = None):
        self.split, self.size = split, tuple(size)
        self.name = f"colour super-resolution pairs, {split}"
        self._large_size = (size[0] * SCALE, size[1] * SCALE)
        if split != "train" and not len(self._regions):
            raise ValueError(
                f"no region of the {split} pictures is {self._large_size[0]}x{self._large_size[1]} "
                "and has detail: choose a smaller network input"
            )
        self._count = count or len(self._regions)

    def __len__(self) -> int:
        return self._count

    @property
    def sources(self) -> np.ndarray:
        """Region of each pair, int (n,); a training pair is its own source."""
        places = np.arange(self._count)
        return places if self.split == "train" else places % len(self._regions)

    @property
    def _regions(self) -> np.ndarray:
        return regions(self.split, self._large_size)

    def large(self, index: int) -> np.ndarray:
        """The large picture, uint8 (2h, 2w, 3)."""
        if self.split == "train":
            rng = np.random.default_rng([SEED, index])
            return _oriented(_crop(rng, self._large_size), rng.integers(8))
        turn, source = divmod(index, len(self._regions))
        return _oriented(self._regions[source], turn)

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        large = self.large(index)
        return _resized(large, self.size), luminance(large)[..., None]

    def digest(self) -> str:
        """Hex sha256 of what determines every pair: sources, this code, parameters, libraries."""
        import PIL

        content = hashlib.sha256()
        here = Path(__file__).parent
        for code in ("colour_super_resolution.py", "super_resolution.py", "sources.py"):
            content.update((here / code).read_bytes())
        content.update(sources.tiles(self.split).tobytes())
        parameters = (self.split, self.size, len(self), np.__version__, PIL.__version__)
        content.update(repr(parameters).encode())
        return content.hexdigest()


@cache
def regions(split: str, size: tuple[int, int]) -> np.ndarray:
    """Every region of the split's pictures with detail, uint8 (n, *size, 3), in a fixed order."""
    height, width = size
    found = [np.zeros((0, height, width, 3), np.uint8)]
    for picture in _pictures(split):
        for top in range(0, picture.shape[0] - height + 1, height):
            for left in range(0, picture.shape[1] - width + 1, width):
                region = picture[top : top + height, left : left + width]
                if _has_detail(luminance(region)[..., None]):
                    found.append(region[None])
    return np.concatenate(found)


@cache
def _pictures(split: str) -> tuple[np.ndarray, ...]:
    """The split's pictures, each uint8 (h, w, 3)."""
    opened = []
    for name in PICTURES[split]:
        picture, factor = sources._picture(name), REDUCED.get(name, 1)
        opened.append(_resized(picture, (picture.shape[0] // factor, picture.shape[1] // factor)))
    return tuple(opened)


@cache
def _training_pictures(size: tuple[int, int]) -> tuple[tuple[np.ndarray, ...], ...]:
    """For each picture its resized copies that hold a crop of `size`."""
    copies = []
    for picture in _pictures("train"):
        sizes = [tuple(round(s * factor) for s in picture.shape[:2]) for factor in TRAINING_SIZES]
        fitting = [s for s in sizes if s[0] >= size[0] and s[1] >= size[1]]
        copies.append(tuple(_resized(picture, s) for s in fitting))
    return tuple(sized for sized in copies if sized)


def _crop(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    pictures = _training_pictures(size)
    for _ in range(TRIES):
        copies = pictures[rng.integers(len(pictures))]
        picture = copies[rng.integers(len(copies))]
        top, left = (
            int(rng.integers(have - want, endpoint=True))
            for have, want in zip(picture.shape[:2], size, strict=True)
        )
        crop = picture[top : top + size[0], left : left + size[1]]
        if _has_detail(luminance(crop)[..., None]):
            break
    return crop


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic, antialiased where it gets smaller: uint8 (h, w, 3) to (*size, 3)."""
    if picture.shape[:2] == tuple(size):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.BICUBIC))
