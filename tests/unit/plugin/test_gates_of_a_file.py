"""Gates are tests of the TOML that declares the models: collected with it, named by it."""

from __future__ import annotations

import io
import re
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import onnx  # noqa: F401 (a run in this process forgets what it loads; onnx aborts when loaded twice)
import pytest
from tiny_run import ended

TABLE = '[models.{name}]\nfile = "{name}.onnx"\ntask = "other"\ndata = "pictures"\n'
GATES = ("accuracy", "io_dtype", "integer_only", "size", "cpu_speedup")


@dataclass
class Done:
    """A run of pytest: its exit code and what it wrote."""

    ret: int
    stdout: str
    stderr: str


@pytest.fixture
def run(team, monkeypatch):
    """Runs pytest in this process, which has the plugin's modules already, in the repository."""
    monkeypatch.chdir(team)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # what is read is the usual output

    def run(*given: str) -> Done:
        plugins = ("-pint8gate.plugin.options", "-pxdist.plugin", "-ppytest_benchmark.plugin")
        options = ("-q", "-rA", "--capture=no", "--artifact-cache=none", *given)
        out, err = io.StringIO(), io.StringIO()
        path = list(sys.path)
        with redirect_stdout(out), redirect_stderr(err):
            code = pytest.main([*plugins, *options])
        sys.path[:] = path
        for name in [name for name, module in sys.modules.items() if _is_of(module, team)]:
            del sys.modules[name]
        return Done(code, out.getvalue(), err.getvalue())

    return run


def _is_of(module, team: Path) -> bool:
    return Path(getattr(module, "__file__", None) or "/").is_relative_to(team)


@pytest.fixture
def collected(run):
    """The ids that a run prints."""

    def collected(*given: str) -> list[str]:
        done = run("--collect-only", *given)
        assert done.ret == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if "::" in line]

    return collected


def ids(file: str, *names: str) -> list[str]:
    return [f"{file}::test_{gate}[{name}-onnx_int8]" for name in names for gate in GATES]


@pytest.fixture
def team(tmp_path) -> Path:
    """A repository beside a folder of models, each with a TOML; the model files are empty."""
    folder = tmp_path / "team"
    for place, names in ((folder, ("one", "two")), (tmp_path / "shared", ("three",))):
        (place / "pictures").mkdir(parents=True)
        for name in names:
            (place / f"{name}.onnx").touch()
            (place / f"{name}.toml").write_text(TABLE.format(name=name))
    (folder / "test_own.py").write_text("def check_own():\n    pass\n")
    (folder / "pytest.ini").write_text("[pytest]\npython_functions = check_*\n")
    return folder


@pytest.mark.parametrize("file", ["one.toml", "../shared/three.toml"])
def test_an_id_that_is_printed_can_be_pasted(team, file, collected):
    name = Path(file).stem
    printed = collected(f"--zoo={file}")
    assert sorted(printed) == sorted([*ids(file, name), "test_own.py::check_own"])
    one = ids(file, name)[3]
    for given in ((one,), (one, f"--zoo={file}")):
        (pasted,) = collected(*given)
        assert one.endswith(pasted), "of a file outside the root folder may be another one"
    assert len(collected(file)) == len(GATES)


def test_each_file_has_its_models(team, collected):
    printed = collected("--zoo=two.toml", "--zoo=one.toml")
    assert sorted(printed) == sorted(
        [*ids("two.toml", "two"), *ids("one.toml", "one"), "test_own.py::check_own"]
    )


def test_settings_name_files_and_hold_tables(team, collected):
    (team / "pytest.ini").unlink()
    (team / "pyproject.toml").write_text(
        '[tool.int8gate]\nzoo = ["two.toml"]\n' + TABLE.replace("[models", "[tool.int8gate.models")
        .format(name="one")
    )  # fmt: skip
    wanted = sorted([*ids("two.toml", "two"), *ids("pyproject.toml", "one")])
    assert sorted(collected()) == wanted
    assert sorted(collected(".")) == wanted, "the folder of the files is named"
    assert collected(ids("pyproject.toml", "one")[0]) == ids("pyproject.toml", "one")[:1]
    (team / "tests").mkdir()
    (team / "tests" / "test_more.py").write_text("def test_more():\n    pass\n")
    assert collected("tests") == ["tests/test_more.py::test_more"]


@pytest.mark.parametrize("file", ["one.toml", "../shared/three.toml"])
def test_last_failed_runs_what_failed(file, team, run, collected):
    """Beside a test of their own that failed, for which pytest passes over the other files."""
    (team / "test_own.py").write_text("def check_own():\n    assert False\n")
    name = Path(file).stem
    option = f"--zoo={file}"
    first = run(option, "-m", "not accuracy and not cpu_speedup")
    failed = {one for one in ids(file, name) if "accuracy" not in one and "cpu_" not in one}
    assert set(ended("FAILED", first.stdout)) == {*failed, "test_own.py::check_own"}
    assert set(collected(option, "--last-failed")) == {*failed, "test_own.py::check_own"}


