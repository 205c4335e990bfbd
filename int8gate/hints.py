"""The command that a failure names, made fit to be pasted: with the options that make the case."""

from __future__ import annotations

import re
import shlex

import pytest

NEXT = re.compile(r"^next: pytest (?P<rest>.*?)(?:  \((?P<remark>.*))?$", re.MULTILINE)
# What decides which models there are, what they are made of, and where that is kept.
CARRIED = (
    "zoo",
    "profile",
    "weights_dir",
    "weights",
    "data_dir",
    "min_calibration_samples",
    "artifact_cache",
)
DEFAULTS = {"profile": "compact", "weights": "trained", "min_calibration_samples": 100}


def pasteable(message: str, config: pytest.Config) -> str:
    """The message with this run's options in its `next: pytest ...`; its remark as a comment."""

    def filled(found: re.Match) -> str:
        options = [text for text in carried(config) if text.split("=")[0] not in found["rest"]]
        remark = f"  # {found['remark'].removesuffix(')')}" if found["remark"] else ""
        return " ".join(["next: pytest", *options, found["rest"]]) + remark

    return NEXT.sub(filled, message)


def carried(config: pytest.Config) -> list[str]:
    """Those options of the run that another run of the same cases needs, for a shell."""
    found = []
    for name in CARRIED:
        given = config.getoption(f"int8_{name}")
        if given is None or given == DEFAULTS.get(name):
            continue
        values = given if isinstance(given, list) else [given]
        found += [shlex.quote(f"--int8-{name.replace('_', '-')}={value}") for value in values]
    return found
