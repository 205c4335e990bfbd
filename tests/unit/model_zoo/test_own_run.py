"""A repository of a team: its own models through the gates, as `pytest --zoo` starts them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import team_repository
from PIL import Image
from team_repository import TABLE
from tiny_run import ended, environment


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return team_repository.write(tmp_path_factory.mktemp("team"))


NOISE = "the calibration set is wrong"


def run(folder, *options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "--artifact-cache", str(folder / "cache"), *options]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


def test_the_gates_run_beside_the_teams_own_tests(repository):
    done = run(repository, "--zoo=models.toml", "--report=report")
    assert done.returncode == 0, done.stdout
    (case,) = json.loads((repository / "report" / "results.json").read_text())["cases"]
    assert (case["model"], case["recipe"], case["verdict"]) == ("gadget", "onnx_int8", "passed")
    assert case["accuracy"]["float"] > 0.8
    assert case["integer_ops"]["fraction"] == 1
    assert "6 passed" in done.stdout, "five gates and their own test"


def test_the_settings_of_the_repository_name_models(repository):
    settings = repository / "pyproject.toml"
    settings.write_text('[tool.int8gate]\nzoo = ["models.toml"]\n')
    try:
        collected = run(repository, "--collect-only", "-q").stdout
        assert "test_accuracy[gadget-onnx_int8]" in collected
        assert "test_own" in collected
        assert "gadget" not in run(repository, "test_own.py", "--collect-only", "-q").stdout
    finally:
        settings.unlink()


def test_without_models_nothing_is_added(repository):
    done = run(repository)
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    assert "= int8gate" not in done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"gadget.onnx"', '"gadgt.onnx"'), "did you mean gadget.onnx?"),
        (('task = "classification"', 'tusk = "classification"'), "did you mean task?"),
        (("range = [-1, 1]", 'recipes = ["onnx_int9"]'), "onnx_int9"),
        (("range = [-1, 1]", 'targets = ["ethos_u99"]'), "ethos_u99"),
        (("size_ratio = 0.9", "size_ration = 0.9"), "size_ration"),
    ],
)
def test_a_wrong_declaration_stops_the_run_in_a_sentence(repository, change, words):
    (repository / "wrong.toml").write_text(TABLE.replace(*change))
    done = run(repository, "--zoo=wrong.toml")
    assert done.returncode == 4
    assert "[models.gadget]" in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


CONTRADICTIONS = {
    "other_size": (("range = [-1, 1]", "size = [9, 9]"), "size = [9, 9] contradicts the file"),
    "two_means": (("range = [-1, 1]", "mean = [1, 2]"), "mean or std has 2 numbers"),
    "more_classes": (("range = [-1, 1]", "classes = 7"), "classes = 7 contradicts the file"),
    "no_data": (('data = "pictures"', ""), "data is missing"),
}


def test_what_contradicts_the_file_is_the_cases_error(repository):
    tables = [
        TABLE.replace(*change).replace("models.gadget", f"models.{name}")
        for name, (change, _) in CONTRADICTIONS.items()
    ]
    (repository / "wrong.toml").write_text("".join(tables))
    done = run(repository, "--zoo=wrong.toml", "-m", "accuracy")
    assert done.returncode == 1, done.stdout
    told = dict(re.findall(r"^error: (\w+)-onnx_int8: (.*)", done.stdout, re.MULTILINE))
    for name, (_, words) in CONTRADICTIONS.items():
        assert f"[models.{name}]" in told[name]
        assert words in told[name]


def test_noise_for_pictures_proves_nothing(repository):
    """Calibrated on it, the model may still score: the run must not end in a plain pass."""
    pictures = repository / "noisy"
    shutil.copytree(repository / "pictures", pictures / "evaluation")
    side = Image.open(next((repository / "pictures").rglob("*.png"))).size[0]
    for number in range(200):
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        folder = pictures / "calibration" / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / f"{number}.png")
    (repository / "noisy.toml").write_text(TABLE.replace('"pictures"', '"noisy"'))
    done = run(repository, "--zoo=noisy.toml", "--report=noisy_report", "-m", "accuracy")
    assert done.returncode == 1, done.stdout
    assert NOISE in done.stdout
    (case,) = json.loads((repository / "noisy_report" / "results.json").read_text())["cases"]
    assert case["verdict"] == "invalid"
    assert "random_noise" in {finding["kind"] for finding in case["calibration_audit"]}


def test_pictures_without_labels_are_judged_by_fidelity(repository):
    pictures = repository / "unlabelled"
    pictures.mkdir()
    for file in (repository / "pictures").rglob("*.png"):
        shutil.copyfile(file, pictures / f"{file.parent.name}_{file.name}")
    (repository / "unlabelled.toml").write_text(TABLE.replace('"pictures"', '"unlabelled"'))
    done = run(repository, "--zoo=unlabelled.toml", "--report=fidelity", "-m", "accuracy")
    assert done.returncode == 0, done.stdout
    (case,) = json.loads((repository / "fidelity" / "results.json").read_text())["cases"]
    assert case["accuracy"] is None
    assert case["fidelity"]["agreement"] > 0.97
    assert any("judged by fidelity" in note for note in case["notes"])


HOOKS = """
import numpy as np
from int8gate.validation.metrics.registry import METRICS


