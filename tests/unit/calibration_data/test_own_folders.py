"""Pictures of own models that are not scored by labels: task "other", and labels = "none"."""

from __future__ import annotations

import numpy as np
import pytest
from coco_folders import image, write_coco
from data_folders import write, write_classes, write_masked

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data


def opened(root, task, **options):
    """The pictures of both splits: file names, and whether they have labels."""
    splits = [open_data(root, task, s, Fit((32, 32)), **options) for s in SPLITS]
    names = {path.relative_to(root).as_posix() for split in splits for path, _ in split.samples}
    assert not {split.has_labels for split in splits} - {options.get("labels", "none") != "none"}
    return names


SPLITS = ("calibration", "evaluation")


def _classes(root):
    write_classes(root, {"a": 6, "b": 6})
    return {f"{name}/{number}.png" for name in "ab" for number in range(6)}


def _masks(root):
    write_masked(root, 12)
    return {f"images/{number}.png" for number in range(12)}


def _pairs(root):
    for number in range(12):
        write(root / "low" / f"{number}.png", number)
        write(root / "high" / f"{number}.png", np.full((80, 80, 3), number, np.uint8))
    return {f"low/{number}.png" for number in range(12)}


def _coco(root):
    write_coco(root, [image(number) for number in range(12)], [], folder="images")
    return {f"images/{number}.png" for number in range(12)}


@pytest.mark.parametrize("lay_out", [_classes, _masks, _pairs, _coco])
@pytest.mark.parametrize(
    ("task", "options"),
    [("other", {}), ("other", {"labels": "none"}), ("segmentation", {"labels": "none"})],
)
def test_without_labels_the_pictures_alone_are_taken(lay_out, task, options, tmp_path):
    wanted = lay_out(tmp_path)
    assert opened(tmp_path, task, **options) == wanted


def test_a_metric_of_the_users_may_have_labels_of_any_form(tmp_path):
    wanted = _classes(tmp_path)
    assert opened(tmp_path, "other", labels="folders") == wanted
