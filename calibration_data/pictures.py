"""Reading a user's pictures and masks; every refusal names the file and what to do with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
IGNORED = 255  # the label of pixels that are not scored
LEAST_OF_INPUT = 0.5  # a picture's side may be this fraction of the network's input, not less


def open_picture(path: Path, mode: str) -> Image.Image:
    """The picture upright, in `mode` "L" or "RGB"; raises ValueError on what cannot be read so."""
    picture = _open(path)
    if picture.mode.startswith(("I", "F")):  # Pillow clips these to 255 instead of scaling them
        raise ValueError(
            f"{path} has more than 8 bits per channel (Pillow's mode {picture.mode}); expected "
            "values 0..255: save it with 8 bits"
        )
    return picture.convert(mode)


def open_mask(path: Path, size: tuple[int, int], classes: int | None) -> Image.Image:
    """The mask upright, in mode "L", its pixels class numbers; `size` is its picture's (w, h)."""
    mask = _open(path)
    if mask.mode not in ("1", "L", "P") and not mask.mode.startswith("I"):
        raise ValueError(
            f"mask {path} has colours (Pillow's mode {mask.mode}); expected one channel or a "
            "palette, whose pixels are class numbers: convert it"
        )
    if mask.size != size:
        raise ValueError(
            f"mask {path} is {_by(mask.size)}, its picture is {_by(size)}; they must be equal: "
            "replace one of them"
        )
    labels = np.asarray(mask).astype(np.int64)
    beyond = labels[(labels != IGNORED) & ((labels < 0) | (labels >= (classes or IGNORED)))]
    if beyond.size:
        raise ValueError(
            f"mask {path} holds the class number {beyond.max()}; expected "
            f"0..{(classes or IGNORED) - 1}, or {IGNORED} for pixels not to be scored: mend it"
        )
    return Image.fromarray(labels.astype(np.uint8))


def check_resolution(path: Path, picture: Image.Image, size: tuple[int, int]) -> None:
    """Raises ValueError on a picture too small for an input of height and width `size`."""
    least = [round(side * LEAST_OF_INPUT) for side in size]
    if picture.height < least[0] or picture.width < least[1]:
        raise ValueError(
            f"{path} is {_by(picture.size)}; the network takes {_by(size[::-1])} and a picture "
            f"below {_by(least[::-1])} would be mostly invented by enlarging: replace or remove it"
        )


def _open(path: Path) -> Image.Image:
    """The decoded picture, turned as its EXIF orientation says (phones store them lying)."""
    try:
        with Image.open(path) as picture:
            return ImageOps.exif_transpose(picture)
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path} is not a picture in any known format, whatever its name says: replace or "
            "remove it"
        ) from error
    except Exception as error:  # decoders raise whatever the damage leads them to
        raise ValueError(f"{path} cannot be read ({error}): replace or remove it") from error


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
