"""Kept predictions: what went in comes out, and a damaged file never passes for another."""

import re
from pathlib import Path

import numpy as np
import pytest
from accepted_figures import top1
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from int8gate.validation.comparing.sample_scores import Predictions, copy, find, prune, read, store

rows = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 20), st.integers(1, 6)),
    elements=st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float),
)
SCORES = top1(np.arange(200) % 7 > 0)


def equal(one: Predictions, other: Predictions) -> bool:
    about = ("case", "metric", "evaluation_set")
    return (
        all(getattr(one, name) == getattr(other, name) for name in about)
        and np.array_equal(one.statistics, other.statistics)
        and np.array_equal(one.sources, other.sources)
    )


@given(rows, st.text(max_size=20), st.text(max_size=300))
@settings(max_examples=40, deadline=None)
def test_what_is_kept_is_found_whole(tmp_path_factory, statistics, data, case):
    folder = tmp_path_factory.mktemp("kept")
    told = Predictions(case, "top1", data, statistics, np.arange(len(statistics)) // 2)
    kept = store(folder, told)
    assert equal(find([folder / "absent", folder], kept.sha256), told)
    assert kept.path.parent == folder
    assert re.fullmatch(r"[A-Za-z0-9._-]+", kept.path.name)


def test_the_same_predictions_are_one_file_and_others_another(tmp_path):
    first, again = store(tmp_path, SCORES), store(tmp_path, SCORES)
    other = store(tmp_path, top1(np.arange(200) % 7 > 1))
    assert first == again != other
    assert len(list(tmp_path.iterdir())) == 2


def test_scores_of_2000_samples_take_little_room(tmp_path):
    correct = np.random.default_rng(0).random(2000) < 0.9
    kept = store(tmp_path, top1(correct))
    assert kept.path.stat().st_size < 8000  # the sources alone are 16,000 bytes unpacked


def test_a_copy_is_the_same_file_elsewhere(tmp_path):
    kept = store(tmp_path / "a", SCORES)
    copied = copy(kept.sha256, [tmp_path / "a"], tmp_path / "b")
    assert copied.sha256 == kept.sha256
    assert equal(read(copied.path, kept.sha256), SCORES)


def test_only_what_nobody_names_is_deleted(tmp_path):
    kept, unused = store(tmp_path, SCORES), store(tmp_path, top1(np.ones(9)))
    assert prune(tmp_path, [kept.sha256]) == [unused.path]
    assert list(tmp_path.iterdir()) == [kept.path]


def test_what_is_nowhere_is_said_with_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"ffffffffffffffff are not in {tmp_path}"):
        find([tmp_path], "f" * 64)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_file_is_refused_or_holds_the_same(tmp_path_factory, data):
    path = store(tmp_path_factory.mktemp("damaged"), SCORES).path
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    said = ""
    try:
        found = read(path)
    except ValueError as error:
        found, said = SCORES, str(error)
    assert not said or f"{path} holds no predictions that can be read" in said
    assert np.array_equal(found.statistics, SCORES.statistics)


def test_another_file_under_the_name_is_refused(tmp_path):
    kept = store(tmp_path, SCORES)
    kept.path.write_bytes(store(tmp_path, top1(np.ones(9))).path.read_bytes())
    with pytest.raises(ValueError, match="its SHA-256 is another than recorded"):
        find([tmp_path], kept.sha256)


def test_code_in_a_file_is_never_run(tmp_path):
    trap = tmp_path / "trap"

    class Opens:
        def __reduce__(self):
            return Path.touch, (trap,)

    path = tmp_path / "hostile.npz"
    np.savez(path, about=np.array([Opens()]), statistics=np.ones((2, 1)), sources=np.arange(2))
    with pytest.raises(ValueError, match="no predictions that can be read"):
        read(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("statistics", "sources"),
    [
        (np.ones(3), np.arange(3)),
        (np.ones((3, 2)), np.arange(2)),
        (np.ones((0, 2)), np.arange(0)),
        (np.ones((2, 2)), np.array([{}, {}])),
    ],
    ids=["one axis", "other samples", "none", "objects"],
)
def test_what_does_not_fit_is_not_kept(tmp_path, statistics, sources):
    with pytest.raises(ValueError, match="predictions: statistics"):
        store(tmp_path, Predictions("a-b", "top1", "data", statistics, sources))
    assert not list(tmp_path.iterdir())
