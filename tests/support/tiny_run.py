"""pytest on the zoo of `tiny_zoo`, in processes of its own, as a user starts it.

Networks, pictures, converters, Vela and the clock are real; only the declarations are tiny.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import tiny_zoo

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
# Our packages, and the folders in which a checkout has them.
ROOMS = {"int8gate": ROOT / "int8gate"} | {
    package: ROOT / folder for package, folder in SETTINGS["package-dir"].items()
}
LENIENT = """
["*"]
accuracy = "0.9 * float"
cpu_speedup_x86 = 0.01
npu_speedup = 0.01
npu_coverage = 1.0
size_ratio = 0.6
["*-tflite_fp32".unsupported]
npu_speedup = "Ethos-U runs integer operators only"
"""
# Exceptions that do not hold: a gate that passes, and one that is not measured with random weights.
STRICT = LENIENT + '["tiny-tflite_int8".unsupported]\nsize = "metadata weighs most"\n'
HOPELESS = LENIENT + '["tiny-tflite_int8".unsupported]\naccuracy = "hopeless"\n'


class Project:
    """A folder with weights, pictures, expectations, and a cache that its runs share."""

    def __init__(self, folder: Path):
        self.folder = folder
        tiny_zoo.store_weights(folder / "weights")
        tiny_zoo.store_pictures(folder / "pictures")
        for name, rules in {"lenient": LENIENT, "strict": STRICT, "hopeless": HOPELESS}.items():
            (folder / f"{name}.toml").write_text(rules)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def run(self, *options, **chosen) -> subprocess.CompletedProcess:
        """A whole run; `chosen` as for `start`."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.start(*options, **pipes, **chosen)
        output = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, *output)

    def start(
        self, *options, models="tiny", rules="lenient", cache="cache", **pipes
    ) -> subprocess.Popen:
        """pytest with these options, these models of the tiny zoo, and `rules`.toml."""
        chosen = [str(option) for option in options]
        for name, folder in {"--weights-dir": "weights", "--data-dir": "pictures"}.items():
            if name not in chosen:
                chosen += [name, str(self / folder)]
        fixed = ["tests/zoo", "--artifact-cache", str(self / cache)]
        fixed += ["-p", "no:cacheprovider", "-p", "tiny_zoo_plugin"]
        arguments = [sys.executable, "-m", "pytest", *fixed, *chosen]
        chosen = {"TINY_MODELS": models, "TINY_EXPECTATIONS": str(self / f"{rules}.toml")}
        return subprocess.Popen(arguments, env=environment() | chosen, cwd=ROOT, text=True, **pipes)


# Plugins of libraries that are installed beside the project: a run loads them for a second.
PLUGINS_OF_OTHERS = ("hypothesispytest", "anyio", "jaxtyping")


def environment() -> dict[str, str]:
    """This process's, without what would change a run's options or what pytest prints."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "GITHUB_")) and name not in ("CI", "BUILD_NUMBER")
    }
    return kept | {
        "PYTHONPATH": str(ROOT / "tests/support"),
        "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in PLUGINS_OF_OTHERS),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "COLUMNS": "160",
    }


def ended(how: str, said: str) -> list[str]:
    """The ids of the tests that ended so (`PASSED`, `FAILED`, `ERROR`), of what `-rA` prints."""
    return re.findall(rf"^{how} (.*?)(?: - .*)?$", said, re.MULTILINE)


def counts(done: subprocess.CompletedProcess) -> dict[str, int]:
    """`{"passed": 5, "failed": 1}` of pytest's last line."""
    last = done.stdout.strip().splitlines()[-1]
    found = re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", last)
    assert found, done.stdout + done.stderr
    return {word: int(number) for number, word in found}


def cases(report: Path) -> dict[str, dict]:
    """The case records that a run left, by case id; empty where it left none yet."""
    if not (report / "results.json").exists():
        return {}
    whole = json.loads((report / "results.json").read_text())
    return {f"{case['model']}-{case['recipe']}": case for case in whole["cases"]}


def verdicts(report: Path) -> dict[str, tuple]:
    return {name: (case["verdict"], case["gates"]) for name, case in cases(report).items()}


def without(*packages: str) -> dict[str, str]:
    """The environment of a Python that does not find these packages, nor do its workers."""
    places = [str(ROOT / "tests/support/without_packages"), environment()["PYTHONPATH"]]
    refused = {"PYTHONPATH": os.pathsep.join(places), "INT8GATE_WITHOUT": " ".join(packages)}
    return environment() | refused
