"""Generation with a key-value cache: how fast it is, and that it is the scored network's.

A language model is scored on whole sequences and shipped as two networks, which its declaration
names (`Network.steps`): prefill reads a prompt and fills the cache, decode reads a token and the
cache. Each is an artifact of its own, made by the case's recipe from the same weights, and of a
calibrated recipe calibrated on the same text. What is measured of them, on this host:

    first token     ms of a call of prefill
    decode          tokens a second: calls of decode, whose cache stays where the runtime wrote it
    consistency     logits of both on the first evaluation samples, token after token through the
                    cache, against those that the scored artifact gives of the whole sequences

Logits are alike to rounding where activations are float32 and the weights are the same bytes. Where
activations are quantized each artifact rounds by itself, a dynamic one even by what else is in the
sequence: two such errors may lie between the two, each as large as that of the scored artifact to
float. A wrong position, a mask that is off by one or a stale cache is many times that.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from int8gate.quantizers.generation_steps import Steps, steps_of
from int8gate.quantizers.pipeline import Built, Pipeline
from int8gate.quantizers.recipe_type import Recipe
from int8gate.runtimes.session import Session
from int8gate.runtimes.sessions import open_session
from int8gate.targets.target import MEASURED
from int8gate.tasks.registry import task
from int8gate.validation import cached_results
from int8gate.validation.case_plan import CasePlan, ScoringPlan
from int8gate.validation.speed import Interleaved, interleave, median_interval

SAMPLES = 8  # sequences, of which the tokens behind the prompt are read one by one
ROUNDING = 1e-3  # of the logits' spread: float32 in another order of summation
FIGURES = ("kind", "host", "threads", "prompt", "first_token_ms", "tokens_per_s")
FIGURES += ("consistency", "artifacts")
ERRORS = 2.0  # quantization errors that may lie between two artifacts of quantized activations


def is_generated(plan: CasePlan) -> bool:
    """Whether the record says something of generation: the task compares what models write."""
    return bool(task(plan.spec.task).generation)


def unmeasured_reason(plan: CasePlan) -> str | None:
    """Why a case's generation is not measured; None where it is."""
    recipe = plan.recipe
    if plan.own:
        return "not measured: a file of yours is one network, without a cache"
    if plan.network.steps is None:
        return (
            f"not measured: the {plan.settings.profile} profile declares no networks with a cache, "
            "each of which is as large as the model itself"
        )
    if recipe.toolchain != "onnx":
        return (
            "not measured: litert-torch would have to convert two networks more, each in the time "
            "that the case's own takes, minutes on busy cores"
        )
    if recipe.is_mixed:
        return (
            f"not measured: {recipe.name} has rules for operators of the scored network by name, "
            "and those of prefill and decode have others"
        )
    if recipe.is_trained:
        return "not measured: weights and scales are trained in the scored network alone"
    return None


def unmeasured(plan: CasePlan) -> dict | None:
    """The record's `generation` of a case of which it is not measured; None where it is."""
    reason = unmeasured_reason(plan)
    return dict.fromkeys(FIGURES) | {"reason": reason} if reason else None


def generated(
    plan: CasePlan, pipeline: Pipeline, float_built: Built, built: Built, scoring: ScoringPlan
) -> dict:
    """The record's `generation` of a case that can be measured, see `unmeasured`.

    Raises what the stages of the steps raise, and WorkerError where one crashes.
    """
    reference = steps_of(pipeline, plan.spec, plan.toolchain.reference)
    steps = reference if plan.recipe.is_reference else steps_of(pipeline, plan.spec, plan.recipe)
    in_worker, alone = pipeline.runner.in_worker, plan.recipe.is_reference
    prefill, decode = (
        in_worker(interleave, *pair).value
        for pair in zip(reference.paths, steps.paths, strict=True)
    )
    return {
        "kind": MEASURED,
        "host": platform.machine(),
        "threads": 1,
        "prompt": steps.prompt,
        "first_token_ms": _timed(prefill, lambda seconds: 1e3 * seconds, alone),
        "tokens_per_s": _timed(decode, lambda seconds: 1 / seconds, alone),
        "consistency": _consistency(plan, pipeline, float_built, built, scoring, steps),
        "artifacts": {
            name: {"path": str(each.path), "sha256": each.sha256}
            for name, each in (("prefill", steps.prefill), ("decode", steps.decode))
        },
        "reason": None,
    }


