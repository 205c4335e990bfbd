"""TensorRT's calibration cache: written as TensorRT does, read with the line of what is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from int8gate.quantizers.calibration.tensorrt_cache import read_cache, write_cache

ENDS = st.floats(0, 2.0**100, width=32)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1)
HEADER = "TRT-7000-EntropyCalibration2\n"


@given(table=st.dictionaries(NAMES, st.tuples(ENDS, ENDS)))
def test_writing_and_reading_leads_back(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("cache") / "calibration.cache"
    write_cache(path, {name: (-low, high) for name, (low, high) in table.items()})
    found = read_cache(path)
    assert list(found) == list(table)
    for name, size in found.items():
        assert size == pytest.approx(max(table[name]), rel=2**-23, abs=1e-42)


def test_the_text_is_that_of_tensorrt(tmp_path):
    path = tmp_path / "calibration.cache"
    write_cache(path, {"input": (-127.0, 5.0), "onnx::Conv_3: x": (0.0, 254.0)}, version="100900")
    assert path.read_text() == (
        "TRT-100900-EntropyCalibration2\ninput: 3f800000\nonnx::Conv_3: x: 40000000\n"
    )


def test_a_cache_of_tensorrts_own_is_read(tmp_path):
    path = tmp_path / "calibration.cache"  # of MNIST, from NVIDIA's sampleINT8
    path.write_text(
        HEADER + "data: 3c008912\n(Unnamed Layer* 4) [Shuffle]_output: 0\nprob: 3c010a14"
    )
    found = read_cache(path)
    assert found["prob"] == pytest.approx(0.00787594 * 127, rel=1e-5)
    assert found["data"] == pytest.approx(0.00784518 * 127, rel=1e-5)
    assert found["(Unnamed Layer* 4) [Shuffle]_output"] == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: expected TRT-<version>-<calibrator>, found ''"),
        ("input: 3c010a14\n", "line 1: expected TRT-<version>"),
        (HEADER + "a: 3c010a14\nb 3c010a14\n", "line 3: expected a tensor's name"),
        (HEADER + ": 3c010a14\n", "line 2: expected a tensor's name"),
        (HEADER + "a: 3c010a1g\n", "line 2: .* found 'a: 3c010a1g'"),
        (HEADER + "a: 3c010a140\n", "line 2: .* 8 hexadecimal digits"),
        (HEADER + "a:\n", "line 2: expected"),
        (HEADER + "a: 3c010a14\n\na: 3c010a14\n", "line 4: tensor 'a' stands twice"),
        (HEADER + "a: 7fc00000\n", "line 2: the scale 7fc00000 is nan"),
        (HEADER + "a: bc010a14\n", "line 2: the scale bc010a14 is -0.0"),
    ],
)
def test_broken_lines_are_named(tmp_path, text, complaint):
    path = tmp_path / "calibration.cache"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as refusal:
        read_cache(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("name", ["", "two\nlines", " padded", "a\x85b"])
def test_names_that_do_not_fit_a_line_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="does not fit a line"):
        write_cache(tmp_path / "calibration.cache", {name: (0.0, 1.0)})


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e39])
def test_ranges_that_are_not_float32_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="tensor 'a' has the range"):
        write_cache(tmp_path / "calibration.cache", {"a": (bad, bad)})


def test_a_version_of_other_characters_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected digits"):
        write_cache(tmp_path / "calibration.cache", {}, version="8.6")
