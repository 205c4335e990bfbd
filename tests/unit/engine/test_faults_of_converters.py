"""A process that dies, hangs or eats memory in any stage costs its case, and nothing else.

Whole runs of a team's repository. Each case but the healthy ones has a fault of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny_models
from faults import FAULTS, MEMORY_LIMIT_GB, STAGES_OF_A_GATE, STAGES_OF_ALL_GATES, TIME_LIMIT_S
from faults_project import Repository

LIMITS = (f"--stage-timeout={TIME_LIMIT_S}", f"--memory-limit={MEMORY_LIMIT_GB}")
ONCE_EACH = [
    ("export_onnx", "segfault"),
    ("findings", "memory"),
]  # a hang takes its time limit: it stands in the heavy tests, with all the others
OF_ONNX = [stage for stage in (*STAGES_OF_ALL_GATES, *STAGES_OF_A_GATE) if stage != "entry"]
COMPILED = """
[models.{name}]
file = "int8.tflite"
task = "classification"
data = "pictures"
expect = {{ npu_speedup = 0.01 }}
"""


def check(
    repository: Repository, faults: dict[str, tuple[str, str]], healthy: str, *options: str
) -> None:
    """A run in which every case but the healthy one is struck."""
    run = repository.run(*LIMITS, *options, faults=faults)
    assert run.code == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    assert "INTERNALERROR" not in run.stdout + run.stderr
    records = run.cases()
    assert sorted(records) == sorted([*faults, healthy])
    assert run.results()["environment"]["finished"] is True
    assert {*records[healthy]["gates"].values()} <= {"passed", None}, records[healthy]
    for case, (stage, fault) in faults.items():
        record = records[case]
        assert record["verdict"] == "error", (case, stage, fault)
        assert re.search(FAULTS[fault].said, record["reason"]), (stage, fault, record["reason"])
        assert "\n" not in record["reason"]
        gates = {name: status for name, status in record["gates"].items() if status}
        if stage in STAGES_OF_ALL_GATES:
            assert set(gates.values()) == {"error"}
        else:
            assert gates[STAGES_OF_A_GATE[stage]] == "error"
            assert gates.get("size", "passed") == "passed"
    for document in ("report.md", "report.html"):
        text = (run.report / document).read_text()
        assert all(record["model"] in text for record in records.values())
    run.assert_left_nothing(repository / "cache")


def check_each(folder: Path, injected: list[tuple[str, str]]) -> None:
    """A case for each pair of stage and fault, and a healthy one after them."""
    repository = Repository.write(folder, len(injected) + 1)
    *struck, healthy = repository.cases()
    check(repository, dict(zip(struck, injected, strict=True)), healthy)


def test_faults_cost_their_case(tmp_path):
    check_each(tmp_path, ONCE_EACH)


@pytest.mark.heavy
@pytest.mark.parametrize("stage", OF_ONNX)
def test_every_stage_is_struck_by_every_fault(tmp_path, stage):
    check_each(tmp_path, [(stage, fault) for fault in FAULTS])


@pytest.mark.heavy
def test_the_npus_compiler_is_struck_by_every_fault(tmp_path):
    repository = Repository.write(tmp_path, 1)
    (repository / "int8.tflite").write_bytes(tiny_models.write_all(tmp_path)["int8"].read_bytes())
    names = ["healthy", *(f"gadget_{fault}" for fault in FAULTS)]
    tables = [COMPILED.format(name=name) for name in reversed(names)]
    (repository / "models.toml").write_text("\n".join(tables))
    faults = {f"gadget_{fault}-prequantized": ("entry", fault) for fault in FAULTS}
    check(repository, faults, "healthy-prequantized", "-m", "npu_speedup")
