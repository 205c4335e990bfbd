"""Texts of pictures, in a table or in PaddleOCR's list, and of arrays."""

from __future__ import annotations

import tempfile
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from data_folders import refused, write
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.arrays.opening import open_arrays
from int8gate.calibration_data.fit import Fit
from int8gate.calibration_data.folders import open_data
from int8gate.calibration_data.preprocessing import PIXELS
from int8gate.quantizers.auditing import findings

FIT = Fit((32, 32))
NAMES = ("a.png", "b.png", "sub/c.png")
VALUES = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
TEXTS = np.array([f"{number:04d} é" for number in range(300)])
FIVE = (Input("x", (5,), "float32"),)


def folder_of(root: Path, text: str, file: str = "labels.csv") -> Path:
    for seed, name in enumerate(NAMES):
        write(root / name, seed)
    (root / file).write_bytes(text.encode())
    return root


def read(root: Path, labels: str = "auto", task: str = "text") -> list[str]:
    samples = open_data(root, task, "whole", FIT, labels)
    samples.check()
    (pictures, texts) = next(samples.batches(9))
    assert pictures.shape == (len(samples), 32, 32, 3)
    assert texts.dtype.kind == "U"
    return texts.tolist()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels.csv", "a.png,one\nb.png,007\nsub/c.png,Großer Bär"),
        ("labels.csv", 'file,text\na.png, one\nb.png,"007"\nsub/c.png,Großer Bär \n'),
        ("labels.csv", "text;weight;image\none;1;a.png\n007;2;b.png\nGroßer Bär;1;sub/c.png"),
        ("label.txt", "a.png\tone\nb.png\t007\nsub/c.png\tGroßer Bär\n"),
        ("label.txt", "\ufeffa.png\tone\r\n\r\nb.png\t007\r\n./sub/c.png\tGroßer Bär"),
    ],
    ids=range(5),
)
def test_tables_and_lists_say_the_same(tmp_path, file, text):
    root = folder_of(tmp_path, text, file)
    assert read(root) == ["one", "007", "Großer Bär"]
    assert read(root, "texts", "other") == ["one", "007", "Großer Bär"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text('ab,;"\t é字', min_size=1).filter(str.strip), min_size=3, max_size=3))
def test_any_text_comes_back_in_quotes(texts):
    with tempfile.TemporaryDirectory() as folder:
        quoted = [text.replace('"', '""') for text in texts]
        lines = [f'{name},"{text}"' for name, text in zip(NAMES, quoted, strict=True)]
        found = read(folder_of(Path(folder), "file,text\n" + "\n".join(lines)))
        assert found == [text.strip() for text in texts]
        lines = [f"{name}\t{text}\n" for name, text in zip(NAMES, texts, strict=True)]
        (Path(folder) / "labels.csv").unlink()
        assert read(folder_of(Path(folder), "".join(lines), "label.txt")) == found


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("labels.csv", "a.png,well, yes", ("line 1", "3 cells of a table of 2", "in quotes")),
        ("labels.csv", "file,text\na.png,", ("line 2", "expected a file and its text")),
        ("labels.csv", 'a.png,one\nb.png,"two', ("is not a table", "file,text")),
        ("labels.csv", "d.png,one", ("names d.png", "add the picture")),
        ("labels.csv", "a.png,one\na.png,two", ("in line 1 and in line 2", "has one text")),
        ("labels.csv", "x,y,z\na.png,1,2", ("columns x, y, z", "expected file and text")),
        ("label.txt", "a.png one", ("label.txt line 1", "a tabulator and a text")),
        ("label.txt", "a.png\t \n", ("line 1", "a tabulator and a text")),
        ("label.txt", "\n", ("label.txt lists no picture",)),
        ("label.txt", "../a.png\tone", ("outside of the data folder",)),
    ],
)
def test_what_is_wrong_is_named(tmp_path, file, text, words):
    root = folder_of(tmp_path / "data", text, file)
    write(tmp_path / "a.png", 0)
    refused(lambda: read(root), *words)


def test_a_file_in_another_code_is_refused(tmp_path):
    root = folder_of(tmp_path, "", "label.txt")
    (root / "label.txt").write_bytes("a.png\tGroß".encode("latin-1"))
    refused(lambda: read(root), "label.txt", "save it in UTF-8")


