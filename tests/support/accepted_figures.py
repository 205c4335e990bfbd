"""Figures as baselines hold them, made up by hypothesis, and scores of samples to compare."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from int8gate.validation.case_summary import Accuracy, Figures, Npu, Size
from int8gate.validation.comparing.sample_scores import Predictions

words = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
names = st.text("abz09_-.:\"'é ", min_size=1, max_size=10)
amounts = st.floats(1e-6, 1e9)
shares = st.floats(0, 1)
accuracies = st.builds(
    Accuracy,
    metric=st.just("top1"),
    quantized=shares,
    samples=st.integers(1, 5000),
    sources=st.integers(1, 5000),
    float=st.none() | shares,
    tolerance=st.none() | shares,
    tolerance_rule=st.none() | words,
)
sizes = st.builds(Size, quantized=st.integers(1, 10**9), float=st.none() | st.integers(1, 10**9))
npus = st.builds(
    Npu,
    coverage=st.none() | shares,
    latency_ms=st.none() | amounts,
    compiler=st.none() | words,
    system_config=st.none() | words,
    memory_mode=st.none() | words,
)
figures = st.builds(
    Figures,
    environment=st.dictionaries(names, words, max_size=3),
    artifact=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    accuracy=st.none() | accuracies,
    size_bytes=st.none() | sizes,
    npu=st.dictionaries(st.sampled_from(["small", "large"]), npus),
    sqnr_db=st.none() | st.floats(-20, 150),
)
cases = st.dictionaries(names, figures, max_size=4)


def top1(correct: np.ndarray, case: str = "tiny-tflite_int8", data: str = "set a") -> Predictions:
    """Predictions of samples (n,) that are right or wrong, each a source of its own."""
    rows = np.stack([correct, np.ones(len(correct))], axis=1).astype(float)
    return Predictions(case, "top1", data, rows, np.arange(len(correct)))


def figures_of(predictions: Predictions, **others) -> Figures:
    """The figures of a case with these predictions and no other score."""
    rows = predictions.statistics
    count = len(rows)
    score = float(rows[:, 0].mean())
    return Figures(accuracy=Accuracy("top1", score, count, count, tolerance=0.005), **others)
