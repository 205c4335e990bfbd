"""A file that Vela's compiler refuses by name of the operator: the gate says so, and fails."""

from __future__ import annotations

import pytest

from int8gate.targets.ethos_u import REFUSAL
from int8gate.targets.registry import find
from int8gate.targets.target import blank_entry
from int8gate.validation import gates
from int8gate.validation.expectations import expectations_for

# Vela 5.2's last words on the transformer of the compact FLUX.
WORDS = "Non-passthrough operation (Mul) could not run on NPU"
TRACEBACK = f"""Traceback (most recent call last):
  File "vela.py", line 137, in process_regor
    compiled_model = regor.compile(accelerator, network, fmt, system_config)
RuntimeError: {WORDS}
"""


def test_the_words_of_a_refusal_are_found():
    found = REFUSAL.search(TRACEBACK)
    assert found
    assert found["words"] == WORDS


@pytest.mark.parametrize(
    "output",
    [
        "MemoryError\n",
        "RuntimeError: Vela ran out of memory\n",
        f"Warning: {WORDS}\n",
        "",
    ],
)
def test_other_ends_are_no_refusal(output):
    assert not REFUSAL.search(output)


def test_the_gate_fails_and_says_what_the_compiler_said():
    refused = {"npu_ops": 0, "cpu_ops": 300, "refused": WORDS}
    entry = blank_entry(find("ethos_u85_512")) | refused
    result = gates.npu_speed_gate(entry, expectations_for("unet-tflite_int8"), "unet-tflite_int8")
    assert result.status == "failed"
    assert f"refuses the file: {WORDS}" in result.message
