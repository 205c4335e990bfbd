"""What a failed gate tells: its four parts, and a command that selects a test of the zoo."""

from __future__ import annotations

import fnmatch
import re
import shlex
from pathlib import Path

from int8gate.model_zoo.registry import zoo
from int8gate.quantizers.recipe import RECIPES
from int8gate.runtimes.artifact import Artifact, TensorSpec
from int8gate.validation import gates

CASE = f"{next(iter(zoo()))}-tflite_int8"
PARTS = ("measured: ", "allowed: ", "likely cause: ", "next: pytest ")
ITEMS = [
    f"test_{gate}[{model}-{recipe}{'-ethos_u85_512' if gate == 'npu_speedup' else ''}]"
    for model, spec in zoo().items()
    for recipe in spec.recipes
    for gate in RECIPES[recipe].gates
]
COMMAND = r"next: pytest (?P<cases>(?:--int8-case \S+ )+)-m (?P<gate>\w+)"


def selected(message: str) -> set[str]:
    """The tests of the zoo that the command of a failure runs: those of whole case ids."""
    found = re.search(COMMAND, message)
    cases = shlex.split(found["cases"].replace("--int8-case", ""))
    of_gate = [item for item in ITEMS if item.startswith(f"test_{found['gate']}[")]
    labels = {item: item.partition("[")[2].removesuffix("]") for item in of_gate}
    return {
        item
        for item, label in labels.items()
        for case in cases
        if fnmatch.fnmatchcase(label.removesuffix("-ethos_u85_512"), case)
    }


def assert_failed(result: gates.GateResult, *facts: str) -> None:
    """Failed, with its four parts, the facts among them, and a command that selects a test."""
    assert result.status == "failed"
    lines = result.message.splitlines()
    assert [line.startswith(part) for line, part in zip(lines, PARTS, strict=True)] == [True] * 4
    assert all(len(line) > len(part) for line, part in zip(lines, PARTS, strict=True))
    for fact in facts:
        assert fact in result.message
    assert not re.search(r"None|nan|\d\.0*[1-9]\d{6}", result.message), (
        "a figure as nobody reads it"
    )
    assert 0 < len(selected(result.message)) < len(RECIPES), result.message


def artifact(dtype="int8", scale=1 / 255, zero_point=-128) -> Artifact:
    taken = TensorSpec("image", (1, 8, 8, 3), dtype, scale, zero_point)
    given = TensorSpec("classes", (1, 10), dtype, scale, zero_point)
    return Artifact(Path("model.tflite"), "", "tflite", (taken,), (given,))
