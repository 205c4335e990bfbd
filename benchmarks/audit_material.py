"""Clean sets of pictures, and ways to spoil them, for benchmarks/audit.py."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from int8gate import calibration_data
from int8gate.calibration_data.audit import AuditSet
from int8gate.calibration_data.synthetic import picture_sources as sources

SCENES = {
    "classification": (96, 3),
    "segmentation": (64, 3),
    "detection": (96, 3),
    "faces": (64, 1),
    "helmets": (96, 3),
    "pose": (64, 3),
    "keypoints": (80, 3),
    "super_resolution": (64, 1),
}
MOST = {"calibration": 300, "evaluation": 500}
PIECE = 160  # pixels a side of the pieces cut from photographs
SHOWN_TWICE = "motorcycle_right.png"  # the other half of a stereo pair
# The pictures that a clean set of super-resolution may hold: each region once, as it is.
UPRIGHT_ONLY = "super_resolution"


@dataclass(frozen=True)
class Pool:
    """Pictures to draw sets from: uint8 (n, h, w, c) of each split, class numbers, None without."""

    name: str
    calibration: np.ndarray
    evaluation: np.ndarray | None = None
    labels: np.ndarray | None = None


def pools(is_quick: bool) -> Iterator[Pool]:
    tasks = list(SCENES)[:3] if is_quick else list(SCENES)
    for task in tasks:
        yield _scenes(task)
    yield Pool("photographs", photographs(96))
    yield digits(32)


def _scenes(task: str) -> Pool:
    size, channels = SCENES[task]
    drawn = {}
    for split, most in MOST.items():
        scenes = calibration_data.load(task, split, (size, size), channels)
        count = min(most, len(scenes))
        if task == UPRIGHT_ONLY:
            count = min(count, len(np.unique(scenes.sources)))
        drawn[split] = [scenes.sample(index) for index in range(count)]
    pictures = {split: np.stack([image for image, _ in drawn[split]]) for split in drawn}
    if task == UPRIGHT_ONLY:  # calibration has too few regions for a set without copies
        return Pool(task, pictures["evaluation"])
    labels = None
    if task == "classification":
        labels = np.array([label for _, label in drawn["calibration"]])
    return Pool(task, pictures["calibration"], pictures["evaluation"], labels)


@cache
def photographs(size: int) -> np.ndarray:
    """Pieces of all pictures that libraries bring, those without texture left out."""
    pieces = []
    for name in (name for names in sources.PICTURES.values() for name in names):
        if name == SHOWN_TWICE:
            continue
        picture = sources.source_picture(name)
        side = min(PIECE, *picture.shape[:2])
        for top in range(0, picture.shape[0] - side + 1, side):
            for left in range(0, picture.shape[1] - side + 1, side):
                piece = picture[top : top + side, left : left + side]
                if piece.std() >= sources.FLAT:
                    pieces.append(resized(piece, (size, size)))
    return np.stack(pieces)


@cache
def digits(size: int) -> Pool:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = np.uint8(images.reshape(-1, 8, 8, 1) * (255 / 16))
    return Pool("digits", np.stack([resized(i, (size, size)) for i in grey]), labels=labels)


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (h, w, c) to (*size, c)."""
    grey = picture.shape[-1] == 1
    image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture))
    found = np.asarray(image.resize(size[::-1], Image.BICUBIC))
    return found[..., None] if grey else found


def draw(rng: np.random.Generator, pool: Pool, count: int, scored: int, own_splits: bool):
    """Calibration and evaluation sets: a random split of one pool, or of the scenes' own splits."""
    if own_splits and pool.evaluation is not None:
        rows = rng.permutation(len(pool.calibration))[:count]
        others = rng.permutation(len(pool.evaluation))[:scored]
        taken, rest = pool.calibration[rows], pool.evaluation[others]
        labels = (None if pool.labels is None else pool.labels[rows]), None
    else:
        order = rng.permutation(len(pool.calibration))
        cut = min(count, len(order) // 2)
        rows, others = order[:cut], order[cut : cut + scored]
        taken, rest = pool.calibration[rows], pool.calibration[others]
        labels = (None, None) if pool.labels is None else (pool.labels[rows], pool.labels[others])
    return with_inputs(AuditSet(taken, None, labels[0])), with_inputs(
        AuditSet(rest, None, labels[1])
    )


def with_inputs(one: AuditSet) -> AuditSet:
    """The set with inputs as networks of -1..1 take them."""
    return replace(one, inputs=one.pictures.astype(np.float32) / np.float32(127.5) - 1)


def encode(rng, picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    grey = picture.shape[-1] == 1
    image = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture))
    image.save(file, "JPEG", quality=int(rng.integers(50, 95)))
    found = np.asarray(Image.open(file))
    return found[..., None] if grey else found


