"""How runs end: exit code, headline, report, JUnit, for gates that end as a test stages them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tiny_run import ROOT, ended, environment

from int8gate.engine import worker
from int8gate.plugin.progress import StageLine, doing
from int8gate.validation.comparing.history import read_run

UNJUDGED = {"*": {"accuracy": ["not_measured", "the weights are random"]}}


class Ended:
    """A run that has ended: its code, what it printed, and its documents in `folder`."""

    def __init__(self, done: subprocess.CompletedProcess, folder: Path):
        self.code, self.said = done.returncode, done.stdout
        self.words, self.errors = " ".join(done.stdout.split()), done.stderr
        self.folder = folder

    @property
    def results(self) -> dict:
        return json.loads((self.folder / "report/results.json").read_text())

    @property
    def case(self) -> dict:
        (case,) = self.results["cases"]
        return case

    def document(self, name: str) -> str:
        return (self.folder / "report" / name).read_text().replace("\\", "")

    def junit(self) -> list[ElementTree.Element]:
        return list(ElementTree.parse(self.folder / "junit.xml").iter("testcase"))


@pytest.fixture
def run(tmp_path):
    def run(
        *options, staged: dict | None = None, size: int = 100, recipe="tflite_int8", ms: float = 1
    ) -> Ended:
        command = [sys.executable, "-m", "pytest", "tests/zoo", "-p", "no:cacheprovider"]
        command += [
            "-p",
            "tiny_zoo_plugin",
            "-p",
            "staged_gates",
            f"--artifact-cache={tmp_path}/cache",
        ]
        command += [f"--report={tmp_path}/report", f"--junitxml={tmp_path}/junit.xml"]
        command += [f"--recipe={name}" for name in recipe.split()]
        chosen = {"TINY_MODELS": "tiny", "STAGED": json.dumps(staged or {})}
        done = subprocess.run(
            [*command, *map(str, options)],
            env=environment() | chosen | {"STAGED_SIZE": str(size), "STAGED_MS": str(ms)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ended(done, tmp_path)

    return run


def test_a_good_run_is_a_plain_yes_that_names_the_recipe(run):
    done = run()
    assert done.code == 0, done.said
    assert "May these ship? Yes: ship tiny with tflite_int8." in done.words
    for name in ("report.md", "report.html"):
        assert "Yes: ship tiny with tflite_int8." in done.document(name)
    assert done.results["answer"] == {
        "kind": "yes",
        "exit_code": 0,
        "may_ship": ["tiny-tflite_int8"],
    }
    for test in done.junit():
        assert test.get("classname")
        ((told,),) = [[each.get("value") for each in test.iter("property")]]
        about = json.loads(told)
        assert about["case"] == "tiny-tflite_int8"
        assert f"test_{about['gate']}[" in test.get("name")
        assert (about["status"], len(told) < 200) == ("passed", True)


@pytest.mark.parametrize(
    "processes",
    [[], pytest.param(["-n2"], marks=pytest.mark.heavy)],  # by default: a regression under -n2
    ids=["alone", "xdist"],
)
def test_deselected_gates_leave_the_question_open(run, processes):
    done = run("-m", "accuracy or size", *processes)
    assert done.code == 0, done.said
    assert "Not known: the selected gates passed: accuracy, size of 1 case." in done.words
    assert "Yes" not in done.said + done.document("report.md")
    assert done.case["deselected"] == ["io_dtype", "integer_only", "cpu_speedup", "npu_speedup"]
    assert done.case["pending"] == []
    assert done.results["answer"]["may_ship"] == []


def test_a_baseline_takes_only_cases_of_which_all_gates_ran(run, tmp_path):
    baseline = f"--baseline={tmp_path}/accepted.toml"
    partly = run("-m", "accuracy or size", baseline, "--update-baseline")
    assert "accepted 0 cases" in partly.said
    assert "its gates did not all run: io_dtype, integer_only" in partly.said
    assert "[cases." not in (tmp_path / "accepted.toml").read_text()
    whole = run(baseline, "--update-baseline")
    assert "accepted 1 cases" in whole.said
    same = run(baseline)
    assert same.code == 0, same.said


@pytest.mark.parametrize("processes", [[], ["-n2"]], ids=["alone", "xdist"])
def test_a_regression_is_part_of_the_result(run, tmp_path, processes):
    baseline = f"--baseline={tmp_path}/accepted.toml"
    run(baseline, "--update-baseline")
    done = run(baseline, *processes, size=200)
    assert done.code == 1, done.said
    assert "May these ship? No: figures got worse than allowed." in done.words
    assert "REGRESSED tiny-tflite_int8::size" in done.said
    (regression,) = done.results["regressions"]
    assert (regression["case"], regression["figure"]) == ("tiny-tflite_int8", "size")
    assert done.case["verdict"] == "passed"
    for name in ("report.md", "report.html"):
        assert "No: figures got worse than allowed." in done.document(name)
        assert "size rose from 100 bytes to 200 bytes" in done.document(name)
    (failed,) = [test for test in done.junit() if test.find("failure") is not None]
    assert (failed.get("classname"), failed.get("name")) == ("tiny-tflite_int8", "size")


def test_a_worse_run_than_the_last_one_saved_says_no(run, tmp_path):
    storage = f"--runs={tmp_path}/saved"
    saved = run(storage, "--benchmark-save=first night", "-n1")
    assert "saved/0001_first_night/results.json" in saved.words, "under -n, too"
    done = run(storage, "--gate-compare-fail=size:1%", "--benchmark-compare", size=200)
    assert done.code == 1, done.said
    assert "No: figures got worse than allowed." in done.document("report.md")
    assert done.results["regressions"][0]["against"].startswith("the run 0001")


def test_speed_gates_are_benchmarks_of_pytest_benchmark(run, tmp_path):
    storage = (f"--benchmark-storage=file://{tmp_path}/bench", f"--runs={tmp_path}/runs")
    first = run(*storage, "--benchmark-autosave", ms=2)
    assert first.code == 0, first.said
    (saved,) = (tmp_path / "bench").glob("*/0001_*.json")
    times = {each["name"]: each for each in json.loads(saved.read_text())["benchmarks"]}
    assert set(times) == {
        "test_cpu_speedup[tiny-tflite_int8]",
        "test_npu_speedup[tiny-tflite_int8-ethos_u85_512]",
    }
    for each in times.values():
        assert each["stats"]["median"] == pytest.approx(2e-3)
        assert each["extra_info"]["case"] == first.case
    limits = ("--benchmark-compare", "--benchmark-compare-fail=median:5%")
    worse = run(*storage, *limits, ms=3)
    assert worse.code != 0
    assert "Performance has regressed" in worse.said + worse.errors
    assert run(*storage, *limits, ms=2).code == 0
    command = [sys.executable, "-m", "pytest_benchmark", storage[0].replace("benchmark-", "")]
    shown = subprocess.run([*command, "compare", "0001"], capture_output=True, text=True)
    assert all(name in shown.stdout for name in times), shown.stdout + shown.stderr
    assert read_run(next((tmp_path / "runs").glob("0001_*"))).case("tiny-tflite_int8")


def test_random_weights_are_structure_only_and_fail_where_accuracy_is_gated(run):
    done = run("--weights=random", staged=UNJUDGED)
    assert done.code == 1, done.said
    assert done.case["verdict"] == "not_judged"
    assert "NOT_JUDGED tests/zoo/test_gates.py::test_accuracy[tiny-tflite_int8]" in done.said
    left_out = run("--weights=random", "-m", "not accuracy")
    assert left_out.code == 0, left_out.said
    for text in (done.said, left_out.said, left_out.document("report.html")):
        assert "Structure only, the weights are random" in text
        assert "ship?" not in text
        assert "Yes" not in text


def test_what_was_not_measured_fails_without_random_weights_too(run):
    done = run(staged={"*": {"accuracy": ["not_measured", "the pictures have no labels"]}})
    assert done.code == 1, done.said
    assert done.case["reason"] == "the pictures have no labels"
    assert "No: tiny-tflite_int8 did not pass. 1 not judged." in done.words


UNDECLARED = "--recipe onnx_int8_entropy: no selected model declares it: tiny declares tflite_int8"
BOTH = "tflite_int8 onnx_int8_entropy"


@pytest.mark.parametrize(
    ("recipe", "options", "sentence"),
    [
        ("onnx_int8_entropy", [], "the models of this run declare tflite_dynamic_int8"),
        (BOTH, [], UNDECLARED),
        (BOTH, ["-n2"], UNDECLARED),
        (BOTH, ["-k", "tiny", "-m", "size"], UNDECLARED),
        ("tflite_int8", ["-k", "nosuch"], "no gate is left by --recipe tflite_int8"),
        ("tflite_fp32", ["-m", "size"], "no gate is left by --recipe tflite_fp32"),
    ],
)
def test_recipes_that_leave_nothing_to_gate_are_a_usage_error(run, recipe, options, sentence):
    done = run(*options, recipe=recipe)
    assert done.code == pytest.ExitCode.USAGE_ERROR, done.said
    assert sentence in done.errors


def test_an_interrupted_run_says_what_ended_and_how_to_go_on(run):
    done = run(
        staged={"tiny-tflite_uint8": {"size": ["interrupt", ""]}},
        recipe="tflite_int8 tflite_uint8 tflite_int16x8",
    )
    assert done.code == pytest.ExitCode.INTERRUPTED
    assert "Not known: the run did not finish. So far: 1 of 3 cases ended." in done.words
    assert (
        "Interrupted; ended: tiny-tflite_int8; not finished: tiny-tflite_uint8 (size, cpu_speedup, "
        "npu_speedup to come); not begun: tiny-tflite_int16x8."
    ) in done.words
    assert "Start the same again, finished stages are in the cache" in done.words
    verdicts = {case["recipe"]: case["verdict"] for case in done.results["cases"]}
    assert verdicts == {"tflite_int8": "passed", "tflite_uint8": None, "tflite_int16x8": None}


def test_a_gate_that_never_ran_fails_the_run(run):
    """Skipped by somebody's plugin: pytest alone would end with 0."""
    done = run(staged={"*": {"size": ["skip", "not today"]}})
    assert done.code == 1, done.said
    assert done.case["reason"] == "not run to the end: size"