def prepare(pictures):
    return pictures / np.float32(127.5) - 1


def decode(outputs, network):
    return outputs[0]


METRIC = METRICS["top1"]
"""


def test_hooks_stand_beside_the_declaration(repository):
    (repository / "own_hooks.py").write_text(HOOKS)
    lines = ("preprocess:prepare", "decode:decode", "metric:METRIC")
    hooks = "".join(f'{key} = "own_hooks:{name}"\n' for key, name in (x.split(":") for x in lines))
    (repository / "hooked.toml").write_text(TABLE + hooks)
    done = run(repository, "--zoo=hooked.toml", "--report=hooked", "-m", "accuracy or io_dtype")
    assert done.returncode == 0, done.stdout
    (case,) = json.loads((repository / "hooked" / "results.json").read_text())["cases"]
    assert case["accuracy"]["float"] > 0.8
    assert case["gates"]["io_dtype"] == "passed"
    (repository / "own_hooks.py").write_text(HOOKS.replace("outputs[0]", "-outputs[0]"))
    changed = run(repository, "--zoo=hooked.toml", "-m", "accuracy")
    assert changed.returncode == 1, "the hook's code is part of what is cached"


@pytest.mark.heavy  # by default: test_run_verdicts.py, test_github_example.py
def test_a_regression_from_the_baseline_fails(repository):
    recorded = run(repository, "--zoo=models.toml", "--update-baseline")
    assert recorded.returncode == 0, recorded.stdout
    baseline = repository / "int8gate-baseline.toml"
    assert "gadget-onnx_int8" in baseline.read_text()
    again = run(repository, "--zoo=models.toml", "--baseline=int8gate-baseline.toml")
    assert again.returncode == 0, again.stdout
    assert "no regression" in again.stdout
    content = baseline.read_text()
    size = re.search(r"quantized = (\d+)\n", content[content.index("size") :])[1]
    baseline.write_text(content.replace(f"quantized = {size}", f"quantized = {int(size) // 2}"))
    worse = run(repository, "--zoo=models.toml", "--baseline=int8gate-baseline.toml")
    assert worse.returncode == 1, worse.stdout
    assert "REGRESSED" in worse.stdout


def test_an_exception_holds_until_its_day(repository):
    tables = []
    for name, year in {"past": 2020, "to_come": 9999}.items():
        known = f'{{ reason = "metadata weighs most", expires = {year}-01-31 }}'
        expect = f"expect = {{ size_ratio = 0.0001, unsupported = {{ size = {known} }} }}"
        table = TABLE.replace("models.gadget", f"models.{name}").splitlines()
        tables += [expect if line.startswith("expect") else line for line in table]
    (repository / "known.toml").write_text("\n".join(tables))
    done = run(repository, "--zoo=known.toml", "-m", "size", "-rA")
    assert done.returncode == 1, done.stdout
    assert ended("FAILED", done.stdout) == ["known.toml::test_size[past-onnx_int8]"]
    assert re.search(r"= 1 failed, \d+ deselected, 1 xfailed in", done.stdout), done.stdout
    assert "expired on 2020-01-31" in " ".join(done.stdout.split())
    assert "expired on 9999" not in " ".join(done.stdout.split())


@pytest.mark.heavy  # by default: test_run_verdicts.py, and tests of the two commands
def test_saved_runs_are_a_history_and_a_gate(repository):
    saved = run(repository, "--zoo=models.toml", "--benchmark-autosave")
    assert saved.returncode == 0, saved.stdout
    limits = "--gate-compare-fail=accuracy:0.5%,size:1%"
    again = run(repository, "--zoo=models.toml", "--benchmark-autosave", limits)
    assert again.returncode == 0, again.stdout
    assert re.search(r"0001 .*→ this run: ", again.stdout), again.stdout
    shown = int8gate(repository, "history", "gadget-onnx_int8")
    assert shown.returncode == 0, shown.stderr
    assert "0001" in shown.stdout
    assert "0002" in shown.stdout
    compared = int8gate(repository, "compare", "0001", "latest", "--fail", "accuracy:0%,size:0%")
    assert compared.returncode == 0, compared.stdout + compared.stderr
    wrong = run(repository, "--zoo=models.toml", "--gate-compare-fail=acuracy:1%")
    assert wrong.returncode == 4
    assert "did you mean accuracy?" in wrong.stderr


def int8gate(folder, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "int8gate.cli.app", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120
    )
