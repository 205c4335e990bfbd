"""What is not installed is said with the extra that brings it, and pyproject.toml agrees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib

import pytest
from tiny_run import ROOMS, ROOT, without

from int8gate.engine import extras

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_TESTS = {"dev", "real"}  # extras of this project alone
FOR_TOOLS = {  # asked for on behalf of onnx2tf, which imports them
    "onnx-graphsurgeon",
    "sng4onnx",
}
OF_CORE = {  # the name that is imported, and that of the distribution
    **{
        name: name
        for name in ("filelock", "jinja2", "joblib", "matplotlib", "numpy", "platformdirs")
    },
    **{name: name for name in ("psutil", "pycocotools", "pydantic", "pytest", "rich", "scipy")},
    **{"PIL": "pillow", "cpuinfo": "py-cpuinfo", "tomli_w": "tomli-w", "typer": "typer"},
}
PLUGINS = {"pytest-benchmark"}
# flatbuffers comes with LiteRT, google.protobuf with ONNX and TensorFlow.
BROUGHT_ALONG = {"flatbuffers", "google"}


def distributions(extra: str) -> set[str]:
    """Those that an extra brings, other extras that it names included."""
    brought = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        name, _, chosen = re.match(r"([\w.-]+)(\[([\w,]+)\])?", requirement).groups()
        if name == "int8gate":
            brought |= {each for inner in chosen.split(",") for each in distributions(inner)}
        else:
            brought.add(name)
    return brought


def test_the_table_says_what_the_extras_bring():
    brought = {}
    for extra in PROJECT["optional-dependencies"].keys() - {"all", *FOR_TESTS}:
        for name in distributions(extra) - FOR_TOOLS:
            brought.setdefault(name, set()).add(extra)
    assert {name: set(chosen) for name, chosen in extras.PACKAGES.values()} == brought


def test_all_brings_every_extra_but_those_under_other_terms():
    every = set().union(*map(distributions, PROJECT["optional-dependencies"].keys() - FOR_TESTS))
    assert distributions("all") == every - {"onnxruntime-qnn"}


def test_what_every_installation_has_is_no_extra():
    core = {re.match(r"[\w.-]+", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert not core & {name for name, _ in extras.PACKAGES.values()}


def test_every_package_that_is_imported_comes_with_the_core_or_an_extra():
    imported = set()
    for file in (file for room in ROOMS.values() for file in room.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    others = imported - sys.stdlib_module_names - extras.PACKAGES.keys() - {"int8gate"}
    assert others == OF_CORE.keys() | BROUGHT_ALONG
    declared = {re.match(r"[\w.-]+", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert set(OF_CORE.values()) == declared - PLUGINS


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["onnx"], 'needs onnx, which is not installed: pip install "int8gate[onnx]"'),
        (["onnx", "torch"], 'needs onnx and torch, which are not installed: pip install "int8gate[torch]"'),  # noqa: E501
        (["tensorflow", "keras"], '"int8gate[keras]"'),
        (["ai_edge_litert", "ethosu", "tensorflow"], '"int8gate[npu,tflite]"'),
        (["keras", "onnx", "torch", "skimage", "ethosu"], "keras, onnx, torch and 2 other packages, which"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_sentence_names_as_few_extras_as_bring_them(packages: list[str], words: str):
    assert words in extras.sentence("this", packages)


def test_what_is_installed_is_not_missing():
    extras.require("this", ["numpy", "json"])
    assert extras.missing(["numpy", "there_is_no_such_package"]) == ["there_is_no_such_package"]


def test_an_import_that_failed_for_another_reason_is_not_explained():
    assert extras.explained(ModuleNotFoundError("no", name="team_heads"), "this") is None
    assert extras.explained(ModuleNotFoundError("no", name="numpy.gone"), "this") is None
    assert extras.explained(ImportError("no", name="torch"), "this") is None


def test_a_worker_says_what_its_task_lacks():
    code = (
        "from pathlib import Path; from int8gate.engine.worker import Worker\n"
        "from int8gate.runtimes.onnx_session import describe\n"
        "with Worker() as worker: worker.run(describe, Path('x.onnx'), timeout_s=60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=without("onnx", "onnxruntime"),
        capture_output=True,
        text=True,
    )
    assert (
        'this step needs onnxruntime, which is not installed: pip install "int8gate[onnx]"'
        in done.stderr
    )