def _timed(timed: Interleaved, unit: Callable, alone: bool) -> dict:
    """Medians with their 95% intervals; a float case `alone` has nothing to compare with."""
    real = median_interval(unit(timed.float_s))
    return {
        "float": real,
        "quantized": None if alone else median_interval(unit(timed.quantized_s)),
        "speedup": None if alone else median_interval(timed.float_s / timed.quantized_s),
        "rounds": len(timed.float_s),
    }


def _consistency(
    plan: CasePlan,
    pipeline: Pipeline,
    float_built: Built,
    built: Built,
    scoring: ScoringPlan,
    steps: Steps,
) -> dict:
    """What `compared` finds, from the cache where it is known, with what is allowed."""
    files = [float_built.artifact, built.artifact, steps.prefill, steps.decode]
    parts = {
        "models": [each.sha256 for each in files],
        "samples": [scoring.digest, SAMPLES],
        "prompt": steps.prompt,
        "host": platform.machine(),  # kernels differ between hosts
    }

    def find() -> dict:
        drawn = pipeline.data.samples(plan.spec, "evaluation")
        count = min(SAMPLES, len(drawn))
        tokens = np.stack([next(iter(drawn.named(n)[0].values())) for n in range(count)])
        paths = [each.path for each in files]
        return pipeline.runner.in_worker(compared, *paths, tokens, steps.prompt).value

    found = cached_results.fact(
        pipeline.cache, "generation", parts, find, "int8gate.validation.generation:compared"
    )
    limit, difference = allowed(plan.recipe, found), found["difference"]
    return found | {"allowed": limit, "holds": difference is not None and difference <= limit}


def allowed(recipe: Recipe, found: dict) -> float:
    """The largest `difference` of steps that are the scored network, a share of its logits' spread.

    `found` is what `compared` gives. A recipe of weights alone (`Recipe.block`) computes on floats.
    """
    is_float = recipe.is_reference or recipe.block is not None
    if is_float and found["same_weights"]:
        return ROUNDING
    return max(ROUNDING, ERRORS * (found["quantization"] or 0.0))


def compared(
    real: Path, whole: Path, prefill: Path, decode: Path, tokens: np.ndarray, prompt: int
) -> dict:
    """How far the steps' logits are from those of the `whole` artifact, behind a prompt.

    `tokens` (n, length) are the samples. Differences are root mean squares, as shares of the spread
    (standard deviation) of the whole artifact's logits: `difference` that of the steps to it,
    `quantization` its own to the float artifact `real`; `largest_logit` is the largest of one logit
    in its own unit, `same_tokens` the share of places where the likeliest token is the same,
    `same_weights` whether both steps hold the whole artifact's weights, byte for byte. What is not
    finite is None.
    """
    from int8gate.runtimes.onnx_weights import weights_of

    behind = slice(prompt - 1, tokens.shape[1])
    expected, floats = (
        open_session(path).predict(tokens)[0][:, behind].astype(np.float64)
        for path in (whole, real)
    )
    steps = open_session(prefill), open_session(decode)
    written = np.stack([through_cache(*steps, row, prompt) for row in tokens])
    spread = float(expected.std())
    apart = written - expected
    known = weights_of(whole)
    return {
        "samples": len(tokens),
        "tokens": int(expected.shape[0] * expected.shape[1]),
        "difference": _share(apart, spread),
        "quantization": _share(expected - floats, spread),
        "largest_logit": _finite(np.abs(apart).max()),
        "same_tokens": float((written.argmax(-1) == expected.argmax(-1)).mean()),
        "same_weights": all(weights_of(each) <= known for each in (prefill, decode)),
    }


def through_cache(prefill: Session, decode: Session, tokens: np.ndarray, prompt: int) -> np.ndarray:
    """Logits (length - prompt + 1, vocabulary) of what follows the prompt of a sample (length,),
    and each of the tokens behind it, which are read one by one with what the last step left.
    """
    logits, *cache = prefill.predict(tokens[None, :prompt])
    rows = [logits[0]]
    for place in range(prompt, len(tokens)):
        at = np.array([place], np.int32)
        logits, *cache = decode.predict(tokens[None, place : place + 1], at, *cache)
        rows.append(logits[0])
    return np.stack(rows)


def _share(differences: np.ndarray, spread: float) -> float | None:
    """Root mean square, as a share of the spread; None where nothing varies but they do."""
    size = float(np.sqrt((differences**2).mean()))
    if not spread:
        return None if size else 0.0
    return _finite(size / spread)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
