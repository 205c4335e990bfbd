"""A user's own folder of pictures: its layout, its labels, its splits.

    labels      layout                                          tasks
    folders     CLASS/*.jpg                                     classification
    csv         labels.csv (file,class) and the files           classification
    texts       labels.csv (file,text) or label.txt             text
    masks       images/NAME.*, masks/NAME.png                   segmentation
    coco        annotations.json (COCO's) and the files         detection, pose, keypoints
    pairs       low/NAME.*, high/NAME.*                         super_resolution
    none        pictures alone                                  all: fidelity, no accuracy

Task "other" takes pictures alone whatever lies beside them, and any form that is named.

``DIR/<task>/`` is taken when it exists, so that one DIR serves several tasks; so are
``calibration/`` and ``evaluation/`` below it. Without those two the pictures are split here:
by content, so that copies of one picture never stand on both sides, and class by class.

`open_data` is the door. listing.py finds pictures, classes.py, texts.py, coco.py (with
coco_file.py) and pairs.py read the forms of labels, folder_samples.py splits and makes the
`SampleSet`. A new form of labels is a module with a function that lists examples and one that reads
an example, and an entry in `forms.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders.folder_samples import (
    CALIBRATION_SHARE,
    SPLITS,
    FolderSamples,
    fitting,
    own_split,
    refuse_shared,
)
from int8gate.calibration_data.folders.forms import FORMS, form_of
from int8gate.calibration_data.folders.listing import Wanted, check_inside
from int8gate.calibration_data.pictures import shown
from int8gate.tasks.registry import tasks

__all__ = ["FORMS", "WHOLE", "FolderSamples", "open_data"]

WHOLE = "whole"  # all pictures, where nothing is calibrated; those of evaluation/ where it is there


def open_data(
    directory: Path,
    task: str,
    split: str,
    fit: Fit,
    labels: str = "auto",
    classes: int | None = None,
    class_names: tuple[str | int, ...] | None = None,
) -> FolderSamples:
    """The pictures of "calibration", "evaluation" or `WHOLE` as frames of `fit`, with their labels.

    `labels` is a name of the table above; "auto" finds it from the layout. With `classes`, how many
    the network has, labels that do not fit it are refused. `class_names` declares the order of the
    network's classes, by name or (COCO) by category id; without it classes are numbered in sorted
    order. Raises ValueError or OSError with one sentence on what is wrong with the folder.
    """
    root = _root(Path(directory), task)
    home = Path(os.path.realpath(root))
    wanted = Wanted(home, task, fit, classes, class_names and tuple(class_names))
    given = [name for name in SPLITS if (root / name).is_dir()]
    if split == WHOLE and "evaluation" in given:
        given, split = ["evaluation"], "evaluation"
    elif len(given) == 1:
        raise ValueError(
            f"data folder {shown(root)} holds {given[0]}/ alone; expected both of "
            f"{' and '.join(SPLITS)}, or neither, and the pictures are split here: add the other "
            "one"
        )
    places = {name: root / name for name in given} or {split: root}
    for place in places.values():
        check_inside(place, home)
    forms = {name: form_of(place, task, labels) for name, place in places.items()}
    listed = {name: FORMS[forms[name]].list(place, wanted) for name, place in places.items()}
    if len(given) == len(SPLITS):
        refuse_shared(*(listed[name].examples for name in SPLITS))
    if given or split == WHOLE:
        examples = listed[split].examples
    else:
        examples = own_split(listed[split].examples, split)
    if not examples:
        raise ValueError(
            f"data folder {shown(root)}: no picture is left for the {split} split: add pictures "
            f"(where they are split here, {CALIBRATION_SHARE:.0%} of each class are for "
            "calibration)"
        )
    notes = listed[split].notes
    if FORMS[forms[split]].resizes:
        examples, left_out = fitting(examples, fit, root)
        notes += left_out
    everything = [example for listing in listed.values() for example in listing.examples]
    name = f"{root}, {split}"
    return FolderSamples(name, forms[split], wanted, examples, everything, notes)


def _root(directory: Path, task: str) -> Path:
    if not directory.is_dir():
        raise FileNotFoundError(f"data folder {shown(directory)} is not a directory: mend the path")
    if (directory / task).is_dir():
        check_inside(directory / task, Path(os.path.realpath(directory)))
        return directory / task
    shared = [each.name for each in tasks().values() if each.from_data_dir]
    for other in shared:
        if task in shared and (directory / other).is_dir():
            raise ValueError(
                f"data folder {shown(directory)} holds {other}/ but no {task}/: add it, or choose "
                f"models of {other}"
            )
    return directory
