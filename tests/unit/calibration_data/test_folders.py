"""A user's folder (`--data-dir`): its layouts, and how it is split."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from data_folders import load, load_all, refused, write, write_classes, write_masked
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.sample_set import check_calibration

SPLITS = ("calibration", "evaluation")
counts = st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any)


def names(samples) -> set[str]:
    """The class folder and name of each sample."""
    return {f"{path.parent.name}/{path.name}" for path, _ in samples.samples}


def split_of(root: Path, task: str = "classification") -> dict[str, set[str]]:
    """Names by split; a split that nothing falls to is empty."""
    found = {}
    for split in SPLITS:
        try:
            found[split] = names(load(root, task, split))
        except ValueError as error:
            if "no picture is left" not in str(error):
                raise
            found[split] = set()
    return found


def test_classes_in_subfolders(tmp_path):
    write_classes(tmp_path, {"zebra": 20, "ant": 20, "bee": 20})
    labels = [label for _, label in load_all(tmp_path, "classification")]
    assert np.bincount(labels).tolist() == [20, 20, 20]
    for split, count in zip(SPLITS, (4, 16), strict=True):
        samples = load(tmp_path, "classification", split)
        assert len(samples) == len(samples.sources) == 3 * count
        assert len(np.unique(samples.sources)) == 3 * count
        images, labels = next(samples.batches(3 * count))
        assert np.bincount(labels).tolist() == [count] * 3
        assert images.shape == (3 * count, 32, 32, 3)
        assert images.dtype == np.uint8
        order = [path.parent.name for path, _ in samples.samples]
        assert [["ant", "bee", "zebra"][label] for label in labels] == order


def test_whole_numbers_name_their_class(tmp_path):
    write_classes(tmp_path, {"2": 5, "10": 5, "007": 5})
    labels = {label.item() for _, label in load_all(tmp_path, "classification", classes=11)}
    assert labels == {2, 7, 10}
    refused(
        lambda: load(tmp_path, "classification", classes=10), str(tmp_path), "10", "0..9", "remove"
    )


def test_names_must_number_all_classes(tmp_path):
    """Three of a thousand ImageNet folders, numbered in order, would be scored as classes 0..2."""
    write_classes(tmp_path, {"n01440764": 5, "n01443537": 5, "²": 5})
    assert len(load_all(tmp_path, "classification", classes=3)) == 15
    refused(lambda: load(tmp_path, "classification", classes=1000), "3 class", "1000", "add")


def test_images_with_masks(tmp_path):
    write_masked(tmp_path, 20)
    drawn = load_all(tmp_path, "segmentation", classes=20)
    assert sorted(label.max() for _, label in drawn) == list(range(20))
    for image, label in drawn:
        assert label.shape == image.shape[:2] == (32, 32)
        assert label.dtype == np.uint8
        assert image.max() == image.min() == 10 * label[0, 0], "another picture's mask"


def test_given_splits_are_taken_as_they_are(tmp_path):
    write_classes(tmp_path / "calibration", {"a": 3, "b": 1})
    write_classes(tmp_path / "evaluation", {"a": 1, "b": 2}, first_seed=100)
    assert names(load(tmp_path, "classification", "calibration")) == {
        *("a/0.png", "a/1.png", "a/2.png", "b/0.png")
    }
    assert names(load(tmp_path, "classification")) == {"a/0.png", "b/0.png", "b/1.png"}


def test_given_splits_must_not_share_a_picture(tmp_path):
    write_classes(tmp_path / "calibration", {"a": 3})
    write_classes(tmp_path / "evaluation", {"a": 3}, first_seed=2)
    for split in SPLITS:
        refused(
            lambda split=split: load(tmp_path, "classification", split),
            *(str(tmp_path / "calibration/a/2.png"), str(tmp_path / "evaluation/a/0.png")),
        )


def test_one_given_split_alone_is_refused(tmp_path):
    write_classes(tmp_path / "evaluation", {"a": 3})
    refused(lambda: load(tmp_path, "classification"), "evaluation/ alone", "calibration", "add")


def test_one_folder_serves_both_tasks(tmp_path):
    write_classes(tmp_path / "classification", {"a": 10})
    refused(lambda: load(tmp_path, "segmentation"), "classification/", "no segmentation/")
    write_masked(tmp_path / "segmentation", 10)
    assert (
        len(load_all(tmp_path, "classification")) == len(load_all(tmp_path, "segmentation")) == 10
    )


@settings(max_examples=20, deadline=None)
@given(counts, st.integers(0, 5), st.randoms(use_true_random=False))
def test_own_split_is_disjoint_stratified_and_keeps_copies_together(sizes, copies, random):
    with tempfile.TemporaryDirectory() as folder:
        root = write_classes(Path(folder), {f"class{i}": n for i, n in enumerate(sizes)})
        originals = sorted(root.glob("*/*.png"))
        for number in range(copies if originals else 0):
            target = root / f"class{random.randrange(len(sizes))}" / f"copy{number}.png"
            shutil.copy(random.choice(originals), target)
        everything = {f"{path.parent.name}/{path.name}": path for path in root.glob("*/*.png")}
        found = split_of(root)
        assert found["calibration"] | found["evaluation"] == everything.keys()
        assert not found["calibration"] & found["evaluation"]
        held = {s: {everything[name].read_bytes() for name in found[s]} for s in SPLITS}
        assert not held["calibration"] & held["evaluation"], "copies stand on both sides"
        if not copies:
            for i, size in enumerate(sizes):
                own = [name for name in found["calibration"] if name.startswith(f"class{i}/")]
                assert abs(len(own) - 0.2 * size) < 1


@settings(max_examples=10, deadline=None)
@given(counts, st.integers(1, 6))
def test_own_split_ignores_names_and_other_classes(sizes, added):
    with tempfile.TemporaryDirectory() as folder:
        root = write_classes(Path(folder), {f"class{i}": n for i, n in enumerate(sizes)})
        first = {name: split for split, found in split_of(root).items() for name in found}
        for path in list(root.glob("*/*.png")):
            path.rename(path.with_name(f"renamed{99 - int(path.stem)}.PNG"))
        write_classes(root, {"another": added}, first_seed=1000)
        for split, found in split_of(root).items():
            for name in found:
                if not name.startswith("another/"):
                    stem = 99 - int(name.partition("renamed")[2].partition(".")[0])
                    assert first[f"{name.partition('/')[0]}/{stem}.png"] == split


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_two_hundred_pictures_calibrate_and_are_scored(sizes):
    sizes = [*sizes, max(1, 200 - sum(sizes))]
    with tempfile.TemporaryDirectory() as folder:
        found = split_of(write_classes(Path(folder), {f"class{i}": n for i, n in enumerate(sizes)}))
    assert len(found["calibration"]) >= 100
    assert len(found["evaluation"]) >= 80


def test_classes_of_few_pictures_give_their_share_in_sum(tmp_path):
    """ImageNet's 50,000 in 1,000 classes: part of a picture is due of each, none was taken once."""
    write_classes(tmp_path, {f"n{number:03}": 2 for number in range(120)})
    found = split_of(tmp_path)
    assert 101 <= len(found["calibration"]) <= 119  # 110 are due; 3 standard deviations


