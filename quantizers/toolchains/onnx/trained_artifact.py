"""Quantization-aware training as a stage of the ONNX toolchain, run in the worker process."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from int8gate.quantizers.exposed import exact_session
from int8gate.quantizers.toolchains.onnx import differentiable
from int8gate.quantizers.toolchains.onnx.quantize import quantize
from int8gate.quantizers.training import trainer
from int8gate.runtimes.artifact import ONNX


def _run(model: Path, samples: list[np.ndarray]) -> list[np.ndarray]:
    return exact_session(model).predict(*samples)


TOOLS = trainer.Differentiable(ONNX, differentiable.read, differentiable.write, quantize, _run)
train = functools.partial(trainer.train, TOOLS)  # the stage
