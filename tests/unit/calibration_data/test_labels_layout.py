"""Which labels a folder has, by its layout; folders without any; what leads out of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from coco_folders import box, image, person, standing, write_coco
from data_folders import pixels, refused, write, write_classes, write_masked
from test_labels_pairs import write_pairs

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data

FIT = Fit((16, 16))
TASKS = ("classification", "segmentation", "detection", "pose", "keypoints", "super_resolution")


def write_boxes(root: Path, count: int = 10) -> Path:
    return write_coco(
        root,
        [image(n) for n in range(count)],
        [person(n, n, standing(n)) for n in range(count)] + [box(99, 0, [0, 0, 5, 5], 3)],
    )


def write_plain(root: Path, count: int = 10) -> Path:
    for number in range(count):
        write(root / f"{number}.png", number)
    return root


def write_table(root: Path, count: int = 10) -> Path:
    write_plain(root, count)
    (root / "labels.csv").write_text("".join(f"{n}.png,{n % 2}\n" for n in range(count)))
    return root


LAYOUTS = {
    "folders": lambda root: write_classes(root, {"a": 10, "b": 10}),
    "csv": write_table,
    "masks": lambda root: write_masked(root, 10),
    "coco": write_boxes,
    "pairs": lambda root: write_pairs(root, 10),
    "none": write_plain,
}
FITTING = {
    "classification": {"folders", "csv"},
    "segmentation": {"masks"},
    "detection": {"coco"},
    "pose": {"coco"},
    "keypoints": {"coco"},
    "super_resolution": {"pairs"},
}


def opened(root: Path, task: str = "classification", labels: str = "auto", split="evaluation"):
    return open_data(root, task, split, FIT, labels)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_are_found_or_the_task_is_told_what_it_needs(layout, task, tmp_path):
    root = LAYOUTS[layout](tmp_path)
    if layout in FITTING[task] or layout == "none":
        for split in ("calibration", "evaluation"):
            samples = opened(root, task, split=split)
            assert samples.labels == layout
            images, labels = next(samples.batches(2))
            assert images.shape[1:] == (16, 16, 3)
            assert len(labels) == len(images) == min(2, len(samples))
            assert len(samples.sources) == len(samples)
            again = pickle.loads(pickle.dumps(samples))
            assert again == samples
            np.testing.assert_array_equal(again.image(0), samples.image(0))
    else:
        refused(lambda: opened(root, task), str(root), "holds", f"{task} needs", '"none"')
    for name in LAYOUTS.keys() - FITTING[task] - {"none"}:
        refused(lambda name=name: opened(root, task, name), f'"{name}"', f"the task is {task}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_folder_can_be_taken_without_its_labels(layout, tmp_path):
    samples = opened(LAYOUTS[layout](tmp_path), "classification", "none")
    assert not samples.has_labels
    assert next(samples.batches(4))[1].tolist() == [-1] * 4


def test_what_is_ambiguous(tmp_path):
    write_classes(write_table(tmp_path), {"a": 5, "b": 5}, first_seed=50)
    refused(opened_here := lambda: opened(tmp_path), "labels.csv", "subfolder per class")
    assert '"folders" or "csv"' in refused(opened_here, "labels")
    assert opened(tmp_path, labels="csv").labels == "csv"
    assert opened(tmp_path, labels="folders").labels == "folders"


def test_nothing_at_all(tmp_path):
    for task in TASKS:
        refused(lambda task=task: opened(tmp_path, task), str(tmp_path), "no picture", task)
    refused(lambda: opened(tmp_path, labels="none"), "no picture is left")
    refused(lambda: opened(tmp_path, labels="xml"), "labels = 'xml'", '"coco"')
    refused(lambda: opened(tmp_path / "x"), "not a directory", kind=FileNotFoundError)


def test_calibration_needs_no_labels(tmp_path):
    """Nobody has to annotate what is only calibrated with."""
    write_plain(tmp_path / "calibration", 5)
    write_coco(tmp_path / "evaluation", [image(1)], [box(1, 1, [0, 0, 5, 5])])
    assert opened(tmp_path, "detection", split="calibration").labels == "none"
    assert opened(tmp_path, "detection").labels == "coco"


def test_the_split_of_a_plain_folder_keeps_copies_together(tmp_path):
    for number in range(30):
        for copy in range(2):
            write(tmp_path / f"{number}-{copy}.png", number)
    held = [
        {path.read_bytes() for path, _ in opened(tmp_path, split=split).samples}
        for split in ("calibration", "evaluation")
    ]
    assert not held[0] & held[1]
    assert [len(side) for side in held] in ([6, 24], [7, 23])


def test_links_that_lead_outside(tmp_path):
    outside = write(tmp_path / "outside" / "a.png", 1)
    root = tmp_path / "root"
    write_classes(root, {"a": 10})
    (root / "a" / "inner.png").symlink_to(root / "a" / "0.png")
    assert "inner.png" in {
        p.name for s in ("calibration", "evaluation") for p, _ in opened(root, split=s).samples
    }
    link = root / "a" / "link.png"
    link.symlink_to(outside)
    refused(lambda: opened(root), str(link), "outside of the data folder", "copy")
    link.unlink()
    (root / "b").symlink_to(outside.parent)
    refused(lambda: opened(root), str(root / "b"), "outside of the data folder")
    (root / "b").unlink()
    (root / "labels.csv").write_text("a/0.png,1\nb.png,1\n")
    (root / "b.png").symlink_to(outside)
    refused(lambda: opened(root, labels="csv"), "line 2", "b.png", "outside")
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "labels.csv").write_text("a/0.png,1\nloop.png,1\n")
    refused(lambda: opened(root, labels="csv"), "line 2 names loop.png")


@pytest.mark.parametrize("layout", ["masks", "pairs"])
def test_links_of_masks_and_splits(layout, tmp_path):
    root = LAYOUTS[layout](tmp_path / "root")
    inner = root / ("masks" if layout == "masks" else "high")
    inner.rename(tmp_path / "elsewhere")
    inner.symlink_to(tmp_path / "elsewhere")
    task = "segmentation" if layout == "masks" else "super_resolution"
    refused(lambda: opened(root, task), "outside of the data folder")
    both = tmp_path / "both"
    write_plain(both / "evaluation")
    write_plain(tmp_path / "far", 3)
    (both / "calibration").symlink_to(tmp_path / "far")
    refused(lambda: opened(both, task), str(both / "calibration"), "outside")


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names themselves")
@pytest.mark.parametrize(
    "name",
    [
        "two words.png",
        "é.png",
        "'; rm -rf x.png",
        "-rf.png",
        "a\nb.png",
        "\x1b[31m.png",
        "a\udcff.png",
    ],
    ids=[f"odd{n}" for n in range(7)],
)
def test_odd_names_are_read_and_shown_on_one_line(name, tmp_path):
    write_plain(tmp_path)
    path = write(tmp_path / "calibration-not" / name, 77)
    samples = opened(tmp_path, labels="none", split="evaluation")
    other = opened(tmp_path, labels="none", split="calibration")
    held = {p for p, _ in (*samples.samples, *other.samples)}
    assert path in held
    assert samples.sample(0)[0].shape == (16, 16, 3)
    both = tmp_path / "both"
    write_plain(both / "calibration", 2)
    broken = both / "evaluation" / name
    broken.parent.mkdir()
    broken.write_bytes(b"no picture")
    sentence = refused(lambda: opened(both, labels="none").sample(0), "not a picture")
    assert sentence.isprintable()
    sentence.encode()


def test_digest_follows_the_label_file(tmp_path):
    sets = []
    for number, row in enumerate((0, 0, 1)):
        root = write_table(tmp_path / str(number))
        lines = [f"{n}.png,{row if n == 3 else n % 2}" for n in range(10)]
        (root / "labels.csv").write_text("\n".join(lines))
        sets.append([opened(root, split=split) for split in ("calibration", "evaluation")])
    first, same, other = ({s.digest() for s in both} for both in sets)
    assert first == same != other


def test_digest_follows_fit_and_masks(tmp_path):
    root = write_masked(tmp_path, 10)
    fits = [FIT, Fit((16, 17)), Fit((16, 16), "crop"), Fit((16, 16), colours="bgr")]
    digests = {open_data(root, "segmentation", "evaluation", fit).digest() for fit in fits}
    assert len(digests) == 4
    for file in (root / "masks").iterdir():
        write(file, pixels(1, (40, 40)) % 3)
    digests.add(open_data(root, "segmentation", "evaluation", FIT).digest())
    assert len(digests) == 5