def test_copies_share_a_source(tmp_path):
    for split, seed in zip(SPLITS, (5, 6), strict=True):
        for name in ("one", "two"):
            write(tmp_path / split / "a" / f"{name}.png", seed)
        write(tmp_path / split / "a" / "three.png", seed + 10)
    for split in SPLITS:
        one, three, two = load(tmp_path, "classification", split).sources
        assert one == two != three


def test_digest_follows_content_size_and_labels(tmp_path):
    roots = [write_classes(tmp_path / str(n), {"0": 9, "1": 9}) for n in range(4)]
    write(roots[1] / "0" / "0.png", 77)
    (roots[2] / "1").rename(roots[2] / "2")
    sets = [load(root, "classification") for root in roots]
    assert sets[0] == sets[3]
    assert (
        len(
            {
                drawn.digest()
                for drawn in (*sets[:3], load(roots[0], "classification", size=(24, 24)))
            }
        )
        == 4
    )
    assert load(roots[0], "classification", "calibration") != sets[0]


def test_three_pictures_are_too_few(tmp_path):
    write_classes(tmp_path / "calibration", {"a": 3})
    write_classes(tmp_path / "evaluation", {"a": 3}, first_seed=100)
    images, _ = next(load(tmp_path, "classification", "calibration").batches(8))
    refused(
        lambda: check_calibration(images, "NAME", (32, 32, 3), (0, 255)),
        *("NAME has 3 samples", "at least 100", "--min-calibration-samples 3"),
    )
    own = write_classes(tmp_path / "own", {"a": 1, "b": 1})
    assert sum(map(len, split_of(own).values())) == 2


def test_missing_directory(tmp_path):
    missing = tmp_path / "absent"
    for task in ("classification", "segmentation"):
        refused(lambda t=task: load(missing, t), str(missing), "mend", kind=FileNotFoundError)
    file = write(tmp_path / "picture.png", 1)
    refused(lambda: load(file, "classification"), str(file), kind=FileNotFoundError)


def test_no_subfolders_no_pictures(tmp_path):
    load_classes, load_masks = (
        lambda: load(tmp_path, "classification"),
        lambda: load(tmp_path, "segmentation"),
    )
    refused(load_classes, str(tmp_path), "subfolder per class", "found none")
    refused(load_masks, str(tmp_path), "images/ and masks/", "no images/")
    write(tmp_path / "loose.png", 1)
    refused(load_classes, "found none")
    (tmp_path / "images").mkdir()
    refused(load_masks, "no masks/")
    (tmp_path / "masks").mkdir()
    refused(load_masks, str(tmp_path), "no picture", "add pictures")
    refused(load_classes, str(tmp_path), "as for segmentation")
    (tmp_path / "a" / "deeper").mkdir(parents=True)
    write(tmp_path / "a" / "deeper" / "x.png", 2)
    refused(load_classes, str(tmp_path), ".jpg", "found none in a, images, masks")


def test_picture_without_mask(tmp_path):
    write_masked(tmp_path, 3)
    mask = tmp_path / "masks" / "1.png"
    mask.unlink()
    refused(lambda: load(tmp_path, "segmentation"), "1.png", str(mask), "add the mask")


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_what_systems_leave_behind_is_ignored(task, tmp_path):
    pictures = tmp_path / ("a" if task == "classification" else "images")
    write_masked(tmp_path, 5) if task == "segmentation" else write_classes(tmp_path, {"a": 5})
    for litter in ("Thumbs.db", ".DS_Store", "._0.png", ".hidden.jpg", "notes.txt"):
        (pictures / litter).write_bytes(b"litter")
    (pictures / "folder.jpg").mkdir()
    for folder in (".ipynb_checkpoints", "__MACOSX", ".git"):
        write(tmp_path / folder / "0.png", 50)
    assert len(load_all(tmp_path, task, classes=1 if task == "classification" else 5)) == 5