def test_a_worker_of_xdist_that_dies_costs_the_case_its_gate_alone(run):
    """The worker in its place collects once more, which begins no record anew."""
    done = run("-n1", staged={"*": {"size": ["crash", ""]}})
    assert done.code == 1, done.said
    assert (done.case["verdict"], done.case["pending"]) == ("error", [])
    others = {gate: status for gate, status in done.case["gates"].items() if gate != "size"}
    assert (done.case["gates"]["size"], set(others.values())) == ("error", {"passed"})


def test_a_worker_that_dies_within_a_case_costs_one_gate_of_the_run(run):
    recipes = ["tflite_int8", "tflite_uint8", "tflite_int16x8"]
    killing = "tiny-tflite_uint8"
    done = run("-n2", "-rA", staged={killing: {"size": ["crash", ""]}}, recipe=" ".join(recipes))
    assert done.code == 1, done.said
    gates = done.results["cases"]
    statuses = {(case["recipe"], *each) for case in gates for each in case["gates"].items()}
    assert len(statuses) == 6 * len(recipes), "no gate is lost"
    assert {each for each in statuses if each[2] != "passed"} == {("tflite_uint8", "size", "error")}
    assert ended("FAILED", done.said) == [f"tests/zoo/test_gates.py::test_size[{killing}]"]
    assert len(ended("PASSED", done.said)) == 6 * len(recipes) - 1


