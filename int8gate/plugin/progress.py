"""What a long stage is doing, on a terminal: one line below pytest's own, rewritten in place."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import nullcontext

import pytest

from int8gate.engine.errors import plain_text

BEGINS_AFTER_S = 2.0
EVERY_S = 1.0
DOING = {  # by the beginning of the function's name that runs in the worker process
    "export": "exporting",
    "to_tflite": "converting to TFLite",
    "to_onnx": "exporting to ONNX",
    "describe": "reading the file",
    "network_inputs": "running what stands before the network",
    "calibrate": "calibrating",
    "convert": "converting",
    "quantize": "quantizing",
    "evaluate": "scoring",
    "judge": "auditing activations",
    "train": "training",
    "interleave": "timing on this host",
    "what_ran": "profiling operators",
    "estimate": "compiling for the NPU",
}
# Room for a line below and back; then, the cursor kept: down, to the left, erase the line.
BELOW = "\x1bD\x1bM\x1b7\x1bD\r\x1b[2K"
BACK = "\x1b8"


class StageLine:
    """Called by the worker (`engine.worker.Worker`) while a stage runs, and when it ends."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.label = ""
        self._shown_at: float | None = None

    @staticmethod
    def is_wanted(config: pytest.Config) -> bool:
        """On a terminal that can rewrite a line, unless pytest was asked to be quiet."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        is_terminal = reporter is not None and reporter.isatty()
        return is_terminal and config.get_verbosity() >= 0 and os.environ.get("TERM") != "dumb"

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.label = nodeid.rpartition("[")[2].removesuffix("]")

    def __call__(self, stage: str, seconds: float | None) -> None:
        """`seconds` since the stage began; None where it ended."""
        now = time.monotonic()
        if seconds is None:
            if self._shown_at is not None:
                self._write("")
                self._shown_at = None
        elif seconds >= BEGINS_AFTER_S and now - (self._shown_at or 0) >= EVERY_S:
            self._write(f"{self.label}: {doing(stage)}, {_elapsed(seconds)}")
            self._shown_at = now

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns
        capture = self.config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            terminal = sys.__stdout__
            assert terminal is not None  # else nothing is shown
            terminal.write(f"{BELOW}{plain_text(text)[: width - 1]}{BACK}")
            terminal.flush()


def doing(stage: str) -> str:
    """`export_keras` as `exporting`; a function that has no word here by its own name."""
    name = stage.rpartition(".")[2].strip("_")
    return next(
        (words for begin, words in DOING.items() if name.startswith(begin)), name.replace("_", " ")
    )


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
