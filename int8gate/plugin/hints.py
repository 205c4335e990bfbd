"""The command that a failure names, made fit to be pasted: with the options that make the case."""

from __future__ import annotations

import re
import shlex

import pytest

from int8gate.plugin.cases import has_test

NEXT = re.compile(
    r"^(?P<what>next|rescue): pytest (?P<rest>.*?)(?:  \((?P<remark>.*))?(?:\n|\Z)", re.MULTILINE
)
CASE = re.compile(r"--int8-case (?P<case>\S+) ?")
GATE = re.compile(r"-m (?P<gate>\w+)")
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
    """The message with this run's options in its `next: pytest ...` and `rescue: pytest ...`;
    remarks as comments.

    A case that this run's models do not declare is taken out of the command, with the remark about
    it; a command that would run no test is left out.
    """

    def filled(found: re.Match) -> str:
        rest, remark = found["rest"], found["remark"]
        gate = GATE.search(rest)
        cases = CASE.findall(rest)
        for case in cases:
            if not has_test(config, *shlex.split(case), gate and gate["gate"]):
                rest, remark = rest.replace(f"--int8-case {case} ", ""), None
        if cases and not CASE.search(rest):
            return ""
        options = [text for text in carried(config) if text.split("=")[0] not in rest]
        comment = f"  # {remark.removesuffix(')')}" if remark else ""
        end = "\n" if found[0].endswith("\n") else ""
        return " ".join([f"{found['what']}: pytest", *options, rest]) + comment + end

    return NEXT.sub(filled, message).rstrip("\n")


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
