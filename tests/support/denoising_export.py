"""A tiny diffusion pipeline as an export leaves it: text part, picture part, loop, denoiser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from int8gate.runtimes.artifact import PROGRAM
from int8gate.runtimes.denoising_loop import PICTURE_PART, TEXT_PART, Plan, Step

LATENTS, TOKENS = (2, 4, 4), 3
STEPS = tuple(Step((1000.0 - 100 * i, 0.5), 0.9 - 0.05 * i, 0.3 + 0.1 * i) for i in range(5))
BLIND = ((9, 9, 9),)
TEXT = f"""
<ir_version: 10, opset_import: ["" : 20]>
text (int32[1,{TOKENS}] tokens) => (float[1,{TOKENS}] output_0) {{
    output_0 = Cast <to = 1> (tokens)
}}
"""
PICTURE = """
<ir_version: 10, opset_import: ["" : 20]>
picture (float[1,2,4,4] latents) => (float[1,4,4,2] output_0) {
    turned = Transpose <perm = [0, 2, 3, 1]> (latents)
    output_0 = Sigmoid (turned)
}
"""


def denoise(latents: np.ndarray, time: np.ndarray, context: np.ndarray) -> list[np.ndarray]:
    """A prediction that depends on all that the network is given, of each sample by itself."""
    told = context.mean(axis=1) / 10 + time[:, 0] / 1000
    return [np.tanh(latents * told.reshape(-1, 1, 1, 1)).astype(np.float32)]


def by_hand(
    noise: np.ndarray, tokens: np.ndarray, guidance: float | None = None
) -> list[np.ndarray]:
    """The latents behind each step, in plain lines."""
    latents, behind = noise, []
    for step in STEPS:
        at = np.array([step.time] * len(noise), np.float32)
        (found,) = denoise(latents, at, tokens.astype(np.float32))
        if guidance is not None:
            blind = np.repeat(np.array(BLIND, np.float32), len(noise), axis=0)
            (without,) = denoise(latents, at, blind)
            found = (1 - guidance) * without + guidance * found
        latents = step.kept * latents + step.added * found
        behind.append(latents)
    return behind


def write_loop(directory: Path, guidance: float | None = None) -> Path:
    """The host's part; the denoiser is `denoise`."""
    for name, text in ((TEXT_PART, TEXT), (PICTURE_PART, PICTURE)):
        onnx.save(onnx.parser.parse_model(text), directory / name)
    Plan(STEPS, guidance, BLIND if guidance is not None else ()).write(directory)
    return directory


def write_export(directory: Path, guidance: float | None = None) -> Path:
    """With the denoiser as program.pt2."""
    import torch

    class Denoiser(torch.nn.Module):
        def forward(self, latents, time, context):
            told = context.mean(dim=1) / 10 + time[:, 0] / 1000
            return torch.tanh(latents * told.reshape(-1, 1, 1, 1))

    example = torch.zeros(1, *LATENTS), torch.zeros(1, 2), torch.zeros(1, TOKENS)
    program = torch.export.export(Denoiser(), example)
    torch.export.save(program, str(directory / PROGRAM))
    return write_loop(directory, guidance)
