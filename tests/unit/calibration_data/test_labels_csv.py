"""Classes by a table of files, and by the names that a declaration lists."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from data_folders import refused, write, write_classes
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data

FIT = Fit((32, 32))
NAMES = ("ant.png", "bee.png", "cat.jpg", "sub/dog.png")


def write_table(root: Path, text: str | bytes, names=NAMES) -> Path:
    """labels.csv in both splits, each with pictures of its own."""
    for split, first in (("calibration", 0), ("evaluation", 100)):
        for seed, name in enumerate(names, start=first):
            write(root / split / name, seed)
        content = text if isinstance(text, bytes) else text.encode()
        (root / split / "labels.csv").write_bytes(content)
    return root


def classes_of(root: Path, labels: str = "csv", **options) -> dict[str, int]:
    samples = open_data(root, "classification", "evaluation", FIT, labels, **options)
    _, labels = next(samples.batches(len(samples)))
    names = (path.name for path, _ in samples.samples)
    return dict(zip(names, labels.tolist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "ant.png,6\nbee.png,10\nsub/dog.png,6\n",
        "file,class\nant.png,6\nbee.png,10\nsub/dog.png,6",
        "class,weight,filename\n6,1,ant.png\n10,1,bee.png\n6,2,sub/dog.png",
        "\ufefffile;class\r\nant.png;6\r\n\r\nbee.png;10\r\nsub/dog.png;6\r\n",
        "ant.png\t6\nbee.png\t10\nsub/dog.png\t6\n",
        '"ant.png", "6"\n"bee.png", "10"\n"sub/dog.png", "6"\n',
        "what,which\nant.png,6\nbee.png,10\nsub/dog.png,6",
        "./ant.png,6\nsub/../bee.png,10\nsub/dog.png,6",
    ],
    ids=[f"table{n}" for n in range(8)],
)
def test_tables(text, tmp_path):
    found = classes_of(write_table(tmp_path, text), classes=11)
    assert found == {"ant.png": 6, "bee.png": 10, "dog.png": 6}


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["é", "a b", "x", '"q"']), min_size=1)
)
def test_names_are_numbered_in_sorted_order(classes):
    with tempfile.TemporaryDirectory() as folder:
        lines = [f'{name},"{of.replace(chr(34), chr(34) * 2)}"' for name, of in classes.items()]
        found = classes_of(write_table(Path(folder), "\n".join(lines)))
        order = sorted(set(classes.values()))
        assert found == {Path(name).name: order.index(of) for name, of in classes.items()}


def test_pictures_may_lie_in_images(tmp_path):
    root = write_table(tmp_path, "a.png,1\nb.png,0", names=("images/a.png", "images/b.png"))
    assert classes_of(root, labels="auto") == {"a.png": 1, "b.png": 0}


def test_own_split_of_a_table_is_by_class(tmp_path):
    lines = []
    for number in range(60):
        write(tmp_path / f"{number}.png", number)
        lines.append(f"{number}.png,{'rare' if number < 10 else 'usual'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    samples = open_data(tmp_path, "classification", "calibration", FIT)
    labels = next(samples.batches(60))[1]
    assert np.bincount(labels).tolist() == [2, 10]
    assert samples.labels == "csv"
    assert samples.has_labels


def test_declared_names(tmp_path):
    declared = {"class_names": ("none", "dog", "cat"), "classes": 3}
    root = write_table(tmp_path / "a", "ant.png,cat\nbee.png,dog")
    assert classes_of(root, **declared) == {"ant.png": 2, "bee.png": 1}
    for split, seed in (("calibration", 0), ("evaluation", 50)):
        write_classes(tmp_path / "b" / split, {"dog": 1, "cat": 1}, seed)
    found = open_data(tmp_path / "b", "classification", "evaluation", FIT, **declared)
    assert [label for _, label in found.samples] == [2, 1]
    root = write_table(tmp_path / "c", "ant.png,cow")
    refused(lambda: classes_of(root, **declared), "labels.csv", "cow", "the key classes lists")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("ant.png,1\nabsent.png,2", {}, "line 2 names absent.png"),
        ("ant.png,1\nbee.png", {}, "line 2 reads 'bee.png'"),
        ("ant.png,1\n,2", {}, "line 2 reads ',2'"),
        ("ant.png,1\n\nant.png,1", {}, "line 1 and in line 3"),
        ("ant.png,1\n./ant.png,2", {}, "line 1 and in line 2"),
        ("ant.png,1\n../calibration/ant.png,2", {}, "remove one of them"),
        ("../../ant.png,1", {}, "leads outside"),
        ("/etc/x.png,1", {}, "relative"),
        ("x\0y.png,1", {}, "relative"),
        ("", {}, "lists no picture"),
        ("file,class", {}, "lists no picture"),
        ("a,b,c\nant.png,1,2", {}, "columns a, b, c"),
        ("ant.png,1\nbee.png,7", {"classes": 7}, "a class 7, the network classes 0..6"),
        ("ant.png,a\nbee.png,b", {"classes": 7}, "has 2 classes, the network 7 classes"),
        (f"ant.png,{'9' * 5000}", {"classes": 7}, "has 1 classes"),
        (b"ant.png,\xe9", {}, "UTF-8"),
        ('ant.png,"' + "x" * 200_000, {}, "not a table"),
    ],
    ids=[f"wrong{n}" for n in range(17)],
)
def test_tables_are_checked(text, options, said, tmp_path):
    root = write_table(tmp_path, text)
    assert "labels.csv" in refused(lambda: classes_of(root, **options), said) or "one of" in said


def test_a_table_that_is_not_there(tmp_path):
    write(tmp_path / "a.png", 1)
    refused(lambda: classes_of(tmp_path), str(tmp_path), "no labels.csv", "add")
