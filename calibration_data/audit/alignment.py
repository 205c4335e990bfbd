"""Which pictures may show the same, and whether one does show what another shows.

Likely pairs are found by the low frequencies of small grey copies (`thumbnails`, `spectra`): a
picture that was re-encoded, rescaled or lightened keeps them. pHash (Zauner 2010) stores their
signs; here their values are kept, which tell more.

`align` then lays one thumbnail over the other: the alignment of Lucas and Kanade (1981) with gain
and offset, for many pairs at once. Only the scale and shift of each axis are sought, so that
warping is a product with a matrix on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image
from scipy import fft, ndimage

THUMBNAIL = 48  # pixels a side
FREQUENCIES = 12  # of each axis: so many cosines
FLAT = 1e-3  # grey levels, root of a sum of squares: a picture that shows nothing
# Windows of a picture that a crop of it may show: centre y, centre x and side in halves of the
# picture's side, so that (0, 0, 1) is the whole. `align` finds what lies between them.
WINDOWS = (
    (0.0, 0.0, 1.0),
    (0.0, 0.0, 0.88),
    (-0.1, -0.1, 0.9),
    (-0.1, 0.1, 0.9),
    (0.1, -0.1, 0.9),
    (0.1, 0.1, 0.9),
)

# How one thumbnail is laid over another, and what is judged then.
COARSE_STEPS, FINE_STEPS = 6, 4
HOPELESS = 0.75  # correlation: pairs that agree less after the coarse steps are left there
CHUNK = 128  # pairs at a time: their temporaries stay small
BLOCK = 8  # pixels of a side over which a disagreement is averaged
DETAIL = 3.0  # pixels: what is coarser is no detail
FAINT = 1.5  # grey levels, standard deviation: a block with less detail says nothing
FURTHEST = 0.3  # in halves of the side: the windows of small crops lie nearer to the centre
SIDES = (0.7, 1.4)
LONGEST_STEP = 0.08  # in halves of the side
EDGE = 1 / 24  # of the side, left out of the judgement: filters and crops disturb it


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
        how = Image.Resampling.BOX if min(grey.size) >= THUMBNAIL else Image.Resampling.BILINEAR
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


@dataclass(frozen=True)
class Alignment:
    """How thumbnails lie over others, float arrays (pairs,) each.

    correlation   of what overlaps, -1..1
    detail        the same block by block, of what is left without all coarser than `DETAIL`
    textured      share of what overlaps that has detail at all
    worst         the largest mean squared disagreement of a block, in variances of the whole
    gain, offset  fixed is about gain * moving + offset
    y, x, high, wide   the window of moving that fixed shows, in halves of the sides
    overlap       share of fixed that moving covers, the edge left out
    """

    correlation: np.ndarray
    detail: np.ndarray
    textured: np.ndarray
    worst: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    y: np.ndarray
    x: np.ndarray
    high: np.ndarray
    wide: np.ndarray
    overlap: np.ndarray


def align(fixed: np.ndarray, moving: np.ndarray, windows: np.ndarray) -> Alignment:
    """Pairs of thumbnails, float32 (n, side, side) each; `windows` (n, 3) are to begin with.

    Pairs that do not come near each other keep the coarse result.
    """
    columns = np.zeros((len(fields(Alignment)), len(fixed)))
    for start in range(0, len(fixed), CHUNK):
        rows = slice(start, start + CHUNK)
        columns[:, rows] = _align(fixed[rows], moving[rows], windows[rows])
    return Alignment(*columns)


def _align(fixed, moving, windows) -> np.ndarray:
    place = windows[:, [0, 1, 2, 2]].astype(np.float32)
    halves = [_halved(thumbnails) for thumbnails in (fixed, moving)]
    for _ in range(COARSE_STEPS):
        place = _step(*halves, place)
    found = _judged(*halves, place)
    hopeful = np.flatnonzero(found[0] >= HOPELESS)
    if len(hopeful):
        fixed, moving, place = fixed[hopeful], moving[hopeful], place[hopeful]
        for _ in range(FINE_STEPS):
            place = _step(fixed, moving, place)
        found[:, hopeful] = _judged(fixed, moving, place)
    return found


def _halved(small: np.ndarray) -> np.ndarray:
    count, side, _ = small.shape
    return small.reshape(count, side // 2, 2, side // 2, 2).mean((2, 4))


def _warped(moving: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The windows of `moving`, and where they lie inside it, bool, both of its shape."""
    side = moving.shape[1]
    rows = interpolation(place[:, 0], place[:, 2], side)
    columns = interpolation(place[:, 1], place[:, 3], side)
    inside = (rows.sum(2) > 0.99)[:, :, None] & (columns.sum(2) > 0.99)[:, None, :]
    return rows @ moving @ columns.swapaxes(1, 2), inside


