"""COCO's annotation files: which one, what it holds, and where its pictures are.

https://cocodataset.org/#format-data. The file is as untrusted as a picture: everything that is used
of it is checked, and every refusal names the entry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from int8gate.calibration_data.folders.listing import (
    Wanted,
    check_inside,
    is_visible,
    named_picture,
)
from int8gate.calibration_data.pictures import picture_size, shown
from int8gate.tasks import registry as tasks

PATTERNS = ("annotations.json", "_annotations.coco.json", "instances*.json")
PEOPLE = "person_keypoints*.json"
MOST_BYTES = 32_000_000  # 5,000 pictures of COCO are 20 MB; hostile ones parse to 30 times that
LISTS = ("images", "annotations", "categories")
MOST_SIDE = 2**20


@dataclass(frozen=True)
class Picture:
    """A picture that the file lists: where it is, and its size (width, height)."""

    path: Path
    size: tuple[int, int]


class CocoFile:
    """A parsed annotation file. Raises ValueError on one that is none, naming what is wrong."""

    def __init__(self, path: Path):
        self.path = path
        content: Any = _parsed(path)
        for key in LISTS:
            entries = content.get(key) if isinstance(content, dict) else None
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise ValueError(f"{shown(path)} is not COCO JSON: it has no list of {key}")
        self.images, self.annotations, self.categories = (content[key] for key in LISTS)

    def pictures(self, root: Path, wanted: Wanted) -> tuple[dict[int, Picture], int]:
        """The pictures that are there, by id, and how many listed ones are not."""
        suffix = self.path.stem.removeprefix("person_keypoints_").removeprefix("instances_")
        folders = [root, root / "images", root / suffix]
        found: dict[int, Picture] = {}
        names: set[Path] = set()
        for image in self.images:
            number, name = self.field(image, "image", "id"), image.get("file_name")
            if not isinstance(name, str):
                raise ValueError(f"{shown(self.path)}: image {number} has no file_name: add it")
            path = named_picture(name, folders, wanted.home, f"{shown(self.path)}: image {number}")
            if path is None:
                continue
            if number in found or path in names:
                raise ValueError(
                    f"{shown(self.path)} lists image {number} ({shown(name)}) twice: remove one"
                )
            names.add(path)
            found[number] = Picture(path, self._size(image, number, path))
        if not found:
            raise ValueError(
                f"{shown(self.path)} lists {len(self.images)} pictures and none of them is in "
                f"{shown(root)}, its images/ or its {shown(suffix)}/: put them there"
            )
        return found, len(self.images) - len(found)

    def classes(self, wanted: Wanted) -> dict[int, int]:
        """The network's class of each category id, as declared or in the order of the ids."""
        named = {self.field(c, "category", "id"): c.get("name") for c in self.categories}
        declared = wanted.class_names
        if declared is not None:
            order = {entry: number for number, entry in enumerate(declared)}
            found = {
                i: next((order[key] for key in (i, name, str(i)) if _is_key(key, order)), None)
                for i, name in named.items()
            }
            found = {i: number for i, number in found.items() if number is not None}
            if not found:
                raise ValueError(
                    f"{shown(self.path)}: none of its categories is one of those that the key "
                    f"classes lists; expected of {shown(_listed(named))}: list their names, or "
                    "their ids as text, in the order of the network's classes"
                )
            return found
        if wanted.classes is not None and len(named) != wanted.classes:
            raise ValueError(
                f"{shown(self.path)} has {len(named)} categories, the network {wanted.classes} "
                f"classes; these are {shown(_listed(named))}: list the names, or the ids as text, "
                "of the network's classes in its order under the key classes"
            )
        return {i: number for number, i in enumerate(sorted(named))}

    def field(self, entry: dict, kind: str, key: str) -> int:
        """A whole number of an entry."""
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            which = f" {entry['id']}" if isinstance(entry.get("id"), int) and key != "id" else ""
            raise ValueError(
                f"{shown(self.path)}: {kind}{which} has {key} = {shown(repr(value))}: expected a "
                "whole number"
            )
        return value

    def numbers(self, annotation: dict, key: str, count: int) -> list[float]:
        """`count` finite numbers of an annotation."""
        values = annotation.get(key)
        if (
            isinstance(values, list)
            and len(values) == count
            and all(type(value) in (int, float) and abs(value) < 1e15 for value in values)
        ):
            return values  # NaN is not below it either
        raise ValueError(
            f"{shown(self.path)}: annotation {shown(repr(annotation.get('id')))} has {key} = "
            f"{shown(repr(values)[:100])}: expected {count} numbers"
        )

    def _size(self, image: dict, number: int, path: Path) -> tuple[int, int]:
        if image.get("width") is None or image.get("height") is None:
            return picture_size(path)
        width, height = (self.field(image, "image", key) for key in ("width", "height"))
        if not all(0 < side <= MOST_SIDE for side in (width, height)):
            raise ValueError(
                f"{shown(self.path)}: image {number} is {shown(f'{width}x{height}')} by width "
                f"and height: expected 1 to {MOST_SIDE} pixels"
            )
        return width, height


def coco_files(root: Path, task: str) -> list[Path]:
    """Annotation files in the folder or its annotations/, those of people for tasks of people."""
    folders = [folder for folder in (root, root / "annotations") if folder.is_dir()]
    people = _matching(folders, (PEOPLE,))
    others = _matching(folders, PATTERNS)
    return (people or others) if tasks.task(task).has_people else (others or people)


def open_coco(root: Path, wanted: Wanted) -> CocoFile:
    """The folder's one annotation file; raises ValueError where there is none or another."""
    files = coco_files(root, wanted.task)
    if not files:
        raise ValueError(
            f"data folder {shown(root)}: {wanted.task} needs COCO's annotations.json (or "
            "instances*.json, or these in annotations/), found none: add it"
        )
    if len(files) > 1:
        listed = " and ".join(shown(str(file.relative_to(root))) for file in files[:2])
        raise ValueError(
            f"data folder {shown(root)} holds {listed}: expected one annotation file; keep one, or "
            "sort pictures and files into calibration/ and evaluation/"
        )
    check_inside(files[0], wanted.home)
    return CocoFile(files[0])


def _matching(folders: list[Path], patterns: tuple[str, ...]) -> list[Path]:
    return [
        path
        for folder in folders
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.is_file() and is_visible(path)
    ]


def _parsed(path: Path) -> object:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(
            f"{shown(path)} has {path.stat().st_size} bytes, more than the {MOST_BYTES} that are "
            "read: keep the annotations of the pictures that are scored"
        )
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{shown(path)} is not COCO JSON ({shown(reason)}): export it again"
        ) from error


def _is_key(key: object, order: dict) -> bool:
    return isinstance(key, (int, str)) and key in order


def _listed(named: dict[int, object]) -> str:
    return ", ".join(str(name or number) for number, name in sorted(named.items()))
