"""The data file: blocks in slices, the journal, and runs that are killed."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_checkpoints import LLAMA, Stopped, stop_at, write_raw

from int8gate.quantizers.out_of_core import data_writer
from int8gate.quantizers.out_of_core.checkpoint import Tensor, open_checkpoint
from int8gate.quantizers.out_of_core.data_plan import ALIGNMENT, DataPlan, plan_data
from int8gate.quantizers.out_of_core.data_writer import Journal, write_data
from int8gate.quantizers.recipe import RECIPES
from int8gate.quantizers.toolchains.onnx.weight_only import quantize_rows

SMALL = LLAMA | {"num_hidden_layers": 1}
RECIPE = RECIPES["onnx_weight_int4"]


def graph_of(shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """Every matrix of the checkpoint in a product, the embedding in a Gather, norms in a Mul."""
    nodes, constants = [], []
    for name, shape in shapes.items():
        tensor = onnx.TensorProto(name=name, data_type=1, dims=shape, data_location=1)
        tensor.external_data.add(key="location", value="nowhere")
        constants.append(tensor)
        if len(shape) == 1:
            nodes.append(onnx.helper.make_node("Mul", ["x", name], [f"{name}_y"], f"{name}_node"))
            continue
        if "embed" in name:
            nodes.append(onnx.helper.make_node("Gather", [name, "ids"], ["e"], "embedding"))
        nodes.append(onnx.helper.make_node("Transpose", [name], [f"{name}_t"], f"{name}_turned"))
        product = onnx.helper.make_node("MatMul", ["x", f"{name}_t"], [f"{name}_y"], f"{name}_node")
        nodes.append(product)
    graph = onnx.helper.make_graph(nodes, "g", [], [], constants)
    return onnx.helper.make_model(graph)


def planned(directory, batch_values=4000) -> tuple[DataPlan, dict[str, Tensor]]:
    checkpoint = open_checkpoint(directory)
    shapes = {name: tensor.shape for name, tensor in checkpoint.tensors.items()}
    plan = plan_data(graph_of(shapes), checkpoint, RECIPE, "model.onnx.data", batch_values)
    return plan, checkpoint.tensors


def run(directory, place, progress=lambda progress: None, is_new=True) -> str:
    """Writes `place`/data; returns its SHA-256."""
    plan, tensors = planned(directory)
    journal = Journal(place / "journal")
    if is_new:
        journal.begin("run")
    write_data(plan, tensors, place / "data", journal, progress)
    return sha256(place)


def sha256(place) -> str:
    return hashlib.sha256((place / "data").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("source")
    write_raw(SMALL, directory, 3)
    return directory


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory) -> str:
    return run(source, tmp_path_factory.mktemp("whole"))


@given(
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 130),
    bits=st.sampled_from([4, 8]),
    block=st.sampled_from([16, 32, 64]),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_blocks_of_slices_are_those_of_the_whole(outputs, inputs, bits, block, cuts, seed):
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((outputs, inputs)) * rng.lognormal()).astype(np.float32)
    edges = sorted({0, outputs, *(min(cut, outputs) for cut in cuts)})
    parts = [
        quantize_rows(weights[first:last], bits, block) for first, last in itertools.pairwise(edges)
    ]
    for whole, *slices in zip(quantize_rows(weights, bits, block), *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(slices), whole)


@given(batch_values=st.integers(1, 50_000))
@settings(max_examples=20, deadline=None)
def test_a_plan_covers_every_row_once_in_places_that_do_not_overlap(source, batch_values):
    plan, tensors = planned(source, batch_values)
    assert {entry.source for entry in plan.entries} == set(tensors)
    seen = {position: [] for position in range(len(plan.entries))}
    for batch in plan.batches:
        for unit in batch:
            seen[unit.entry].append((unit.first, unit.last))
    for position, parts in seen.items():
        assert parts[0][0] == 0
        assert parts[-1][1] == plan.entries[position].rows
        assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
    places = sorted(
        (place.offset, place.nbytes) for entry in plan.entries for place in entry.places
    )
    assert all(offset % ALIGNMENT == 0 for offset, _ in places)
    ends = [offset + size for offset, size in places]
    assert all(end <= start for end, (start, _) in zip(ends, places[1:], strict=False))
    assert ends[-1] == plan.nbytes
    assert DataPlan.from_json(plan.as_json()) == plan


def test_tied_weights_are_gathered_in_16_bits_and_multiplied_in_blocks(source, tmp_path):
    plan, tensors = planned(source)
    run(source, tmp_path)
    content = (tmp_path / "data").read_bytes()
    tied = [entry for entry in plan.entries if "embed" in entry.source]
    assert {entry.form for entry in tied} == {"as stored", "blocks"}
    for entry in plan.entries:
        tensor = tensors[entry.source]
        values = tensor.float_rows(0, tensor.rows)
        arrays = {
            "blocks": lambda values=values: quantize_rows(values, 4, 32),
            "as stored": lambda tensor=tensor: (tensor.raw_rows(0, tensor.rows),),
            "float32": lambda values=values: (values,),
        }[entry.form]()
        for place, array in zip(entry.places, arrays, strict=True):
            stored = content[place.offset : place.offset + place.nbytes]
            assert stored == array.tobytes(), (entry.source, place.name)


def test_a_product_that_is_not_recognized_is_an_error(source):
    """It would be stored in float32 without a word."""
    checkpoint = open_checkpoint(source)
    model = graph_of({name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    for node in model.graph.node:
        if node.op_type == "MatMul" and "up_proj" in node.name:
            node.op_type = "Gemm"
    with pytest.raises(RuntimeError, match="is read by no MatMul"):
        plan_data(model, checkpoint, RECIPE, "model.onnx.data")


def test_progress_ends_at_the_whole_and_says_how_long_to_go(source, tmp_path):
    steps = []
    run(source, tmp_path, steps.append)
    assert len(steps) >= 8
    assert steps[-1].done == steps[-1].total
    assert all(one.done < other.done for one, other in itertools.pairwise(steps))
    assert steps[0].seconds_left > 0
    assert steps[-1].seconds_left == 0


def half_done(source, place) -> None:
    with pytest.raises(Stopped):
        run(source, place, stop_at(5))


def test_a_stopped_run_goes_on_where_it_was(source, expected, tmp_path):
    half_done(source, tmp_path)
    steps = []
    assert run(source, tmp_path, steps.append, is_new=False) == expected
    plan, _ = planned(source)
    assert len(steps) == len(plan.batches) - 5


@pytest.mark.parametrize("cut", [1, 3, 40])
def test_a_journal_whose_last_line_is_torn(source, expected, tmp_path, cut):
    half_done(source, tmp_path)
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes()[:-cut])
    steps = []
    assert run(source, tmp_path, steps.append, is_new=False) == expected
    plan, _ = planned(source)
    assert len(steps) == len(plan.batches) - 4
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sorted(line["batch"] for line in lines[1:]) == list(range(len(plan.batches)))


def test_bytes_that_are_not_what_the_journal_says_are_written_again(source, expected, tmp_path):
    half_done(source, tmp_path)
    with open(tmp_path / "data", "r+b") as file:
        file.write(b"\xff" * 10)
    steps = []
    assert run(source, tmp_path, steps.append, is_new=False) == expected
    plan, _ = planned(source)
    assert len(steps) == len(plan.batches) - 4


def test_a_data_file_that_is_gone_is_written_again(source, expected, tmp_path):
    half_done(source, tmp_path)
    (tmp_path / "data").unlink()
    assert run(source, tmp_path, is_new=False) == expected


def test_the_journal_speaks_only_of_bytes_that_are_durable(source, tmp_path, monkeypatch):
    """In the order of the system's calls: bytes, fdatasync, a line, fsync."""
    calls = []
    for name in ("pwrite", "fdatasync", "fsync"):
        real = getattr(os, name)

        def recorded(*arguments, name=name, real=real):
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(data_writer.os, name, recorded)
    plan, _ = planned(source)
    run(source, tmp_path)
    words = "".join({"pwrite": "w", "fdatasync": "d", "fsync": "f"}[call] for call in calls)
    begin, *batches = words.split("d")
    assert begin == "ff" + "w" * begin.count("w")
    assert len(batches) == len(plan.batches)
    assert all(batch.startswith("f") and "f" not in batch[1:] for batch in batches[:-1])
    assert batches[-1] == "ff"