def rescale(rng, picture: np.ndarray) -> np.ndarray:
    size = picture.shape[:2]
    factor = rng.uniform(0.5, 0.9)
    return resized(resized(picture, tuple(round(side * factor) for side in size)), size)


def add_noise(rng, picture: np.ndarray, spread: float = 0.0) -> np.ndarray:
    spread = spread or rng.uniform(1, 6)
    return _pixels(picture + rng.normal(0, spread, picture.shape))


def flip(rng, picture: np.ndarray) -> np.ndarray:
    return picture[:, ::-1] if rng.random() < 0.8 else picture[::-1]


def crop(rng, picture: np.ndarray) -> np.ndarray:
    size = picture.shape[:2]
    kept = [round(side * rng.uniform(0.85, 0.97)) for side in size]
    top, left = (rng.integers(s - k, endpoint=True) for s, k in zip(size, kept, strict=True))
    return resized(picture[top : top + kept[0], left : left + kept[1]], size)


def shift(rng, picture: np.ndarray) -> np.ndarray:
    by = [*(np.rint(rng.uniform(-0.08, 0.08, 2) * picture.shape[:2])), 0]
    return ndimage.shift(picture, by, order=0, mode="reflect")


def relight(rng, picture: np.ndarray) -> np.ndarray:
    gain, lift = rng.uniform(0.7, 1.3), rng.choice((-1, 1)) * rng.uniform(12, 40)
    return _pixels((picture - picture.mean()) * gain + picture.mean() + lift)


def turn(rng, picture: np.ndarray) -> np.ndarray:
    return np.rot90(picture, rng.integers(1, 4))


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def random_pictures(rng, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise, uint8 of `shape` (n, h, w, c)."""
    if kind == "uniform":
        return rng.integers(0, 256, shape, np.uint8)
    if kind == "gaussian":
        return _pixels(rng.normal(127, 50, shape))
    if kind == "few levels":
        return (rng.integers(0, 3, shape) * 127).astype(np.uint8)
    if kind == "per channel":
        return _pixels(rng.normal(127, rng.uniform(5, 60, shape[-1]), shape))
    raise ValueError(f"no kind of noise {kind!r}")


DOMAINS = {
    "dark": lambda rng, p: _pixels(p * 0.35),
    "bright": lambda rng, p: _pixels(p * 0.5 + 127.5 + 20),
    "faint": lambda rng, p: _pixels((p - p.mean()) * 0.25 + p.mean()),
    "grey": lambda rng, p: np.repeat(_pixels(p.mean(-1, keepdims=True)), p.shape[-1], -1),
    "blurred": lambda rng, p: _pixels(ndimage.gaussian_filter(p.astype(np.float32), (3, 3, 0))),
    "noisy": lambda rng, p: add_noise(rng, p, 40.0),
    "negative": lambda rng, p: 255 - p,
    "under-exposed": lambda rng, p: _pixels(p * 0.5),
    "over-exposed": lambda rng, p: _pixels(p * 2.0),
    "gamma 0.4": lambda rng, p: _pixels(255 * (p / 255) ** 0.4),
    "gamma 2.5": lambda rng, p: _pixels(255 * (p / 255) ** 2.5),
    "low contrast": lambda rng, p: _pixels((p - p.mean()) * 0.4 + p.mean()),
    "high contrast": lambda rng, p: _pixels((p - p.mean()) * 2.5 + p.mean()),
}
