"""Pairs for super-resolution by two: a picture's luminance, and the same at half the size.

The field's protocol (Timofte et al. 2013, Dong et al. 2016): networks see the luminance Y alone, in
MATLAB's ``rgb2ycbcr`` convention (ITU-R BT.601, black 16, white 235, kept in uint8 of 0..255), and
the small picture is the large one reduced by an antialiased bicubic filter, which is what MATLAB's
``imresize`` and Pillow's ``BICUBIC`` do.

A source is a region of a real picture (`picture_sources.PICTURES`); regions do not overlap, and
those that bicubic enlargement restores anyway are left out: no network can be told from another on
them.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from PIL import Image

from int8gate.calibration_data.sample_set import SampleSet
from int8gate.calibration_data.synthetic import picture_sources as sources
from int8gate.calibration_data.synthetic.picture_sources import PICTURES

SCALE = 2
SEED = 20260102
BT601 = np.array([65.481, 128.553, 24.966], np.float32) / 255  # of R, G, B; black is 16
DETAIL = 1.0  # grey levels that bicubic enlargement must miss, root mean square
REDUCED = {"retina.jpg": 2}  # so soft at its 1,411 pixels that half of them show all it has
TRAINING_SIZES = (1.0, 0.85, 0.7, 0.55)  # of a picture, so that textures come in several sizes
TRIES = 4  # to find a crop with detail
SAMPLES = {"calibration": 300}  # evaluation: each region once


def luminance(rgb: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) to Y of BT.601, uint8 (h, w), 16..235."""
    return np.rint(16 + rgb.astype(np.float32) @ BT601).astype(np.uint8)


def degrade(large: np.ndarray) -> np.ndarray:
    """The small picture uint8 (h, w, c) that the large one, uint8 (2h, 2w, c), is restored from."""
    height, width = large.shape[:2]
    return _resized(large, (height // SCALE, width // SCALE))


def enlarge(image: np.ndarray) -> np.ndarray:
    """What super-resolution has to beat: bicubic enlargement, uint8 (h, w, 1) to (2h, 2w, 1)."""
    height, width = image.shape[:2]
    return _resized(image, (height * SCALE, width * SCALE))


def draw(task: str, split: str, size: tuple[int, int], channels: int) -> SuperResolutionPairs:
    """The pairs that calibration and evaluation use; `size` is the small picture's."""
    return SuperResolutionPairs(split, size, channels, SAMPLES.get(split))


class SuperResolutionPairs(SampleSet):
    """Images uint8 (h, w, 1) and labels uint8 (2h, 2w, 1) of one split.

    Evaluation and calibration go round the split's regions; a later round shows them mirrored or
    turned. Training pairs are random crops of resized pictures. `count` None is each region once.
    Raises ValueError where the task has no such data: other than one channel, or a picture size
    that no region of the split has.
    """

    title, pictures_have = "super-resolution pairs", 1  # channels

    def __init__(
        self, split: str, size: tuple[int, int], channels: int = 1, count: int | None = None
    ):
        if channels != self.pictures_have:
            raise ValueError(
                f"super-resolution pairs have 1 channel, the luminance, found a network of "
                f"{channels}: declare an input of 1 channel"
            )
        self.split, self.size = split, tuple(size)
        self.name = f"{self.title}, {split}"
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
        return regions(self.split, self._large_size, self.pictures_have)

    def large(self, index: int) -> np.ndarray:
        """The large picture, uint8 (2h, 2w, channels)."""
        if self.split == "train":
            rng = np.random.default_rng([SEED, index])
            crop = _crop(rng, self._large_size, self.pictures_have)
            return _oriented(crop, rng.integers(8))
        turn, source = divmod(index, len(self._regions))
        return _oriented(self._regions[source], turn)

    def label(self, index: int) -> np.ndarray:
        """The luminance of the large picture, uint8 (2h, 2w, 1)."""
        return _luminance_of(self.large(index))

    def sample(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        large = self.large(index)
        return degrade(large), _luminance_of(large)

    def digest(self) -> str:
        """Hex sha256 of what determines every pair: sources, code, parameters, libraries."""
        content = hashlib.sha256(self.code().encode())
        content.update(sources.tiles(self.split).tobytes())
        content.update(repr((self.split, self.size, len(self))).encode())
        return content.hexdigest()


@cache
def regions(split: str, size: tuple[int, int], channels: int = 1) -> np.ndarray:
    """Every region of the split's pictures with detail, uint8 (n, *size, channels), in order."""
    height, width = size
    found = [np.zeros((0, height, width, channels), np.uint8)]
    for picture in _pictures(split, channels):
        for top in range(0, picture.shape[0] - height + 1, height):
            for left in range(0, picture.shape[1] - width + 1, width):
                region = picture[top : top + height, left : left + width]
                if _has_detail(region):
                    found.append(region[None])
    return np.concatenate(found)


def _has_detail(region: np.ndarray) -> bool:
    region, inner = _luminance_of(region), slice(SCALE, -SCALE)
    missed = enlarge(degrade(region)).astype(np.float32) - region
    return float(np.square(missed[inner, inner]).mean()) >= DETAIL**2


def _luminance_of(picture: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 1 or 3) to its luminance, uint8 (h, w, 1)."""
    return picture if picture.shape[-1] == 1 else luminance(picture)[..., None]


@cache
def _pictures(split: str, channels: int) -> tuple[np.ndarray, ...]:
    """The split's pictures, each uint8 (h, w, channels)."""
    opened = []
    for name in PICTURES[split]:
        picture, factor = sources.source_picture(name), REDUCED.get(name, 1)
        picture = picture if channels == 3 else _luminance_of(picture)
        opened.append(_resized(picture, (picture.shape[0] // factor, picture.shape[1] // factor)))
    return tuple(opened)


@cache
def _training_pictures(size: tuple[int, int], channels: int) -> tuple[tuple[np.ndarray, ...], ...]:
    """For each picture its resized copies that hold a crop of `size`."""
    copies = []
    for picture in _pictures("train", channels):
        sizes = [tuple(round(s * factor) for s in picture.shape[:2]) for factor in TRAINING_SIZES]
        fitting = [s for s in sizes if s[0] >= size[0] and s[1] >= size[1]]
        copies.append(tuple(_resized(picture, s) for s in fitting))
    return tuple(sized for sized in copies if sized)


def _crop(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    pictures = _training_pictures(size, channels)
    for _ in range(TRIES):
        copies = pictures[rng.integers(len(pictures))]
        picture = copies[rng.integers(len(copies))]
        top, left = (
            int(rng.integers(have - want, endpoint=True))
            for have, want in zip(picture.shape[:2], size, strict=True)
        )
        crop = picture[top : top + size[0], left : left + size[1]]
        if _has_detail(crop):
            break
    return crop


def _oriented(picture: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight ways to lay a square, of the four to lay another rectangle."""
    if turn & 1:
        picture = picture[:, ::-1]
    if turn & 2:
        picture = picture[::-1]
    if turn & 4 and picture.shape[0] == picture.shape[1]:
        picture = picture.swapaxes(0, 1)
    return np.ascontiguousarray(picture)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bicubic, antialiased where it gets smaller: uint8 (h, w, channels) to (*size, channels)."""
    if picture.shape[:2] == tuple(size):
        return picture
    is_grey = picture.shape[-1] == 1
    large = Image.fromarray(np.ascontiguousarray(picture[..., 0] if is_grey else picture))
    resized = np.asarray(large.resize(size[::-1], Image.Resampling.BICUBIC))
    return resized[..., None] if is_grey else resized
