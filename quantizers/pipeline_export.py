"""From a declared diffusion pipeline to the denoiser that is quantized, and the host's part of it.

The builder's module is the denoiser when called, and offers ``text_part()`` and ``picture_part()``
(modules), ``steps()``, ``time_features`` and ``guidance``: see `model_zoo/families/diffusion`. Runs
in the worker process.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from int8gate.calibration_data.arrays.kinds import Input
from int8gate.calibration_data.synthetic.prompts import EMPTY, encoded
from int8gate.engine.plugins import resolve
from int8gate.model_zoo.spec import ModelSpec, Network
from int8gate.model_zoo.weights import Weights
from int8gate.quantizers.toolchains.onnx.from_torch import built, quiet, save_program, write_onnx
from int8gate.runtimes.denoising_loop import PICTURE_PART, TEXT_PART, Plan, Step


def export_pipeline(
    spec: ModelSpec, profile: str, weights: Weights, seed: int, directory: Path
) -> dict:
    """Writes `directory`/program.pt2, the denoiser at its declared size, batch 1, and what
    `runtimes.denoising_loop` reads; returns the report.
    """
    import torch

    declared = spec.network(profile)
    latents = declared.inputs[0]
    pipeline = built(spec, profile, weights, seed)
    save_program(pipeline, _zeros(declared.inputs), directory)
    parts = {TEXT_PART: declared.drawn[1:], PICTURE_PART: (latents,)}
    modules = {TEXT_PART: pipeline.text_part(), PICTURE_PART: pipeline.picture_part()}
    with quiet(), torch.no_grad():
        for name, inputs in parts.items():
            part = torch.export.export(modules[name].eval(), _zeros(inputs))
            write_onnx(part, directory / name)
    guidance = pipeline.guidance
    blind = () if guidance is None else _empty_prompt(declared, weights)
    steps = tuple(_step(pipeline, *step) for step in pipeline.steps())
    Plan(steps, guidance, blind).write(directory)
    nodes = {name: len(onnx.load(directory / name).graph.node) for name in parts}
    return {
        "repairs": [],
        "cut": [
            f"the denoiser is called {len(steps)} times for a picture"
            + (f", and as often for the empty prompt (guidance {guidance:g})" if guidance else "")
        ],
        "nodes": {"preprocessing": nodes[TEXT_PART], "postprocessing": nodes[PICTURE_PART]},
    }


def _step(pipeline, timestep: float, kept: float, added: float) -> Step:
    import torch

    features = pipeline.time_features(torch.tensor([timestep]))
    return Step(tuple(features[0].tolist()), kept, added)


def _zeros(inputs: tuple[Input, ...]) -> tuple:
    import torch

    return tuple(torch.zeros(1, *each.shape, dtype=getattr(torch, each.dtype)) for each in inputs)


def _empty_prompt(declared: Network, weights: Weights) -> tuple[tuple[int, ...], ...]:
    repository = weights.path if weights.path and weights.path.is_dir() else declared.official
    tokenizer = resolve(declared.tokenizer)(repository)
    lengths = [each.shape[0] for each in declared.drawn[1:]]
    texts = (encoded(EMPTY, tokenizer, length, i) for i, length in enumerate(lengths))
    return tuple(tuple(tokens.tolist()) for tokens in texts)
