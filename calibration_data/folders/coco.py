"""Boxes and people of COCO's annotation files, as the labels that the metrics take.

A label cannot say "do not count what is found here", as COCO's crowds do. What pycocotools would
overlook (``iscrowd``, ``ignore``, people without a labelled keypoint) is therefore left out, which
counts detections of it as wrong, of the float and of the quantized model alike; the notes of the
listing say how many there are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from int8gate.calibration_data.folders.coco_file import (
    CocoFile,
    Picture,
    open_coco,
)
from int8gate.calibration_data.folders.listing import Example, Listing, Objects, Wanted
from int8gate.calibration_data.pictures import by, check_resolution, open_picture, shown
from int8gate.tasks.registry import task

KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
CROWD = "crowds or ignored objects (detections of them will count as wrong)"
CUT = "objects of which the network's frame shows nothing"
OTHERS = "objects of categories that the key classes leaves out"
HIDDEN = "people without a labelled keypoint (detections of them will count as wrong)"
NOT_ALONE = "pictures without exactly one person, the task is one person a picture"


def list_objects(root: Path, wanted: Wanted) -> Listing:
    """The pictures of an annotation file, with their objects placed in the network's frame."""
    file = open_coco(root, wanted)
    pictures, absent = file.pictures(root, wanted)
    left_out = Counter({"listed pictures that are not in the folder": absent})
    of_picture: dict[int, list[dict]] = defaultdict(list)
    listed = {file.field(image, "image", "id") for image in file.images}
    for annotation in file.annotations:
        number = file.field(annotation, "annotation", "image_id")
        if number not in listed:
            raise ValueError(
                f"{shown(file.path)}: annotation {shown(repr(annotation.get('id')))} is of image "
                f"{number}, which is not listed: mend the file"
            )
        if number in pictures:
            of_picture[number].append(annotation)
    place = _People(file, wanted) if task(wanted.task).has_people else _Boxes(file, wanted)
    examples = []
    for number, picture in pictures.items():
        counted = []
        for annotation in of_picture[number]:
            is_crowd = annotation.get("iscrowd") or annotation.get("ignore")
            reason = CROWD if is_crowd else place.overlooked(annotation)
            if reason:
                left_out[reason] += 1
            else:
                counted.append(annotation)
        placed = place.rows(counted, picture).astype(np.float32)
        left_out[CUT] += len(counted) - len(placed)
        if task(wanted.task).objects == "person" and len(placed) != 1:
            left_out[NOT_ALONE] += 1
            continue
        objects = Objects(placed, picture.size, place.classes(placed))
        examples.append(Example(picture.path, objects))
    notes = [
        f"{shown(file.path.name)}: left out {count} {what}"
        for what, count in left_out.items()
        if count
    ]
    return Listing(examples, tuple(notes + place.notes()))


