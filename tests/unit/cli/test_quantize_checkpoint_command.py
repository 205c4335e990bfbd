"""`int8gate quantize-checkpoint`: what a user sees, and runs that end at any moment."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from filelock import FileLock
from language_checkpoints import LLAMA, Stopped, stop_at, write_raw
from typer.testing import CliRunner

from int8gate.cli.app import app
from int8gate.quantizers.out_of_core import quantized_checkpoint
from int8gate.quantizers.out_of_core.quantized_checkpoint import quantize_checkpoint
from int8gate.quantizers.recipe import RECIPES

RECIPE = RECIPES["onnx_weight_int4"]
BATCH, LENGTH = 3000, 8  # weights between two entries of the journal; tokens


def invoke(*arguments):
    return CliRunner().invoke(app, ["quantize-checkpoint", *map(str, arguments)])


def digests(directory) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.iterdir()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint") / "source"
    write_raw(LLAMA, directory, 3)
    return directory


@pytest.fixture(scope="module")
def half_done(source):
    """What a run leaves that was stopped after ten batches; its graph is built once."""
    output = source.parent / "half"
    with pytest.raises(Stopped):
        quantize_checkpoint(
            source, RECIPE, output, progress=stop_at(10), length=LENGTH, batch_values=BATCH
        )
    return output.with_name("half.partial")


@pytest.fixture
def partial(half_done, tmp_path):
    """A copy of it, for an output `tmp_path`/made."""
    shutil.copytree(half_done, tmp_path / "made.partial")
    return tmp_path / "made.partial"


@pytest.fixture(scope="module")
def expected(source, half_done):
    """The files of a run that nothing stopped."""
    shutil.copytree(half_done, source.parent / "whole.partial")
    quantize_checkpoint(source, RECIPE, source.parent / "whole", length=LENGTH, batch_values=BATCH)
    return digests(source.parent / "whole")


def test_the_command_writes_the_model_and_says_how_large_it_is(source, tmp_path, expected):
    output = tmp_path / "made"
    shown = invoke(source, "--output", output, "--length", LENGTH)
    assert shown.exit_code == 0, shown.output
    assert shown.output == f"{output}: 0.5 MB of 0.4 MB\n"
    assert digests(output) == expected, "the graph is the same in every run"
    again = invoke(source, "--output", output, "--length", LENGTH)
    assert again.exit_code == 2
    assert again.output == f"{output} exists already: remove it, or choose another --output\n"


def test_what_cannot_be_done_is_one_line(source, tmp_path):
    shutil.copytree(source, tmp_path / "source")
    (tmp_path / "source" / "model-00002-of-00003.safetensors").unlink()
    for arguments, sentence in (
        ((tmp_path / "source",), "model-00002-of-00003.safetensors is missing"),
        ((tmp_path / "absent",), "is no directory"),
        (
            (source, "--recipe", "onnx_weight_int5"),
            "did you mean onnx_weight_int8 or onnx_weight_int4",
        ),
        ((source, "--recipe", "tflite_int8"), "choose onnx_weight_int8 or onnx_weight_int4"),
    ):
        shown = invoke(*arguments, "--output", tmp_path / "made")
        assert shown.exit_code == 2
        assert sentence in shown.output
        assert shown.output.count("\n") == 1
    assert {each.name for each in tmp_path.iterdir()} == {"source"}


def test_the_same_call_goes_on(source, partial, expected):
    output = partial.with_name("made")
    with pytest.raises(Stopped):
        quantize_checkpoint(
            source, RECIPE, output, progress=stop_at(3), length=LENGTH, batch_values=BATCH
        )
    steps = []
    made = quantize_checkpoint(
        source, RECIPE, output, progress=steps.append, length=LENGTH, batch_values=BATCH
    )
    assert made.is_resumed
    assert digests(output) == expected
    assert not partial.exists()
    assert steps[0].done > 13 * BATCH


@pytest.mark.heavy
def test_another_recipe_begins_anew(source, partial):
    begun = (partial / "journal").read_text().splitlines()[0]
    output, recipe = partial.with_name("made"), RECIPES["onnx_weight_int8"]
    with pytest.raises(Stopped):
        quantize_checkpoint(
            source, recipe, output, progress=stop_at(2), length=LENGTH, batch_values=BATCH
        )
    lines = (partial / "journal").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0] != begun


@pytest.mark.heavy
@pytest.mark.parametrize("lost", ["plan.json", "journal"])
def test_a_lost_note_begins_anew(source, partial, expected, lost):
    (partial / lost).unlink()
    made = quantize_checkpoint(
        source, RECIPE, partial.with_name("made"), length=LENGTH, batch_values=BATCH
    )
    assert not made.is_resumed
    assert digests(made.directory) == expected


@pytest.mark.parametrize(("module", "call"), [("os", "rename"), ("shutil", "rmtree")])
def test_ended_between_the_last_steps(source, partial, expected, monkeypatch, module, call):
    def ended(*_, **__):
        raise Stopped

    output = partial.with_name("made")
    with monkeypatch.context() as patched:
        patched.setattr(getattr(quantized_checkpoint, module), call, ended)
        with pytest.raises(Stopped):
            quantize_checkpoint(source, RECIPE, output, length=LENGTH, batch_values=BATCH)
    assert output.exists() == (call == "rmtree")
    quantize_checkpoint(source, RECIPE, output, length=LENGTH, batch_values=BATCH)
    assert digests(output) == expected
    assert not partial.exists()


@pytest.mark.heavy
def test_a_plan_that_is_lost_when_all_was_written(source, partial, expected, monkeypatch):
    def ended(*_):
        raise Stopped

    output = partial.with_name("made")
    with monkeypatch.context() as patched:
        patched.setattr(quantized_checkpoint.os, "rename", ended)
        with pytest.raises(Stopped):
            quantize_checkpoint(source, RECIPE, output, length=LENGTH, batch_values=BATCH)
    (partial / "plan.json").unlink()
    quantize_checkpoint(source, RECIPE, output, length=LENGTH, batch_values=BATCH)
    assert digests(output) == expected


def test_two_runs_do_not_write_one_output(source, partial):
    with (
        FileLock(partial / "lock"),
        pytest.raises(ValueError, match="another run is writing"),
    ):
        quantize_checkpoint(
            source, RECIPE, partial.with_name("made"), length=LENGTH, batch_values=BATCH
        )


def begun_run(source, output) -> subprocess.Popen:
    """A process that writes a line after every batch, and takes its time."""
    code = f"""
    import sys, time
    from pathlib import Path
    from int8gate.quantizers.out_of_core.quantized_checkpoint import quantize_checkpoint
    from int8gate.quantizers.recipe import RECIPES
    def progress(step):
        print(step.done, flush=True)
        time.sleep(0.03)
    quantize_checkpoint(Path({str(source)!r}), RECIPES["onnx_weight_int4"], Path({str(output)!r}),
                        progress=progress, length={LENGTH}, batch_values={BATCH})
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_ten_random_moments_the_files_are_the_same(source, expected, tmp_path, seed):
    """While the graph is built, between batches and in the middle of them."""
    rng, output, killed = random.Random(seed), tmp_path / "made", 0
    for moment in range(10):
        with begun_run(source, output) as process:
            if moment < 3:
                time.sleep(rng.uniform(0, 8))
            else:
                for _ in range(rng.randint(1, 8)):
                    process.stdout.readline()
                time.sleep(rng.uniform(0, 0.06))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        assert not output.exists() or not output.with_name("made.partial").exists()
    assert killed >= 8, "most were killed before they were done"
    assert begun_run(source, output).wait() in (0, 1)
    assert digests(output) == expected
