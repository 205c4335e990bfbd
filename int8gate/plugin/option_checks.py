"""What is wrong with the values of options, told once before anything is collected."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

POSITIVE = ("stage_timeout", "memory_limit")
COUNTS = {"calibration_jobs": 1, "min_calibration_samples": 1}  # the least that has a meaning
FOLDERS = ("data_dir", "weights_dir")


def check_options(config: pytest.Config) -> None:
    """Raises ValueError in one sentence that names the option, its value and what is expected."""
    for name in POSITIVE:
        value = _given(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{_shown(name)}={value:g}: expected a number above 0")
    for name, least in COUNTS.items():
        value = _given(config, name)
        if value is not None and value < least:
            raise ValueError(f"{_shown(name)}={value}: expected a whole number of {least} or more")
    for name in FOLDERS:
        value = _given(config, name)
        if value is not None and not Path(config.invocation_params.dir, value).is_dir():
            raise ValueError(f"{_shown(name)}={value}: no such directory: mend the path")


def _given(config: pytest.Config, name: str):
    return config.getoption(f"int8_{name}")


def _shown(name: str) -> str:
    return f"--int8-{name.replace('_', '-')}"