def _step(fixed: np.ndarray, moving: np.ndarray, place: np.ndarray) -> np.ndarray:
    """One Gauss-Newton step for gain, offset and window; returns the windows (n, 4)."""
    count, side, _ = fixed.shape
    warped, inside = _warped(moving, place)
    along = ((np.arange(side) - (side - 1) / 2) / (side / 2)).astype(np.float32)
    down, across = np.gradient(warped, axis=(1, 2))
    down *= side / 2 / place[:, 2, None, None]  # per half of the moving picture's side
    across *= side / 2 / place[:, 3, None, None]
    jacobian = np.empty((count, 6, side, side), np.float32)
    terms = warped, 1, down, across, down * along[:, None], across * along
    for number, term in enumerate(terms):
        np.multiply(term, inside, out=jacobian[:, number])
    jacobian = jacobian.reshape(count, 6, -1)
    normal = (jacobian @ jacobian.swapaxes(1, 2)).astype(np.float64)
    right = jacobian @ fixed.reshape(count, -1, 1)
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-9
    solved = np.linalg.solve(normal + ridge * np.eye(6), right.astype(np.float64))[..., 0]
    gain = np.where(np.abs(solved[:, :1]) > 0.05, solved[:, :1], np.inf)
    change = np.clip(solved[:, 2:] / gain, -LONGEST_STEP, LONGEST_STEP).astype(np.float32)
    place = place + change
    place[:, :2] = np.clip(place[:, :2], -FURTHEST, FURTHEST)
    place[:, 2:] = np.clip(place[:, 2:], *SIDES)
    return place


def _judged(fixed: np.ndarray, moving: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The columns of `Alignment`, (11, n)."""
    side = fixed.shape[1]
    warped, inside = _warped(moving, place)
    edge = round(side * EDGE)
    middle = np.zeros((side, side), bool)
    middle[edge : side - edge, edge : side - edge] = True
    inside = (inside & middle).astype(np.float32)
    correlation, gain, offset, variance = _line(fixed, warped, inside)
    block = max(2, BLOCK * side // 48)
    detail, textured = _detail_agreement(fixed, gain[:, None, None] * warped, inside, block)
    missed = np.square(fixed - gain[:, None, None] * warped - offset[:, None, None]) * inside
    missed, covered = (ndimage.uniform_filter(part, (0, block, block)) for part in (missed, inside))
    mean = np.where(covered > 0.3, missed / np.maximum(covered, 1e-6), 0)
    worst = mean.max((1, 2)) / np.maximum(variance, 1e-6)
    overlap = inside.mean((1, 2)) / middle.mean()
    return np.stack([correlation, detail, textured, worst, gain, offset, *place.T, overlap])


def _detail_agreement(fixed, warped, inside, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of details in each block, averaged over the blocks that have some; and the
    share of these, (n,) each.

    One strong edge (an eyepiece's rim, a horizon) correlates whole pictures; here it counts as the
    few blocks that it fills.
    """
    mine, theirs = (p - ndimage.gaussian_filter(p, (0, DETAIL, DETAIL)) for p in (fixed, warped))
    product, own, other = (
        ndimage.uniform_filter(values, (0, block, block))
        for values in (mine * theirs, mine * mine, theirs * theirs)
    )
    has_some = (np.maximum(own, other) > FAINT**2) * inside
    agreement = product / np.sqrt(np.maximum(own * other, FAINT**4 / 16))
    area = has_some.sum((1, 2))
    textured = area / np.maximum(inside.sum((1, 2)), 1)
    return (agreement * has_some).sum((1, 2)) / np.maximum(area, 1), textured


def _line(fixed, warped, inside):
    """Correlation, gain, offset of the least-squares line, and the variance of `fixed`."""
    area = np.maximum(inside.sum((1, 2)), 1)

    def mean(values):
        return (values * inside).sum((1, 2)) / area

    of_fixed, of_warped = mean(fixed), mean(warped)
    fixed, warped = fixed - of_fixed[:, None, None], warped - of_warped[:, None, None]
    product, variance, other = mean(fixed * warped), mean(fixed**2), mean(warped**2)
    correlation = product / np.maximum(np.sqrt(variance * other), 1e-6)
    gain = product / np.maximum(other, 1e-6)
    return correlation, gain, of_fixed - gain * of_warped, variance
