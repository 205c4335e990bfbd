"""What generation with a key-value cache takes, for prompts of any length.

    python -m benchmarks.generation llama_3_2_3b onnx_weight_int8 onnx_weight_int4 [--prompt 64]

The case record has the same of prompts of half a sequence (`int8gate/validation/generation.py`,
which says what is measured and how); the artifacts and the timing are those.
"""

from __future__ import annotations

import argparse

import numpy as np

from int8gate.engine.cache import open_cache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import model
from int8gate.quantizers.generation_steps import steps_of
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import REFERENCES, recipe
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.sessions import open_session
from int8gate.validation.generation import through_cache
from int8gate.validation.speed import interleave, median_interval

PROMPT = 64  # tokens
DECODED = 16  # tokens behind it, of which logits are compared


def measure(name: str, recipes: list[str], prompt: int, cache: str | None) -> None:
    """Prints a line for each recipe."""
    spec = model(name)
    tokens = np.random.default_rng(0).integers(32, 127, prompt + DECODED).astype(np.int32)
    with Worker() as worker:
        pipeline = Pipeline(Settings(), open_cache(cache), worker)
        for each in recipes:
            asked = recipe(each)
            real = steps_of(pipeline, spec, REFERENCES[asked.toolchain], prompt)
            quantized = steps_of(pipeline, spec, asked, prompt)
            prefill, decode = (
                interleave(*pair) for pair in zip(real.paths, quantized.paths, strict=True)
            )
            first = [
                1e3 * float(np.median(each)) for each in (prefill.float_s, prefill.quantized_s)
            ]
            rate = [1 / float(np.median(each)) for each in (decode.float_s, decode.quantized_s)]
            logits = [
                through_cache(*map(open_session, steps.paths), tokens, prompt)
                for steps in (real, quantized)
            ]
            apart = np.abs(logits[0] - logits[1]).mean() / np.abs(logits[0]).mean()
            print(
                f"{name}-{each}: first token after {prompt} {first[1]:.2f} ms (float "
                f"{first[0]:.2f}, {_ratio(prefill)}), then {rate[1]:.0f} tokens/s (float "
                f"{rate[0]:.0f}, {_ratio(decode)}); logits {apart:.1%} from float's"
            )


def _ratio(timed) -> str:
    """`1.62x (1.59 to 1.67)`: a median with its 95% interval."""
    found = median_interval(timed.float_s / timed.quantized_s)
    return f"{found['value']:.2f}x ({found['lower_95']:.2f} to {found['upper_95']:.2f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--prompt", type=int, default=PROMPT)
    parser.add_argument("--cache", default=None, help="as --artifact-cache")
    given = parser.parse_args()
    measure(given.model, given.recipes, given.prompt, given.cache)
