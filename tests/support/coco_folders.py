"""Writes folders with COCO annotation files, as annotation tools export them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from data_folders import write

KEYPOINTS = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
]


def image(number: int, size: tuple[int, int] = (40, 60), **more) -> dict:
    """`size` is (height, width)."""
    name = f"{number}.png"
    return {"id": number, "file_name": name, "height": size[0], "width": size[1]} | more


def box(number: int, of_image: int, bbox, category: int = 1, **more) -> dict:
    return {"id": number, "image_id": of_image, "category_id": category, "bbox": bbox} | more


def person(number: int, of_image: int, keypoints, area: float = 200.0, **more) -> dict:
    flat = np.asarray(keypoints).ravel().tolist()
    return box(number, of_image, [5, 5, 20, 20], keypoints=flat, area=area) | more


def standing(seed: int = 0, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    """Seventeen visible keypoints x, y, v (17, 3) in the picture."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, size[1], 17), rng.integers(0, size[0], 17), [2] * 17])


def write_coco(
    root: Path,
    images: list[dict],
    annotations: list[dict],
    categories: list | tuple = ((1, "cat"), (3, "dog")),
    file: str = "annotations.json",
    folder: str = ".",
) -> Path:
    """The file, and a picture of random pixels for each image that is not there yet."""
    for entry in images:
        path = root / folder / str(entry["file_name"])
        if not path.exists():
            shape = (entry.get("height", 40), entry.get("width", 60), 3)
            rng = np.random.default_rng(list(str(path.name).encode()))
            write(path, rng.integers(0, 256, shape, np.uint8))
    listed = [c if isinstance(c, dict) else {"id": c[0], "name": c[1]} for c in categories]
    content = {"images": images, "annotations": annotations, "categories": listed}
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content))
    return root
