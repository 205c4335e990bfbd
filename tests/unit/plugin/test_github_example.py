"""The workflow that teams copy: its commands, run in a team's repository as GitHub runs them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import team_repository
import yaml
from tiny_run import ROOT, environment

EXAMPLE = ROOT / "examples" / "github_actions.yml"
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")  # as GitHub starts a step


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """What the steps run, by their names."""
    (job,) = yaml.safe_load(EXAMPLE.read_text())["jobs"].values()
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    folder = team_repository.write(tmp_path_factory.mktemp("team"))
    done = step(folder, "pytest --zoo models.toml --update-baseline")
    assert done.returncode == 0, done.stdout
    return folder


def step(repository: Path, command: str) -> subprocess.CompletedProcess:
    beside = Path(sys.executable).parent  # where an installation puts pytest and int8gate
    own = {"XDG_CACHE_HOME": str(repository / "home"), "GITHUB_STEP_SUMMARY": "summary.md"}
    own |= {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(repository)}
    variables = environment() | own | {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [*SHELL, command],
        cwd=repository,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_pull_request_that_changes_nothing(repository, commands):
    for name in ("Gate", "Compare"):
        done = step(repository, commands[name])
        assert done.returncode == 0, done.stdout + done.stderr
        assert "::error" not in done.stdout
    assert "int8gate-baseline.toml → report" in (repository / "comparison.md").read_text()
    summary = (repository / "summary.md").read_text()
    assert "the same" in summary
    assert "gadget-onnx_int8" in summary
    assert summary.startswith("# int8gate report"), "the tool writes it by itself"
    facts = json.loads((repository / "artifacts" / "gadget-onnx_int8.json").read_text())
    shipped = repository / "artifacts" / facts["file"]
    assert hashlib.sha256(shipped.read_bytes()).hexdigest() == facts["sha256"]
    assert facts["verdict"] == "passed"


def test_a_regression_is_red_and_in_the_comment(repository, commands):
    baseline = repository / "int8gate-baseline.toml"
    accepted = baseline.read_text()
    smaller = [
        "quantized = 1000" if line.startswith("quantized = ") and int_of(line) else line
        for line in accepted.splitlines()
    ]
    baseline.write_text("\n".join(smaller))
    try:
        gated = step(repository, commands["Gate"])
        assert gated.returncode == 1
        assert step(repository, commands["Compare"]).returncode == 0
    finally:
        baseline.write_text(accepted)
    (note,) = re.findall(r"^::error .*", gated.stdout, re.MULTILINE)
    assert note.startswith("::error title=gadget-onnx_int8%3A regressed::")
    assert not list((repository / "artifacts").glob("*")), "what got worse may not ship"
    comment = (repository / "comparison.md").read_text()
    assert "1 worse" in comment
    assert "| gadget-onnx_int8 | size |" in comment


def test_a_case_that_fails_is_noted_beside_its_table(repository):
    zoo = (repository / "models.toml").read_text()
    (repository / "hopeless.toml").write_text(
        "# first\n" + zoo.replace("size_ratio = 0.9", "size_ratio = 0.001")
    )
    done = step(
        repository,
        "pytest --zoo hopeless.toml --int8-case 'gadget-*' -m size --artifacts=artifacts",
    )
    assert done.returncode == 1
    (note,) = re.findall(r"^::error .*", done.stdout, re.MULTILINE)
    assert note.startswith(
        "::error file=hopeless.toml,line=3,title=gadget-onnx_int8%3A failed::size: "
    )
    assert "%0Aallowed: at most 0.00%0A" in note
    assert not (repository / "artifacts" / "gadget-onnx_int8.onnx").exists()


@pytest.mark.parametrize(
    "file", [EXAMPLE, ROOT / ".github" / "workflows" / "ci.yml"], ids=["example", "ours"]
)
def test_the_default_branch_makes_the_caches(file):
    """A pull request reads those of its base branch alone."""
    workflow = yaml.safe_load(file.read_text())
    assert workflow[True]["push"] == {"branches": ["main"]}, "YAML 1.1 reads `on` as true"
    used = re.findall(r"uses: actions/([\w-]+)@v(\d+)", file.read_text())
    of_node_24 = {"checkout": 5, "setup-python": 6, "cache": 5, "upload-artifact": 6}
    assert {name for name, _ in used} == set(of_node_24)
    assert all(int(major) >= of_node_24[name] for name, major in used)
    assert "path: artifacts/" in file.read_text()


def test_a_smaller_file_of_a_case_that_fails_is_not_to_be_recorded(repository):
    baseline = (repository / "int8gate-baseline.toml").read_text()
    sizes = [line for line in baseline.splitlines() if line.startswith("quantized = ")]
    larger = next(line for line in sizes if int_of(line))
    (repository / "larger.toml").write_text(baseline.replace(larger, "quantized = 10_000_000"))
    zoo = (repository / "models.toml").read_text()
    (repository / "strict.toml").write_text(zoo.replace("0.9 * float", "1.5 * float"))
    passing, failing = (
        step(repository, f"pytest --zoo {name}.toml --baseline=larger.toml")
        for name in ("models", "strict")
    )
    assert "better than the baseline: gadget-onnx_int8" in passing.stdout
    assert (passing.returncode, failing.returncode) == (0, 1)
    assert "better than the baseline" not in failing.stdout


def int_of(line: str) -> bool:
    """A size in bytes, not a score."""
    return line.rpartition(" ")[2].replace("_", "").isdigit()
