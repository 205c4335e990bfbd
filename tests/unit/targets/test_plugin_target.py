"""A target is one module, also a user's: it is written into a folder, and its gates run."""

from __future__ import annotations

import subprocess
import sys

import pytest
import team_repository
from tiny_run import cases, counts, environment

from int8gate.engine.plugins import load_plugins
from int8gate.targets import registry

MODULE = '''
"""Two targets of a team: a compiler that models, and a board that measures."""

from dataclasses import dataclass

from int8gate.targets.registry import register
from int8gate.targets.target import MEASURED, MODELLED, Target


@dataclass(frozen=True)
class TeamNpu(Target):
    name: str
    kind: str
    latency_ms: float
    format = "onnx"
    packages = ("numpy",)

    def entry(self, model, core, directory, timeout_s):
        with open(__file__ + ".calls", "a") as calls:
            calls.write(self.name + "\\n")
        (directory / "flash.bin").write_bytes(model.read_bytes()[:8])
        return {
            "latency_ms": self.latency_ms,
            "npu_ops": 3,
            "cpu_ops": 0,
            "cpu_baseline": {"core": core, "kind": MODELLED, "best_ms": 8.0, "typical_ms": 9.0},
            "speedup": 8.0 / self.latency_ms,
            "compiled": "flash.bin",
        }


register(TeamNpu("team_npu", MODELLED, 1.0))
register(TeamNpu("team_board", MEASURED, 64.0))
'''
PLUGINS = 'plugins = ["team_targets"]\n'


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = team_repository.write(tmp_path_factory.mktemp("team"))
    (folder / "team_targets.py").write_text(MODULE)
    (folder / "models.toml").write_text(PLUGINS + team_repository.TABLE)
    return folder


def run(folder, *given: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "--zoo=models.toml", *given]
    command += ["-p", "no:cacheprovider", f"--artifact-cache={folder / 'cache'}"]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_users_target_is_gated_and_what_is_modelled_is_kept(team):
    asked = ["--target=team_npu", "--target=team_board", "-m", "npu_speedup"]
    asked += ["--recipe=onnx_int8", f"--report={team / 'report'}"]
    for _ in range(2):
        done = run(team, *asked)
        assert counts(done) == {"passed": 1, "failed": 1}, done.stdout + done.stderr
    entries = {
        entry["target"]: entry for entry in cases(team / "report")["gadget-onnx_int8"]["npu"]
    }
    npu, board = entries["team_npu"], entries["team_board"]
    assert (npu["kind"], npu["latency_ms"], npu["speedup"]) == ("modelled", 1.0, 8.0)
    assert npu["compiled"].endswith("flash.bin")
    assert (board["kind"], board["speedup"]) == ("measured", 0.125)
    assert "0.12x on team_board (measured): 64 ms" in done.stdout
    calls = (team / "team_targets.py.calls").read_text().split()
    assert sorted(calls) == ["team_board", "team_board", "team_npu"]


def test_other_names_are_refused_with_those_of_the_plugin(team):
    done = run(team, "--target=team_npus", "--collect-only")
    assert done.returncode != 0
    assert "did you mean team_npu" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ('["team_target"]', "there is no module of that name beside"),
        ('"team_targets"', "expected a list of names"),
        ('["broken"]', "broken cannot be loaded: ZeroDivisionError"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, listed, words):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "pyproject.toml").write_text(f"[tool.int8gate]\nplugins = {listed}\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ValueError, match=words) as error:
        load_plugins(tmp_path / "pyproject.toml")
    assert str(tmp_path / "pyproject.toml") in str(error.value)


def test_ours_are_found_by_their_files_and_names_are_taken_once():
    assert set(registry.targets()) >= {"ethos_u85_512", "qnn_htp"}
    assert registry.taking("tflite", (registry.HOST, "qnn_htp", "ethos_u85_512")) == [
        "ethos_u85_512"
    ]
    assert "ethos-u-vela" in registry.packages("tflite")
    assert "ethos-u-vela" not in registry.packages("onnx")

    class Other(type(registry.find("qnn_htp"))):
        pass

    with pytest.raises(ValueError, match="a target qnn_htp already"):
        registry.register(Other())
