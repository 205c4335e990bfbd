"""`results.json` as a run goes on holds what was put last, whatever was put before."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from int8gate.reporting import ReportError, ResultsFile, write_results

NUMBERS = st.floats() | st.integers()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(["calibration", "gates", "notes", "io"]), VALUES)


def finite(value):
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_read(value):
    """As UTF-8 leaves it: half a surrogate pair is escaped."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), FIELDS), max_size=8), FIELDS)
def test_file_holds_what_was_put_last_in_the_order_of_the_names(puts, about):
    with TemporaryDirectory() as folder:
        file, last = ResultsFile(Path(folder)), {}
        file.write({"schema": 1, "environment": about, "cases": []})
        for model, fields in puts:
            last[model] = {"model": model, "recipe": "r"} | fields
            file.put(last[model])
            file.write({"schema": 1, "environment": about, "cases": []})
        found = json.loads(file.path.read_text(encoding="utf-8"))
        cases = [last[model] for model in sorted(last)]
        assert found == as_read(finite({"schema": 1, "environment": about, "cases": cases}))
        written = write_results({"schema": 1, "environment": about, "cases": cases}, Path(folder))
        assert finite(written) == written
        assert json.loads(file.path.read_text(encoding="utf-8")) == found


def test_a_field_that_is_given_anew_takes_the_place_of_the_old_one(tmp_path):
    """Also the long one whose text is kept while it stays the same object."""
    file = ResultsFile(tmp_path)
    case = {"model": "m", "recipe": "r", "calibration": {"tensors": [{"name": "x"}]}, "notes": []}
    file.put(case)
    case["calibration"] = {"tensors": [{"name": "y"}]}
    case["notes"].append("told later")
    file.put(case)
    file.write({"cases": []})
    assert json.loads(file.path.read_text())["cases"] == [case]
    file.put(case | {"calibration": None})
    file.write({"cases": []})
    assert json.loads(file.path.read_text())["cases"] == [case | {"calibration": None}]


def test_a_row_of_a_long_table_is_one_line(tmp_path):
    rows = [{"name": f"tensor{number}", "low": -1.0, "high": 1.0} for number in range(3)]
    case = {"model": "m", "recipe": "r", "calibration": {"method": "minmax", "tensors": rows}}
    write_results({"cases": [case]}, tmp_path)
    lines = (tmp_path / "results.json").read_text().splitlines()
    told = [line.strip().removesuffix(",") for line in lines]
    assert all(json.dumps(row) in told for row in rows)


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(tmp_path):
    (tmp_path / "report").write_text("a file")
    file = ResultsFile(tmp_path / "report")
    with pytest.raises(ReportError, match="give --report a directory that you can write"):
        file.write({"cases": []})