def test_a_table_and_a_list_are_one_too_many(tmp_path):
    root = folder_of(folder_of(tmp_path, "a.png,one"), "a.png\tone", "label.txt")
    refused(lambda: read(root), "labels.csv and label.txt")


def test_a_table_holds_classes_for_another_task(tmp_path):
    root = folder_of(tmp_path, "a.png,one\nb.png,two")
    samples = open_data(root, "classification", "whole", FIT)
    assert [int(samples.sample(n)[1]) for n in range(2)] == [0, 1]
    refused(lambda: open_data(root, "text", "whole", FIT, "csv"), "the task is text")


def test_pictures_alone_have_no_text(tmp_path):
    for seed in range(8):
        write(tmp_path / f"{seed}.png", seed)
    assert not open_data(tmp_path, "text", "whole", FIT).has_labels


def test_changed_texts_are_other_data_and_no_classes_to_the_audit(tmp_path):
    for seed in range(12):
        write(tmp_path / f"{seed}.png", seed)
    lines = [f"{seed}.png\t{'same' if seed else 'other'}" for seed in range(12)]
    (tmp_path / "label.txt").write_text("\n".join(lines))
    before = open_data(tmp_path, "text", "whole", FIT)
    (tmp_path / "label.txt").write_text("\n".join(lines).replace("other", "0ther"))
    changed = open_data(tmp_path, "text", "whole", FIT)
    assert before.digest() != changed.digest()
    kinds = {each["kind"] for each in findings(before, changed, PIXELS, 4, 1)}
    assert not kinds & {"one_class", "missing_classes", "unbalanced_classes"}


def opened(place: Path, split: str = "whole", inputs=FIVE):
    return open_arrays(place, split, inputs, "text")


def texts_of(samples) -> list[str]:
    return next(samples.feeds(len(samples)))[1].tolist()


def test_texts_of_arrays_come_from_every_kind_of_file(tmp_path):
    np.savez(tmp_path / "data.npz", x=VALUES, labels=TEXTS)
    np.savez(tmp_path / "column.npz", x=VALUES, labels=TEXTS[:, None])
    np.save(tmp_path / "beside.npy", VALUES)
    np.save(tmp_path / "beside.labels.npy", TEXTS)
    for name in ("data.npz", "column.npz", "beside.npy"):
        assert texts_of(opened(tmp_path / name)) == TEXTS.tolist(), name
    sides = [opened(tmp_path / "data.npz", split) for split in ("calibration", "evaluation")]
    assert sorted(chain(*map(texts_of, sides))) == TEXTS.tolist()
    assert texts_of(sides[1]) == TEXTS[sides[1].chosen].tolist()


def test_digits_of_a_csv_are_a_text_of_digits(tmp_path):
    lines = [f"{number},{number / 2},{number:03d}" for number in range(9)]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,label", *lines]))
    inputs = (Input("x", (2,), "float32"),)
    assert texts_of(opened(tmp_path / "data.csv", inputs=inputs))[:2] == ["000", "001"]
    values = open_arrays(tmp_path / "data.csv", "whole", inputs, "class")
    assert texts_of(values) == list(range(9)), "numbers to other tasks"


def test_recordings_say_the_name_of_their_folder(tmp_path):
    for word in ("no", "yes"):
        (tmp_path / word).mkdir()
        wavfile.write(tmp_path / word / "0.wav", 16000, np.zeros(160, np.int16))
    inputs = (Input("sound", (160,), "float32"),)
    assert texts_of(opened(tmp_path, inputs=inputs)) == ["no", "yes"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(300), ("labels are int64", "expected texts")),
        (np.where(np.arange(300) == 7, " ", TEXTS), ("sample 7 has an empty text", "1 of 300")),
        (np.stack([TEXTS, TEXTS], axis=1), ("labels have shape (300, 2)",)),
        (TEXTS.astype(object), ("cannot be read", "texts as str")),
    ],
)
def test_labels_that_are_no_texts_are_refused(tmp_path, labels, words):
    np.savez(tmp_path / "data.npz", x=VALUES, labels=labels)
    refused(lambda: opened(tmp_path / "data.npz"), *words)
