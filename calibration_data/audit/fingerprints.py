"""Small grey copies of pictures, and the low frequencies by which likely pairs are found.

A picture that was re-encoded, rescaled or lightened keeps its low frequencies: pHash (Zauner 2010)
stores their signs, here their values are kept, which tell more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import fft

THUMBNAIL = 48  # pixels a side
FREQUENCIES = 12  # of each axis: so many cosines
FLAT = 1e-3  # grey levels, root of a sum of squares: a picture that shows nothing
# Windows of a picture that a crop of it may show: centre y, centre x and side in halves of the
# picture's side, so that (0, 0, 1) is the whole. `alignment` finds what lies between them.
WINDOWS = (
    (0.0, 0.0, 1.0),
    (0.0, 0.0, 0.88),
    (-0.1, -0.1, 0.9),
    (-0.1, 0.1, 0.9),
    (0.1, -0.1, 0.9),
    (0.1, 0.1, 0.9),
)


@dataclass(frozen=True)
class Symmetry:
    """One of the eight ways to lay a square: transposed or not, then mirrored along each axis."""

    transposed: bool
    upside_down: bool
    mirrored: bool

    @property
    def name(self) -> str:
        if not self.transposed:
            if self.upside_down and self.mirrored:
                return "turned by 180 degrees"
            return "flipped" if self.upside_down or self.mirrored else "upright"
        return "turned by 90 degrees" if self.upside_down != self.mirrored else "transposed"

    def lay(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures (..., side, side), laid that way."""
        laid = pictures.swapaxes(-1, -2) if self.transposed else pictures
        laid = laid[..., ::-1, :] if self.upside_down else laid
        return laid[..., ::-1] if self.mirrored else laid

    def lay_spectra(self, spectra: np.ndarray) -> np.ndarray:
        """The `spectra` of pictures laid that way: mirroring turns the sign of odd cosines."""
        signs = np.where(np.arange(FREQUENCIES) % 2, -1, 1).astype(np.float32)
        laid = spectra.swapaxes(1, 2) if self.transposed else spectra
        laid = laid * signs[:, None] if self.upside_down else laid
        return laid * signs if self.mirrored else laid

    def lay_window(self, window: tuple[float, float, float]) -> tuple[float, float, float]:
        """Where the window of a picture lies in the picture laid that way."""
        y, x, side = window
        y, x = (x, y) if self.transposed else (y, x)
        return (-y if self.upside_down else y), (-x if self.mirrored else x), side


SYMMETRIES = tuple(
    Symmetry(transposed, upside_down, mirrored)
    for transposed in (False, True)
    for upside_down in (False, True)
    for mirrored in (False, True)
)


def thumbnails(pictures: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, c) to luminance, float32 (n, 48, 48) in 0..255, each pixel an average."""
    small = np.empty((len(pictures), THUMBNAIL, THUMBNAIL), np.float32)
    for row, picture in enumerate(pictures):
        grey = _luminance(picture)
        how = Image.BOX if min(grey.size) >= THUMBNAIL else Image.BILINEAR
        small[row] = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), how), np.float32)
    return small


def _luminance(picture: np.ndarray) -> Image.Image:
    """uint8 (h, w, c) as a grey picture; of other than 3 channels the first is taken."""
    if picture.shape[-1] == 3:
        return Image.fromarray(np.ascontiguousarray(picture)).convert("L")
    return Image.fromarray(np.ascontiguousarray(picture[..., 0]))


def spectra(small: np.ndarray) -> np.ndarray:
    """Thumbnails (n, 48, 48) to unit vectors of low cosines, float32 (n, 12, 12).

    Natural spectra fall with frequency: each cosine is weighted by its own, so that all count
    about alike. A constant picture has zeros.
    """
    cosines = fft.dctn(small, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    index = np.arange(FREQUENCIES, dtype=np.float32)
    cosines = cosines * np.hypot(index[:, None], index)
    norms = np.sqrt(np.square(cosines).sum((1, 2), keepdims=True))
    return np.where(norms > FLAT, cosines / np.maximum(norms, FLAT), 0).astype(np.float32)


def windowed(small: np.ndarray) -> Iterator[tuple[tuple[float, float, float], np.ndarray]]:
    """Each of `WINDOWS` with the part of every thumbnail (n, 48, 48) in it, at the same size."""
    for y, x, side in WINDOWS:
        rows, columns = (
            interpolation(np.array([centre]), np.array([side]), THUMBNAIL)[0] for centre in (y, x)
        )
        yield (y, x, side), rows @ small @ columns.T


def interpolation(centres: np.ndarray, sides: np.ndarray, size: int) -> np.ndarray:
    """Weights, float32 (n, size, size), that sample an axis of `size` pixels on a window of it.

    `centres` and `sides` (n,) in halves of the axis. A row whose weights do not sum to 1 lies
    outside.
    """
    middle = (size - 1) / 2
    points = (np.arange(size) - middle) * sides[:, None] + middle + centres[:, None] * size / 2
    return np.maximum(0, 1 - np.abs(points[..., None] - np.arange(size))).astype(np.float32)
