"""A user's own arrays: what is read, how it is split, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_folders import refused
from scipy.io import wavfile

from int8gate.calibration_data.arrays.kinds import Input, holds_arrays
from int8gate.calibration_data.arrays.opening import open_arrays

VALUES = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
LABELS = np.arange(300) % 3
FIVE = (Input("x", (5,), "float32"),)


def opened(place: Path, split: str = "evaluation", inputs=FIVE, kind: str = "class", **more):
    return open_arrays(place, split, inputs, kind, **more)


def written(folder: Path, **arrays) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_every_sample_is_on_one_side_with_its_label(tmp_path):
    place = written(tmp_path, x=VALUES, labels=LABELS)
    sides = [opened(place, split) for split in ("calibration", "evaluation")]
    assert [len(side) for side in sides] == pytest.approx([110, 190], abs=2)
    assert sorted(np.concatenate([side.chosen for side in sides])) == list(range(300))
    for side in sides:
        side.check()
        arrays, labels = next(side.feeds(400))
        assert np.array_equal(arrays["x"], VALUES[side.chosen])
        assert np.array_equal(labels, LABELS[side.chosen])
        assert np.bincount(labels).min() > 0.3 * len(side), "stratified"
    again = opened(place)
    assert again.digest() == sides[1].digest() != sides[0].digest()


def test_a_source_never_stands_on_both_sides(tmp_path):
    place = written(tmp_path, x=VALUES, labels=LABELS, sources=np.arange(300) // 10)
    sides = [opened(place, split) for split in ("calibration", "evaluation")]
    tens = [set(side.chosen // 10) for side in sides]
    assert tens[0]
    assert tens[1]
    assert not tens[0] & tens[1]
    assert len(set(sides[1].sources)) == len(tens[1])


def test_copies_share_a_source(tmp_path):
    place = written(tmp_path, x=np.vstack([VALUES, VALUES]), labels=np.tile(LABELS, 2))
    sides = [opened(place, split) for split in ("calibration", "evaluation")]
    rows = [set(side.chosen % 300) for side in sides]
    assert not rows[0] & rows[1]


def test_the_same_samples_come_from_every_kind_of_file(tmp_path):
    wanted = opened(written(tmp_path, x=VALUES, labels=LABELS), "whole")
    np.save(tmp_path / "data.npy", VALUES)
    np.save(tmp_path / "data.labels.npy", LABELS)
    header = "a,b,c,d,e,label"
    table = np.column_stack([VALUES, LABELS])
    lines = [",".join([*(repr(float(v)) for v in row[:5]), str(int(row[5]))]) for row in table]
    (tmp_path / "data.csv").write_text("\n".join([header, *lines]))
    parts = tmp_path / "parts"
    parts.mkdir()
    for number in range(3):
        rows = slice(100 * number, 100 * number + 100)
        np.savez(parts / f"{number}.npz", x=VALUES[rows], labels=LABELS[rows])
    expected = next(wanted.feeds(300))
    for place in ("data.npy", "data.csv", "parts"):
        assert holds_arrays(tmp_path / place)
        arrays, labels = next(opened(tmp_path / place, "whole").feeds(300))
        assert np.array_equal(arrays["x"], expected[0]["x"]), place
        assert np.array_equal(labels, expected[1]), place


def test_recordings_are_samples_of_their_folders_class(tmp_path):
    inputs = (Input("sound", (160,), "float32"),)
    for number in range(20):
        folder = tmp_path / ("yes", "no")[number % 2]
        folder.mkdir(exist_ok=True)
        wavfile.write(folder / f"{number}.wav", 16000, np.full(160, 1024 * number, np.int16))
    assert holds_arrays(tmp_path)
    whole = opened(tmp_path, "whole", inputs)
    arrays, labels = next(whole.feeds(20))
    assert labels.tolist() == [0] * 10 + [1] * 10, "no before yes"
    assert arrays["sound"].max() == 19 * 1024 / 32768


def test_a_hook_makes_features_of_recordings(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "front_end.py").write_text(
        "def halves(sound):\n    return sound.reshape(2, -1).mean(axis=1)\n"
    )
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for number in range(4):
        wave = np.repeat(np.int16([0, 3000 * number]), 80)
        wavfile.write(sounds / f"{number}.wav", 16000, wave)
    inputs = (Input("x", (2,), "float32"),)
    found = opened(sounds, "whole", inputs, features="front_end:halves")
    assert not found.has_labels
    (arrays, _) = next(found.feeds(4))
    assert arrays["x"][:, 1] == pytest.approx([3000 * n / 32768 for n in range(4)])


@pytest.fixture
def of_two_rates(tmp_path) -> Path:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for number, rate in enumerate((16000, 16000, 8000)):
        wavfile.write(sounds / f"{number}.wav", rate, np.full(160, 3000, np.int16))
    return sounds


def test_recordings_of_unlike_rates_are_refused(of_two_rates):
    found = opened(of_two_rates, "whole", (Input("x", (160,), "float32"),))
    refused(found.check, "unlike sampling rates", "0.wav 16000 Hz", "2.wav 8000 Hz", "rate")


def test_a_hook_that_takes_the_rate_gets_it(of_two_rates, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "front_end_at.py").write_text(
        "def halved(sound, rate):\n    return sound[:80] * rate / 8000\n"
    )
    inputs = (Input("x", (80,), "float32"),)
    found = opened(of_two_rates, "whole", inputs, features="front_end_at:halved")
    found.check()
    (arrays, _) = next(found.feeds(3))
    assert arrays["x"][:, 0] * 32768 == pytest.approx([6000, 6000, 3000])


def test_several_inputs_by_name_and_whole_numbers_as_they_are(tmp_path):
    inputs = (Input("z", (5,), "float32"), Input("a", (1,), "uint8"))
    place = written(tmp_path, a=LABELS[:, None], z=VALUES.astype(np.float64), labels=LABELS)
    (arrays, _) = next(opened(place, "whole", inputs).feeds(300))
    assert list(arrays) == ["z", "a"], "in the network's order"
    assert [value.dtype.name for value in arrays.values()] == ["float32", "uint8"]


@pytest.mark.parametrize(
    ("arrays", "kind", "words"),
    [
        ({"x": VALUES, "y2": VALUES}, "class", ("data.npz", "y2 (n, 5)", "x (n, 5) float32")),
        ({"x": VALUES, "labels": LABELS[:9]}, "class", ("same n", "labels (9,)")),
        ({"x": VALUES, "labels": LABELS}, "anomaly", ("labels span 0..2", "1 (anomalous)")),
        ({"x": VALUES, "labels": LABELS - 1}, "class", ("labels span -1..1", "numbers from 0")),
        ({"x": VALUES, "labels": LABELS + np.nan}, "values", ("finite numbers",)),
        ({"x": VALUES, "labels": VALUES}, "class", ("labels have shape (300, 5)",)),
        ({"x": VALUES[:0], "labels": LABELS[:0]}, "class", ("has no sample",)),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, arrays, kind, words):
    place = written(tmp_path, **arrays)
    refused(lambda: opened(place, "whole", kind=kind), *words)


def test_broken_samples_are_named_all_at_once(tmp_path):
    values = VALUES.copy()
    values[3, 1], values[7, 0] = np.nan, np.inf
    samples = opened(written(tmp_path, x=values, labels=LABELS), "whole")
    with pytest.raises(ValueError, match="2 samples cannot be used") as told:
        samples.check()
    for words in ("sample 3", "sample 7", "NaN or infinity"):
        assert words in str(told.value)
    ids = (Input("x", (5,), "int32"),)
    fractions = opened(written(tmp_path, x=VALUES, labels=LABELS), "whole", ids)
    with pytest.raises(ValueError, match=r"(?s)300 samples cannot be used.*takes whole numbers"):
        fractions.check()


def test_splits_of_the_user_hold(tmp_path):
    for number, name in enumerate(("calibration", "evaluation")):
        rows = slice(150 * number, 150 * number + 150)
        np.savez(tmp_path / f"{name}.npz", x=VALUES[rows], labels=LABELS[rows])
    assert len(opened(tmp_path)) == len(opened(tmp_path, "calibration")) == 150
    np.savez(tmp_path / "calibration.npz", x=VALUES[100:], labels=LABELS[100:])
    refused(lambda: opened(tmp_path), "both hold equal samples")
    (tmp_path / "calibration.npz").unlink()
    refused(lambda: opened(tmp_path), "holds evaluation.npz alone")


def test_pictures_with_their_tables_are_no_arrays(tmp_path):
    (tmp_path / "labels.csv").write_text("file,class\na.png,cat\n")
    assert not holds_arrays(tmp_path)
    np.save(tmp_path / "notes.npy", VALUES)
    assert holds_arrays(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.PNG").touch()
    assert not holds_arrays(tmp_path)


def test_no_pickle_is_read(tmp_path):
    place = written(tmp_path, x=np.array([{"run": "me"}] * 5, object))
    refused(lambda: opened(place), "data.npz cannot be read")
