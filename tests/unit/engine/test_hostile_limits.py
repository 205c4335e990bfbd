"""What is counted and searched before a file is read: archives, memory, sizes of shapes, paths."""

from __future__ import annotations

import zipfile

import numpy as np
import onnx_files
import pytest
from data_folders import refused
from hypothesis import given
from hypothesis import strategies as st

from int8gate.engine import memory
from int8gate.model_zoo.weights import Weights
from int8gate.runtimes import archive, onnx_file
from int8gate.runtimes.program_archive import _is_arithmetic, check_graph

SIDES = st.lists(st.integers(0, 2**70), max_size=5)
EXPRESSIONS = st.recursive(
    st.integers(-(2**40), 2**40).map(lambda n: f"Integer({n})")
    | st.sampled_from(["s0", "s17", "Symbol('s0', positive=True, integer=True)"]),
    lambda inner: st.builds(
        "{}({}, {})".format, st.sampled_from(["Add", "Mul", "Max", "FloorDiv", "Mod"]), inner, inner
    ),
    max_leaves=8,
)


@given(SIDES, st.sampled_from([1, 2, 4, 8]))
def test_sizes_do_not_wrap(sides, itemsize):
    needed = memory.size_of(sides, itemsize)
    if needed > memory.LARGEST_TENSOR:
        refused(lambda: memory.check_tensor("model.x", "image", sides, itemsize), "model.x")
    else:
        memory.check_tensor("model.x", "image", sides, itemsize)
        assert needed == np.prod([float(side) for side in sides]) * itemsize


def test_free_sides_count_once():
    assert memory.size_of((None, -1, 3, 5), 4) == 60
    memory.check_tensor("model.x", "image", (None, 4096, 4096, 3), 4)


def test_an_allocation_beyond_the_limit_fails():
    with memory.at_most(2**27), pytest.raises(MemoryError):
        np.zeros(2**28, np.uint8)
    assert np.zeros(2**28, np.uint8).nbytes == 2**28, "the limit ends with the block"


def test_what_libraries_say_of_refused_memory():
    assert memory.was_refused(MemoryError())
    assert memory.was_refused(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert memory.was_refused(RuntimeError("std::bad_alloc"))
    assert not memory.was_refused(ValueError("the file is truncated"))


def packed(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def test_a_sound_archive_is_taken(tmp_path):
    members = {"config.json": b"{}", "a/b/weights.bin": bytes(1000), "..name": b"", "a..b/c": b""}
    found = archive.check(packed(tmp_path / "x.zip", members))
    assert [member.filename for member in found] == list(members)


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "..", "C:\\x", "a\\..\\..\\x", "\\\\server\\x"]
)
def test_members_that_lead_out(name, tmp_path):
    file = packed(tmp_path / "x.zip", {"inside": b"", name: b"x"})
    refused(lambda: archive.check(file), "x.zip", "leads out")


@given(st.integers(0, 10**13), st.integers(1, 10**10))
def test_the_ratio_of_archives(unpacked, packed_size):
    allowed = archive.MOST_UNPACKED + archive.MOST_RATIO * packed_size

    def check():
        archive.check_unpacked("x.zip", unpacked, packed_size)

    if unpacked > allowed:
        refused(check, "x.zip", "unpacks")
    else:
        check()


def test_weights_hardly_compress_and_are_taken(tmp_path):
    content = np.random.default_rng(0).normal(size=10**6).astype(np.float32).tobytes()
    archive.check(packed(tmp_path / "x.zip", {"w": content}, zipfile.ZIP_DEFLATED))


@given(EXPRESSIONS)
def test_arithmetic_of_sizes_is_taken(text):
    assert _is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        *("__import__('os')", "s0.__class__", "open('x')", "(lambda: 1)()", "[1][0]", "{1: 2}"),
        *("Pow(Integer(9), Integer(99))", "s0**s1", "9**9**9", "Symbol('x; y')", "f'{s0}'"),
        *("Symbol('__import__')", "Integer(" + "9" * 40 + ")", "exec('x')", "s0 if s1 else s2", ""),
        *("Add(*s0)", "(yield)", "eval", "s0 := 5", "LShift(Integer(1), Integer(10000))"),
    ],
)
def test_code_in_sizes_is_refused(text):
    names_alone = {"eval"}
    assert not _is_arithmetic(text) or text in names_alone, "a name alone calls nothing"


def test_a_graph_that_is_no_graph():
    for content in (b"[]", b"3", b'"x"'):
        refused(lambda content=content: check_graph("model.pt2: graph", content, "mend it"), "no")


@pytest.mark.parametrize("location", ["/dev/zero", "../../../../../../dev/zero", "../secret"])
def test_the_identity_of_a_file_does_not_follow_its_paths(location, tmp_path):
    """It is taken in pytest's own process, before any worker looks at the file."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret").write_bytes(b"1")
    model = onnx_files.cnn()
    tensor = model.graph.initializer[0]
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    file = home / "model.onnx"
    file.write_bytes(model.SerializeToString())
    before = Weights("own", file).identity
    (tmp_path / "secret").write_bytes(b"2")
    assert Weights("own", file).identity == before
    refused(lambda: onnx_file.files_of(file), "model.onnx", "outside")


def test_trust_does_not_change_the_identity(tmp_path):
    file = onnx_files.save(onnx_files.cnn(), tmp_path / "model.onnx")
    assert Weights("own", file).identity == Weights("own", file, trusted=True).identity
