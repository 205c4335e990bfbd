"""The command that a failure names: one gate of one case, exactly.

`-k tflite_int8` would take `tflite_int8_entropy` along. The options have the long names that no
other plugin has; `int8gate/plugin/hints.py` adds those that the run was started with.
"""

from __future__ import annotations

import shlex

REPORT = "--int8-report=report"
RESCUE = "--int8-rescue"


def rerun(case: str, gate: str = "", options: str = "", remark: str = "", beside: str = "") -> str:
    """Of a case such as ``unet-tflite_int8``, or ``unet-*`` for each recipe of the model.

    `beside` is another case to compare with; the remark goes with it where its model has no such
    recipe.
    """
    cases = [f"--int8-case {shlex.quote(each)}" for each in (case, beside) if each]
    command = ["pytest", *cases, *([f"-m {gate}"] if gate else []), *options.split()]
    return " ".join(command) + (f"  ({remark})" if remark else "")


def other_recipe(case: str, recipe: str = "*") -> str:
    """Another case of the same model, or all of them."""
    return f"{case.partition('-')[0]}-{recipe}"
