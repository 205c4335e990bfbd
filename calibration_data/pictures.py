"""Reading a user's pictures and masks; every refusal names the file and what to do with it.

Files are untrusted: only these formats are decoded, whatever a name says (Pillow would start
Ghostscript for others), and a size is looked at before memory is taken for it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from int8gate.calibration_data.arrays.kinds import PICTURES
from int8gate.calibration_data.fit import IGNORED, LEAST_OF_INPUT, Fit

SUFFIXES = PICTURES
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
MOST_PIXELS = 2**26  # 8192x8192: 200 MB as RGB, 400 MB while it is converted
MOST_SHOWN = 240  # characters of a name in a message


def open_picture(path: Path, mode: str) -> Image.Image:
    """The picture upright, in `mode` "L" or "RGB"; raises ValueError on what cannot be read so."""
    return open_upright(path).convert(mode)


def open_upright(path: Path) -> Image.Image:
    """The picture upright, in the mode of its file, 8 bits; raises ValueError as `open_picture`."""
    picture = _open(path)
    if picture.mode.startswith(("I", "F")):  # Pillow clips these to 255 instead of scaling them
        raise ValueError(
            f"{shown(path)} has more than 8 bits per channel (Pillow's mode {picture.mode}); "
            "expected values 0..255: save it with 8 bits"
        )
    return picture


def open_mask(path: Path, size: tuple[int, int], classes: int | None) -> Image.Image:
    """The mask upright, in mode "L", its pixels class numbers; `size` is its picture's (w, h)."""
    mask = _open(path)
    if mask.mode not in ("1", "L", "P") and not mask.mode.startswith("I"):
        raise ValueError(
            f"mask {shown(path)} has colours (Pillow's mode {mask.mode}); expected one channel or "
            "a palette, whose pixels are class numbers: convert it"
        )
    if mask.size != size:
        raise ValueError(
            f"mask {shown(path)} is {by(mask.size)}, its picture is {by(size)}; they must be "
            "equal: replace one of them"
        )
    labels = np.asarray(mask).astype(np.int64)
    beyond = labels[(labels != IGNORED) & ((labels < 0) | (labels >= (classes or IGNORED)))]
    if beyond.size:
        raise ValueError(
            f"mask {shown(path)} holds the class number {beyond.max()}; expected "
            f"0..{(classes or IGNORED) - 1}, or {IGNORED} for pixels not to be scored: mend it"
        )
    return Image.fromarray(labels.astype(np.uint8))


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) upright, by the file's header alone; raises ValueError where it has none."""
    try:
        with _opened(path) as picture:
            lies = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # EXIF's orientation
            width, height = picture.size
            return (height, width) if lies else (width, height)
    except Exception as error:
        raise _unreadable(path, error) from error


def check_resolution(path: Path, picture: Image.Image, fit: Fit) -> None:
    """Raises ValueError on a picture too small or too thin for the network's frame."""
    if reason := unfit(picture.size, fit):
        raise ValueError(
            f"{shown(path)} is {by(picture.size)}, the network takes {by(fit.size[::-1])}: "
            f"{reason}: replace or remove it"
        )


def unfit(size: tuple[int, int], fit: Fit) -> str | None:
    """Why a picture of `size` (width, height) does not fill the frame; None where it does."""
    width, height = size
    if fit.hides((height, width)):
        return "cut to the frame next to nothing of it would be seen"
    if fit.is_too_small((height, width)):
        least = [round(side * LEAST_OF_INPUT) for side in fit.size[::-1]]
        return f"below {by(least)} it would be mostly invented by enlarging"
    return None


def shown(path: Path | str) -> str:
    """The name as a message can hold it: on one line, of ordinary length."""
    name = str(path)
    if not name.isprintable():  # newlines, terminal escapes, bytes that are no UTF-8
        name = name.encode("unicode_escape").decode()
    if len(name) <= MOST_SHOWN:
        return name
    return f"{name[: MOST_SHOWN // 2]}...{name[-MOST_SHOWN // 2 :]}"


def by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _open(path: Path) -> Image.Image:
    """The decoded picture, turned as its EXIF orientation says (phones store them lying)."""
    try:
        with _opened(path) as picture:
            return ImageOps.exif_transpose(picture)
    except Exception as error:  # decoders raise whatever the damage leads them to
        raise _unreadable(path, error) from error


def _opened(path: Path) -> Image.Image:
    """The picture with its header read, its pixels not yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        picture = Image.open(path, formats=FORMATS)
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise ValueError(
            f"its {by(picture.size)} pixels exceed the limit of {MOST_PIXELS} that are decoded"
        )
    return picture


def _unreadable(path: Path, error: Exception) -> ValueError:
    if isinstance(error, UnidentifiedImageError):
        return ValueError(
            f"{shown(path)} is not a picture in any known format ({', '.join(FORMATS)}), whatever "
            "its name says: replace or remove it"
        )
    reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return ValueError(f"{shown(path)} cannot be read ({reason}): replace or remove it")
