"""Writes pictures and masks as users have them, and the check of what a refusal must say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from int8gate import calibration_data

SIZE = (32, 32)


def pixels(seed: int, shape: tuple[int, ...] = (40, 40, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(path: Path, content: np.ndarray | int, **options) -> Path:
    """A picture of these pixels, or of random ones from a seed."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    array = pixels(content) if isinstance(content, int) else content
    Image.fromarray(array).save(path, **options)
    return path


def write_classes(root: Path, counts: dict[str, int], first_seed: int = 0) -> Path:
    """`root`/CLASS/NUMBER.png, every picture another one."""
    seed = first_seed
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write(root / name / f"{number}.png", seed)
            seed += 1
    return root


def write_masked(root: Path, count: int, mask: np.ndarray | None = None) -> Path:
    """images/NUMBER.png of colour 10 * NUMBER, and masks/NUMBER.png of class NUMBER or as given."""
    for number in range(count):
        write(root / "images" / f"{number}.png", np.full((40, 40, 3), 10 * number, np.uint8))
        content = np.full((40, 40), number, np.uint8) if mask is None else mask
        write(root / "masks" / f"{number}.png", content)
    return root


def load(root: Path, task: str, split: str = "evaluation", **options):
    channels = options.pop("channels", 3)
    size = options.pop("size", SIZE)
    return calibration_data.load(task, split, size, channels, root, **options)


def load_all(root: Path, task: str, **options) -> list:
    """Every (image, label) of both splits."""
    return [
        samples.sample(index)
        for split in ("calibration", "evaluation")
        for samples in [load(root, task, split, **options)]
        for index in range(len(samples))
    ]


def refused(call, *said: str, kind: type = ValueError) -> str:
    """Calls, expects `kind` with one sentence that holds all of `said`, and returns it."""
    with pytest.raises(kind) as raised:
        call()
    sentence = str(raised.value)
    assert "\n" not in sentence
    assert len(sentence) < 500, f"too long to be read: {sentence}"
    assert not re.search(r"[.!?] [A-Z]", sentence), f"more than one sentence: {sentence}"
    for part in said:
        assert part in sentence, f"does not say {part!r}: {sentence}"
    return sentence