def test_names_of_others_steer_no_terminal(run):
    steering = "\x1b]0;title\x07 and \x1b[2J\u202e"
    done = run(
        staged={"*": {"size": ["failed", f"measured: {steering}"], "io_dtype": ["raise", steering],
                      "integer_only": ["unsupported", steering]}},
    )  # fmt: skip
    assert done.code == 1
    shown = done.said + done.document("results.json") + (done.folder / "junit.xml").read_text()
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "u001b" not in shown, "nor in the record"
    assert "measured: ?]0;title? and ?[2J?" in done.said


def test_the_status_comes_first_in_what_pytest_prints(run):
    done = run(staged={"*": {"accuracy": ["inconclusive", "620 samples"]}})
    assert "INCONCLUSIVE tests/zoo/test_gates.py::test_accuracy[tiny-tflite_int8]" in done.said
    assert "\ninconclusive: tiny-tflite_int8 accuracy: 620 samples\n" in done.said


class Terminal:
    """Of a pytest.Config: what StageLine asks of it."""

    def __init__(self, is_terminal=True, verbosity=0):
        self.is_terminal, self.verbosity = is_terminal, verbosity
        self.pluginmanager = self

    def get_plugin(self, name):
        return self if name == "terminalreporter" else None

    def isatty(self):
        return self.is_terminal

    def get_verbosity(self):
        return self.verbosity


def test_a_long_stage_is_shown_on_a_terminal_alone(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert StageLine.is_wanted(Terminal())
    assert not StageLine.is_wanted(Terminal(is_terminal=False))
    assert not StageLine.is_wanted(Terminal(verbosity=-1))
    monkeypatch.setenv("TERM", "dumb")
    assert not StageLine.is_wanted(Terminal())


def test_the_line_is_rewritten_and_taken_away(monkeypatch):
    written = []
    line = StageLine(Terminal())
    monkeypatch.setattr(line, "_write", written.append)
    line.pytest_runtest_logstart("models.toml::test_size[gadget-onnx_int8]")
    for seconds in (0.1, 1.9, 75.0, 75.1):
        line("quantize", seconds)
    assert written == ["gadget-onnx_int8: quantizing, 1 min 15 s"], "once a second, after two"
    line("quantize", None)
    line("evaluate", None)
    assert written[1:] == [""]
    assert doing("export_keras") == "exporting"
    assert doing("channel_spread") == "channel spread"


def test_a_worker_is_watched_until_its_task_ends():
    seen = []
    with worker.Worker(watch=lambda name, seconds: seen.append((name, seconds))) as one:
        one.run(abs, -1, timeout_s=60)
        with pytest.raises(worker.TaskFailed):
            one.run(int, "no number", timeout_s=60)
    assert [name for name, seconds in seen if seconds is None] == ["abs", "int"]
    assert {name for name, seconds in seen if seconds is not None} == {"abs", "int"}
