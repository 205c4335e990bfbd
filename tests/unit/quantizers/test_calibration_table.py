"""The file of statistics, what becomes of a damaged one, and the rows of the report."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.quantizers.calibration.statistics import TensorStatistics
from int8gate.quantizers.calibration.table import merge_tables, read_table, summary, write_table
from int8gate.quantizers.calibration.thresholds import percentile, ranges

NAMES = st.text(max_size=8)  # any characters, NUL and lone surrogates among them
VALUES = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9)
TABLES = st.dictionaries(NAMES, VALUES, max_size=5)


def of(values, **options) -> TensorStatistics:
    stats = TensorStatistics()
    stats.update(np.asarray(values, np.float32), **options)
    return stats


def contents(table) -> dict:
    return {
        name: {part: array.tolist() for part, array in stats.to_arrays().items()}
        for name, stats in table.items()
    }


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    return {
        "input": of(random.random((1, 3, 8, 8)), channel_axis=1),
        "/conv/Relu: 0": of(np.maximum(random.standard_normal((1, 8, 8, 4)), 0)),
        "mask": of([-3e38, -3e38]),
        "zeros": of(np.zeros((1, 2, 3)), channel_axis=1),
    }


@given(values=TABLES)
def test_writing_and_reading_leads_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("table") / "statistics.npz"
    table = {name: of(numbers) for name, numbers in values.items()}
    write_table(path, table)
    found = read_table(path)
    assert list(found) == list(table)
    assert contents(found) == contents(table)


def test_the_same_statistics_give_the_same_bytes(tmp_path, table):
    one, other = tmp_path / "a.npz", tmp_path / "b.npz"
    write_table(one, table)
    write_table(other, read_table(one))
    assert one.read_bytes() == other.read_bytes()


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path, table):
    path = tmp_path / "statistics.npz"
    write_table(path, {})
    write_table(path, table)
    assert contents(read_table(path)) == contents(table)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_failed_writing_leaves_nothing(tmp_path, table):
    path = tmp_path / "statistics.npz"
    path.mkdir()
    with pytest.raises(OSError, match=path.name):
        write_table(path, table)
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("table") / "statistics.npz"
    table = {"a": of([1, 2, 3]), "b": of([-1.0, 0.5])}
    write_table(path, table)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        damaged = whole[:place]
    else:
        damaged = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))])
        damaged += whole[place + 1 :]
    path.write_bytes(damaged)
    found, complaint = outcome(path)
    if found is None:
        assert complaint.startswith(str(path))
        assert complaint.endswith("delete it and calibrate again")
    else:  # a byte that tells nothing, such as a date
        assert contents(found) == contents(table)


def outcome(path) -> tuple[dict | None, str]:
    try:
        return read_table(path), ""
    except ValueError as error:
        return None, str(error)


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a readable table"),
        (b"weights", "not a readable table"),
        (saved(weights=np.zeros(3)), "'format'"),
        (saved(format=np.array([1])), "'names'"),
        (saved(format=np.array([99])), "in format 99, this version reads format 1"),
        (saved(format=np.array(["x"])), "not a readable table"),
        (saved(format=np.array([None])), "not a readable table"),
    ],
)
def test_other_files_are_refused(tmp_path, content, complaint):
    path = tmp_path / "statistics.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=complaint) as refusal:
        read_table(path)
    assert str(path) in str(refusal.value)


def test_arrays_that_do_not_fit_the_names_are_refused(tmp_path, table):
    path = tmp_path / "statistics.npz"
    write_table(path, table)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["names"] = np.frombuffer(json.dumps(["one"]).encode(), np.uint8)
    path.write_bytes(saved(**arrays))
    with pytest.raises(ValueError, match="does not fit its 1 tensors"):
        read_table(path)


def test_an_absent_file_is_absent(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.npz")


@given(TABLES, TABLES)
def test_merged_tables_hold_every_tensor(one, other):
    tables = [{name: of(values) for name, values in part.items()} for part in (one, other)]
    before = [contents(table) for table in tables]
    merged = merge_tables(*tables)
    assert list(merged) == list(dict.fromkeys([*one, *other]))
    for name, stats in merged.items():
        expected = TensorStatistics()
        for values in (one.get(name), other.get(name)):
            if values:
                expected.update(np.float32(values))
        assert contents({name: stats}) == contents({name: expected})
    assert [contents(table) for table in tables] == before


def test_tables_that_do_not_match_are_refused_by_name():
    shapes = ((1, 3, 2), (1, 4, 2))
    tables = [{"/conv": of(np.ones(shape), channel_axis=1)} for shape in shapes]
    with pytest.raises(ValueError, match="tensor '/conv' has 4 channels, and had 3 before"):
        merge_tables(*tables)


def test_rows_of_the_report(table):
    chosen = {"input": (0.0, 0.5), "zeros": (0.0, 1.0)}
    rows = {row["name"]: row for row in json.loads(json.dumps(summary(table, chosen)))}
    assert list(rows) == list(table)
    values = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32)
    first = rows["input"]
    assert first["count"] == 192
    assert (first["minimum"], first["maximum"]) == (values.min(), values.max())
    assert first["mean"] == pytest.approx(values.mean(), rel=1e-6)
    assert first["std"] == pytest.approx(values.std(), rel=1e-6)
    assert (first["channels"], first["dead_channels"], first["zeros"]) == (3, 0, 0)
    assert first["saturation"] == pytest.approx((values > 0.5).mean(), abs=0.01)
    assert first["percentile_99.9"] == pytest.approx(values.max(), abs=0.001)
    assert rows["/conv/Relu: 0"]["zeros"] == pytest.approx(0.5, abs=0.1)
    assert "saturation" not in rows["/conv/Relu: 0"]
    assert rows["mask"] == {"name": "mask", "count": 0, "masked": 2}
    assert (rows["zeros"]["dead_channels"], rows["zeros"]["levels_used"]) == (2, 1)
    assert rows["zeros"]["sqnr_db"] is None


def test_the_outlier_shows_in_its_row():
    values = np.append(np.random.default_rng(1).random(50_000), [500.0])
    table = {"a": of(values)}
    (row,) = summary(table, ranges(table, "min_max"))
    assert row["outlier_ratio"] > 100
    assert row["levels_used"] <= 4
    (clipped,) = summary(table, {"a": percentile(table["a"], 99.99)})
    assert clipped["saturation"] == pytest.approx(1 / 50_001)
    assert clipped["levels_used"] > 240
