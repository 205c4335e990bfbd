"""The forms in which labels come, and which one a folder has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from int8gate.calibration_data.folders.classes import TABLE, list_folders, list_table
from int8gate.calibration_data.folders.coco import list_objects, read_objects
from int8gate.calibration_data.folders.coco_file import coco_files
from int8gate.calibration_data.folders.listing import (
    NO_LABEL,
    Example,
    Listing,
    Wanted,
    holds_pictures,
    pictures_below,
    visible_folders,
)
from int8gate.calibration_data.folders.pairs import (
    list_masks,
    list_resolutions,
    read_masked,
    read_resolutions,
)
from int8gate.calibration_data.folders.texts import LINES, list_texts, read_text
from int8gate.calibration_data.pictures import check_resolution, open_picture, shown
from int8gate.tasks import registry as tasks

PAIRS = (("images", "masks"), ("low", "high"))
OTHER_FOLDERS = {"images", "masks", "low", "high", "annotations", "calibration", "evaluation"}


@dataclass(frozen=True)
class LabelForm:
    """A form of labels: its layout in words, what lists a folder and reads an example.

    `read` takes the example, what is wanted and how many rows a label of objects has. `resizes`
    says that pictures of any size are fitted to the network's frame.
    """

    layout: str
    list: Callable[[Path, Wanted], Listing]
    read: Callable[[Example, Wanted, int], tuple[np.ndarray, np.ndarray]]
    resizes: bool = True


def list_pictures(root: Path, wanted: Wanted) -> Listing:
    """Pictures alone, in the folder and below it; masks and large pictures beside them are none."""
    for pictures, beside in PAIRS:
        if (root / pictures).is_dir() and (root / beside).is_dir():
            root = root / pictures
    return Listing([Example(path, NO_LABEL) for path in pictures_below(root, wanted.home)])


def read_picture(example: Example, wanted: Wanted, rows: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (h, w, c) and its class number, int64 (); `NO_LABEL` without one."""
    picture = open_picture(example.picture, wanted.fit.mode)
    check_resolution(example.picture, picture, wanted.fit)
    return wanted.fit.frame(picture), np.asarray(example.label, np.int64)


FORMS = {
    "folders": LabelForm("a subfolder per class", list_folders, read_picture),
    "csv": LabelForm(f"{TABLE} (file,class)", list_table, read_picture),
    "texts": LabelForm(f"{TABLE} (file,text) or {LINES}", list_texts, read_text),
    "masks": LabelForm(
        "images/ and masks/",
        list_masks,
        read_masked,
    ),
    "coco": LabelForm(
        "COCO's annotations.json or instances*.json",
        list_objects,
        read_objects,
    ),
    "pairs": LabelForm(
        "low/ and high/",
        list_resolutions,
        read_resolutions,
        resizes=False,
    ),
    "none": LabelForm("pictures alone", list_pictures, read_picture),
}


def form_of(root: Path, task: str, labels: str = "auto") -> str:
    """The form of a folder's labels, as named or by its layout.

    Of a task without a metric there are none but those named. Raises ValueError where two forms of
    the task are there, or none, or one of another task.
    """
    judged = tasks.task(task)
    if labels != "auto":
        if labels not in FORMS:
            known = ", ".join(f'"{name}"' for name in ("auto", *FORMS))
            raise ValueError(f"labels = {labels!r}: expected one of {known}")
        if labels not in (*judged.folders, "none") and not judged.any_folder:
            raise ValueError(
                f'labels = "{labels}" are of {" and ".join(tasks.with_form(labels))}, the task is '
                f"{task}: expected {_expected(task)}"
            )
        return labels
    if judged.any_folder:
        return "none"
    found = _found(root, task)
    fitting = [name for name in found if name in judged.folders]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        layouts = " and ".join(FORMS[name].layout for name in fitting)
        choice = " or ".join(f'"{name}"' for name in fitting)
        raise ValueError(
            f"data folder {shown(root)} holds {layouts}: say which of them is meant with labels = "
            f"{choice}"
        )
    if found == ["none"]:
        return "none"
    holds = " and ".join(FORMS[name].layout for name in found) or "no picture"
    raise ValueError(
        f"data folder {shown(root)} holds {holds}: {task} needs {_expected(task)}, or labels = "
        '"none" for fidelity alone'
    )


def _found(root: Path, task: str) -> list[str]:
    """The forms whose layout the folder has."""
    have = {folder.name: folder for folder in visible_folders(root)}
    with_pictures = [
        name
        for name, folder in have.items()
        if name not in OTHER_FOLDERS and holds_pictures(folder)
    ]
    has_table = (root / TABLE).is_file()
    are_texts = "texts" in tasks.task(task).folders  # of the task, not classes
    # One subfolder beside a table holds the table's pictures, a class of its own would be alone.
    is_folders = len(with_pictures) > (1 if has_table else 0) and not coco_files(root, task)
    layouts = {
        "folders": is_folders,
        "csv": has_table and not are_texts,
        "texts": (has_table and are_texts) or (root / LINES).is_file(),
        "masks": {"images", "masks"} <= have.keys(),
        "coco": bool(coco_files(root, task)),
        "pairs": {"low", "high"} <= have.keys(),
    }
    found = [name for name, holds in layouts.items() if holds]
    is_plain = holds_pictures(root) or ("images" in have and holds_pictures(have["images"]))
    return found or (["none"] if is_plain else [])


def _expected(task: str) -> str:
    layouts = [FORMS[name].layout for name in FORMS if name in tasks.task(task).folders]
    others = (each.name for each in tasks.tasks().values() if each.folders)
    return " or ".join(layouts) or "a task of " + ", ".join(others)
