"""How much windows of text have in common: is one window the right block of the bootstrap?

    python -m benchmarks.text_blocks llama_3_2_3b onnx_dynamic_int8 [more recipes]

The accuracy gate of language models resamples windows of 128 tokens, each a source of its own. That
holds where what quantization costs one window says nothing of the next one. Measured on the float
and the quantized artifact's nats of each window, paired, on each corpus:

    lag 1    the correlation of the difference between neighbouring windows of a document
    blocks   the standard error of the mean difference with b neighbouring windows as one block,
             over that with single windows (1 where they are independent)
    documents   the same with whole documents as blocks
    bounds   the upper 95% bound of the rise of perplexity, as a share: the gate's, of single
             windows with one added that is lost wholly; and the normal one with documents as blocks
"""

from __future__ import annotations

import argparse

import numpy as np

from int8gate.calibration_data.texts import windows
from int8gate.calibration_data.texts.corpora import documents
from int8gate.calibration_data.texts.tokenizers import of_bytes
from int8gate.engine.cache import open_cache
from int8gate.engine.worker import Worker
from int8gate.model_zoo.registry import model
from int8gate.quantizers.pipeline import Pipeline
from int8gate.quantizers.recipe import recipe
from int8gate.quantizers.settings import Settings
from int8gate.validation import cached_results
from int8gate.validation.bootstrap import Z
from int8gate.validation.case_run import CaseRun

BLOCKS = (2, 4, 8, 16)


def documents_of(corpus: str, count: int, length: int) -> np.ndarray:
    """The number of the document of each evaluation window of a corpus, int (count,)."""
    texts = documents(corpus, "evaluation").values()
    whole = [len(of_bytes().encode(text)) // length for text in texts]
    every = np.arange(len(whole)).repeat(whole)
    return every[np.arange(count) * len(every) // count]


def standard_error(values: np.ndarray, blocks: np.ndarray) -> float:
    """Of the mean of values (n,) whose blocks (n,) are independent of each other."""
    sums = np.bincount(blocks, values - values.mean())
    return float(np.sqrt(np.square(sums).sum()) / len(values))


def tests_of(run: CaseRun) -> dict[str, cached_results.ScoredPair]:
    """The gate's test on each corpus."""
    judged = (run.plan.metrics, run.float_evaluation, run.evaluation, run.expected.accuracy)
    found = cached_results.compared(
        run.pipeline.cache, *judged, lambda score: run.expected.tolerance(score, False), 0
    )
    return found.groups


def compare(name: str, recipe_name: str, cache: str | None) -> None:
    """Prints a line for each corpus."""
    with Worker() as worker:
        pipeline = Pipeline(Settings(), open_cache(cache), worker)
        run = CaseRun(model(name), recipe(recipe_name), pipeline)
        quantized, real = run.evaluation, run.float_evaluation
        rows = (quantized.statistics - real.statistics)[:, 0] / real.statistics[:, 1]
        groups, tests = quantized.groups, tests_of(run)
    (length,) = model(name).network("compact").inputs[0].shape
    for corpus in windows.COUNT["evaluation"]:
        values = rows[groups == corpus]
        of_document = documents_of(corpus, len(values), length)
        together = of_document[1:] == of_document[:-1]
        lag = np.corrcoef(values[:-1][together], values[1:][together])[0, 1]
        alone = standard_error(values, np.arange(len(values)))
        ratios = [standard_error(values, np.arange(len(values)) // size) / alone for size in BLOCKS]
        whole = standard_error(values, of_document) / alone
        told = ", ".join(f"{size}: {ratio:.2f}" for size, ratio in zip(BLOCKS, ratios, strict=True))
        test, score = tests[corpus].test, tests[corpus].float_score
        by_documents = np.expm1(values.mean() + Z * whole * alone)
        print(
            f"{name}-{recipe_name} on {corpus}: {len(values)} windows of {of_document[-1] + 1} "
            f"documents; lag 1 {lag:+.3f}; blocks of {told}; documents {whole:.2f}; standard error "
            f"{alone:.5f} nats, mean {values.mean():.5f}; bounds {test.drop_upper_95 / score:.2%} "
            f"and {by_documents:.2%}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--cache", default=None, help="as --artifact-cache")
    given = parser.parse_args()
    for each in given.recipes:
        compare(given.model, each, given.cache)
