"""Hundreds of broken and hostile files through every reader: one sentence each, and no harm.

The files of a library (`hostile_*.py`) have one worker process, as those of a run have. Memory is
the worker's high-water mark while a file is opened, beyond that of opening a sound one; time is the
processor's.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import tomllib
from pathlib import Path

import hostile_corpus
import pytest
from data_folders import refused

from int8gate.cli.init import begin
from int8gate.engine.worker import Worker

LIBRARY = {
    **dict.fromkeys(("keras", "h5", "keras2", "graph", "saved_model"), "tensorflow"),
    **dict.fromkeys(("program", "darknet"), "torch"),
}
SUFFIX = {"hostile_onnx": ".onnx", "hostile_tflite": ".tflite"}
MOST_SECONDS, MOST_BYTES = 10, 1_000_000_000
TIME_LIMIT_S = 60
LEAST = 200
QUICK = [
    (module, case)
    for module in hostile_corpus.MODULES
    for case in hostile_corpus.cases(module)
    if not case.startswith("more-")
]


@pytest.fixture(scope="module")
def workers():
    """By library, one for the others."""
    with contextlib.ExitStack() as stack:
        started = {name: stack.enter_context(Worker()) for name in {*LIBRARY.values(), "others"}}
        yield lambda module: started[LIBRARY.get(module.removeprefix("hostile_"), "others")]


def outside(root: Path) -> Path:
    """What no file may lead to: a folder, and a file whose time of access tells a reader."""
    folder = root / "outside"
    folder.mkdir()
    secret = folder / "secret"
    secret.write_bytes(b"secret" * 500)
    os.utime(secret, (0, time.time()))
    return folder


def faults(module: str, names: list[str], root: Path, worker: Worker) -> list[str]:
    """What is wrong with how each file was met, a line each."""
    forbidden, found = outside(root), []
    run = worker.run
    run(hostile_corpus.prepared, module, root / "sound", timeout_s=TIME_LIMIT_S)
    usual = run(hostile_corpus.prepared, module, root / "sound", timeout_s=TIME_LIMIT_S)
    for name in names:
        folder = root / name
        file = run(hostile_corpus.make, module, name, folder, timeout_s=TIME_LIMIT_S).value
        os.utime(forbidden / "secret", (0, time.time()))
        done = run(hostile_corpus.opened, module, file, timeout_s=TIME_LIMIT_S)
        extra = (done.peak_rss_bytes or 0) - (usual.peak_rss_bytes or 0)
        found += [f"{name}: {fault}" for fault in _faults(done.value, extra)]
        if [entry.name for entry in forbidden.iterdir()] != ["secret"]:
            found.append(f"{name}: wrote {os.listdir(forbidden)}")
        if (forbidden / "secret").stat().st_atime != 0:
            found.append(f"{name}: read a file outside of its folder")
    return found


def _faults(met: dict, extra: int) -> list[str]:
    said, found = met["said"], []
    if met["end"] == "leaked":
        found.append(f"failed in the words of a library: {said[:300]}")
    if met["end"] == "refused":
        if not said.isprintable() or len(said) > 600 or re.search(r"[.!?] [A-Z]", said):
            found.append(f"is not said in one sentence: {said[:600]!r}")
        if not re.search(r"model|tiny|labels|annotations|baseline|results|predictions|png", said):
            found.append(f"is refused without the name of a file: {said}")
    if met["end"] == "sound" and not said.isprintable():
        found.append(f"passes on what a line cannot hold: {said!r}")
    if met["seconds"] > MOST_SECONDS:
        found.append(f"took {met['seconds']:.1f} s")
    if extra > MOST_BYTES:
        found.append(f"took {extra / 1e6:.0f} MB")
    if met["started"]:
        found.append(f"started {met['started']}")
    return found


@pytest.mark.parametrize("module", hostile_corpus.MODULES)
def test_hostile_files(module, tmp_path, workers):
    quick = [case for owner, case in QUICK if owner == module]
    assert not faults(module, quick, tmp_path, workers(module))


@pytest.mark.heavy
@pytest.mark.parametrize("module", hostile_corpus.MODULES)
def test_more_damaged_files(module, tmp_path, workers):
    more = [case for case in hostile_corpus.cases(module) if case.startswith("more-")]
    assert not faults(module, more, tmp_path, workers(module))


def test_the_corpus_is_large():
    assert len(QUICK) >= LEAST
    assert len(QUICK) == len(set(QUICK))


def test_a_reader_of_the_forbidden_file_would_be_noticed(tmp_path):
    secret = outside(tmp_path) / "secret"
    secret.read_bytes()
    if secret.stat().st_atime == 0:
        pytest.skip("this file system keeps no times of access")


def test_what_the_corpus_would_do(tmp_path, workers):
    """Its pickles are no dummies: trusted, the command runs."""
    outside(tmp_path)
    asked = ("hostile_program", "samples-pickled", tmp_path / "samples-pickled")
    run = workers("hostile_program").run
    file = run(hostile_corpus.make, *asked, timeout_s=TIME_LIMIT_S).value
    run(hostile_corpus.opened_with_trust, file, timeout_s=TIME_LIMIT_S)
    assert (tmp_path / "outside" / "ran-samples-pickled").exists()


@pytest.mark.parametrize(
    "suffix",
    [".keras", ".h5"],
)
def test_code_runs_for_who_trusts_the_file(suffix, tmp_path, workers):
    """A Lambda layer of Keras: refused in a sentence that names the option, taken with it."""
    file, output = tmp_path / f"model{suffix}", tmp_path / "models.toml"
    worker = workers("hostile_keras")
    worker.run(hostile_corpus.write_lambda, file, timeout_s=TIME_LIMIT_S)
    refused(lambda: begin(file, output, worker), file.name, "--trust")
    assert "[models.model]" in begin(file, output, worker, trust=True)


def test_pickles_load_for_who_trusts_the_file(tmp_path, workers):
    """A program whose sample inputs are more than tensors."""
    worker, output = workers("hostile_program"), tmp_path / "models.toml"
    asked = ("hostile_program", "samples-computed", tmp_path / "samples-computed")
    file = worker.run(hostile_corpus.make, *asked, timeout_s=TIME_LIMIT_S).value
    refused(lambda: begin(file, output, worker), file.name, "--trust")
    assert "(1, 3, 16, 16)" in begin(file, output, worker, trust=True)


def test_large_weights_are_taken(tmp_path, workers):
    """Beyond the slack that is given to what a file does not store."""
    file = tmp_path / "large.keras"
    worker = workers("hostile_keras")
    worker.run(hostile_corpus.write_large, file, timeout_s=TIME_LIMIT_S)
    assert file.stat().st_size > 20_000_000
    assert "[models.large]" in begin(file, tmp_path / "models.toml", worker)


@pytest.mark.parametrize("module", ["hostile_onnx", "hostile_tflite"])
@pytest.mark.parametrize("case", ["named-path", "named-lines"])
def test_names_stay_names_in_the_declaration(module, case, tmp_path, workers):
    outside(tmp_path)
    worker, output = workers(module), tmp_path / "models.toml"
    asked = (hostile_corpus.make, module, case, tmp_path / case)
    begin(worker.run(*asked, timeout_s=TIME_LIMIT_S).value, output, worker)
    declared = tomllib.loads(output.read_text())
    assert list(declared["models"]) == ["model"]
    assert declared["models"]["model"]["file"] == f"{case}/model{SUFFIX[module]}"


@pytest.mark.heavy
@pytest.mark.parametrize("case", ["named-shell", "named-path", "named-lines"])
def test_names_reach_no_path_and_no_shell(case, tmp_path, workers):
    """Converters that call other programs are given names of the model's inputs and nodes."""
    worker, forbidden = workers("hostile_onnx"), outside(tmp_path)
    made = (hostile_corpus.make, "hostile_onnx", case, tmp_path / case)
    file = worker.run(*made, timeout_s=TIME_LIMIT_S).value
    worker.run(hostile_corpus.converted, file, tmp_path / "out", timeout_s=300)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "outside/secret",
        f"{case}/model.onnx",
        "out/imported/model.onnx",
        "out/made/model.tflite",
        "out/made/prepared.onnx",
    }
    assert os.listdir(forbidden) == ["secret"]
