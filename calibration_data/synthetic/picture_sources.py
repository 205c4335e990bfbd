"""Real pictures and handwritten digits that installed libraries carry, and which split owns which.

Pictures: scikit-image's and scikit-learn's sample images. Digits: scikit-learn's copy of the UCI
"Optical Recognition of Handwritten Digits" test set, 1,797 of 8x8 (Alpaydin and Kaynak, 1998).
A picture and a digit belong to one split only, so that nothing in an evaluation scene was seen in
training or calibration.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

SPLITS = ("train", "calibration", "evaluation")
PICTURES = {
    "train": (
        "astronaut.png",
        "brick.png",
        "chelsea.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "page.png",
        "flower.jpg",
    ),
    "calibration": ("rocket.jpg", "coins.png", "cell.png", "clock_motion.png"),
    "evaluation": (
        "coffee.png",
        "camera.png",
        "china.jpg",
        "grass.png",
        "ihc.png",
        "moon.png",
        "retina.jpg",
        "text.png",
    ),
}
DIGIT_SHARES = {"train": 0.45, "calibration": 0.10, "evaluation": 0.45}
TILE = 64  # pixels: a background is cut from one tile, and tiles do not overlap
FLAT = 6.0  # grey levels: a tile with less variation shows no texture (the retina's black corners)


@cache
def tiles(split: str) -> np.ndarray:
    """Every textured tile of the split's pictures: uint8 (n, TILE, TILE, 3), in a fixed order."""
    cut = []
    for name in PICTURES[split]:
        picture = source_picture(name)
        for top in range(0, picture.shape[0] - TILE + 1, TILE):
            for left in range(0, picture.shape[1] - TILE + 1, TILE):
                tile = picture[top : top + TILE, left : left + TILE]
                if tile.std() >= FLAT:
                    cut.append(tile)
    return np.stack(cut)


@cache
def digits(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The split's digits: images float32 (n, 8, 8) in 0..1, labels (n,), indices in the source."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    owned = np.concatenate([_share(np.flatnonzero(labels == digit), split) for digit in range(10)])
    pictures = images[owned].reshape(-1, 8, 8).astype(np.float32) / 16
    return pictures, labels[owned].astype(np.int64), owned


def _share(indices: np.ndarray, split: str) -> np.ndarray:
    shuffled = np.random.default_rng(1797).permutation(indices)
    bounds = np.cumsum([0.0, *(DIGIT_SHARES[name] for name in SPLITS)]) * len(shuffled)
    position = SPLITS.index(split)
    return shuffled[round(bounds[position]) : round(bounds[position + 1])]


def source_picture(name: str) -> np.ndarray:
    from PIL import Image

    with Image.open(_path(name)) as picture:
        return np.asarray(picture.convert("RGB"))


def _path(name: str) -> Path:
    """Where the wheel put the picture; raises FileNotFoundError naming the library to reinstall."""
    import skimage
    import sklearn.datasets

    folders = {
        "scikit-image": Path(skimage.__file__).parent / "data",
        "scikit-learn": Path(sklearn.datasets.__file__).parent / "images",
    }
    for folder in folders.values():
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"picture {name} is missing from {' and '.join(folders)}: reinstall both with pip"
    )
