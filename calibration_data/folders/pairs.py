"""Two files of one name: pictures with masks, and small pictures with large ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from int8gate.calibration_data.folders.listing import (
    Example,
    Listing,
    Wanted,
    check_inside,
    pictures_in,
)
from int8gate.calibration_data.pictures import (
    by,
    check_resolution,
    open_mask,
    open_picture,
    open_upright,
    shown,
)
from int8gate.calibration_data.synthetic.super_resolution import SCALE, luminance


def list_masks(root: Path, wanted: Wanted) -> Listing:
    """``images/NAME.*`` with ``masks/NAME.png``, pixels being class numbers, 255 ignored."""
    _check_folders(root, ("images", "masks"), "segmentation")
    examples = []
    for path in pictures_in(root / "images", wanted.home):
        mask = root / "masks" / f"{path.stem}.png"
        if not mask.is_file():
            raise ValueError(
                f"data folder {shown(root)}: picture {shown(path.name)} has no mask, expected "
                f"{shown(mask)}: add the mask or remove the picture"
            )
        check_inside(mask, wanted.home)
        examples.append(Example(path, mask))
    return Listing(examples)


def read_masked(example: Example, wanted: Wanted, rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (h, w, c) and label map uint8 (h, w)."""
    picture = open_picture(example.picture, wanted.fit.mode)
    check_resolution(example.picture, picture, wanted.fit)
    mask = open_mask(example.label, picture.size, wanted.classes)
    return wanted.fit.frame(picture), wanted.fit.mask(mask)


def list_resolutions(root: Path, wanted: Wanted) -> Listing:
    """``low/NAME.*`` with ``high/NAME.*``, twice as large."""
    _check_folders(root, ("low", "high"), "super-resolution")
    low, high = (
        {path.stem: path for path in pictures_in(root / name, wanted.home)}
        for name in ("low", "high")
    )
    for alone, have, other in ((low, "low", "high"), (high, "high", "low")):
        lacking = sorted(alone.keys() - (high if alone is low else low).keys())
        if lacking:
            raise ValueError(
                f"data folder {shown(root)}: {have}/{shown(alone[lacking[0]].name)} has no picture "
                f"of its name in {other}/: add it, or remove this one"
            )
    return Listing([Example(low[stem], high[stem]) for stem in sorted(low)])


def read_resolutions(
    example: Example, wanted: Wanted, rows: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The small picture uint8 (h, w, c), and the luminance of the large one uint8 (2h, 2w, 1).

    Neither is resized, that would be another task: both are cut to the frame from the centre.
    Grey files are taken for luminance, as a network of one channel takes it (ITU-R BT.601).
    """
    small, large = open_upright(example.picture), open_upright(example.label)
    if large.size != tuple(SCALE * side for side in small.size):
        raise ValueError(
            f"{shown(example.label)} is {by(large.size)}, the small picture of its name "
            f"{by(small.size)}: expected {SCALE} times that, "
            f"{by(tuple(SCALE * side for side in small.size))}: mend the pair"
        )
    height, width = wanted.fit.size
    if small.height < height or small.width < width:
        raise ValueError(
            f"{shown(example.picture)} is {by(small.size)}, the network takes "
            f"{by((width, height))} and super-resolution pairs are never enlarged: replace or "
            "remove it"
        )
    top, left = (small.height - height) // 2, (small.width - width) // 2
    inner = small.crop((left, top, left + width, top + height))
    outer = large.crop(tuple(SCALE * edge for edge in (left, top, left + width, top + height)))
    if wanted.fit.channels == 1:
        return _luminance(inner), _luminance(outer)
    colours = np.asarray(inner.convert("RGB"))
    image = np.ascontiguousarray(colours[..., ::-1]) if wanted.fit.colours == "bgr" else colours
    return image, _luminance(outer.convert("RGB"))


def _luminance(picture: Image.Image) -> np.ndarray:
    """uint8 (h, w, 1)."""
    if picture.mode in ("1", "L", "LA"):
        return np.asarray(picture.convert("L"))[..., None]
    return luminance(np.asarray(picture.convert("RGB")))[..., None]


def _check_folders(root: Path, names: Sequence[str], task: str) -> None:
    for name in names:
        if not (root / name).is_dir():
            raise ValueError(
                f"data folder {shown(root)}: {task} needs {names[0]}/ and {names[1]}/ with equal "
                f"file names, found no {name}/: add it"
            )
