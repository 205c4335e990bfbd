"""The loop of a diffusion pipeline around its denoiser: from noise and a prompt to a picture.

The denoiser is what is quantized. Its text encoders and the decoder of its pictures run here in
float, as ONNX files, and so does the solver: any deterministic one of first order is, at each
step,

    latents = kept * latents + added * prediction

with two numbers a step, which the export asks the library's own scheduler for. With guidance the
prediction is that of the empty prompt, moved by `guidance` times the way from there to that of the
prompt (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from int8gate.engine import atomic_file
from int8gate.runtimes.host import Host, Predict
from int8gate.runtimes.onnx_session import OnnxSession

LOOP = "loop.json"
TEXT_PART, PICTURE_PART = "text_part.onnx", "picture_part.onnx"


@dataclass(frozen=True)
class Step:
    """One call of the denoiser, which is told the `time`, and how the solver goes on from it."""

    time: tuple[float, ...]
    kept: float
    added: float


@dataclass(frozen=True)
class Plan:
    """How a pipeline samples.

    `blind` are the tokens of the empty prompt, for each input of the text part, where there is
    `guidance`.
    """

    steps: tuple[Step, ...]
    guidance: float | None = None
    blind: tuple[tuple[int, ...], ...] = ()

    def write(self, directory: Path) -> None:
        atomic_file.write(directory / LOOP, (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def read(cls, directory: Path) -> Plan:
        told = json.loads((directory / LOOP).read_text())
        return cls(
            tuple(Step(**step | {"time": tuple(step["time"])}) for step in told["steps"]),
            told["guidance"],
            tuple(map(tuple, told["blind"])),
        )


class DenoisingLoop(Host):
    """`directory` holds loop.json, text_part.onnx and picture_part.onnx.

    A sample is noise and one array of tokens for each input of the text part; the denoiser's
    inputs are latents, the features of a time step, and the contexts that the text part gives.
    Outputs are the latents behind each step.
    """

    has_preprocessing = has_postprocessing = True

    def __init__(self, directory: Path):
        self.plan = Plan.read(directory)
        self._text = OnnxSession(directory / TEXT_PART)
        self._picture = OnnxSession(directory / PICTURE_PART)
        count = len(self.plan.steps)
        self.output_names = tuple(f"latents behind step {i + 1} of {count}" for i in range(count))
        self._blind: list[np.ndarray] = []
        if self.plan.guidance is not None:
            tokens = [np.array([each], np.int32) for each in self.plan.blind]
            self._blind = self._text.predict(*tokens)

    @property
    def calls(self) -> int:
        """Of the denoiser, for one picture."""
        return len(self.plan.steps) * (1 if self.plan.guidance is None else 2)

    def before(self, sample: list[np.ndarray]) -> list[np.ndarray]:
        """The denoiser's inputs at the first step."""
        noise, *tokens = sample
        return [noise, _time(self.plan.steps[0], 1), *self._text.predict(*tokens)]

    def after(self, sample: list[np.ndarray], outputs: list[np.ndarray]) -> list[np.ndarray]:
        """The picture, float32 (1, h, w, channels) in 0..1, of the last latents."""
        return self._picture.predict(outputs[-1])

    def outputs(self, predict: Predict, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """The latents (n, ...) behind each step."""
        latents, _, *contexts = inputs
        blind = [np.repeat(each, len(latents), axis=0) for each in self._blind]
        behind = []
        for step in self.plan.steps:
            time = _time(step, len(latents))
            (found,) = predict(latents, time, *contexts)
            if self.plan.guidance is not None:
                (unprompted,) = predict(latents, time, *blind)
                found = unprompted + np.float32(self.plan.guidance) * (found - unprompted)
            latents = np.float32(step.kept) * latents + np.float32(step.added) * found
            behind.append(latents)
        return behind


def _time(step: Step, count: int) -> np.ndarray:
    """What the denoiser's second input holds at a step, (count, features)."""
    return np.repeat(np.array([step.time], np.float32), count, axis=0)