def test_a_full_disk_is_one_sentence(source, tmp_path):
    """A limit of the system's on the size of files, in a process of its own."""
    code = f"""
    import resource, sys
    sys.path += {sys.path!r}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    from pathlib import Path
    from test_checkpoint_data import run
    try:
        run(Path({str(source)!r}), Path({str(tmp_path)!r}))
    except ValueError as error:
        print(error)
    """
    assert errno.EFBIG in data_writer.NO_SPACE
    shown = python(code)
    assert shown.returncode == 0, shown.stderr
    (line,) = shown.stdout.splitlines()
    assert line.startswith(f"{tmp_path} has no room for 0.00 GB of weights")
    assert "File too large" in line


def python(code: str, **settings) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__)])}
    # -B: Python 3.11 puts a module's bytecode in its place though a limit has cut it short.
    command = [sys.executable, "-B", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, **settings)


def killed_after(source, place, batches: int, is_new: bool) -> None:
    code = f"""
    import os, signal, sys
    sys.path += {sys.path!r}
    from pathlib import Path
    from test_checkpoint_data import run
    steps = []
    def progress(step):
        steps.append(step)
        if len(steps) == {batches}:
            os.kill(os.getpid(), signal.SIGKILL)
    run(Path({str(source)!r}), Path({str(place)!r}), progress, {is_new})
    """
    assert python(code).returncode == -signal.SIGKILL


def test_killed_twice_the_file_is_the_same(source, expected, tmp_path):
    killed_after(source, tmp_path, 3, is_new=True)
    assert sha256(tmp_path) != expected
    killed_after(source, tmp_path, 2, is_new=False)
    assert sha256(tmp_path) != expected
    steps = []
    assert run(source, tmp_path, steps.append, is_new=False) == expected
    plan, _ = planned(source)
    assert len(steps) == len(plan.batches) - 5
