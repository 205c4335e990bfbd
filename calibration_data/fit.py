"""How a picture of any size becomes the network's frame, and what that makes of its labels.

A `Fit` is the geometry and the colour order of a declaration, `Placement` what it comes to for
one picture: a scale and a shift for each axis. Boxes, keypoints and masks take the same one as the
pixels. The frame is uint8, so that the bytes that an integrator feeds are the samples themselves;
numbers are made of them in `preprocessing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image  # declarations hold a `Fit`, they do not decode pictures

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}
LEAST_OF_INPUT = 0.5  # a picture's side may be this fraction of the network's input, not less
MOST_OF_FRAME = 64  # frames that a resized picture covers before it is cut
IGNORED = 255  # the label of pixels that are not scored


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the frame: its point p, in pixels, comes to ``p * scale + shift``.

    Attributes
    ----------
    resized : (height, width) of the whole picture at its new scale.
    scale : (y, x), pixels of the frame for each of the picture.
    shift : (y, x), whole pixels; below 0 where the picture is cropped, above 0 where padded.
    """

    resized: tuple[int, int]
    scale: tuple[float, float]
    shift: tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """From a picture to the network's frame, uint8 (height, width, channels).

    Attributes
    ----------
    size : (height, width) of the frame.
    kind : "stretch" to the frame, whatever becomes of the proportions; "crop": resize so that the
        frame is `crop` of the short side, and cut it from the centre (torchvision's ``Resize`` and
        ``CenterCrop``); "letterbox": the whole picture in the centre, `pad` around it.
    crop : 0..1; 0.875 is 224 of 256.
    pad : pixel value 0..255.
    interpolation : "bilinear", "bicubic" or "nearest", as Pillow computes them.
    colours : "rgb", "bgr" or "gray" (luma of ITU-R 601): order and number of the channels.
    enlarge : take pictures of less than half the frame's size too.

    Raises ValueError naming the key that is out of its range or that contradicts `kind`.
    """

    size: tuple[int, int]
    kind: str = "stretch"
    crop: float = 1.0
    pad: int = 0
    interpolation: str = "bilinear"
    colours: str = "rgb"
    enlarge: bool = False

    def __post_init__(self):
        object.__setattr__(self, "size", tuple(self.size))
        if len(self.size) != 2 or not all(isinstance(s, int) and s > 0 for s in self.size):
            raise ValueError(f"size = {list(self.size)}: expected [height, width] in whole pixels")
        _one_of("fit", self.kind, ("stretch", "crop", "letterbox"))
        _one_of("interpolation", self.interpolation, INTERPOLATIONS)
        _one_of("colours", self.colours, MODES)
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop = {self.crop}: expected a part of the short side, 0 to 1")
        if self.pad not in range(256):
            raise ValueError(f"pad = {self.pad}: expected a pixel value, a whole number 0..255")
        if self.crop != 1 and self.kind != "crop":
            raise ValueError(f'crop = {self.crop} beside fit = "{self.kind}": it goes with "crop"')
        if self.pad and self.kind != "letterbox":
            raise ValueError(
                f'pad = {self.pad} beside fit = "{self.kind}": it goes with "letterbox"'
            )

    @property
    def channels(self) -> int:
        return 1 if self.colours == "gray" else 3

    @property
    def mode(self) -> str:
        """Pillow's, of the pictures that `frame` takes."""
        return MODES[self.colours]

    def place(self, size: tuple[int, int]) -> Placement:
        """Of a picture of `size` (height, width)."""
        if self.kind == "stretch":
            resized, shift = self.size, (0, 0)
        elif self.kind == "crop":
            resized = _covering([round(side / self.crop) for side in self.size], size)
            shift = tuple(-round((r - s) / 2) for r, s in zip(resized, self.size, strict=True))
        else:
            least = min(s / old for s, old in zip(self.size, size, strict=True))
            resized = tuple(max(1, round(old * least)) for old in size)
            shift = tuple((s - r) // 2 for s, r in zip(self.size, resized, strict=True))
        scale = tuple(new / old for new, old in zip(resized, size, strict=True))
        return Placement(resized, scale, shift)

    def is_too_small(self, size: tuple[int, int]) -> bool:
        """Whether a picture (height, width) would be mostly invented by enlarging."""
        if self.enlarge:
            return False
        below = [old < round(s * LEAST_OF_INPUT) for old, s in zip(size, self.size, strict=True)]
        return all(below) if self.kind == "letterbox" else any(below)

    def hides(self, size: tuple[int, int]) -> bool:
        """Whether next to nothing of a picture (height, width) is seen: it is far too thin."""
        resized = np.prod(self.place(size).resized, dtype=float)
        return bool(resized > MOST_OF_FRAME * np.prod(self.size, dtype=float))

    def frame(self, picture: Image.Image) -> np.ndarray:
        """The picture, of `mode`, as the network's frame, uint8 (height, width, channels)."""
        pixels = self._fitted(picture, self.interpolation, self.pad)
        if self.channels == 1:
            return np.ascontiguousarray(pixels)[..., None]
        return np.ascontiguousarray(pixels[..., ::-1] if self.colours == "bgr" else pixels)

    def mask(self, mask: Image.Image) -> np.ndarray:
        """A mask of mode "L", uint8 (height, width): no new numbers, `IGNORED` where padded."""
        return np.ascontiguousarray(self._fitted(mask, "nearest", IGNORED))

    def boxes(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """[ymin, xmin, ymax, xmax] (n, 4) in a picture's pixels to parts of the frame, 0..1.

        What lies outside the frame is cut off; a box wholly outside has no area left.
        """
        place = self.place(size)
        moved = boxes * np.tile(place.scale, 2) + np.tile(place.shift, 2)
        return np.clip(moved / np.tile(self.size, 2), 0, 1)

    def points(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 2) of y, x in the frame's pixels, and which of them lie in it, bool (n,).

        A whole number is the middle of a pixel, as in COCO's keypoints, on both sides.
        """
        place = self.place(size)
        moved = (points + 0.5) * place.scale + place.shift
        inside = ((moved >= 0) & (moved <= self.size)).all(axis=-1)
        return moved - 0.5, np.asarray(inside)

    def _fitted(self, picture: Image.Image, interpolation: str, pad: int) -> np.ndarray:
        """Bilinear and bicubic are antialiased where a picture gets smaller."""
        from PIL.Image import Resampling

        filter_ = Resampling[interpolation.upper()]
        place = self.place((picture.height, picture.width))
        pixels = np.asarray(picture.resize(place.resized[::-1], filter_))
        (top, left), (height, width) = place.shift, self.size
        if self.kind != "letterbox":
            return pixels[-top : height - top, -left : width - left]
        frame = np.full((*self.size, *pixels.shape[2:]), pad, np.uint8)
        frame[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return frame


def _covering(least: list[int], size: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture resized to cover `least`, one side exactly, the other rounded down.

    That is torchvision's ``int(least * long / short)``.
    """
    (height, width), (old_height, old_width) = least, size
    if height * old_width >= width * old_height:
        return height, max(width, height * old_width // old_height)
    return max(height, width * old_height // old_width), width


def _one_of(key: str, found: str, known) -> None:
    if found not in known:
        listed = ", ".join(f'"{name}"' for name in known)
        raise ValueError(f"{key} = {found!r}: expected one of {listed}")