def test_the_zoo_in_another_repository(team, collected):
    case = ("--zoo=builtin", "--int8-case=unet-tflite_uint8", "-m", "size")
    (one,) = collected(*case)
    assert one.endswith("int8gate/plugin/gates.py::test_size[unet-tflite_uint8]")
    (pasted,) = collected(one)
    assert one.endswith(pasted), "the root folder may be another one"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "declares no model: add a table"),
        ("# nothing yet\n", "declares no model"),
        ("[models]\n", "declares no model"),
        ("models = 3\n", "models: expected a table, found 3 (models are tables [models.NAME])"),
        ("[gadget]\nfile = 'x'\n", "unknown gadget; known: models"),
    ],
)
def test_a_file_that_declares_no_model_is_told(team, content, words, run):
    (team / "one.toml").write_text(content)
    done = run("--zoo=one.toml")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert f"{team / 'one.toml'}" in done.stderr
    assert words in done.stderr


def test_settings_that_declare_no_model_are_told(team, run):
    (team / "pyproject.toml").write_text("[tool.int8gate]\n")
    done = run()
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "declares no model" in done.stderr


@pytest.mark.parametrize("folder", ["build/deep", ".hidden", "env"])
def test_a_folder_that_pytest_passes_over_has_gates_too(team, folder, collected):
    """Where it collects from a folder above, pytest forgets that the file was named."""
    place = team / folder
    (place / "pictures").mkdir(parents=True)
    if folder == "env":
        (place / "pyvenv.cfg").touch()  # as of a virtual environment
    for name in ("one.onnx", "one.toml"):
        (team / name).rename(place / name)
    (place / "test_passed_over.py").write_text("def check_passed_over():\n    pass\n")
    (place / "inside").mkdir()
    (place / "inside" / "test_inside.py").write_text("def check_inside():\n    pass\n")
    wanted = sorted(["test_own.py::check_own", *ids(f"{folder}/one.toml", "one")])
    assert sorted(collected(f"--zoo={folder}/one.toml")) == wanted
    assert sorted(collected(f"--zoo={folder}/one.toml", "test_own.py")) == wanted


def test_gates_that_pytest_is_told_to_ignore_end_the_run(run):
    done = run("--zoo=one.toml", "--ignore=one.toml", "--collect-only")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "one.toml is not collected" in done.stderr


def test_one_case_is_selected_exactly(team, collected):
    """`-k tflite_int8` takes `tflite_int8_entropy` along."""
    recipes = 'recipes = ["tflite_int8", "tflite_int8_entropy", "tflite_int8_per_tensor"]\n'
    (team / "one.toml").write_text(TABLE.format(name="one") + recipes)
    case = ("--zoo=one.toml", "--zoo=two.toml", "--int8-case=one-tflite_int8")
    assert {one.partition("[")[2] for one in collected(*case)} == {
        "one-tflite_int8]",
        "one-tflite_int8-ethos_u85_512]",
    }
    several = collected(*case, "--int8-case=two-onnx_int8", "-m", "size")
    assert several == [
        "one.toml::test_size[one-tflite_int8]",
        "two.toml::test_size[two-onnx_int8]",
    ]
    with_own = collected(*case, "-m", "not npu_speedup", "test_own.py", "one.toml")
    assert "test_own.py::check_own" in with_own
    assert len(with_own) == 6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--int8-case=one-onnx_int9"], "no such case: did you mean one-onnx_int8"),
        (["--int8-case=zzz"], "no such case: did you mean one-onnx_int8, two-onnx_int8?"),
        (["--int8-recipe=onnx_int8_entropy"], "leaves no case: .* declare onnx_int8$"),
        (
            ["--int8-case=one-onnx_int8", "--recipe=tflite_int8"],
            "--int8-case one-onnx_int8 --int8-recipe tflite_int8: leaves no case",
        ),
    ],
)
def test_a_choice_that_leaves_no_case_is_told(team, given, words, run):
    done = run("--zoo=one.toml", "--zoo=two.toml", *given)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(words, done.stderr, re.MULTILINE), done.stderr


@pytest.mark.parametrize(
    "option",
    ["--int8-case=one-onnx_int8", "--artifacts=out", "--baseline=b.toml", "--update-baseline"],
)
def test_an_option_of_gates_without_a_model_is_told(team, run, option):
    done = run(option)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "this run has no model to gate: add --int8-zoo FILE" in done.stderr
    (team / "pyproject.toml").write_text('[tool.int8gate]\nzoo = ["one.toml"]\n')
    done = run(option, "test_own.py", "--collect-only")
    has_gates = "case" in option
    assert ("one.toml::test_size" in done.stdout) == has_gates
    assert done.ret == 0, "their own tests are named"


def test_a_toml_of_another_tool_is_not_ours(team, collected):
    (team / "other.toml").write_text("[settings]\nx = 1\n")
    (team / "conftest.py").write_text(
        "import pytest\n"
        "class Item(pytest.Item):\n    def runtest(self):\n        pass\n"
        "class File(pytest.File):\n    def collect(self):\n"
        "        yield Item.from_parent(self, name='theirs')\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    if file_path.name == 'other.toml':\n"
        "        return File.from_parent(parent, path=file_path)\n"
    )
    assert collected("other.toml") == ["other.toml::theirs"]
