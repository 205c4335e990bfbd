"""What generation with a key-value cache takes: the first token and each that follows.

    python -m benchmarks.generation llama_3_2_3b onnx_weight_int8 onnx_weight_int4 [--prompt 64]

Prefill and decode are artifacts of their own (`model_zoo/families/kv_cache.py`), exported and
quantized as cases are, by recipes that need no calibration. Each is timed on this host against the
float artifact, in turn, on one thread: milliseconds to the first token (prefill), and tokens a
second (decode, with the cache fed and returned). Beside that, how far the quantized step's logits
are from the float one's on the same cache, so that what is timed is also right.
"""

from __future__ import annotations

import argparse

import numpy as np

from int8gate.engine.cache import open_cache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.families.kv_cache import with_cache
from int8gate.model_zoo.registry import model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import REFERENCES, recipe
from int8gate.quantizers.settings import Settings
from int8gate.runtimes.sessions import open_session
from int8gate.validation.speed import Interleaved, interleave

PROMPT = 64  # tokens


def written(prefill, decode, prompt: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Logits (t, vocabulary) of a prompt (1, p) and of each token (t - 1,) that follows it."""
    logits, keys, values = prefill.predict(prompt)
    found = [logits[0]]
    for number, token in enumerate(following):
        place = np.array([prompt.shape[1] + number], np.int32)
        step = (np.array([[token]], np.int32), place, keys, values)
        logits, keys, values = decode.predict(*step)
        found.append(logits[0])
    return np.stack(found)


def milliseconds(timed: Interleaved) -> tuple[float, float]:
    """Medians of the float and the quantized artifact."""
    return tuple(1e3 * float(np.median(each)) for each in (timed.float_s, timed.quantized_s))


def measure(name: str, recipes: list[str], prompt: int, cache: str | None) -> None:
    """Prints a line for each recipe."""
    steps = with_cache(model(name), prompt)
    rng = np.random.default_rng(0)
    first = rng.integers(32, 127, (1, prompt)).astype(np.int32)
    following = rng.integers(32, 127, 16)
    with Worker() as worker:
        pipeline = Pipeline(Settings(), open_cache(cache), worker)
        for each in recipes:
            asked = recipe(each)
            real = REFERENCES[asked.toolchain]
            floats, quantized = (
                [pipeline.artifact(step, by).artifact.path for step in steps]
                for by in (real, asked)
            )
            timed = [interleave(*pair) for pair in zip(floats, quantized, strict=True)]
            (prefill, first_ms), (decode, token_ms) = map(milliseconds, timed)
            logits = [
                written(*map(open_session, files), first, following)
                for files in (floats, quantized)
            ]
            apart = np.abs(logits[0] - logits[1]).mean() / np.abs(logits[0]).mean()
            print(
                f"{name}-{each}: first token after {prompt} {first_ms:.2f} ms (float "
                f"{prefill:.2f}, {timed[0].speedup:.2f}x), then {1e3 / token_ms:.0f} tokens/s "
                f"(float {1e3 / decode:.0f}, {timed[1].speedup:.2f}x); logits {apart:.1%} apart"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--prompt", type=int, default=PROMPT)
    parser.add_argument("--cache", default=None, help="as --artifact-cache")
    given = parser.parse_args()
    measure(given.model, given.recipes, given.prompt, given.cache)
