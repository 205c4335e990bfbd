"""Every target that an artifact can be judged on: the host CPU and the NPUs, by name.

A new NPU is a module of this room and an entry in `FORMATS`.
"""

from __future__ import annotations

import difflib

from int8gate.targets import ethos_u

HOST = "host_cpu"  # measured, by what executes the artifact
QNN_HTP = "qnn_htp"
# The format of the artifacts that an NPU takes.
FORMATS = dict.fromkeys(ethos_u.TARGETS, "tflite") | {QNN_HTP: "onnx"}
# What it needs, by the names that are imported; the HTP says itself that it is not available.
PACKAGES = dict.fromkeys(ethos_u.TARGETS, ("ethosu",))


def check_target(name: str) -> None:
    """Raises ValueError for an unknown target, naming the nearest."""
    known = (HOST, *FORMATS)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"--target {name} is unknown: expected one of {', '.join(known)}{hint}")