def read_objects(example: Example, wanted: Wanted, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (h, w, c) and label float32 (rows, columns), padded."""
    picture = open_picture(example.picture, wanted.fit.mode)
    objects = example.label
    assert isinstance(objects, Objects)  # `list_objects` makes no others
    if picture.size != objects.size:
        raise ValueError(
            f"{shown(example.picture)} is {by(picture.size)} upright, its annotations are of a "
            f"picture of {by(objects.size)}: annotate the picture as it is, or save it without an "
            "EXIF orientation"
        )
    check_resolution(example.picture, picture, wanted.fit)
    is_people = task(wanted.task).has_people
    label = np.full((rows, objects.rows.shape[1]), 0 if is_people else -1, np.float32)
    label[: len(objects.rows)] = objects.rows
    return wanted.fit.frame(picture), label


class _Boxes:
    """Rows [class, ymin, xmin, ymax, xmax] in parts of the frame."""

    columns = 5

    def __init__(self, file: CocoFile, wanted: Wanted):
        self.file, self.fit = file, wanted.fit
        self.known = {file.field(c, "category", "id") for c in file.categories}
        self.class_of = file.classes(wanted)
        self.clipped = 0

    def overlooked(self, annotation: dict) -> str | None:
        """Why an object is left out; None where it is not."""
        category = self.file.field(annotation, "annotation", "category_id")
        if category not in self.known:
            raise ValueError(
                f"{shown(self.file.path)}: annotation {shown(repr(annotation.get('id')))} is of "
                f"category {category}, which is not listed: mend the file"
            )
        return None if category in self.class_of else OTHERS

    def rows(self, annotations: list[dict], picture: Picture) -> np.ndarray:
        """(k, 5), of the boxes of which the frame shows anything."""
        if not annotations:
            return np.zeros((0, self.columns))
        x_y_w_h = np.array([self.file.numbers(each, "bbox", 4) for each in annotations])
        corners = np.hstack([x_y_w_h[:, 1::-1], (x_y_w_h[:, :2] + x_y_w_h[:, 2:])[:, ::-1]])
        size = picture.size[::-1]
        inside = np.clip(corners, 0, (*size, *size))
        is_cut = (np.abs(corners - inside) > 1).any(axis=1)  # less is rounding
        self.clipped += int((is_cut & (inside[:, 2:] > inside[:, :2]).all(axis=1)).sum())
        classes = [[self.class_of[each["category_id"]]] for each in annotations]
        rows = np.hstack([classes, self.fit.boxes(inside, size).astype(np.float32)])
        return rows[(rows[:, 3:] > rows[:, 1:3]).all(axis=1)]

    def classes(self, rows: np.ndarray) -> tuple[int, ...]:
        return tuple(rows[:, 0].astype(int).tolist())

    def notes(self) -> list[str]:
        if not self.clipped:
            return []
        return [f"{shown(self.file.path.name)}: cut {self.clipped} boxes at their picture's edge"]


class _People:
    """Rows [area, 17 x (y, x, v)] in pixels of the frame.

    A keypoint outside the frame is not labelled (v, y and x are 0). The area grows with the
    picture and is not cut with it: OKS takes it for how large the person is.
    """

    columns = 1 + 3 * len(KEYPOINTS)

    def __init__(self, file: CocoFile, wanted: Wanted):
        self.file, self.fit = file, wanted.fit
        self.orders = {file.field(c, "category", "id"): self._order(c) for c in file.categories}
        self.without_area = 0

    def overlooked(self, annotation: dict) -> str | None:
        if "keypoints" not in annotation:
            return HIDDEN
        v = self.file.numbers(annotation, "keypoints", 3 * len(KEYPOINTS))[2::3]
        if not {0, 1, 2}.issuperset(v):
            raise ValueError(
                f"{shown(self.file.path)}: annotation {shown(repr(annotation.get('id')))} has a "
                "keypoint whose third number is not 0, 1 or 2: expected x, y, v of each"
            )
        return None if any(v) else HIDDEN

    def rows(self, annotations: list[dict], picture: Picture) -> np.ndarray:
        """(k, 52), of the people of whom the frame shows a labelled keypoint."""
        rows = [self._row(annotation, picture) for annotation in annotations]
        rows = np.array(rows, np.float64).reshape(-1, self.columns)
        return rows[rows[:, 3::3].any(axis=1)]

    def _row(self, annotation: dict, picture: Picture) -> np.ndarray:
        order = self.orders.get(annotation.get("category_id"), range(len(KEYPOINTS)))
        x_y_v = np.reshape(annotation["keypoints"], (-1, 3))[list(order)].astype(np.float64)
        size = picture.size[::-1]
        points, inside = self.fit.points(x_y_v[:, 1::-1], size)
        seen = inside & (x_y_v[:, 2] > 0)
        keypoints = np.hstack([points, x_y_v[:, 2:]]) * seen[:, None]
        scale = self.fit.place(size).scale
        area = self._area(annotation) * scale[0] * scale[1]
        return np.array([area, *keypoints.ravel()])

    def classes(self, rows: np.ndarray) -> tuple[int, ...]:
        return (0,) * len(rows)

    def notes(self) -> list[str]:
        if not self.without_area:
            return []
        return [
            f"{shown(self.file.path.name)}: {self.without_area} people have no area, their box's "
            "is taken, which makes OKS more lenient"
        ]

    def _area(self, annotation: dict) -> float:
        """Of the person, px²."""
        area = annotation.get("area")
        is_flag = isinstance(area, bool)
        if isinstance(area, int | float) and not is_flag and 0 < area < 1e15:
            return float(area)
        width, height = self.file.numbers(annotation, "bbox", 4)[2:]
        if not (width > 0 and height > 0):
            raise ValueError(
                f"{shown(self.file.path)}: annotation {shown(repr(annotation.get('id')))} has "
                "neither an area nor a box above 0: OKS needs how large a person is"
            )
        self.without_area += 1
        return width * height

    def _order(self, category: dict) -> list[int]:
        """Which keypoint of the file each of COCO's is."""
        names = category.get("keypoints")
        if names is None:
            return list(range(len(KEYPOINTS)))
        if not isinstance(names, list) or sorted(map(str, names)) != sorted(KEYPOINTS):
            raise ValueError(
                f"{shown(self.file.path)}: category {shown(repr(category.get('name')))} has other "
                f"keypoints than COCO's {len(KEYPOINTS)}: poses are scored by these alone"
            )
        return [names.index(name) for name in KEYPOINTS]
